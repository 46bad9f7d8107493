//! The rotation axis of a measured scan.
#![cfg(feature = "hdf5")]

use tomolith::exchange::{IoMode, open_scan};
use tomolith::num::lanes::Isa;
use tomolith::recon::center::{self, Options};
use tomolith::recon::normalize::{Average, Input, InputKind, NonFinite};
use tomolith::testing;

/// TomoPy finds 295.0 by `find_center_vo` for either row, of transmission as of absorption.
#[test]
fn the_tooth_turns_about_column_295() {
    let Some(path) = testing::data("tooth.h5") else { return };
    let scan = open_scan(&path, IoMode::Pread).unwrap();
    let dims = scan.projections.dims();
    let (flats, darks) = (scan.flats.unwrap(), scan.darks.unwrap());
    let frames = Some((&*flats, &*darks));
    let rows = 0..dims.ny;
    let input =
        Input::new(&*scan.projections, InputKind::Counts, frames, Average::Mean, NonFinite::Error, rows.clone())
            .unwrap();
    for row in rows {
        let mut absorption = vec![0.0; dims.nz * dims.nx];
        input.read(row..row + 1, &mut absorption).unwrap();
        input.to_absorption(Isa::detect(), row..row + 1, &mut absorption).unwrap();
        let mut transmission: Vec<f32> = absorption.iter().map(|v| -v).collect();
        tomolith::num::elementary::exp_slice(Isa::detect(), &transmission.clone(), &mut transmission);
        for sinogram in [absorption, transmission] {
            let found = center::vo(Isa::detect(), &sinogram, dims.nz, dims.nx, &Options::default()).unwrap();
            assert_eq!((found.coarse, found.axis), (294.5, 295.0), "row {row}");
            assert_eq!(found.curve.len(), 201 + 49);
        }
    }
}
