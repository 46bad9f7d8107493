//! The surface of a class as triangles: marching tetrahedra, closed by construction, as binary STL.
//!
//! ```text
//! points     the voxels' centres, a layer of nothing around the volume; each is in the class or not
//! cells      cubes of eight points, each cut into six tetrahedra along the diagonal from its first to its last corner
//!            (Kuhn 1960), the same in every cube, so that neighbours share whole triangles
//! triangles  between the middles of the edges from a point inside to one outside: one if a corner of four is by itself, two
//!            if two are; seen from outside they turn to the left
//! ```
//!
//! Lengths are µm from the centre of the volume's first voxel along x, y, z, also where a box of it is looked at. Every edge belongs to two triangles, also where voxels
//! touch along an edge or at a corner, which are joined there (26 neighbours along the diagonal's directions, else 6).
//! Labels say nothing between voxels, so that the surface is off by half a voxel at the most; it is not smoothed.
//! Memory: two slices and 50 bytes per triangle.

use super::labels::Labels;
use crate::error::{Error, Result};
use crate::os::check_interrupt;

/// Largest mesh, triangles.
pub const MOST: usize = 20_000_000;
/// Bytes before the triangles, and of each.
const HEAD: usize = 84;
const EACH: usize = 50;
/// Corners of the six tetrahedra: paths from corner 0 to corner 7 along the axes, bit 0 x, bit 1 y, bit 2 z.
const TETRAHEDRA: [[usize; 4]; 6] =
    [[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]];

/// The surface of a class, `.stl`.
///
/// # Errors
/// Those of reading; data: more than [`MOST`] triangles.
pub fn stl(labels: &Labels, class: u8) -> Result<Vec<u8>> {
    let (grid, d, origin) = (labels.grid(), labels.grid().dims, labels.origin());
    let mut out = vec![0u8; HEAD];
    out[..HEAD - 4].fill(b' ');
    out[..13].copy_from_slice(b"tomolith mesh");
    // Slices with a margin of one point.
    let (w, h) = (d.nx + 2, d.ny + 2);
    let (mut below, mut above, mut slice) = (vec![false; w * h], vec![false; w * h], Vec::new());
    for z in 0..=d.nz {
        check_interrupt()?;
        above.fill(false);
        if z < d.nz {
            labels.read(z..z + 1, &mut slice)?;
            for (y, line) in slice.chunks_exact(d.nx).enumerate() {
                for (x, &c) in line.iter().enumerate() {
                    above[(y + 1) * w + x + 1] = c == class;
                }
            }
        }
        for y in 0..h - 1 {
            for x in 0..w - 1 {
                let is_in: [bool; 8] = std::array::from_fn(|k| {
                    let of = if k >> 2 == 1 { &above } else { &below };
                    of[(y + (k >> 1 & 1)) * w + x + (k & 1)]
                });
                if is_in.iter().all(|v| *v == is_in[0]) {
                    continue;
                }
                // Corners in voxels; the margin is −1.
                let place = |k: usize| {
                    let at = [x + (k & 1), y + (k >> 1 & 1), z + (k >> 2)];
                    std::array::from_fn(|a| ((origin[a] + at[a]) as f64 - 1.0) * grid.voxel[a])
                };
                for corners in TETRAHEDRA {
                    tetrahedron(corners.map(|k| (place(k), is_in[k])), &mut out);
                }
                if (out.len() - HEAD) / EACH > MOST {
                    return Err(Error::data(format!("a surface of more than {MOST} triangles"))
                        .help("look at a part: --region x=A:B,y=A:B,z=A:B")
                        .at(&labels.name));
                }
            }
        }
        std::mem::swap(&mut below, &mut above);
    }
    let count = ((out.len() - HEAD) / EACH) as u32;
    out[HEAD - 4..HEAD].copy_from_slice(&count.to_le_bytes());
    Ok(out)
}

type Point = [f64; 3];

fn middle(a: Point, b: Point) -> Point {
    std::array::from_fn(|i| 0.5 * (a[i] + b[i]))
}

fn minus(a: Point, b: Point) -> Point {
    std::array::from_fn(|i| a[i] - b[i])
}

fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn tetrahedron(corners: [(Point, bool); 4], out: &mut Vec<u8>) {
    let of = |inside: bool| corners.iter().filter(|c| c.1 == inside).map(|c| c.0).collect::<Vec<Point>>();
    let (inside, outside) = (of(true), of(false));
    let (Some(&from), Some(&to)) = (inside.first(), outside.first()) else { return };
    let mut add = |a: Point, b: Point, c: Point| triangle([a, b, c], minus(to, from), out);
    match (&inside[..], &outside[..]) {
        ([a], [p, q, r]) | ([p, q, r], [a]) => add(middle(*a, *p), middle(*a, *q), middle(*a, *r)),
        ([a, b], [p, q]) => {
            let (ap, aq, bp, bq) = (middle(*a, *p), middle(*a, *q), middle(*b, *p), middle(*b, *q));
            add(ap, aq, bp);
            add(bp, aq, bq);
        }
        _ => {}
    }
}

