//! Tests of the cell in the scan's frame.

use super::super::motion::MotionSettings;
use super::*;
use crate::num::philox::Stream;
use crate::phantom::matter::{FILLS, LABELS, Optical};

/// A specimen of random voxels in blocks of 4³, the bodies in the outer thirds of y.
fn specimen(dims: Dims) -> Specimen {
    let random = Stream::new(1, 1);
    let voxel = |i: usize| {
        let (x, y, z) = (i % dims.nx, i / dims.nx % dims.ny, i / dims.slice());
        let block = (x / 4 + 1000 * (y / 4) + 1_000_000 * (z / 4)) as u64;
        let [fill, label, level, _] = random.u32x4(block);
        Voxel::new(FILLS[fill as usize % 7], LABELS[label as usize % 7], level as u16 % 256).0
    };
    Specimen {
        dims,
        voxels: (0..dims.voxels()).map(voxel).collect(),
        plating_until: dims.ny as f64 / 3.0,
        stripping_from: dims.ny as f64 * 2.0 / 3.0,
        markers: Vec::new(),
        layers: Vec::new(),
    }
}

fn pose(s: &Specimen, settings: &MotionSettings) -> Pose {
    Pose::draw(settings, s.dims, [s.plating_until, s.stripping_from], 5, 3).unwrap()
}

const SMALL: Dims = Dims { nz: 20, ny: 40, nx: 26 };
/// Small enough for a volume of 40 voxels.
const MOVING: MotionSettings = MotionSettings {
    translation: 2.0,
    rotation_deg: 0.5,
    drift: 0.5,
    tilt_deg: [1.0, 3.0],
    relative_translation: 0.3,
    relative_rotation_deg: 0.1,
    warp: [0.5, 0.8],
    within_scan: [0.0; 3],
};

/// The code seen at a point of the scan by the definition, and whether rounding in f32 might change it.
fn seen(s: &Specimen, pose: &Pose, surround: bool, p: [f64; 3]) -> (u16, bool) {
    let q = pose.to_cell(p);
    let close = q.iter().any(|v| ((v - v.floor()) - 0.5).abs() < 1e-3);
    (code_at(s, surround, q.map(|v| (v + 0.5).floor() as i64)), close)
}

/// The code of a voxel, mirrored at the faces in x and z where the specimen goes on.
fn code_at(s: &Specimen, surround: bool, mut index: [i64; 3]) -> u16 {
    let n = [s.dims.nx, s.dims.ny, s.dims.nz].map(|n| n as i64);
    for k in [0, 2] {
        while surround && !(0..n[k]).contains(&index[k]) {
            index[k] = if index[k] < 0 { -1 - index[k] } else { 2 * n[k] - 1 - index[k] };
        }
    }
    let inside = (0..3).all(|k| (0..n[k]).contains(&index[k]));
    let place = || ((index[2] * n[1] + index[1]) * n[0] + index[0]) as usize;
    if inside { s.voxels[place()] } else { 0 }
}

fn filled(lab: &Lab, isa: Isa, rows: Range<usize>) -> (Vec<Lane>, Vec<Lane>) {
    let cells = lab.geometry.cells() * lab.geometry.cells();
    let poison = vec![Lane([f32::NAN; LANES]); cells];
    let (mut mu, mut delta) = (poison.clone(), poison);
    lab.fill(isa, rows, &mut mu, Some(&mut delta));
    (mu, delta)
}

/// The mean over the box of half a voxel about the point of the cell seen at p, by the definition.
fn mean(s: &Specimen, pose: &Pose, surround: bool, p: [f64; 3], table: &[Optical]) -> [f64; 2] {
    let q = pose.to_cell(p);
    // Along each axis the voxels that share the box, and how much of it.
    let shares: [Vec<(i64, f64)>; 3] = q.map(|q| {
        let (low, high) = (q - 0.25, q + 0.25);
        let first = (low + 0.5).floor() as i64;
        let share = |i: i64| (high.min(i as f64 + 0.5) - low.max(i as f64 - 0.5)).max(0.0) / 0.5;
        [first, first + 1].map(|i| (i, share(i))).to_vec()
    });
    let mut sum = [0.0; 2];
    for &(z, wz) in &shares[2] {
        for &(y, wy) in &shares[1] {
            for &(x, wx) in &shares[0] {
                let optical = table[usize::from(code_at(s, surround, [x, y, z]))];
                sum[0] += wx * wy * wz * optical.mu * 1.33e-4;
                sum[1] += wx * wy * wz * optical.delta;
            }
        }
    }
    sum
}

