//! Fields of view above one another before they are reconstructed: transmissions as volumes (row, angle, column), one line for
//! each projection of a row.
//!
//! Phase retrieval mixes the rows of a projection, and does not know those beyond its ends: joined before it, a scan in
//! several fields is retrieved as one. Field B lies on the one below it, A, with
//!
//! ```text
//! T_A(row, θ, column) ≈ g T_B(row − d_z, θ, column − d(θ)),      d(θ) = c + X cos θ + Y sin θ
//! ```
//!
//! c, the difference of their axes, is known about before, by whole pixels the lines are brought together; where they do not fit there, an
//! axis was wrong, and they are brought where they are most alike ([`ASIDE`]). X, Y (Y upward in a slice) is by what the sample moved in
//! between. d_z is found as of volumes ([`super::vertical`]); d from fits
//! of [`PARTS`] ranges of angles, by least squares. A transmission has no offset: g = mean T_A / mean T_B. Columns that B
//! lacks after it is moved repeat its last.

use super::vertical::{BLOCK, CHUNK, IN_PLANE, SAMPLES, Stacked, View, alike, middle, stack};
use super::{Block, Fit, TAPS, correlation, fit, margin, shift_lines};
use crate::error::{Error, Fault, Result};
use crate::num::elementary::sincos;
use crate::num::lanes::Isa;
use crate::num::linalg::{inverse, solve_positive};
use crate::volume::{Dims, Source};
use std::f64::consts::TAU;
use std::ops::Range;

/// Columns by which the axes that are told may be wrong, where the blocks that are compared are four times as wide.
const ASIDE: usize = 24;
/// Lines that are alike by less do not say that an axis was wrong.
const SURE: f64 = 0.6;
/// Ranges of angles that are fitted one by one.
const PARTS: usize = 6;
/// Angles tell what moves with them from the axis if its variance is at most this many times that of the d of one range; 2 of half a
/// turn, a third of a whole one, 10 of a third of one.
const TELLS: f64 = 8.0;

/// How a field lies on the one below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lying {
    /// d_z, −Y, X: what slices of the field lie off those of the one below; errors of Y and X are infinite where the angles do not
    /// tell them, which are taken as 0 then.
    pub fit: Fit,
    /// c, X, Y of d(θ), columns: lines are moved by these.
    pub lines: [f64; 3],
}

/// Fits `fields` (row, angle, column), each nominally `offsets[k]` rows above the one before it, give or take `search`, with
/// the axis of each on column `axes[k]` and all at the angles `theta`, radians.
///
/// # Errors
/// Data: those of [`super::vertical::place`]; means that tell no gain.
pub fn place<'a>(
    isa: Isa,
    fields: &[&'a dyn Source],
    offsets: &[f64],
    search: usize,
    axes: &[f64],
    theta: &[f64],
) -> Result<(Stacked<'a>, Vec<Lying>)> {
    let mut lines = Vec::new();
    let (stacked, fits) = stack(isa, fields, offsets, |k, pair, nominal| {
        let (fit, own, moved) = neighbours(isa, pair, nominal, search, axes[k] - axes[k + 1], theta)?;
        lines.push(own);
        Ok((fit, moved))
    })?;
    Ok((stacked, fits.into_iter().zip(lines).map(|(fit, lines)| Lying { fit, lines }).collect()))
}

/// Bytes that [`place`] and the writing of the whole read of fields of these shapes.
pub fn cost(fields: &[Dims], offsets: &[f64], search: usize) -> u64 {
    let mut reads = 0;
    for (pair, offset) in fields.windows(2).zip(offsets) {
        let shared = (pair[0].nz as f64 - offset).max(0.0) as usize;
        let shifts = 2 * search.min(pair[0].nz + pair[1].nz) + 1;
        reads += 4 * pair[0].slice() * (SAMPLES * (1 + shifts) + 2 * shared.min(BLOCK[0]));
    }
    let bytes = |d: &Dims| 4 * d.voxels();
    let around = fields[1..].iter().map(|d| bytes(d) * TAPS / CHUNK).sum::<usize>();
    (reads + fields.iter().map(bytes).sum::<usize>() + around) as u64
}

