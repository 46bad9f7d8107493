//! Dendrites one by one, and how each voxel of them hangs on an electrode.
//!
//! ```text
//! connected   its component of lithium at 6 neighbours holds a voxel of an electrode
//! fragile     not so, but its component at 26 neighbours does
//! bridged 1   not so, but with gaps of one voxel closed it does: perhaps connected below the resolution
//! bridged 2   the same with gaps of two
//! isolated    none of these: dead
//! ```
//!
//! Lithium is the electrodes, both layers and the dendrites. Grades are of voxels, nested, so that their volumes add up.
//! *Dead* is bridged and isolated; *persistent* what was dead in the scan before, too.
//!
//! ```text
//! dendrite    a component of dendritic voxels at 26 neighbours, of a least number of voxels
//! height      v · greatest (y − surface) over its columns, surface the last voxel of layer or electrode in the column
//! base        columns in which it stands on that surface        footprint   columns that it covers
//! track       a dendrite goes on with that of the scan before which it overlaps in most columns, largest overlaps first;
//!             one that finds its partner taken is split off, one that overlaps none is born; one into which another of the
//!             scan before has grown, that goes on nowhere, merges
//! ```
//!
//! Two passes over a scan; memory: 4 bytes per run and neighbourhood, 8 per dead voxel, 4 per column.

use super::columns::{Columns, NONE};
use super::components::{Components, Joining, Neighbours};
use super::labels::Labels;
use crate::error::Result;
use crate::volume::Dims;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Names of the grades.
pub const GRADES: [&str; 5] = ["connected", "fragile", "bridged 1", "bridged 2", "isolated"];
/// The neighbourhood of each grade but the last.
const OF_GRADE: [Neighbours; 4] = [Neighbours::Six, Neighbours::TwentySix, Neighbours::Gap(1), Neighbours::Gap(2)];
/// From this grade on dendrites are dead.
const DEAD: usize = 2;

/// Which classes play which part.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// Dendrites.
    pub dendrite: u8,
    /// What they stand on: the plating electrode and its layer.
    pub ground: Vec<u8>,
    /// Electrodes of the two sides.
    pub electrodes: [Option<u8>; 2],
    /// All lithium.
    pub lithium: Vec<u8>,
}

/// How a dendrite came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It overlaps none of the scan before.
    Born,
    /// It goes on.
    Continues,
    /// What it overlaps goes on with another.
    Split,
    /// It goes on, and what else it overlaps ends in it.
    Merges,
}

impl Event {
    /// Its name.
    pub fn name(self) -> &'static str {
        ["born", "continues", "split", "merges"][self as usize]
    }
}

/// A dendrite.
#[derive(Clone, Debug, PartialEq)]
pub struct Dendrite {
    /// Number within its scan, in the order of first voxels.
    pub number: u32,
    /// Number within the series.
    pub track: u32,
    /// How it came.
    pub event: Event,
    /// Voxels.
    pub voxels: u64,
    /// Columns it covers.
    pub footprint: u64,
    /// Columns in which it stands on the ground.
    pub base: u64,
    /// Greatest height, voxels; 0 where it has no ground below.
    pub height: u64,
    /// x, y, z of the voxel of that height, the first of several.
    pub tip: [usize; 3],
    /// Voxels of each grade.
    pub grades: [u64; 5],
}

/// What a scan says of its dendrites.
#[derive(Clone, Debug, Default)]
pub struct Hanging {
    /// Voxels of each grade.
    pub grades: [u64; 5],
    /// Dead voxels that were dead in the scan before.
    pub persistent: u64,
    /// Components of lithium at 26 neighbours that hold voxels of both electrodes.
    pub short_circuits: u64,
    /// Dendrites of the least size or more.
    pub dendrites: Vec<Dendrite>,
    /// Raster indices of dead voxels, ascending.
    dead: Vec<u64>,
    /// `[z][x]`: track of the topmost dendrite plus one, 0 where there is none.
    tracks: Vec<u32>,
    next_track: u32,
}