#[test]
fn every_cell_shows_the_mean_that_the_pose_says() {
    let specimen = specimen(SMALL);
    let table = optical_table();
    for (settings, surround) in [(MOVING, true), (MOVING, false), (MotionSettings::STILL, true)] {
        let pose = pose(&specimen, &settings);
        let geometry = LabGeometry { columns: 48, oversampling: 2, first_row: -3, surround };
        let lab = Lab::new(&specimen, &pose, geometry).unwrap();
        let (mu, delta) = filled(&lab, Isa::detect(), 16..32);
        let ([ox, oy], n, mut mixed) = (geometry.offset(SMALL), geometry.cells(), 0);
        for (i, (mu, delta)) in mu.iter().zip(&delta).enumerate() {
            let (column, row) = ((i % n) as f64 / 2.0 - 0.25, (i / n) as f64 / 2.0 - 0.25);
            let round = (column - 24.0).powi(2) + (row - 23.0).powi(2) <= 24.0 * 24.0;
            for lane in 0..LANES {
                let z = -3.0 + (16 + lane) as f64 / 2.0 - 0.25;
                let p = [column - ox as f64, row - oy as f64, z];
                let want = if round { mean(&specimen, &pose, surround, p, &table) } else { [0.0; 2] };
                // Places are known to 10⁻³ voxel, so three shares of half a voxel to 6·10⁻³.
                let slack = if settings == MotionSettings::STILL { 1e-6 } else { 6e-3 };
                for (got, want, largest) in [(mu, want[0], 5.1e-4), (delta, want[1], 1.1e-6)] {
                    let got = f64::from(got.0[lane]);
                    assert!((got - want).abs() <= slack * largest, "cell {i} lane {lane}: {got} for {want}");
                }
                mixed +=
                    usize::from(round && table.iter().all(|o| (mu.0[lane] - (o.mu * 1.33e-4) as f32).abs() > 1e-8));
            }
        }
        assert_eq!(mixed > n * n * LANES / 10, settings != MotionSettings::STILL, "{mixed} cells of two voxels");
    }
}

#[test]
fn cells_have_the_same_bits_on_any_machine() {
    let specimen = specimen(SMALL);
    let pose = pose(&specimen, &MOVING);
    let geometry = LabGeometry { columns: 42, oversampling: 3, first_row: 0, surround: true };
    let lab = Lab::new(&specimen, &pose, geometry).unwrap();
    let want = filled(&lab, Isa::scalar(), 3..19);
    for isa in Isa::available() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(|| filled(&lab, isa, 3..19)) == want, "{} {threads}", isa.name());
        }
    }
    // A row has the same bits in another lane, and without δ.
    let (mut mu, other) = (want.0.clone(), filled(&lab, Isa::detect(), 4..20).0);
    lab.fill(Isa::detect(), 3..19, &mut mu, None);
    assert!(mu == want.0 && mu.iter().zip(&other).all(|(a, b)| a.0[1..] == b.0[..15]));
}