/// Bytes that [`place`], then the writing of the whole hold, of fields of `views` lines of `columns`.
pub fn bytes(views: usize, columns: usize) -> u64 {
    let block = BLOCK[0] * BLOCK[1].min(views) * BLOCK[2].min(columns);
    // Both blocks, smoothed, moved, and moved once more; the slices, those of a field with what is around them, twice moved.
    4 * (7 * block).max((4 * CHUNK + TAPS) * views * columns) as u64
}

/// How B lies to A, its axis `apart` columns left of A's; c, X, Y; and by what its lines are moved.
fn neighbours(
    isa: Isa,
    [a, b]: [&dyn Source; 2],
    nominal: f64,
    search: usize,
    apart: f64,
    theta: &[f64],
) -> Result<(Fit, [f64; 3], Vec<f64>)> {
    let ny = a.dims().ny;
    if theta.len() != ny {
        return Err(Error::bug(format!("{} angles for sinograms of {ny} lines", theta.len())));
    }
    let pair = [a, b];
    let fitted =
        |(whole, view, found): Brought| fit(isa, &found.0, &found.1, view.free).map(|all| (whole, view, found, all));
    let (whole, view, (a, b, shift), all) = match brought(pair, nominal, search, apart, 0).and_then(&fitted) {
        // An axis may be wrong.
        Err(e) if e.fault() == Fault::Data => match elsewhere(pair, nominal, search, apart)? {
            Some(found) => fitted(found).map_err(|_| e)?,
            None => return Err(e),
        },
        found => found?,
    };
    let turns: Vec<[f64; 2]> = theta.iter().map(|&t| sincos(t).into()).collect();
    // What moves with the angle, from ranges of neighbouring angles, in whatever order they were taken.
    let mut order: Vec<usize> = (0..view.lines.len()).collect();
    let angle = |i: usize| theta[view.lines[i]].rem_euclid(TAU);
    order.sort_by(|&i, &j| angle(i).total_cmp(&angle(j)));
    let (mut normal, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for part in 0..PARTS {
        let some = &order[part * order.len() / PARTS..(part + 1) * order.len() / PARTS];
        let Ok(own) = fit(isa, &cut(&a, some), &cut(&b, some), view.free) else { continue };
        let mean = |which: usize| some.iter().map(|&i| turns[view.lines[i]][which]).sum::<f64>() / some.len() as f64;
        let row = [1.0, mean(1), mean(0)];
        for i in 0..3 {
            right[i] += row[i] * own.shift[2];
            (0..3).for_each(|j| normal[i][j] += row[i] * row[j]);
        }
    }
    let variances = inverse(&normal).map(|m| [m[1][1], m[2][2]]).filter(|v| v.iter().all(|v| (0.0..TELLS).contains(v)));
    let solved = variances.and_then(|v| Some((solve_positive(&normal, &right)?, v)));
    // Errors as those of one range, carried through the normal equations.
    let of_part = all.errors[2] * (PARTS as f64).sqrt();
    let ([c, x, y], errors) = match solved {
        Some((found, variances)) => (found, variances.map(|v| of_part * v.sqrt())),
        None => ([all.shift[2], 0.0, 0.0], [f64::INFINITY; 2]),
    };
    // Once more along z, lines being where they belong; and what is left of a gain.
    let own: Vec<f64> = view.lines.iter().map(|&i| c + x * turns[i][1] + y * turns[i][0]).collect();
    let there = Block { size: b.size, values: shift_lines(isa, &b.values, b.size[2], &own) };
    let along = fit(isa, &a, &there, [true, false, false])?;
    let there = there.shifted(isa, [along.shift[0], 0.0, 0.0], [true, false, false]);
    let inner = margin(a.size[0])..a.size[0] - margin(a.size[0]);
    let slice = a.size[1] * a.size[2];
    let sum = |block: &Block| -> f64 {
        block.values[inner.start * slice..inner.end * slice].iter().map(|&v| f64::from(v)).sum()
    };
    let gain = sum(&a) / sum(&there);
    if !(gain.is_finite() && gain > 0.0) {
        return Err(Error::data(format!("transmissions that differ by a factor of {gain} where they should overlap"))
            .help("check the flats of the fields"));
    }
    let fit = Fit {
        shift: [along.shift[0] + shift as f64, -y, x],
        gain,
        offset: 0.0,
        errors: [along.errors[0], errors[1], errors[0]],
        correlation: along.correlation,
    };
    let moved: Vec<f64> = turns.iter().map(|[sin, cos]| whole + c + x * cos + y * sin).collect();
    let still = moved.iter().all(|d| d.abs() < IN_PLANE);
    Ok((fit, [whole + c, x, y], if still { vec![0.0; ny] } else { moved }))
}

/// Columns by which B goes to the right, what is compared then, both blocks, and the rows by which B lies above A.
type Brought = (f64, View, (Block, Block, isize));

/// B brought to A in whole pixels, `off` columns farther to the right than the axes tell.
fn brought([a, b]: [&dyn Source; 2], nominal: f64, search: usize, apart: f64, off: isize) -> Result<Brought> {
    let Dims { ny, nx, .. } = a.dims();
    let whole = apart.round() + off as f64;
    if whole.is_nan() || (whole.abs() as usize).saturating_add(super::LEAST) > nx {
        let what = format!("axes {whole} columns apart, of {nx}");
        return Err(Error::data(what).help("check --center of the fields"));
    }
    let (right, left) = (whole.max(0.0) as usize, (-whole).max(0.0) as usize);
    let seen = middle(nx - right - left, BLOCK[2]);
    let columns: [Range<usize>; 2] = [right, left].map(|by| seen.start + by..seen.end + by);
    let lines: Vec<usize> = (0..ny).step_by(ny.div_ceil(BLOCK[1])).collect();
    let view = View { lines, columns, free: [true, false, true] };
    let found = alike(a, b, nominal, search, &view)?;
    Ok((whole, view, found))
}

/// The same where lines are most alike, if that is surely within [`ASIDE`] columns.
fn elsewhere(pair: [&dyn Source; 2], nominal: f64, search: usize, apart: f64) -> Result<Option<Brought>> {
    // Every fourth column: rows are told by lines a column or two off.
    let mut best = (SURE, None);
    for off in outwards(ASIDE as isize / 4).map(|k| 4 * k) {
        match brought(pair, nominal, search, apart, off) {
            Ok((_, _, (a, b, _))) => {
                let (by, like) = aside(&a, &b);
                if like > best.0 {
                    best = (like, Some(off + by));
                }
            }
            Err(e) if e.fault() == Fault::Data => (),
            Err(e) => return Err(e),
        }
    }
    best.1.map(|off| brought(pair, nominal, search, apart, off)).transpose()
}

/// 0, 1, −1, 2, −2 … ±`most`.
fn outwards(most: isize) -> impl Iterator<Item = isize> {
    std::iter::once(0).chain((1..=most).flat_map(|k| [k, -k]))
}

/// By how many whole columns farther to the right B is most like A, and how much. What all lines of a column have in common, as
/// stripes, is taken off: it stays where it is.
fn aside(a: &Block, b: &Block) -> (isize, f64) {
    let n = a.size[2];
    let most = ASIDE.min(n / 4);
    // Some hundred lines, of all rows and angles, tell it.
    let every = (a.size[0] * a.size[1] / 600).max(1) | 1;
    let lines = |block: &Block| -> Vec<f32> {
        let mut some: Vec<f32> = block.values.chunks_exact(n).step_by(every).flatten().copied().collect();
        let count = (some.len() / n) as f32;
        let mean: Vec<f32> = (0..n).map(|x| some[x..].iter().step_by(n).sum::<f32>() / count).collect();
        some.chunks_exact_mut(n).for_each(|line| line.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m));
        some
    };
    let (a, b) = (lines(a), lines(b));
    let of = |lines: &[f32], from: usize| -> Vec<f32> {
        lines.chunks_exact(n).flat_map(|line| &line[from..from + n - 2 * most]).copied().collect()
    };
    let own = of(&a, most);
    let by = |off: isize| correlation(&own, &of(&b, (most as isize - off) as usize));
    // Of equal ones the nearest.
    let all = outwards(most as isize).map(|k| (k, by(k)));
    all.fold((0, f64::NEG_INFINITY), |best, own| if own.1 > best.1 { own } else { best })
}

