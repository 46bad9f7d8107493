use super::super::field::Content;
use super::super::rigid::rotation;
use super::*;
use crate::num::philox::Stream;

const DIMS: Dims = Dims { nz: 21, ny: 33, nx: 57 };
const ALL: [Interpolation; 3] = [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic];

fn noise(dims: Dims) -> Vec<f32> {
    let s = Stream::new(12, 0);
    (0..dims.voxels() as u64).map(|i| s.uniform_f32(i) - 0.5).collect()
}

fn field(how: Interpolation) -> Field {
    let content = if how == Interpolation::Cubic { Content::Coefficients } else { Content::Values };
    Field::new(Isa::detect(), content, DIMS, &noise(DIMS))
}

/// Lines through the middle of the volume, turned a little, much, and back to front.
fn lines() -> Vec<Line> {
    let turns =
        [[0.0, 0.0, 0.0], [0.0, 0.01, -0.02], [0.03, 0.05, 0.06], [0.0, 0.3, 0.2], [0.0, 0.0, 1.5], [0.1, 3.1, 0.0]];
    let line = |turn: [f64; 3]| {
        let r = rotation(turn);
        let step = [r[0][0], r[1][0], r[2][0]];
        let middle = [28.3, 16.2, 10.7];
        Line { start: from_fn(|i| middle[i] - 40.0 * step[i]), step }
    };
    turns.map(line).to_vec()
}

#[test]
fn rows_are_the_definition_at_each_point() {
    for how in ALL {
        let field = field(how);
        for line in lines() {
            let valid = line.inside(80, DIMS, 0.0);
            assert!(valid.len() > 10, "{line:?}");
            let mut out = vec![f32::NAN; 80];
            row(Isa::detect(), how, &field, line, valid.clone(), &mut out);
            for (x, &value) in out.iter().enumerate() {
                let p = from_fn(|axis| line.at(axis, x));
                let want = if valid.contains(&x) { definition(how, &field, p) } else { 0.0 };
                // Positions are f32 within a group: 2e-6 voxel times slopes up to 3 per voxel, and 64 roundings. A
                // nearest voxel may be another one where the point lies half-way.
                let half =
                    how == Interpolation::Nearest && p.iter().any(|v| ((v - 0.5) - (v - 0.5).round()).abs() < 1e-5);
                assert!(half || (f64::from(value) - want).abs() < 1e-5, "{how:?} {line:?} {x}: {value} for {want}");
            }
        }
    }
}

#[test]
fn slopes_are_differences_of_values() {
    let field = field(Interpolation::Cubic);
    for line in lines() {
        let valid = line.inside(80, DIMS, 0.5);
        let mut rows = [const { [f32::NAN; 80] }; 4];
        row_with_slopes(Isa::detect(), &field, line, valid.clone(), rows.each_mut().map(|row| &mut row[..]));
        let mut values = [f32::NAN; 80];
        row(Isa::detect(), Interpolation::Cubic, &field, line, valid.clone(), &mut values);
        assert!(rows[0].iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()), "values of {line:?}");
        for axis in 0..3 {
            let out = &rows[1 + axis];
            for x in valid.clone() {
                const H: f64 = 1e-4;
                let value = |sign: f64| {
                    let p = from_fn(|a| line.at(a, x) + if a == axis { sign * H } else { 0.0 });
                    definition(Interpolation::Cubic, &field, p)
                };
                let want = (value(1.0) - value(-1.0)) / (2.0 * H);
                // As above; the third derivative times H²/6 is below 1e-7, second derivatives of up to 10 jump nowhere.
                assert!((f64::from(out[x]) - want).abs() < 1e-4, "{line:?} {axis} {x}: {} for {want}", out[x]);
            }
        }
    }
}

#[test]
fn bits_depend_on_nothing_but_the_points() {
    for how in ALL {
        let field = field(how);
        for line in lines() {
            let valid = line.inside(80, DIMS, 0.0);
            let run = |isa, valid: Range<usize>| {
                let mut out = vec![f32::NAN; 80];
                row(isa, how, &field, line, valid, &mut out);
                out
            };
            let whole = run(Isa::scalar(), valid.clone());
            for isa in Isa::available() {
                assert!(run(isa, valid.clone()).iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            // A point alone takes four taps, in company five, and far apart its own.
            for x in valid {
                assert_eq!(run(Isa::detect(), x..x + 1)[x].to_bits(), whole[x].to_bits(), "{how:?} {line:?} {x}");
            }
        }
    }
}

#[test]
fn points_inside_are_those_between_the_outermost_centres() {
    for line in lines() {
        for margin in [0.0, 1.0, 4.5] {
            let inside = line.inside(80, DIMS, margin);
            for x in 0..80 {
                let is_in = [DIMS.nx, DIMS.ny, DIMS.nz].iter().enumerate().all(|(axis, &n)| {
                    let p = line.at(axis, x);
                    p >= margin && p <= n as f64 - 1.0 - margin
                });
                assert_eq!(inside.contains(&x), is_in, "{line:?} {x}");
            }
        }
    }
    let away = Line { start: [0.0, -1.0, 0.0], step: [1.0, 0.0, 0.0] };
    assert!(away.inside(57, DIMS, 0.0).is_empty());
    let whole = Line { start: [0.0; 3], step: [1.0, 0.0, 0.0] };
    assert_eq!(whole.inside(57, DIMS, 0.0), 0..57);
    assert_eq!(whole.inside(100, DIMS, 0.0), 0..57);
}

#[test]
fn the_cubic_spline_is_exact_for_cubics() {
    // A B-spline of degree 3 holds every cubic; away from the mirrored border the values determine it.
    let dims = Dims { nz: 40, ny: 40, nx: 64 };
    let f = |x: f64, y: f64, z: f64| 1e-4 * (x - 30.0) * (y - 20.0) * (z - 18.0) + 1e-4 * (x - 31.0).powi(3) - 0.1 * z;
    let values: Vec<f32> =
        (0..dims.voxels()).map(|i| f((i % 64) as f64, (i / 64 % 40) as f64, (i / 2560) as f64) as f32).collect();
    let field = Field::new(Isa::detect(), Content::Coefficients, dims, &values);
    for k in 0..50 {
        let p = [20.0 + 0.37 * k as f64, 18.0 + 0.1 * k as f64, 22.0 - 0.11 * k as f64];
        // Values up to 4: the cut of the prefilter and the roundings of f32.
        assert!((definition(Interpolation::Cubic, &field, p) - f(p[0], p[1], p[2])).abs() < 2e-5);
    }
}
