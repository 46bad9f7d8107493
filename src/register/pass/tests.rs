use super::super::interpolate::definition;
use super::super::level::Piece;
use super::super::rigid::{add, middle};
use super::*;
use crate::num::linalg::{apply, cross};
use crate::num::philox::Stream;
use std::array::from_fn;

fn noise(dims: Dims, seed: u64) -> Piece {
    let s = Stream::new(seed, 0);
    Piece::whole(dims, (0..dims.voxels() as u64).map(|i| s.uniform_f32(i) + 2.0).collect()).unwrap()
}

/// A pair with different extents, and motions that leave a part of the block, turn it much, and nearly not at all.
fn pair() -> (Vec<Level>, Vec<Rigid>) {
    let (fixed, moving) = (Dims { nz: 30, ny: 28, nx: 45 }, Dims { nz: 31, ny: 33, nx: 47 });
    let levels = Level::pyramid(Isa::detect(), &noise(fixed, 1), &noise(moving, 2), 2).unwrap();
    assert_eq!(levels.len(), 2);
    let motions = [([1e-3, 2e-3, -1e-3], [0.3, 0.4, -0.2]), ([0.2, -0.1, 0.3], [3.0, -4.0, 5.0])];
    (levels, motions.iter().map(|&(turn, shift)| Rigid::new(turn, middle(fixed), shift)).collect())
}

/// All sums of a pass, voxel by voxel in f64, from interpolated values alone: ∇f and ∇g by differences of 1e-4 voxel.
fn by_definition(level: &Level, motion: &Rigid) -> Vec<f64> {
    let (f_field, m_field) = (&level.fixed.field, &level.moving.field);
    let s = level.scale as f64;
    let Dims { nz, ny, nx } = f_field.dims();
    let n = m_field.dims();
    let value = |field: &crate::register::field::Field, p: [f64; 3]| definition(Interpolation::Cubic, field, p);
    let to_volume = |p: [f64; 3]| -> [f64; 3] { from_fn(|i| level.fixed.origin[i] + s * p[i]) };
    let to_moving = |p: [f64; 3]| -> [f64; 3] {
        let q = motion.apply(&to_volume(p));
        from_fn(|i| (q[i] - level.moving.origin[i]) / s)
    };
    let slope = |of: &dyn Fn([f64; 3]) -> f64, p: [f64; 3]| -> [f64; 3] {
        const H: f64 = 1e-4;
        let unit = |i: usize, h: f64| from_fn(|k| if k == i { h } else { 0.0 });
        from_fn(|i| (of(add(&p, &unit(i, H))) - of(add(&p, &unit(i, -H)))) / (2.0 * H * s))
    };
    let mut sums = vec![0.0; ALL];
    for i in 0..nx * ny * nz {
        let (x, y, z) = (i % nx, i / nx % ny, i / nx / ny);
        let edge = level.margin;
        let inner = [(x, nx), (y, ny), (z, nz)].iter().all(|&(i, n)| i >= edge && i < n - edge);
        let p = [x, y, z].map(|v| v as f64);
        let at = to_moving(p);
        let edge = edge as f64 + SLACK;
        let is_in = [n.nx, n.ny, n.nz].iter().zip(at).all(|(&n, v)| v >= edge && v <= n as f64 - 1.0 - edge);
        if !(inner && is_in) {
            continue;
        }
        let f_of = |p| value(f_field, p) - f64::from(level.fixed.mean);
        let g_of = |p| value(m_field, to_moving(p)) - f64::from(level.moving.mean);
        let (f, g, df, dg) = (f_of(p), g_of(p), slope(&f_of, p), slope(&g_of, p));
        let lever = sub(&to_volume(p), &motion.centre);
        let six = |d: [f64; 3]| -> [f64; 6] {
            let turn = cross(&lever, &d);
            from_fn(|i| if i < 3 { turn[i] } else { d[i - 3] })
        };
        let (j, k) = (six(df), six(dg));
        let mut one = vec![1.0, f, g, f * f, g * g, f * g];
        one.extend(j.iter().chain(&j.map(|v| v * f)).chain(&j.map(|v| v * g)));
        (0..6).for_each(|a| (a..6).for_each(|b| one.push(j[a] * j[b])));
        (0..6).for_each(|a| (0..6).for_each(|b| one.push(j[a] * k[b])));
        one.extend(k.iter().chain(&k.map(|v| v * f)));
        sums.iter_mut().zip(&one).for_each(|(sum, v)| *sum += v);
    }
    sums
}

#[test]
fn sums_are_those_of_the_definition() {
    let (levels, motions) = pair();
    for (level, motion) in levels.iter().zip(&motions).chain(levels.iter().zip(motions.iter().rev())) {
        let want = by_definition(level, motion);
        let found = pass(Isa::detect(), level, motion, motion, Want::Everything);
        assert!(found.total == found.sample, "a small block is its own sample");
        assert_eq!(found.total.n(), want[0]);
        assert!(want[0] > 1000.0);
        // Sizes by the mean square: |Σ| stays below n times the size of a term, lever arms up to 30.
        for i in 0..ALL {
            let arms = match i {
                0..6 => 1.0,
                6..24 | 81..93 => 30.0,
                _ => 900.0,
            };
            let error = (found.total.0[i] - want[i]).abs();
            assert!(
                error < 2e-6 * want[0] * arms,
                "scale {} sum {i}: {} for {}",
                level.scale,
                found.total.0[i],
                want[i]
            );
        }
    }
}

