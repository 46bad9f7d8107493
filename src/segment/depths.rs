//! Depth windows from the electrodes of a segmented scan.
//!
//! ```text
//! e(d)       part of the voxels at depth d that are electrode
//! slabs      the two longest runs of depths with e ≥ ½; the first is the plating, the second the stripping side
//! middle     of the gap between them
//! faces      per column of depth: the last electrode voxel before the middle, the first from the middle on
//! planes     d = a + b·u + c·v through the faces, least squares, twice: the second time without those farther from the first
//!            plane than 3 root mean squares; u, v count from the middle of the volume
//! ```
//!
//! | class | from | to |
//! |---|---|---|
//! | dendrite | least of the plating plane − margin | greatest of the stripping plane |
//! | deposited | least of the plating plane − margin | greatest of the stripping plane + margin |
//! | pit | middle | end of the stripping slab |
//!
//! and from the middle on deposited is redeposited and the electrode is the stripping one. The authors set such windows by
//! hand, scan by scan (`ALLOWED_SLICES`); here they follow the cell as it swells. Source: least squares.

use super::ledger::read_u8;
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};
use std::ops::Range;

/// Farther from the first plane than this many root mean squares a face is left out.
const FAR: f64 = 3.0;

/// A plane through faces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// a, b, c of d = a + b·u + c·v.
    pub plane: [f64; 3],
    /// Root mean square of what is left, voxels.
    pub rms: f64,
    /// Least and greatest depth of the plane within the volume.
    pub span: [f64; 2],
}

/// What the electrodes say.
#[derive(Clone, Debug, PartialEq)]
pub struct Depths {
    /// Depths of the plating and of the stripping slab.
    pub slabs: [Range<usize>; 2],
    /// Their faces towards one another.
    pub faces: [Face; 2],
}

impl Depths {
    /// The middle of the gap.
    pub fn middle(&self) -> usize {
        usize::midpoint(self.slabs[0].end, self.slabs[1].start)
    }

    /// Looks at labels; depth counts along `axis` (0 z, 1 y, 2 x), `electrode` is the class of both.
    ///
    /// # Errors
    /// Data: there are no two slabs. Those of reading.
    pub fn of(labels: &dyn Source, axis: usize, electrode: u8) -> Result<Depths> {
        let d = labels.dims();
        let n = [d.nz, d.ny, d.nx];
        let [first, second] = [[1, 2], [0, 2], [0, 1]][axis];
        let mut slice = vec![0u8; d.slice()];
        let mut each = |take: &mut dyn FnMut([usize; 3])| -> Result<()> {
            for z in 0..d.nz {
                check_interrupt()?;
                read_u8(labels, z..z + 1, &mut slice)?;
                let of = slice.iter().enumerate().filter(|(_, l)| **l == electrode);
                of.for_each(|(i, _)| take([z, i / d.nx, i % d.nx]));
            }
            Ok(())
        };
        let mut counts = vec![0usize; n[axis]];
        each(&mut |place| counts[place[axis]] += 1)?;
        let all = d.voxels() / n[axis];
        let slabs = slabs(&counts, all)?;
        let middle = usize::midpoint(slabs[0].end, slabs[1].start);
        // One more than the face's depth, 0 where there is none.
        let mut faces = [vec![0u32; all], vec![0u32; all]];
        each(&mut |place| {
            let (column, depth) = (place[first] * n[second] + place[second], place[axis]);
            let face = &mut faces[usize::from(depth >= middle)][column];
            if depth < middle || *face == 0 {
                *face = if depth < middle { (*face).max(depth as u32 + 1) } else { depth as u32 + 1 };
            } else {
                *face = (*face).min(depth as u32 + 1);
            }
        })?;
        let [plating, stripping] = faces.map(|f| plane(&f, [n[first], n[second]]));
        Ok(Depths { slabs, faces: [plating?, stripping?] })
    }