#[test]
fn the_box_is_a_plain_crop_and_the_axis_where_it_is_said_to_be() {
    for (dims, columns) in [(SMALL, 48), (Dims { nz: 5, ny: 33, nx: 21 }, 40), (Dims { nz: 16, ny: 40, nx: 25 }, 40)] {
        let specimen = specimen(dims);
        let pose = pose(&specimen, &MotionSettings::STILL);
        let geometry = LabGeometry { columns, oversampling: 1, first_row: 0, surround: false };
        let lab = Lab::new(&specimen, &pose, geometry).unwrap();
        let ([ox, oy], [ax, ay]) = (geometry.offset(dims), geometry.axis_cell());
        assert_eq!([ax, ay], [columns as f64 / 2.0, columns as f64 / 2.0 - 1.0]);
        assert_eq!(axis(dims), [ax - ox as f64, ay - oy as f64]);
        let mu = filled(&lab, Isa::detect(), 0..16).0;
        for z in 0..dims.nz.min(16) {
            for y in 0..dims.ny {
                for x in 0..dims.nx {
                    let code = specimen.voxels[(z * dims.ny + y) * dims.nx + x];
                    let want = (optical_table_entry(code) * 1.33e-4) as f32;
                    let inside = (x as f64 + ox as f64 - ax).hypot(y as f64 + oy as f64 - ay) <= ax;
                    let got = mu[(y + oy) * columns + x + ox].0[z];
                    assert_eq!(got, if inside { want } else { 0.0 }, "{x} {y} {z}");
                }
            }
        }
    }
    assert_eq!(LabGeometry { columns: 8, oversampling: 2, first_row: 0, surround: true }.axis_cell(), [8.5, 6.5]);
    let (specimen, bad) =
        (specimen(SMALL), |columns, oversampling| LabGeometry { columns, oversampling, first_row: 0, surround: true });
    let pose = pose(&specimen, &MotionSettings::STILL);
    for geometry in [bad(49, 2), bad(38, 2), bad(48, 0)] {
        assert_eq!(Lab::new(&specimen, &pose, geometry).err().unwrap().fault().exit_code(), 2);
    }
}

fn optical_table_entry(code: u16) -> f64 {
    thread_local!(static TABLE: Vec<f64> = optical_table().iter().map(|o| o.mu).collect());
    TABLE.with(|t| t[usize::from(code)])
}

#[test]
fn labels_are_those_of_the_nearest_voxel_in_any_slab() {
    let specimen = specimen(SMALL);
    let pose = pose(&specimen, &MOVING);
    let slice = SMALL.slice();
    let mut all = vec![9; 20 * slice];
    labels(&specimen, &pose, true, Isa::detect(), 0..20, &mut all);
    for (i, &label) in all.iter().enumerate() {
        let p = [i % SMALL.nx, i / SMALL.nx % SMALL.ny, i / slice].map(|v| v as f64);
        let (code, close) = seen(&specimen, &pose, true, p);
        assert!(label == Voxel(code).label() || close, "{p:?}");
    }
    let mut part = vec![9; 17 * slice];
    labels(&specimen, &pose, true, Isa::scalar(), 2..19, &mut part);
    assert!(part == all[2 * slice..19 * slice]);
    // Nothing moved: the specimen's own.
    labels(&specimen, &super::tests::pose(&specimen, &MotionSettings::STILL), false, Isa::detect(), 0..20, &mut all);
    assert!(all.iter().zip(&specimen.voxels).all(|(&l, &v)| l == Voxel(v).label()));
}

/// Time of whole grids on one thread; run with `--ignored --nocapture`.
#[test]
#[ignore = "measures time"]
fn time_of_whole_grids() {
    let shapes = [(Dims { nz: 48, ny: 288, nx: 64 }, 320), (Dims { nz: 256, ny: 320, nx: 256 }, 448)];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (dims, columns) in shapes {
        let specimen = specimen(dims);
        let pose = pose(&specimen, &MotionSettings::default());
        let geometry = LabGeometry { columns, oversampling: 2, first_row: 0, surround: true };
        let lab = Lab::new(&specimen, &pose, geometry).unwrap();
        let cells = geometry.cells() * geometry.cells();
        let (mut mu, mut delta) = (vec![Lane::ZERO; cells], vec![Lane::ZERO; cells]);
        let begin = std::time::Instant::now();
        for first in (0..2 * dims.nz).step_by(LANES) {
            pool.install(|| lab.fill(Isa::detect(), first..first + LANES, &mut mu, Some(&mut delta)));
        }
        let seconds = begin.elapsed().as_secs_f64();
        let points = (cells * 2 * dims.nz) as f64;
        println!("{dims:?}, {columns} columns: {seconds:.2} s, {:.2} ns a cell", seconds / points * 1e9);
    }
}
