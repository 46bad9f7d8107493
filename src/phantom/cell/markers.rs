//! Where the markers are: ellipsoids on the outside of either electrode and between the membranes, whole at every step.
//!
//! Each body leaves room along y in every column, in its own frame:
//!
//! ```text
//! plating      from the largest travel (or the foil) to the electrode
//! stripping    from the electrode to the foil (or the volume's end)
//! membrane     from max_k (top of what has grown on the plating side) to min_k (top of the stripping side),  k = 0 … 24
//! ```
//!
//! A marker is drawn until its box, two voxels wider than it is, lies within the room of all columns that it covers and
//! meets no other marker's; one that finds no place in [`TRIES`] is left out. Centres are whole and so is what bodies
//! move by: the voxels of a marker lie about its centre symmetrically, and their centre of mass is the centre itself.

use super::{Cell, SCANS, VOXEL, schedule, streams};
use crate::num::philox::Stream;
use crate::phantom::matter::Fill;
use crate::phantom::specimen::{Body, Marker};

/// Empty voxels around a marker.
const GAP: i32 = 2;
/// Voxels to the rim of the field, less in a small one: a scan's shift does not take what lies farther in out of the box.
const RIM: i32 = 8;
/// Places tried for each.
const TRIES: u64 = 400;
/// A field of this area has all markers, mm²: bodies are registered by them, in a small field as in a large one.
const ROOMY: f64 = 0.15;
/// Least half axis, voxels: smaller ones are lost in a scan.
const LEAST: f64 = 3.0;

/// The voxels of every column that are free at every step: from … to.
struct Room(Vec<[i32; 2]>);

impl Room {
    /// What is free in all columns of a rectangle.
    fn over(&self, nx: usize, [x0, x1]: [i32; 2], [z0, z1]: [i32; 2]) -> [i32; 2] {
        let mut free = [i32::MIN, i32::MAX];
        for z in z0..=z1 {
            for [from, to] in &self.0[z as usize * nx + x0 as usize..=z as usize * nx + x1 as usize] {
                free = [free[0].max(*from), free[1].min(*to)];
            }
        }
        free
    }
}

/// The rooms of plating side, stripping side and membranes.
fn rooms(cell: &Cell) -> [Room; 3] {
    let preset = &cell.settings.preset;
    // Alumina could not be seen in the foil: gap and polypropylene are free, less what waves may take.
    let free = |outside: [usize; 4]| (outside[0] + outside[1]) as i32 - 4;
    let steps = (0..SCANS).map(|k| cell.grown(k));
    let mut travel = 0;
    let mut between: Vec<[i32; 2]> = vec![[i32::MIN, i32::MAX]; cell.field.columns()];
    let pristine = cell.pristine_plating();
    for grown in steps {
        let (shift, moved) = (grown.shift as i32, Body::Membrane.moved(grown.shift) as i32);
        travel = travel.max(shift);
        for (c, [from, to]) in between.iter_mut().enumerate() {
            let plating = i32::from(cell.plating_from[c]) - shift + i32::from(pristine[c]) + grown.on_plating(c);
            *from = (*from).max(plating + moved);
            *to = (*to).min(cell.stripping_top(&grown, c) + moved);
        }
    }
    let plating = cell.plating_from.iter().map(|&y| {
        let y = i32::from(y);
        [travel.max(y - free(preset.outside_plating)), y]
    });
    let stripping = cell.outside.iter().zip(cell.face.iter().zip(&cell.stripping)).map(|(&outside, (&face, &n))| {
        let y = i32::from(outside).max(i32::from(face) + i32::from(n));
        [y, (y + free(preset.outside_stripping)).min(preset.size[1] as i32)]
    });
    [Room(plating.collect()), Room(stripping.collect()), Room(between)]
}

/// Whether the boxes of two markers are at least [`GAP`] voxels apart.
fn apart(a: &Marker, b: &Marker) -> bool {
    (0..3).any(|i| (a.centre[i] - b.centre[i]).abs() > a.radii[i] + b.radii[i] + f64::from(GAP))
}

