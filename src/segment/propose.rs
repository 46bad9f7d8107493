//! Which slices to label next: those of which the network is least sure, spread over scans and apart from one another.
//!
//! ```text
//! score(slice) = mean of the map over the slice            entropy, or 1 − margin, both 0 … 1
//! taken        from the greatest score down (ties: scan, plane, slice ascending), n slices, each
//!              not among the slices that have labels, and at least `apart` slices from them and from those taken,
//!              of one scan at most ⌈n / spread⌉, and none of the `edge` slices at each end
//! ```
//!
//! One pass over each volume sums all planes at once. Values are summed as whole multiples of 2⁻²⁴, exactly.

use super::ledger::Origin;
use super::orient::{PLANES, Plane};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};

/// Values of 0 … 1 in whole numbers.
const ONE: f32 = 16_777_216.0;

/// How much denser the labels of another slice may be: somebody who labels slices of two planes labels both alike.
const BESIDE: f64 = 2.0;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Slices.
    pub count: usize,
    /// Scans they are spread over, at least.
    pub spread: usize,
    /// Slices between two.
    pub apart: usize,
    /// Slices at both ends that are left out: a network sees less around them, and is unsure for that.
    pub edge: usize,
    /// Of these planes.
    pub planes: Vec<Plane>,
    /// The map is sure where it is great: a margin.
    pub sure: bool,
}

/// A slice to label.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Number of the scan.
    pub scan: usize,
    /// Plane.
    pub plane: Plane,
    /// Slice.
    pub slice: usize,
    /// Its score.
    pub score: f64,
}

/// Scores of the slices of every plane of a map.
///
/// # Errors
/// Data: a value outside of 0 … 1, with its place. Those of reading.
pub fn scores(map: &dyn Source, sure: bool) -> Result<[Vec<f64>; 3]> {
    let d = map.dims();
    let mut sums = PLANES.map(|p| vec![0u64; p.dims(d).nz]);
    let mut slice = vec![0f32; d.slice()];
    for z in 0..d.nz {
        check_interrupt()?;
        map.read(z..z + 1, 0..d.ny, &mut slice)?;
        for (i, &v) in slice.iter().enumerate() {
            let (x, y) = (i % d.nx, i / d.nx);
            if !(0.0..=1.0).contains(&v) {
                return Err(Error::data(format!("the value {v} at x {x}, y {y}, z {z} is not within 0 to 1"))
                    .help("give a map that `seg predict` wrote"));
            }
            let whole = (if sure { 1.0 - v } else { v } * ONE) as u64;
            sums[0][z] += whole;
            sums[1][y] += whole;
            sums[2][x] += whole;
        }
    }
    let mean = |plane: Plane| -> Vec<f64> {
        let pixels = plane.dims(d).slice() as f64;
        sums[plane as usize].iter().map(|&s| s as f64 / f64::from(ONE) / pixels).collect()
    };
    Ok(PLANES.map(mean))
}

/// Slices that are labelled as slices of their plane. A stack of xy slices crosses every xz slice, which is not labelled by
/// it: a label counts for a slice through it where no other slice through it is labelled more than [`BESIDE`] times as
/// densely, and a slice is labelled where such labels are at least `part` of its pixels. Where origins are known, drafts of
/// models are no labels.
///
/// # Errors
/// Those of reading.
pub fn mostly_labelled(labels: &dyn Source, origins: Option<&dyn Source>, part: f64) -> Result<[Vec<bool>; 3]> {
    let d: Dims = labels.dims();
    let pixels = PLANES.map(|p| p.dims(d).slice() as f64);
    let nothing = || PLANES.map(|p| vec![0u64; p.dims(d).nz]);
    let (mut all, mut own) = (nothing(), nothing());
    each_label(labels, origins, |at| (0..3).for_each(|p| all[p][at[p]] += 1))?;
    each_label(labels, origins, |at| {
        let density = [0, 1, 2].map(|p| all[p][at[p]] as f64 / pixels[p]);
        let most = density.iter().fold(0.0, |a: f64, &b| a.max(b));
        (0..3).filter(|&p| most <= BESIDE * density[p]).for_each(|p| own[p][at[p]] += 1);
    })?;
    let enough = |p: usize| own[p].iter().map(|&n| n > 0 && n as f64 >= part * pixels[p]).collect();
    Ok([0, 1, 2].map(enough))
}