impl Hanging {
    /// Dead voxels of each column, `[z][x]`.
    pub fn dead_columns(&self, dims: Dims) -> Vec<u16> {
        let mut counts = vec![0; dims.nz * dims.nx];
        for &i in &self.dead {
            let i = i as usize;
            counts[i / dims.slice() * dims.nx + i % dims.nx] += 1;
        }
        counts
    }
}

/// Looks at a scan; `before` is what the scan before said.
///
/// # Errors
/// Those of reading.
pub fn hanging(
    labels: &Labels,
    columns: &Columns,
    parts: &Parts,
    least: u64,
    before: Option<&Hanging>,
) -> Result<Hanging> {
    let d = labels.grid().dims;
    let of = |classes: &[u8]| {
        let mut table = [false; 256];
        classes.iter().for_each(|&c| table[usize::from(c)] = true);
        table
    };
    let (lithium, dendrite) = (of(&parts.lithium), of(&[parts.dendrite]));
    let mut bears = [0u8; 256];
    parts.electrodes.iter().enumerate().for_each(|(i, e)| e.iter().for_each(|&c| bears[usize::from(c)] |= 1 << i));
    let mut joining: Vec<Joining> = OF_GRADE.iter().map(|&n| Joining::new(d.nx, n)).collect();
    joining.push(Joining::new(d.nx, Neighbours::TwentySix));
    let masks =
        |slab: &[u8]| [&lithium, &dendrite].map(|t| slab.iter().map(|&c| t[usize::from(c)]).collect::<Vec<_>>());
    labels.slabs(|_, slab| {
        let masks = masks(slab);
        let marks: Vec<u8> = slab.iter().map(|&c| bears[usize::from(c)]).collect();
        joining.par_iter_mut().enumerate().for_each(|(i, joining)| {
            let mask = &masks[i / OF_GRADE.len()];
            let slices = mask.chunks_exact(d.slice()).zip(marks.chunks_exact(d.slice()));
            slices.for_each(|(mask, marks)| joining.slice(mask, marks));
        });
        Ok(())
    })?;
    let mut sets: Vec<Components> = joining.into_par_iter().map(Joining::finish).collect();
    let mut found = Hanging::default();
    let both = sets[1].len() as u32;
    found.short_circuits = (0..both).filter(|&c| sets[1].marks(c) == 3).count() as u64;
    let count = sets[OF_GRADE.len()].len();
    let empty = Dendrite {
        number: 0,
        track: 0,
        event: Event::Born,
        voxels: 0,
        footprint: 0,
        base: 0,
        height: 0,
        tip: [0; 3],
        grades: [0; 5],
    };
    let mut all: Vec<Dendrite> = (0..count as u32).map(|number| Dendrite { number, ..empty.clone() }).collect();
    let ground = ground(columns, &parts.ground);
    // The topmost dendrite of each column, by its number.
    let mut top = vec![u32::MAX; d.nx * d.nz];
    let mut covered: Vec<(usize, u32)> = Vec::new();
    labels.slabs(|z0, slab| {
        let masks = masks(slab);
        // 1 where the component hangs on an electrode; for the last set the component itself.
        let told: Vec<Vec<u32>> = sets
            .par_iter_mut()
            .enumerate()
            .map(|(i, set)| {
                let (mut told, mut slice) = (Vec::with_capacity(slab.len()), Vec::new());
                for mask in masks[i / OF_GRADE.len()].chunks_exact(d.slice()) {
                    set.slice(mask, &mut slice);
                    match i < OF_GRADE.len() {
                        true => told.extend(slice.iter().map(|&c| u32::from(c != u32::MAX && set.marks(c) != 0))),
                        false => told.extend_from_slice(&slice),
                    }
                }
                told
            })
            .collect();
        for (k, &number) in told[OF_GRADE.len()].iter().enumerate().filter(|(_, n)| **n != u32::MAX) {
            let (z, y, x) = (z0 + k / d.slice(), k / d.nx % d.ny, k % d.nx);
            let grade = (0..OF_GRADE.len()).find(|&g| told[g][k] != 0).unwrap_or(OF_GRADE.len());
            found.grades[grade] += 1;
            if grade >= DEAD {
                found.dead.push((z * d.slice() + y * d.nx + x) as u64);
            }
            let (one, column) = (&mut all[number as usize], z * d.nx + x);
            one.voxels += 1;
            one.grades[grade] += 1;
            top[column] = number;
            covered.push((column, number));
            let floor = ground[column];
            if floor != NONE && y > usize::from(floor) {
                let height = (y - usize::from(floor)) as u64;
                one.base += u64::from(height == 1);
                if height > one.height {
                    (one.height, one.tip) = (height, [x, y, z]);
                }
            }
        }
        covered.sort_unstable();
        covered.dedup();
        covered.drain(..).for_each(|(_, number)| all[number as usize].footprint += 1);
        Ok(())
    })?;
    found.persistent = before.map_or(0, |b| common(&b.dead, &found.dead));
    all.retain(|one| one.voxels >= least);
    track(&mut all, &top, before, &mut found);
    found.dendrites = all;
    Ok(found)
}