#[test]
fn cells_add_up_and_less_is_a_part_of_more() {
    let (levels, motions) = pair();
    let all = pass(Isa::detect(), &levels[0], &motions[0], &motions[0], Want::Everything);
    for i in 0..ALL {
        let sum: f64 = all.cells.iter().map(|cell| cell.0[i]).sum();
        assert!((sum - all.total.0[i]).abs() <= 1e-9 * all.total.0[i].abs().max(1.0), "{i}");
    }
    for (want, upto) in [(Want::Correlation, 6), (Want::Slope, 24), (Want::Curvature, 45)] {
        let some = pass(Isa::detect(), &levels[0], &motions[0], &motions[0], want).total;
        assert_eq!(some.0[..upto], all.total.0[..upto]);
        assert!(some.0[upto..].iter().all(|&v| v == 0.0));
    }
}

#[test]
fn bits_are_the_same_for_any_instruction_set_and_number_of_threads() {
    let (levels, motions) = pair();
    for motion in &motions {
        let want = pass(Isa::scalar(), &levels[0], motion, motion, Want::Everything);
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| pass(isa, &levels[0], motion, motion, Want::Everything));
                assert!(got.total == want.total && got.cells == want.cells, "{} {threads}", isa.name());
            }
        }
    }
}

#[test]
fn a_pair_turned_as_a_whole_is_the_same_pair() {
    // The correlation is a function of the motion of one volume against the other, not of the centre it is told about.
    let (levels, motions) = pair();
    let correlation = |motion| pass(Isa::detect(), &levels[0], &motion, &motion, Want::Correlation).total.correlation();
    let (a, b) = (correlation(motions[0]), correlation(motions[0].about([100.0, -50.0, 7.0])));
    assert!((a - b).abs() < 1e-6);
    let turned = apply(&motions[1].rotation, &[1.0, 0.0, 0.0]);
    let line = levels[1].line(&motions[1], 3, 4);
    assert_eq!(line.step, turned);
}

#[test]
fn the_voxels_are_those_of_the_motion_that_chose_them() {
    let (levels, motions) = pair();
    let count =
        |motion: &Rigid, seen: &Rigid| pass(Isa::detect(), &levels[0], motion, seen, Want::Correlation).total.n();
    let seen = motions[0];
    for shift in [[0.4, 0.0, 0.0], [0.0, -0.4, 0.1], [-0.2, 0.2, -0.3]] {
        let moved = Rigid { translation: add(&seen.translation, &shift), ..seen };
        assert_eq!(count(&moved, &seen), count(&seen, &seen));
    }
    let far = Rigid { translation: [9.0, 0.0, 0.0], ..seen };
    assert!(count(&far, &seen) < count(&seen, &seen), "what leaves the block is left out all the same");
}

#[test]
fn weights_are_those_of_the_residual() {
    // Zero beyond the cut: with a tiny one nothing counts, with a huge one everything does, and one between is the sum of
    // its definition, here over rows of a single motion without interpolation.
    let (levels, motions) = pair();
    let (level, motion) = (&levels[0], &motions[0]);
    let plain = pass(Isa::detect(), level, motion, motion, Want::Everything);
    let run = |cut: f64, slack: f64| {
        let means = [plain.total.f() / plain.total.n(), plain.total.g() / plain.total.n()];
        let weights = Weights { gain: 0.8, means, cut, slack };
        weighted(Isa::detect(), level, motion, motion, Some(weights), Want::Everything).total
    };
    assert_eq!(run(1e-9, 0.0).n(), 0.0);
    let all = run(1e6, 0.3);
    for i in 0..ALL {
        assert!((all.0[i] - plain.total.0[i]).abs() <= 1e-4 * plain.total.0[i].abs().max(1.0), "{i}");
    }
    // Σ w (1 − …) for a cut far above all residuals: w = 1 − 2 r²/c² + …, Σ w = n − 2 Σ r² / c².
    let cut = 20.0;
    let square = 0.64 * plain.total.gg() - 1.6 * plain.total.fg() + plain.total.ff();
    let missing = plain.total.n() - run(cut, 0.0).n();
    assert!((missing - 2.0 * square / (cut * cut)).abs() < 0.01 * missing, "{missing}");
}

#[test]
fn a_face_that_moved_by_less_than_the_slack_still_counts() {
    // A slope of 2 per voxel seen 0.25 voxel off: r = 0.5, c = 2 · slack.
    let dims = Dims { nz: 12, ny: 12, nx: 20 };
    let slope = Piece::whole(dims, (0..dims.voxels()).map(|i| 2.0 * (i % 20) as f32).collect()).unwrap();
    let levels = Level::pyramid(Isa::detect(), &slope, &slope, 1).unwrap();
    let motion = Rigid::new([0.0; 3], [0.0; 3], [0.25, 0.0, 0.0]);
    for slack in [0.5, 1.0, 0.2] {
        let weights = Weights { gain: 1.0, means: [0.0; 2], cut: 1e-6, slack };
        let seen = weighted(Isa::detect(), &levels[0], &motion, &motion, Some(weights), Want::Correlation).total.n();
        let all = pass(Isa::detect(), &levels[0], &motion, &motion, Want::Correlation).total.n();
        let u = (1.0 - (0.25 / slack).powi(2)).max(0.0);
        assert!((seen / all - u * u).abs() < 1e-5, "{slack}: {} for {}", seen / all, u * u);
    }
}