/// Some lines of a block.
fn cut(block: &Block, lines: &[usize]) -> Block {
    let [nz, ny, nx] = block.size;
    let values = (0..nz).flat_map(|z| lines.iter().flat_map(move |y| &block.values[(z * ny + y) * nx..][..nx]));
    Block { size: [nz, lines.len(), nx], values: values.copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::elementary::exp;
    use crate::num::philox::Stream;
    use crate::volume::{Collect, Memory, Sink};
    use std::f64::consts::PI;

    const VIEWS: usize = 60;
    const COLUMNS: usize = 72;

    fn theta(turn: f64) -> Vec<f64> {
        (0..VIEWS).map(|i| turn * i as f64 / VIEWS as f64).collect()
    }

    /// Transmissions of round clouds, whose line integrals are known, as a field sees them that begins at `z`, has its axis on
    /// column `axis` and the sample moved by X, Y (upward).
    fn field(rows: usize, z: f64, axis: f64, moved: [f64; 2], gain: f64, turn: f64, noise: f64, seed: u64) -> Memory {
        seen(rows, z, axis, moved, gain, &theta(turn), noise, seed)
    }

    /// The same at any angles.
    fn seen(
        rows: usize,
        z: f64,
        axis: f64,
        moved: [f64; 2],
        gain: f64,
        theta: &[f64],
        noise: f64,
        seed: u64,
    ) -> Memory {
        let (clouds, random) = (Stream::new(8, 8), Stream::new(seed, 9));
        let u = |cloud: u64, i: u64| 2.0 * clouds.uniform_f64(8 * cloud + i) - 1.0;
        let mut values = Vec::new();
        for row in 0..rows {
            for t in theta {
                let (sin, cos) = sincos(*t);
                for column in 0..COLUMNS {
                    let (s, height) = (column as f64 - axis, z + row as f64);
                    let through: f64 = (0..40u64)
                        .map(|c| {
                            let at = (20.0 * u(c, 0) + moved[0]) * cos + (20.0 * u(c, 1) + moved[1]) * sin;
                            let far = (s - at).powi(2) + (height - 40.0 - 50.0 * u(c, 2)).powi(2);
                            0.2 * exp(-far / (10.0 + 6.0 * u(c, 3)))
                        })
                        .sum();
                    values.push((gain * exp(-through) + noise * random.normal(values.len() as u64)) as f32);
                }
            }
        }
        Memory::new(Dims::new(rows, VIEWS, COLUMNS).unwrap(), values).unwrap()
    }

    /// Three fields, of few shared rows, other axes, other exposures, a sample that moves in between: the whole is what one field
    /// would have seen.
    #[test]
    fn fields_become_the_transmissions_of_one() {
        let (noise, axes) = (0.005, [35.2, 38.9, 31.6]);
        let places = [(0.0, [0.0; 2], 1.0), (22.4, [0.6, -0.4], 1.03), (47.0, [0.2, 0.3], 0.98)];
        let fields: Vec<Memory> =
            (0..3).map(|k| field(36, places[k].0, axes[k], places[k].1, places[k].2, PI, noise, k as u64)).collect();
        let sources: Vec<&dyn Source> = fields.iter().map(|f| f as &dyn Source).collect();
        // Axes are known to a part of a pixel.
        let told = [35.2, 38.6, 31.9];
        let (stacked, fits) = place(Isa::detect(), &sources, &[21.0, 26.0], 5, &told, &theta(PI)).unwrap();
        for (Lying { fit, lines }, (pair, axes)) in fits.iter().zip(places.windows(2).zip(axes.windows(2))) {
            let [(za, [xa, ya], ga), (zb, [xb, yb], gb)] = [pair[0], pair[1]];
            let want = [zb - za, yb - ya, xa - xb];
            for axis in 0..3 {
                let off = (fit.shift[axis] - want[axis]).abs();
                assert!(off < 0.05 && off < 5.0 * fit.errors[axis] + 0.02, "{fit:?}, not {want:?}");
            }
            assert!((fit.gain * gb / ga - 1.0).abs() < 2e-3, "{fit:?}");
            assert!(
                (lines[0] - (axes[0] - axes[1])).abs() < 0.03 && lines[1..] == [fit.shift[2], -fit.shift[1]],
                "{lines:?}"
            );
        }
        let mut sink = Collect::new(stacked.dims());
        stacked.write(&mut sink, &mut |_, _| {}).unwrap();
        assert_eq!((stacked.dims().nz, sink.next_slice()), (83, 83));
        let truth = field(83, 0.0, axes[0], [0.0; 2], 1.0, PI, 0.0, 0);
        for row in 4..79 {
            let part = row * VIEWS * COLUMNS..(row + 1) * VIEWS * COLUMNS;
            let off = part.clone().filter(|i| (8..COLUMNS - 8).contains(&(i % COLUMNS)));
            let squares: Vec<f64> = off.map(|i| f64::from(sink.values[i] - truth.values()[i]).powi(2)).collect();
            let deviation = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
            assert!(deviation < 1.25 * noise, "row {row}: {deviation}");
        }
    }

    #[test]
    fn few_angles_tell_of_the_axis_alone_and_wrong_ones_are_refused() {
        let turn = 1.5;
        let [a, b] = [(0.0, 35.0), (20.0, 36.4)].map(|(z, axis)| field(36, z, axis, [0.0; 2], 1.0, turn, 0.005, 3));
        let (_, fits) = place(Isa::detect(), &[&a, &b], &[20.0], 4, &[35.0, 36.0], &theta(turn)).unwrap();
        let Lying { fit, lines } = &fits[0];
        assert!((fit.shift[0] - 20.0).abs() < 0.05 && fit.shift[1..] == [0.0; 2], "{fit:?}");
        assert!(fit.errors[1..] == [f64::INFINITY; 2] && (lines[0] + 1.4).abs() < 0.05, "{fit:?} {lines:?}");
        assert!(place(Isa::detect(), &[&a, &b], &[20.0], 4, &[35.0, 136.0], &theta(turn)).is_err());
        assert!(place(Isa::detect(), &[&a, &b], &[20.0], 4, &[35.0, f64::NAN], &theta(turn)).is_err());
        assert!(place(Isa::detect(), &[&a, &b], &[20.0], 4, &[35.0, 36.0], &theta(turn)[1..]).is_err());
        assert!(place(Isa::detect(), &[&a, &b], &[10.0], 4, &[35.0, 36.0], &theta(turn)).is_err());
    }

    /// An axis that is told wrong by pixels moves nothing.
    #[test]
    fn wrong_axes_are_found_out() {
        let axes = [35.2, 38.9];
        let [a, b] = [(0.0, axes[0]), (20.3, axes[1])].map(|(z, axis)| field(36, z, axis, [0.0; 2], 1.0, PI, 0.005, 3));
        for wrong in [0.0, 1.2, 5.0, -9.0] {
            let told = [axes[0] + wrong, axes[1]];
            let (_, fits) = place(Isa::detect(), &[&a, &b], &[20.0], 4, &told, &theta(PI)).unwrap();
            let Lying { fit, lines } = &fits[0];
            assert!((fit.shift[0] - 20.3).abs() < 0.05, "{wrong}: {fit:?}");
            assert!((lines[0] - (axes[0] - axes[1])).abs() < 0.03, "{wrong}: {lines:?}");
        }
    }

    /// Six turns and interlaced ones: neighbouring angles need not be taken one after the other.
    #[test]
    fn the_order_of_the_angles_does_not_matter() {
        let interlaced: Vec<f64> = (0..VIEWS).map(|i| PI * ((i * 23) % VIEWS) as f64 / VIEWS as f64).collect();
        for theta in [theta(12.0 * PI), interlaced] {
            let [a, b] = [(0.0, [0.0; 2]), (20.3, [0.5, -0.3])]
                .map(|(z, moved)| seen(36, z, 35.0, moved, 1.0, &theta, 0.005, 3));
            let (_, fits) = place(Isa::detect(), &[&a, &b], &[20.0], 4, &[35.0, 35.0], &theta).unwrap();
            let shift = fits[0].fit.shift;
            let off = [shift[0] - 20.3, shift[1] + 0.3, shift[2] + 0.5];
            assert!(off.iter().all(|v| v.abs() < 0.05), "{fits:?}");
        }
    }
}