/// Last voxel of the ground in each column.
fn ground(columns: &Columns, classes: &[u8]) -> Vec<u16> {
    let mut ground = vec![NONE; columns.grid.columns()];
    for &class in classes {
        for (g, last) in ground.iter_mut().zip(columns.last(class)) {
            *g = match (*g, last) {
                (NONE, y) | (y, NONE) => y,
                (a, b) => a.max(b),
            };
        }
    }
    ground
}

/// How many numbers two ascending lists share.
fn common(a: &[u64], b: &[u64]) -> u64 {
    let (mut i, mut n) = (0, 0);
    for v in b {
        while i < a.len() && a[i] < *v {
            i += 1;
        }
        n += u64::from(a.get(i) == Some(v));
    }
    n
}

/// Gives every dendrite its track.
fn track(all: &mut [Dendrite], top: &[u32], before: Option<&Hanging>, found: &mut Hanging) {
    let of_number: BTreeMap<u32, usize> = all.iter().enumerate().map(|(i, one)| (one.number, i)).collect();
    let mut overlaps: BTreeMap<(usize, u32), u64> = BTreeMap::new();
    if let Some(before) = before {
        for (number, &track) in top.iter().zip(&before.tracks).filter(|(_, t)| **t > 0) {
            if let Some(&i) = of_number.get(number) {
                *overlaps.entry((i, track - 1)).or_default() += 1;
            }
        }
    }
    found.next_track = before.map_or(0, |b| b.next_track);
    let mut pairs: Vec<(u64, usize, u32)> = overlaps.iter().map(|(&(i, track), &n)| (n, i, track)).collect();
    // Largest overlap first, then in the order of the dendrites.
    pairs.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut taken = std::collections::BTreeSet::new();
    let mut done = vec![false; all.len()];
    for (_, i, track) in pairs {
        if !done[i] && taken.insert(track) {
            (all[i].track, all[i].event, done[i]) = (track, Event::Continues, true);
        }
    }
    for (i, one) in all.iter_mut().enumerate() {
        let mut met = overlaps.range((i, 0)..=(i, u32::MAX)).map(|((_, track), _)| track);
        if !done[i] {
            (one.track, one.event) = (found.next_track, if met.next().is_some() { Event::Split } else { Event::Born });
            found.next_track += 1;
        } else if met.any(|track| !taken.contains(track)) {
            one.event = Event::Merges;
        }
    }
    found.tracks = top.iter().map(|n| of_number.get(n).map_or(0, |&i| all[i].track + 1)).collect();
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::cell;
    use super::*;

    fn parts() -> Parts {
        Parts { dendrite: 1, ground: vec![4, 3], electrodes: [Some(4), Some(6)], lithium: vec![1, 3, 4, 5, 6] }
    }

    fn of(dims: (usize, usize, usize), labels: &[u8], before: Option<&Hanging>) -> Hanging {
        let labels = cell(dims, labels);
        let columns = Columns::of(&labels, 7).unwrap();
        hanging(&labels, &columns, &parts(), 1, before).unwrap()
    }

    #[test]
    fn cut_necks_are_graded() {
        // Columns of 9, each an electrode of 1 and a dendrite of 2 above a neck of 0, 1, 2, 3; columns of nothing between.
        let mut labels = vec![0u8; 9 * 19];
        for (i, neck) in [0, 1, 2, 3].into_iter().enumerate() {
            let x = 5 * i;
            labels[x] = 4;
            labels[(1 + neck) * 19 + x] = 1;
            labels[(2 + neck) * 19 + x] = 1;
        }
        let h = of((1, 9, 19), &labels, None);
        assert_eq!(h.grades, [2, 0, 2, 2, 2]);
        let tips: Vec<_> = h.dendrites.iter().map(|d| (d.height, d.base, d.tip[1])).collect();
        assert_eq!(tips, [(2, 1, 2), (3, 0, 3), (4, 0, 4), (5, 0, 5)]);
        // At a corner only: fragile.
        let mut corner = vec![0u8; 3 * 3 * 2];
        corner[0] = 4;
        corner[9 + 3 + 1] = 1;
        let h = of((2, 3, 3), &corner, None);
        assert_eq!((h.grades, h.dendrites[0].height, h.short_circuits), ([0, 1, 0, 0, 0], 0, 0));
        // A bridge from one electrode to the other.
        let h = of((1, 4, 1), &[4, 1, 1, 6], None);
        assert_eq!((h.short_circuits, h.grades[0]), (1, 2));
    }

    #[test]
    fn dendrites_are_followed_and_dead_ones_persist() {
        // One deep slice, 12 columns on an electrode.
        let scan = |rows: [&str; 3]| -> Vec<u8> {
            let row = |r: &str| r.bytes().map(|b| if b == b'#' { 1 } else { 0 }).collect::<Vec<u8>>();
            [vec![4; 12], row(rows[0]), row(rows[1]), row(rows[2])].concat()
        };
        let first = of((1, 4, 12), &scan(["#####..##..#", ".###....#...", "............"]), None);
        let seen =
            |h: &Hanging| h.dendrites.iter().map(|d| (d.track, d.event, d.voxels, d.footprint)).collect::<Vec<_>>();
        assert_eq!(seen(&first), [(0, Event::Born, 8, 5), (1, Event::Born, 3, 2), (2, Event::Born, 1, 1)]);
        // The first falls in two, the larger part goes on; the third is gone; one is born, off the ground.
        let second = of((1, 4, 12), &scan(["#..##..##...", "...##...#...", "...........#"]), Some(&first));
        assert_eq!(
            seen(&second),
            [
                (3, Event::Split, 1, 1),
                (0, Event::Continues, 4, 2),
                (1, Event::Continues, 3, 2),
                (2, Event::Continues, 1, 1)
            ]
        );
        assert_eq!((second.grades[3], second.persistent), (1, 0));
        let third = of((1, 4, 12), &scan(["............", "............", "#..........#"]), Some(&second));
        assert_eq!((third.grades[3], third.persistent), (2, 1));
        assert_eq!(seen(&third), [(3, Event::Continues, 1, 1), (2, Event::Continues, 1, 1)]);
        let fourth = of((1, 4, 12), &scan(["......#.....", "............", "............"]), Some(&third));
        assert_eq!(seen(&fourth), [(4, Event::Born, 1, 1)]);
        // What stood apart is one: the larger part goes on, the other ends in it.
        let merged = of((1, 4, 12), &scan(["########...#", ".###........", "............"]), Some(&first));
        assert_eq!(seen(&merged), [(0, Event::Merges, 11, 8), (2, Event::Continues, 1, 1)]);
    }
}
