//! The rotation axis of a measured scan.
#![cfg(feature = "hdf5")]

use tomolith::exchange::{IoMode, open_scan};
use tomolith::num::lanes::Isa;
use tomolith::recon::center::{self, Options};
use tomolith::recon::flat::{Average, Frames};
use tomolith::recon::normalize::{Input, InputKind, NonFinite};
use tomolith::recon::prepare::{Chain, Steps, Until};
use tomolith::testing;

/// TomoPy finds 295.0 by `find_center_vo` for either row, of transmission as of absorption.
#[test]
fn the_tooth_turns_about_column_295() {
    let Some(path) = testing::data("tooth.h5") else { return };
    let scan = open_scan(&path, IoMode::Pread).unwrap();
    let dims = scan.projections.dims();
    let (flats, darks) = (scan.flats.unwrap(), scan.darks.unwrap());
    let frames = Some(Frames::new(&*flats, &*darks, Average::Mean));
    let rows = 0..dims.ny;
    let input = Input::new(&*scan.projections, InputKind::Counts, frames, NonFinite::Error, rows.clone()).unwrap();
    let chain = Chain::new(input, &Steps::default(), Until::Absorption).unwrap();
    for row in rows {
        let mut absorption = vec![0.0; chain.length(dims.nz, 1)];
        chain.read(0..dims.nz, row..row + 1, &mut absorption).unwrap();
        chain.finish(Isa::detect(), 0..dims.nz, row..row + 1, &mut absorption).unwrap();
        let mut transmission: Vec<f32> = absorption.iter().map(|v| -v).collect();
        tomolith::num::elementary::exp_slice(Isa::detect(), &transmission.clone(), &mut transmission);
        for sinogram in [absorption, transmission] {
            let found = center::vo(Isa::detect(), &sinogram, dims.nz, dims.nx, &Options::default()).unwrap();
            assert_eq!((found.coarse, found.axis), (294.5, 295.0), "row {row}");
            assert_eq!(found.curve.len(), 201 + 49);
        }
    }
}