/// Writes a triangle so that it turns to the left seen from where `outward` points.
fn triangle([a, b, c]: [Point; 3], outward: Point, out: &mut Vec<u8>) {
    let n = cross(minus(b, a), minus(c, a));
    let along = n[0] * outward[0] + n[1] * outward[1] + n[2] * outward[2];
    let (b, c, n) = if along < 0.0 { (c, b, n.map(|v| -v)) } else { (b, c, n) };
    let length = (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt();
    for v in [n.map(|v| v / length), a, b, c].concat() {
        out.extend((v as f32).to_le_bytes());
    }
    out.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::cell;
    use super::*;
    use std::collections::BTreeMap;

    /// Corners of every triangle as whole numbers of half voxels of 2 µm.
    fn triangles(stl: &[u8]) -> Vec<[[i64; 3]; 3]> {
        let number = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
        let all: Vec<_> = stl[HEAD..]
            .chunks_exact(EACH)
            .map(|t| {
                let v: Vec<i64> = t[12..48].chunks_exact(4).map(|b| number(b) as i64).collect();
                [[v[0], v[1], v[2]], [v[3], v[4], v[5]], [v[6], v[7], v[8]]]
            })
            .collect();
        assert_eq!(u32::from_le_bytes(stl[HEAD - 4..HEAD].try_into().unwrap()) as usize, all.len());
        all
    }

    /// Every edge is passed as often in one direction as in the other, and V − E + F.
    fn closed(triangles: &[[[i64; 3]; 3]]) -> i64 {
        let mut edges: BTreeMap<([i64; 3], [i64; 3]), i64> = BTreeMap::new();
        let mut points = std::collections::BTreeSet::new();
        for t in triangles {
            for k in 0..3 {
                let (a, b) = (t[k], t[(k + 1) % 3]);
                *edges.entry((a.min(b), a.max(b))).or_default() += if a < b { 1 } else { -1 };
                points.insert(a);
            }
        }
        assert!(edges.values().all(|n| *n == 0), "a hole");
        assert_eq!(2 * edges.len(), 3 * triangles.len(), "an edge of other than two triangles");
        points.len() as i64 - edges.len() as i64 + triangles.len() as i64
    }

    /// Σ a · (b × c) / 6, in half voxels cubed.
    fn volume(triangles: &[[[i64; 3]; 3]]) -> f64 {
        let of = |p: [i64; 3]| p.map(|v| v as f64);
        let one = |t: &[[i64; 3]; 3]| {
            let (a, n) = (of(t[0]), cross(of(t[1]), of(t[2])));
            (a[0] * n[0] + a[1] * n[1] + a[2] * n[2]) / 6.0
        };
        triangles.iter().map(one).sum()
    }

    #[test]
    fn a_voxel_and_a_block_are_closed_and_have_their_volume() {
        let mut labels = vec![0u8; 27];
        labels[13] = 3;
        let one = triangles(&stl(&cell((3, 3, 3), &labels), 3).unwrap());
        assert_eq!(closed(&one), 2);
        assert!((volume(&one) - 8.0 * 0.5).abs() < 1e-9, "{}", volume(&one));
        // 8³ voxels: corners and edges are cut, faces lie where the voxels end.
        let block = triangles(&stl(&cell((8, 8, 8), &[3; 512]), 3).unwrap());
        assert_eq!(closed(&block), 2);
        let part = volume(&block) / 8.0 / 512.0;
        assert!((0.9..1.0).contains(&part), "{part}");
        assert!(triangles(&stl(&cell((3, 3, 3), &labels), 4).unwrap()).is_empty());
    }

    #[test]
    fn any_labels_give_a_closed_surface() {
        for seed in 1..6u32 {
            let labels: Vec<u8> = (0..9 * 10 * 11u32)
                .map(|i| if (i.wrapping_mul(2_654_435_761).wrapping_mul(seed | 1) >> 16) % 5 < 2 { 3 } else { 0 })
                .collect();
            let found = triangles(&stl(&cell((9, 10, 11), &labels), 3).unwrap());
            assert!(found.len() > 1000);
            closed(&found);
        }
        // Two voxels that touch at an edge or at a corner, in all directions.
        for other in (0..27).filter(|&o| o != 13) {
            let mut labels = vec![0u8; 27];
            (labels[13], labels[other]) = (3, 3);
            closed(&triangles(&stl(&cell((3, 3, 3), &labels), 3).unwrap()));
        }
    }
}