/// Calls `each` with the slice of every plane in which a label lies.
fn each_label(labels: &dyn Source, origins: Option<&dyn Source>, mut each: impl FnMut([usize; 3])) -> Result<()> {
    let d = labels.dims();
    let (mut slice, mut from) = (vec![0f32; d.slice()], vec![0f32; d.slice()]);
    // Who may have said it: everything up to rules.
    let least_draft = f32::from(Origin::DRAFT);
    for z in 0..d.nz {
        check_interrupt()?;
        labels.read(z..z + 1, 0..d.ny, &mut slice)?;
        if let Some(origins) = origins {
            origins.read(z..z + 1, 0..d.ny, &mut from)?;
        }
        let labelled = slice.iter().zip(&from).enumerate();
        let labelled = labelled.filter(|(_, (v, from))| **v != f32::from(super::UNLABELLED) && **from < least_draft);
        labelled.for_each(|(i, _)| each([z, i / d.nx, i % d.nx]));
    }
    Ok(())
}

/// One scan: scores, and which slices are labelled.
pub type Scan = ([Vec<f64>; 3], Option<[Vec<bool>; 3]>);

/// Proposes slices.
///
/// # Errors
/// Usage: nothing wanted.
pub fn propose(scans: &[Scan], wanted: &Wanted) -> Result<Vec<Proposal>> {
    if wanted.count == 0 || wanted.spread == 0 || wanted.planes.is_empty() {
        return Err(Error::usage("no slice, no scan or no plane is wanted"));
    }
    let (most, spread) = (wanted.count.div_ceil(wanted.spread), wanted.spread.min(scans.len()));
    let mut all: Vec<Proposal> = Vec::new();
    for (scan, (scores, _)) in scans.iter().enumerate() {
        for plane in wanted.planes.iter().map(|p| p.plane()) {
            let of = &scores[plane as usize];
            let inner = wanted.edge..of.len().saturating_sub(wanted.edge);
            all.extend(inner.map(|slice| Proposal { scan, plane, slice, score: of[slice] }));
        }
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.scan, a.plane, a.slice).cmp(&(b.scan, b.plane, b.slice))));
    let mut taken: Vec<Proposal> = Vec::new();
    for p in all {
        if taken.len() == wanted.count {
            break;
        }
        let near = |slice: usize| slice.abs_diff(p.slice) < wanted.apart.max(1);
        let same = taken.iter().filter(|t| t.scan == p.scan);
        let labelled = scans[p.scan]
            .1
            .as_ref()
            .is_some_and(|have| have[p.plane as usize].iter().enumerate().any(|(slice, &has)| has && near(slice)));
        // What is left is for scans that have none, as long as there are too few of those that have.
        let mut have: Vec<usize> = taken.iter().map(|t| t.scan).collect();
        have.sort_unstable();
        have.dedup();
        let kept = same.clone().count() > 0 && wanted.count - taken.len() <= spread.saturating_sub(have.len());
        if labelled || kept || same.clone().count() >= most || same.clone().any(|t| t.plane == p.plane && near(t.slice))
        {
            continue;
        }
        taken.push(p);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Memory;

    fn wanted(count: usize, spread: usize, apart: usize) -> Wanted {
        Wanted { count, spread, apart, edge: 0, planes: vec![Plane::Xy], sure: false }
    }

    fn scan(scores: &[f64], labelled: &[usize]) -> Scan {
        let have = |n: usize| (0..n).map(|i| labelled.contains(&i)).collect();
        ([scores.to_vec(), vec![], vec![]], Some([have(scores.len()), vec![], vec![]]))
    }

    #[test]
    fn scores_are_the_means_of_slices_in_every_plane() {
        let d = Dims::new(2, 3, 4).unwrap();
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 32.0).collect();
        let map = Memory::new(d, values.clone()).unwrap();
        for sure in [false, true] {
            let got = scores(&map, sure).unwrap();
            for plane in PLANES {
                let p = plane.dims(d);
                for slice in 0..p.nz {
                    let at = (0..p.ny).flat_map(|r| (0..p.nx).map(move |c| plane.place(slice, r, c)));
                    let sum: f64 = at.map(|[x, y, z]| f64::from(values[(z * 3 + y) * 4 + x])).sum();
                    let mean = sum / p.slice() as f64;
                    let want = if sure { 1.0 - mean } else { mean };
                    assert!((got[plane as usize][slice] - want).abs() < 1e-12);
                }
            }
        }
        let bad = Memory::new(d, vec![1.5; 24]).unwrap();
        assert!(scores(&bad, false).unwrap_err().to_string().contains("1.5 at x 0, y 0, z 0"));
        let labels = Memory::new(d, (0..24).map(|i| if i / 12 == 1 { 0.0 } else { 255.0 }).collect()).unwrap();
        assert_eq!(mostly_labelled(&labels, None, 0.0).unwrap(), [vec![false, true], vec![true; 3], vec![true; 4]]);
        // Half of the slice is a draft.
        let origins = Memory::new(d, (0..24).map(|i| if i < 18 { 16.0 } else { 2.0 }).collect()).unwrap();
        let by_hand = |part| mostly_labelled(&labels, Some(&origins), part).unwrap()[0].clone();
        assert_eq!((by_hand(0.4), by_hand(0.6)), (vec![false, true], vec![false, false]));
        assert_eq!(mostly_labelled(&labels, None, 0.6).unwrap(), [vec![false, true], vec![false; 3], vec![false; 4]]);
    }

    /// One slice of fifty crosses every slice of the other planes, and makes none of them labelled.
    #[test]
    fn slices_are_labelled_by_their_own_labels_alone() {
        let d = Dims::new(50, 20, 20).unwrap();
        let volume = |labelled: &dyn Fn(usize, usize, usize) -> bool| {
            let of = |i: usize| if labelled(i / 400, i / 20 % 20, i % 20) { 1.0 } else { 255.0 };
            let labels = Memory::new(d, (0..d.voxels()).map(of).collect()).unwrap();
            let list = |have: Vec<bool>| (0..have.len()).filter(|&i| have[i]).collect::<Vec<_>>();
            mostly_labelled(&labels, None, 0.01).unwrap().map(list)
        };
        assert_eq!(volume(&|z, _, _| z == 7), [vec![7], vec![], vec![]]);
        // Half of all slices: every xz slice is half labelled, by them.
        assert_eq!(volume(&|z, y, _| z % 5 < 2 && y < 10).map(|v| v.len()), [20, 10, 0], "xz: 0.4 beside 0.5");
        assert_eq!(volume(&|z, _, _| z % 5 == 0).map(|v| v.len()), [10, 0, 0]);
        assert_eq!(volume(&|z, y, _| z == 7 || y == 3), [vec![7], vec![3], vec![]]);
        assert_eq!(volume(&|_, _, _| true).map(|v| v.len()), [50, 20, 20]);
        assert_eq!(volume(&|z, y, x| z == 7 && y == 3 && x < 4), [vec![7], vec![], vec![]], "a stroke of four pixels");
    }

    #[test]
    fn the_least_sure_are_taken_apart_and_spread() {
        let scans = [scan(&[0.1, 0.9, 0.8, 0.7, 0.2], &[]), scan(&[0.5, 0.4, 0.3, 0.3, 0.6], &[4])];
        let of = |w: Wanted| propose(&scans, &w).unwrap().iter().map(|p| (p.scan, p.slice)).collect::<Vec<_>>();
        assert_eq!(of(wanted(3, 1, 1)), [(0, 1), (0, 2), (0, 3)]);
        assert_eq!(of(wanted(3, 1, 2)), [(0, 1), (0, 3), (1, 0)]);
        assert_eq!(of(wanted(3, 2, 1)), [(0, 1), (0, 2), (1, 0)], "at most two of a scan");
        // Slice 4 of the second scan has labels, and slice 3 is too near.
        assert_eq!(of(wanted(9, 1, 2)), [(0, 1), (0, 3), (1, 0), (1, 2)]);
        assert_eq!(of(Wanted { edge: 2, ..wanted(9, 1, 1) }), [(0, 2), (1, 2)], "no ends");
        assert_eq!(of(Wanted { edge: 9, ..wanted(9, 1, 1) }), []);
        assert!(propose(&scans, &wanted(0, 1, 1)).is_err());
        // Four over three scans: two of one, and one of each of the others, however sure.
        let three = [scan(&[0.9, 0.8, 0.7], &[]), scan(&[0.6, 0.5, 0.4], &[]), scan(&[0.2, 0.1, 0.0], &[])];
        let found = propose(&three, &wanted(4, 3, 1)).unwrap();
        assert_eq!(found.iter().map(|p| (p.scan, p.slice)).collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 0), (2, 0)]);
    }
}