    /// Rules for `seg after` of a volume, classes by the names of the cell's table.
    pub fn rules(&self, axis: usize, dims: Dims, margin: usize) -> String {
        let n = [dims.nz, dims.ny, dims.nx][axis];
        let [plating, stripping] = self.faces;
        let near = (plating.span[0].floor() as usize).saturating_sub(margin);
        let far = (stripping.span[1].ceil() as usize + 1).min(n);
        let (middle, end) = (self.middle(), self.slabs[1].end);
        let says = |name: &str, f: Face| {
            let [a, b, c] = f.plane;
            format!("# {name} face: {a:.2} {b:+.5} u {c:+.5} v, {:.2} voxels rms\n", f.rms)
        };
        let window = |class: &str, from: usize, to: usize| {
            let text = "[[window]]\nclass = \"CLASS\"\nfrom = FROM\nto = TO\nbecomes = \"background\"\n\n";
            text.replace("CLASS", class).replace("FROM", &from.to_string()).replace("TO", &to.to_string())
        };
        let split = |class: &str, becomes: &str| {
            format!("[[split]]\nclass = \"{class}\"\nat = {middle}\nbecomes = \"{becomes}\"\n\n")
        };
        let head = format!("axis = \"{}\"\n\n", ["z", "y", "x"][axis]);
        says("plating", plating)
            + &says("stripping", stripping)
            + &head
            + &window("dendrite", near, far)
            + &window("deposited", near, (far + margin).min(n))
            + &window("pit", middle, end)
            + &split("deposited", "redeposited")
            + split("plating electrode", "stripping electrode").trim_end()
            + "\n"
    }
}

/// The two longest runs of depths with at least half of `all` voxels, in their order.
fn slabs(counts: &[usize], all: usize) -> Result<[Range<usize>; 2]> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (d, _) in counts.iter().enumerate().filter(|(_, n)| 2 * **n >= all) {
        match runs.last_mut() {
            Some(run) if run.end == d => run.end = d + 1,
            _ => runs.push(d..d + 1),
        }
    }
    runs.sort_by_key(|run| (std::cmp::Reverse(run.len()), run.start));
    runs.truncate(2);
    runs.sort_by_key(|run| run.start);
    <[Range<usize>; 2]>::try_from(runs).map_err(|runs| {
        Error::data(format!("{} of two electrodes fill half of a depth", runs.len()))
            .help("is depth along another axis, or is the electrode another class?")
    })
}

/// The plane through faces `[u][v]`.
fn plane(faces: &[u32], [nu, nv]: [usize; 2]) -> Result<Face> {
    let middle = [(nu - 1) as f64 / 2.0, (nv - 1) as f64 / 2.0];
    let points = || {
        let of = faces.iter().enumerate().filter(|(_, f)| **f > 0);
        of.map(|(i, &f)| [(i / nv) as f64 - middle[0], (i % nv) as f64 - middle[1], f64::from(f) - 1.0])
    };
    let (mut plane, mut rms) = ([0.0; 3], f64::INFINITY);
    for _ in 0..2 {
        let left = |p: [f64; 3]| p[2] - (plane[0] + plane[1] * p[0] + plane[2] * p[1]);
        let kept: Vec<[f64; 3]> = points().filter(|&p| left(p).abs() <= FAR * rms).collect();
        plane = least_squares(&kept)
            .ok_or_else(|| Error::data(format!("{} columns show a face: no plane goes through them", kept.len())))?;
        let sum =
            kept.iter().map(|p| p[2] - (plane[0] + plane[1] * p[0] + plane[2] * p[1])).fold(0.0, |s, r| s + r * r);
        rms = (sum / kept.len() as f64).sqrt();
    }
    let corner = |i: usize| {
        let [u, v] = [0, 1].map(|k| if i >> k & 1 == 0 { -middle[k] } else { middle[k] });
        plane[0] + plane[1] * u + plane[2] * v
    };
    let (low, high) = (0..4).map(corner).fold((f64::MAX, f64::MIN), |(a, b), d| (a.min(d), b.max(d)));
    Ok(Face { plane, rms, span: [low.max(0.0), high.max(0.0)] })
}