/// The markers of a cell, at step 0.
pub(super) fn place(cell: &Cell) -> Vec<Marker> {
    let preset = &cell.settings.preset;
    let s = Stream::new(cell.field.seed, streams::MARKERS);
    let [nx, _, nz] = preset.size;
    let [plating, stripping, membrane] = rooms(cell);
    let places = [
        (Body::Plating, 14, plating, preset.outside_plating),
        (Body::Stripping, 18, stripping, preset.outside_stripping),
        (Body::Membrane, 8, membrane, [preset.electrolyte / 3, 0, 0, 0]),
    ];
    // Fewer in a field with less space, mm².
    let scale = (cell.field.area() / ROOMY).min(1.0);
    let mut markers: Vec<Marker> = Vec::new();
    let mut number = 0;
    for (body, many, room, outside) in places {
        let count = ((f64::from(many) * scale).ceil() as usize).max(4);
        // Half axes of 8 to 40 µm, less where the field or the packaging is thin.
        let depth = (outside[0] + outside[1]) as f64;
        let most = (40.0 / VOXEL).min(0.5 * depth).min(0.16 * nx.min(nz) as f64);
        let least = (8.0 / VOXEL).min(most);
        for i in 0..count {
            number += 1;
            let fill = [Fill::Alumina, Fill::Fluoride, Fill::Void][i % 3];
            // In the empty pouch a void is no marker.
            let fill = if fill == Fill::Void && body != Body::Membrane { Fill::Alumina } else { fill };
            let found = (0..TRIES).find_map(|attempt| {
                let at = 8 * (number * TRIES + attempt);
                let u = |k: u64| s.uniform_f64(at + k);
                let ry = least + (most - least) * u(0) * u(0);
                let [rx, rz] = [1, 2].map(|k| (ry * (0.8 + 0.8 * u(k))).clamp(least.min(4.0), most.max(4.0)));
                let place = |k: u64, n: usize, r: f64| {
                    let edge = r.ceil() as i32 + RIM.min(n as i32 / 8);
                    edge + (f64::from(n as i32 - 2 * edge) * u(k)) as i32
                };
                let (x, z) = (place(3, nx, rx), place(4, nz, rz));
                let span = |middle: i32, n: usize, r: f64| {
                    let reach = r.ceil() as i32 + GAP;
                    [(middle - reach).max(0), (middle + reach).min(n as i32 - 1)]
                };
                let [from, to] = room.over(nx, span(x, nx, rx), span(z, nz, rz));
                // A box of 2 ry + 1 voxels, and the gap.
                let gap = if body == Body::Membrane { GAP } else { 0 };
                let (from, to) = (from.saturating_add(gap), to.saturating_sub(gap));
                let ry = ry.min(0.5 * f64::from(to.saturating_sub(from) - 1));
                let reach = ry.floor() as i32;
                let y = match body {
                    Body::Plating => to - 1 - reach,
                    Body::Stripping => from + reach,
                    Body::Membrane => from + reach + (f64::from(to - from - 2 * reach) * u(5)) as i32,
                };
                let marker = Marker { centre: [x, y, z].map(f64::from), radii: [rx, ry, rz], body, fill };
                let seen = fill != Fill::Void || !meets_seam(cell, &marker);
                (ry >= LEAST && seen && markers.iter().all(|m| apart(m, &marker))).then_some(marker)
            });
            markers.extend(found);
        }
    }
    markers
}

/// Whether the opening of the seam lies beside a marker: a void in it would not be seen.
fn meets_seam(cell: &Cell, m: &Marker) -> bool {
    let nx = cell.field.nx;
    let span = |i: usize, n: usize| {
        let reach = m.radii[i] + f64::from(GAP);
        (m.centre[i] - reach).max(0.0) as usize..=((m.centre[i] + reach) as usize).min(n - 1)
    };
    span(2, cell.field.nz).any(|z| {
        span(0, nx).any(|x| {
            let (from, n) = cell.opening(z * nx + x, 0);
            let reach = m.radii[1] + f64::from(GAP);
            n > 0 && f64::from(from + n) > m.centre[1] - reach && f64::from(from) < m.centre[1] + reach
        })
    })
}

impl Cell {
    /// Voxels of the plating electrode per column before anything is stripped from it: at no step are there more.
    fn pristine_plating(&self) -> Vec<u16> {
        let n = self.field.columns();
        let total = super::count(schedule::PLATING, n);
        super::apportion::apportion(&self.plating_shape.growth(), &vec![u16::MAX; n], total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::lanes::Isa;
    use crate::phantom::cell::{CellSettings, Preset};
    use crate::phantom::matter::Voxel;

    /// Counts the voxels of every marker at a step by the definition of an ellipsoid.
    fn check(cell: &Cell, k: usize) -> usize {
        let s = cell.step(k).unwrap().specimen().unwrap();
        for m in &s.markers {
            let (mut all, mut own, mut sum) = (0, 0, [0.0; 3]);
            let span = |i: usize| (m.centre[i] - m.radii[i]).floor() as i64..=(m.centre[i] + m.radii[i]).ceil() as i64;
            for z in span(2) {
                for y in span(1) {
                    for x in span(0) {
                        let p = [x, y, z].map(|v| v as f64);
                        let size: f64 = (0..3).map(|i| ((p[i] - m.centre[i]) / m.radii[i]).powi(2)).sum();
                        if (size - 1.0).abs() < 1e-9 || size > 1.0 {
                            continue;
                        }
                        all += 1;
                        let inside = [x, y, z]
                            .iter()
                            .zip([s.dims.nx, s.dims.ny, s.dims.nz])
                            .all(|(&v, n)| v >= 0 && (v as usize) < n);
                        if !inside {
                            continue;
                        }
                        let v = Voxel(s.voxels[(z as usize * s.dims.ny + y as usize) * s.dims.nx + x as usize]);
                        if v == Voxel::new(m.fill, crate::phantom::matter::Label::Background, 0) {
                            own += 1;
                            (0..3).for_each(|i| sum[i] += p[i]);
                        }
                    }
                }
            }
            assert!(all > 60, "{m:?}");
            assert_eq!(own, all, "step {k}: {m:?}");
            let off = (0..3).map(|i| (sum[i] / f64::from(own) - m.centre[i]).abs()).fold(0.0, f64::max);
            assert!(off < 1e-9, "step {k}: {m:?} is off by {off}");
        }
        for (i, a) in s.markers.iter().enumerate() {
            assert!(s.markers[..i].iter().all(|b| apart(a, b)), "step {k}: {a:?} overlaps");
        }
        s.markers.len()
    }

    #[test]
    fn markers_are_whole_and_apart_at_every_step() {
        for seed in 1..=6 {
            let cell = Cell::new(CellSettings::new(Preset::parse("tiny").unwrap(), seed), Isa::detect()).unwrap();
            for k in [0, 6, 12, 13, 18, 24] {
                check(&cell, k);
            }
            for body in [Body::Plating, Body::Membrane, Body::Stripping] {
                let n = cell.anchors.iter().filter(|m| m.body == body).count();
                assert!(n >= 1, "seed {seed}: {n} {} markers", body.name());
            }
        }
        let cell = Cell::new(CellSettings::new(Preset::parse("small").unwrap(), 1), Isa::detect()).unwrap();
        let n = check(&cell, 12);
        assert!(n >= 14, "{n} markers");
    }
}