/// a, b, c of the least squares; an axis of one place has no slope.
fn least_squares(points: &[[f64; 3]]) -> Option<[f64; 3]> {
    if points.is_empty() {
        return None;
    }
    let n = points.len() as f64;
    let mean = [0, 1, 2].map(|k| points.iter().fold(0.0, |s, p| s + p[k]) / n);
    let moment = |i: usize, k: usize| points.iter().fold(0.0, |s, p| s + (p[i] - mean[i]) * (p[k] - mean[k]));
    let (uu, uv, vv, ud, vd) = (moment(0, 0), moment(0, 1), moment(1, 1), moment(0, 2), moment(1, 2));
    let determinant = uu * vv - uv * uv;
    let (b, c) = if determinant > 1e-9 * uu * vv {
        ((ud * vv - vd * uv) / determinant, (vd * uu - ud * uv) / determinant)
    } else if uu > 0.0 {
        (ud / uu, 0.0)
    } else if vv > 0.0 {
        (0.0, vd / vv)
    } else {
        (0.0, 0.0)
    };
    Some([mean[2] - b * mean[0] - c * mean[1], b, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::after::After;
    use crate::segment::classes::Classes;
    use crate::volume::Memory;

    /// Electrodes 4 … 10 and 20 … 30 of 34 depths, tilted by a voxel along x, a hole and a stray.
    fn cell(axis: usize) -> (Memory, Dims) {
        let n = [[34, 5, 9], [5, 34, 9], [5, 9, 34]][axis];
        let d = Dims::new(n[0], n[1], n[2]).unwrap();
        let label = |i: usize| {
            let place = [i / d.slice(), i / d.nx % d.ny, i % d.nx];
            let depth = place[axis];
            // The axis of nine.
            let v = place[if axis == 2 { 1 } else { 2 }];
            let tilt = v / 5;
            let here = (4 + tilt..10 + tilt).contains(&depth) || (20 + tilt..30 + tilt).contains(&depth);
            let stray = depth == 14 && v == 4 && place[if axis == 0 { 1 } else { 0 }] == 2;
            if here || stray { 4.0 } else { 0.0 }
        };
        (Memory::new(d, (0..d.voxels()).map(label).collect()).unwrap(), d)
    }

    #[test]
    fn windows_follow_the_electrodes_along_every_axis() {
        for axis in 0..3 {
            let (labels, d) = cell(axis);
            let depths = Depths::of(&labels, axis, 4).unwrap();
            assert_eq!(depths.slabs, [4..10, 20..30], "{axis}");
            let [plating, stripping] = depths.faces;
            // The stray voxel is left out of the plane.
            assert!((plating.plane[0] - 9.44).abs() < 0.1 && plating.rms < 0.5, "{plating:?}");
            assert!((stripping.plane[0] - 20.44).abs() < 0.1 && stripping.rms < 0.5, "{stripping:?}");
            assert!((plating.plane[2] - 0.16).abs() < 0.05 && plating.plane[1].abs() < 0.05, "{plating:?}");
            let text = depths.rules(axis, d, 2);
            let after = After::parse(&text, &Classes::cell()).unwrap();
            assert_eq!((after.axis, after.rules.len()), (axis, 5), "{text}");
            after.check(d).unwrap();
            assert!(text.contains("class = \"dendrite\"\nfrom = 6\nto = 23"), "{text}");
            assert!(text.contains("at = 15"), "{text}");
        }
    }

    #[test]
    fn one_electrode_is_not_enough() {
        let d = Dims::new(2, 10, 3).unwrap();
        let labels = Memory::new(d, (0..60).map(|i| if i / 3 % 10 < 4 { 4.0 } else { 0.0 }).collect()).unwrap();
        let e = Depths::of(&labels, 1, 4).unwrap_err().to_string();
        assert!(e.contains("1 of two electrodes"), "{e}");
        assert!(Depths::of(&labels, 1, 3).is_err());
    }
}
