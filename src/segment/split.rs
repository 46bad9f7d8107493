//! Which patches train, which validate and which test, and what leaks between them.
//!
//! ```text
//! groups    patches one by one, of one slice, of one scan, of one cell
//! shuffled  for i = n − 1 … 1 exchange i and ⌊u·(i + 1)⌋-th, u of Philox (seed, stream, i)
//! dealt     N patches: groups go to validation until it has ⌊v·N⌋ patches, then to test until it has ⌊t·N⌋; the rest
//!           train
//! ```
//!
//! By patch this is the authors' split: 85/15 of their rounds; 72.25/12.75/15, the paper's 72/13/15, is 85/15 of 85. Their
//! patches overlap by half, so a validation patch is mostly made of pixels that were trained on. How much, this says:
//!
//! ```text
//! leak(m)   part of the pixels of validation (test) patches that lie within m voxels, in x, y and z, of a training patch
//!           of the same scan; and of the same cell, as its scans show the same places at other times
//! ```
//!
//! A pixel that two patches of a set hold counts twice. Counted are pixels of patches, labelled or not.

use super::patches::{List, Patch, unseal};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::philox::Stream;
use crate::volume::manifest::seal;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Name and version of the file.
pub const SCHEMA: &str = "tomolith-split-1";
/// Member that seals the file.
pub const SEAL: &str = "split_sha256";
const STREAM: u32 = 0x7370_6c74;

/// What a patch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fold {
    /// Learnt from.
    Train,
    /// Looked at while learning.
    Validation,
    /// Looked at once.
    Test,
}

/// Folds in the order of their numbers.
pub const FOLDS: [Fold; 3] = [Fold::Train, Fold::Validation, Fold::Test];

impl Fold {
    /// Its name.
    pub fn name(self) -> &'static str {
        ["train", "validation", "test"][self as usize]
    }
}

/// What stays together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing.
    Patch,
    /// Patches of a slice.
    Slice,
    /// Of a scan.
    Scan,
    /// Of a cell.
    Cell,
}

impl By {
    /// `patch`, `slice`, `scan`, `cell`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<By> {
        let all = [By::Patch, By::Slice, By::Scan, By::Cell];
        let found = all.into_iter().find(|b| b.name() == text);
        found.ok_or_else(|| Error::usage(format!("'{text}' does not stay together")).help("patch, slice, scan or cell"))
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        ["patch", "slice", "scan", "cell"][self as usize]
    }
}

/// Parts of train, validation and test in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratios(pub [f64; 3]);

impl Ratios {
    /// Parses `85/15` or `72/13/15`.
    ///
    /// # Errors
    /// Usage: not two or three parts that make 100.
    pub fn parse(text: &str) -> Result<Ratios> {
        let wrong = || {
            Error::usage(format!("'{text}' is no split"))
                .help("write train/validation or train/validation/test in percent: 72/13/15")
        };
        let parts: Option<Vec<f64>> = text.split('/').map(|p| p.trim().parse().ok()).collect();
        let mut ratios = [0.0; 3];
        match parts.as_deref() {
            Some([a, b]) => ratios[..2].copy_from_slice(&[*a, *b]),
            Some([a, b, c]) => ratios = [*a, *b, *c],
            _ => return Err(wrong()),
        }
        let sum = ratios.iter().fold(0.0, |s, r| s + r);
        // Written with at most a few digits: their sum is 100 but for rounding.
        let fine = ratios.iter().all(|r| (0.0..=100.0).contains(r)) && (sum - 100.0).abs() < 1e-9 && ratios[0] > 0.0;
        if fine { Ok(Ratios(ratios)) } else { Err(wrong()) }
    }
    /// As it is parsed.
    pub fn name(self) -> String {
        let [a, b, c] = self.0;
        if c > 0.0 { format!("{a}/{b}/{c}") } else { format!("{a}/{b}") }
    }
}

/// How patches are dealt.
#[derive(Clone, Debug, PartialEq)]
pub struct Dealing {
    /// What stays together.
    pub by: By,
    /// Parts; unused where names are given.
    pub ratios: Ratios,
    /// Seed.
    pub seed: u64,
    /// Scans or cells of validation and test, by name; the rest trains.
    pub named: Option<[Vec<String>; 2]>,
}

/// Deals the patches of a list.
///
/// # Errors
/// Usage: a cell that nobody named, a name that no scan or cell has. Data: a fold without patches that was asked for.
pub fn deal(list: &List, dealing: &Dealing) -> Result<Vec<Fold>> {
    let key = |p: &Patch, i: usize| -> Result<(String, usize, usize)> {
        let scan = &list.scans[p.scan];
        Ok(match dealing.by {
            By::Patch => (String::new(), i, 0),
            By::Slice => (scan.name.clone(), p.plane.plane() as usize, p.slice),
            By::Scan => (scan.name.clone(), 0, 0),
            By::Cell => {
                let cell = scan.cell.clone().ok_or_else(|| {
                    Error::usage(format!("nobody said of which cell the scan '{}' is", scan.name))
                        .help("make the list with cells: CELL:NAME=FILE")
                })?;
                (cell, 0, 0)
            }
        })
    };
    let mut groups: BTreeMap<(String, usize, usize), Vec<usize>> = BTreeMap::new();
    for (i, patch) in list.patches.iter().enumerate() {
        groups.entry(key(patch, i)?).or_default().push(i);
    }
    let mut folds = vec![Fold::Train; list.patches.len()];
    if let Some(named) = &dealing.named {
        if !matches!(dealing.by, By::Scan | By::Cell) {
            return Err(Error::usage("names are of scans or cells").help("give --by scan or --by cell"));
        }
        for (fold, names) in [Fold::Validation, Fold::Test].into_iter().zip(named) {
            for name in names {
                let Some(patches) = groups.get(&(name.clone(), 0, 0)) else {
                    let known: Vec<&str> = groups.keys().map(|(n, _, _)| n.as_str()).collect();
                    return Err(Error::usage(format!("no {} '{name}'", dealing.by.name()))
                        .help(format!("there are {}", known.join(", "))));
                };
                if patches.iter().any(|&i| folds[i] != Fold::Train) {
                    return Err(Error::usage(format!("'{name}' is named twice")));
                }
                patches.iter().for_each(|&i| folds[i] = fold);
            }
        }
    } else {
        let mut order: Vec<Vec<usize>> = groups.into_values().collect();
        let stream = Stream::new(dealing.seed, STREAM);
        for i in (1..order.len()).rev() {
            order.swap(i, stream.below(i as u64, i as u32 + 1) as usize);
        }
        let mut order = order.into_iter();
        for fold in [Fold::Validation, Fold::Test] {
            // 15 of 100 of 200 is 30: a product of whole numbers first, so that no rounding loses one.
            let wanted = (dealing.ratios.0[fold as usize] * folds.len() as f64 / 100.0) as usize;
            let mut have = 0;
            while have < wanted {
                let Some(group) = order.next() else { break };
                group.iter().for_each(|&i| folds[i] = fold);
                have += group.len();
            }
        }
    }
    let wanted = |fold: Fold| match &dealing.named {
        Some(named) => fold == Fold::Train || !named[fold as usize - 1].is_empty(),
        None => dealing.ratios.0[fold as usize] > 0.0,
    };
    for fold in FOLDS.into_iter().filter(|&f| wanted(f)) {
        if !folds.contains(&fold) {
            return Err(Error::data(format!(
                "{} patches by {} leave nothing for {}",
                folds.len(),
                dealing.by.name(),
                fold.name()
            ))
            .help("label more, or split by what there is more of"));
        }
    }
    Ok(folds)
}

/// What leaks into a fold.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Patches.
    pub patches: usize,
    /// Pixels of them.
    pub pixels: u64,
    /// Of those, in a training patch of the same scan.
    pub same: u64,
    /// Near one.
    pub near: u64,
    /// In a training patch of the same cell, at whatever time; unknown where a scan has no cell.
    pub cell: Option<u64>,
}

impl Leak {
    fn part(&self, n: u64) -> f64 {
        if self.pixels == 0 { 0.0 } else { n as f64 / self.pixels as f64 }
    }
    /// Parts: the same scan, near, the same cell.
    pub fn parts(&self) -> [Option<f64>; 3] {
        [Some(self.part(self.same)), Some(self.part(self.near)), self.cell.map(|n| self.part(n))]
    }
    fn to_json(&self) -> Json {
        let [same, near, cell] = self.parts();
        Json::obj([
            ("patches", self.patches.into()),
            ("pixels", self.pixels.into()),
            ("trained_on", same.into()),
            ("near_training", near.into()),
            ("trained_on_in_cell", cell.into()),
        ])
    }
}

/// What leaks from training into a fold; `near` voxels are near.
pub fn leak(list: &List, folds: &[Fold], fold: Fold, near: usize) -> Leak {
    let size = list.size;
    let of = |fold: Fold| list.patches.iter().zip(folds).filter(move |(_, f)| **f == fold).map(|(p, _)| p);
    let train: Vec<(usize, [Range<usize>; 3])> = of(Fold::Train).map(|p| (p.scan, p.voxels(size))).collect();
    let cells = list.scans.iter().all(|s| s.cell.is_some());
    let patches: Vec<&Patch> = of(fold).collect();
    let counts: Vec<[u64; 3]> = patches
        .par_iter()
        .map(|patch| {
            let mine = patch.voxels(size);
            let covered = |m: usize, wanted: &dyn Fn(usize) -> bool| -> u64 {
                let boxes = train.iter().filter(|(scan, _)| wanted(*scan)).filter_map(|(_, b)| overlap(&mine, b, m));
                area(boxes.map(|b| square(patch, &mine, &b)), size)
            };
            let scan = |other: usize| other == patch.scan;
            let cell = |other: usize| list.scans[other].cell == list.scans[patch.scan].cell;
            [covered(0, &scan), covered(near, &scan), if cells { covered(0, &cell) } else { 0 }]
        })
        .collect();
    let sum = |i: usize| counts.iter().map(|c| c[i]).sum::<u64>();
    Leak {
        patches: patches.len(),
        pixels: (patches.len() * size * size) as u64,
        same: sum(0),
        near: sum(1),
        cell: cells.then(|| sum(2)),
    }
}

/// What of `mine` lies within m of `other`.
fn overlap(mine: &[Range<usize>; 3], other: &[Range<usize>; 3], m: usize) -> Option<[Range<usize>; 3]> {
    let axis = |a: usize| mine[a].start.max(other[a].start.saturating_sub(m))..mine[a].end.min(other[a].end + m);
    let found = [axis(0), axis(1), axis(2)];
    found.iter().all(|r| r.start < r.end).then_some(found)
}

/// Rows and columns of a box within a patch.
fn square(patch: &Patch, mine: &[Range<usize>; 3], b: &[Range<usize>; 3]) -> [Range<usize>; 2] {
    // Axis x, y, z of the patch's rows and columns.
    let [row, column] = [[1, 0], [2, 0], [2, 1], [1, 2]][patch.plane as usize];
    let within = |axis: usize| b[axis].start - mine[axis].start..b[axis].end - mine[axis].start;
    [within(row), within(column)]
}

/// Pixels of a square of `size` that rectangles cover together.
fn area(rectangles: impl Iterator<Item = [Range<usize>; 2]>, size: usize) -> u64 {
    let pitch = size + 1;
    let (mut steps, mut any) = (vec![0i32; pitch * pitch], false);
    for [rows, columns] in rectangles {
        if rows == (0..size) && columns == (0..size) {
            return (size * size) as u64;
        }
        any = true;
        steps[rows.start * pitch + columns.start] += 1;
        steps[rows.start * pitch + columns.end] -= 1;
        steps[rows.end * pitch + columns.start] -= 1;
        steps[rows.end * pitch + columns.end] += 1;
    }
    if !any {
        return 0;
    }
    let mut covered = 0;
    for row in 0..size {
        let mut along = 0;
        for column in 0..size {
            let above = if row > 0 { steps[(row - 1) * pitch + column] } else { 0 };
            along += steps[row * pitch + column];
            steps[row * pitch + column] = above + along;
            covered += u64::from(above + along > 0);
        }
    }
    covered
}

/// The text of the file of a split.
pub fn text(list: &List, dealing: &Dealing, folds: &[Fold], near: usize) -> (String, [Leak; 2]) {
    let leaks = [Fold::Validation, Fold::Test].map(|f| leak(list, folds, f, near));
    let of = |fold: Fold| {
        let numbers = folds.iter().enumerate().filter(|(_, f)| **f == fold).map(|(i, _)| i.into());
        (fold.name(), Json::Arr(numbers.collect()))
    };
    let named = dealing.named.as_ref().map_or(Json::Null, |[v, t]| {
        let names = |list: &[String]| Json::Arr(list.iter().map(|n| n.as_str().into()).collect());
        Json::obj([("validation", names(v)), ("test", names(t))])
    });
    let members: BTreeMap<String, Json> = [
        ("schema", SCHEMA.into()),
        ("patches_sha256", list.digest().into()),
        ("by", dealing.by.name().into()),
        ("ratios", if dealing.named.is_some() { Json::Null } else { dealing.ratios.name().into() }),
        ("named", named),
        ("seed", Json::Str(dealing.seed.to_string())),
        ("near_voxels", near.into()),
        ("folds", Json::obj(FOLDS.map(of))),
        ("leaks", Json::obj([("validation", leaks[0].to_json()), ("test", leaks[1].to_json())])),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_string(), v))
    .collect();
    (seal(members, SEAL), leaks)
}

/// The folds of the patches of a list, from the text of its split.
///
/// # Errors
/// Data: changed after it was written, of another list, or not every patch once.
pub fn parse(text: &str, list: &List) -> Result<Vec<Fold>> {
    let json = unseal(text, SEAL, SCHEMA)?;
    if json.need_str("patches_sha256")? != list.digest() {
        return Err(Error::data("the split is of another list of patches").help("split this list"));
    }
    let mut folds = vec![None; list.patches.len()];
    for fold in FOLDS {
        for number in json.need("folds")?.need_arr(fold.name())? {
            let place = number.as_u64().and_then(|i| folds.get_mut(usize::try_from(i).ok()?));
            let place = place.filter(|p| p.is_none());
            *place.ok_or_else(|| Error::data(format!("patch {} twice or not there", number.to_line())))? = Some(fold);
        }
    }
    folds.into_iter().collect::<Option<Vec<Fold>>>().ok_or_else(|| Error::data("a patch is in no fold"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Digest;
    use crate::segment::classes::Classes;
    use crate::segment::orient::{PLANES, Plane};
    use crate::segment::patches::{Making, Scan, Stride};
    use crate::volume::{Dims, Memory, Source};

    /// Two cells of two scans each, fully labelled.
    fn list(size: usize, step: usize, planes: &[Plane], cells: bool) -> List {
        let dims = Dims::new(8, 8, 8).unwrap();
        let memory = Memory::new(dims, vec![1.0; 512]).unwrap();
        let scan = |i: usize| Scan {
            name: format!("s{i}"),
            cell: cells.then(|| format!("c{}", i / 2)),
            dims,
            labels: Digest::of(&[i as u8]),
        };
        let scans: Vec<(Scan, &dyn Source)> = (0..4).map(|i| (scan(i), &memory as &dyn Source)).collect();
        let slices = Stride::parse("::3").unwrap();
        let making = Making { planes: planes.to_vec(), slices, size, step, least: 0.2, z: None };
        List::of(&making, &Classes::network(), &scans, &|_, _| ()).unwrap()
    }

    fn dealing(by: By, ratios: &str, seed: u64) -> Dealing {
        Dealing { by, ratios: Ratios::parse(ratios).unwrap(), seed, named: None }
    }

    fn counts(folds: &[Fold]) -> [usize; 3] {
        FOLDS.map(|f| folds.iter().filter(|&&g| g == f).count())
    }

    #[test]
    fn ratios_are_the_papers() {
        assert_eq!(Ratios::parse("85/15").unwrap().0, [85.0, 15.0, 0.0]);
        assert_eq!(Ratios::parse("72.25/12.75/15").unwrap().name(), "72.25/12.75/15");
        for text in ["85", "85/14", "0/100", "-5/105", "a/b", "50/25/15/10", "nan/100"] {
            assert!(Ratios::parse(text).is_err(), "{text}");
        }
        let list = list(4, 2, &PLANES, true);
        // 4 scans × 3 planes × 3 slices × 9 squares.
        assert_eq!(list.patches.len(), 324);
        let of = |ratios| counts(&deal(&list, &dealing(By::Patch, ratios, 0)).unwrap());
        assert_eq!(of("85/15"), [276, 48, 0]);
        assert_eq!(of("72/13/15"), [234, 42, 48]);
    }

    #[test]
    fn what_stays_together_stays_together_and_seeds_differ() {
        let list = list(4, 2, &PLANES, true);
        let first = deal(&list, &dealing(By::Patch, "72/13/15", 1)).unwrap();
        assert_eq!(deal(&list, &dealing(By::Patch, "72/13/15", 1)).unwrap(), first);
        assert_ne!(deal(&list, &dealing(By::Patch, "72/13/15", 2)).unwrap(), first);
        for by in [By::Slice, By::Scan, By::Cell] {
            let ratios = if by == By::Cell { "50/50" } else { "50/25/25" };
            let folds = deal(&list, &dealing(by, ratios, 5)).unwrap();
            let mut of: BTreeMap<(usize, usize, usize), Fold> = BTreeMap::new();
            for (p, &fold) in list.patches.iter().zip(&folds) {
                let key = match by {
                    By::Slice => (p.scan, p.plane as usize, p.slice),
                    By::Scan => (p.scan, 0, 0),
                    _ => (p.scan / 2, 0, 0),
                };
                assert_eq!(*of.entry(key).or_insert(fold), fold, "{by:?}");
            }
        }
        let named = |by, v: &[&str], t: &[&str]| {
            let names = [v, t].map(|l| l.iter().map(|n| n.to_string()).collect());
            deal(&list, &Dealing { named: Some(names), ..dealing(by, "85/15", 0) })
        };
        assert_eq!(counts(&named(By::Scan, &["s1"], &["s2", "s3"]).unwrap()), [81, 81, 162]);
        assert_eq!(counts(&named(By::Cell, &["c1"], &[]).unwrap()), [162, 162, 0]);
        for (by, v, t, says) in [
            (By::Scan, &["s9"][..], &[][..], "there are s0, s1"),
            (By::Scan, &["s1"], &["s1"], "twice"),
            (By::Patch, &["s1"], &[], "--by scan"),
            (By::Cell, &["c0"], &["c1"], "nothing for train"),
        ] {
            assert!(named(by, v, t).unwrap_err().to_string().contains(says), "{says}");
        }
        let e = deal(&list, &dealing(By::Cell, "99/1", 0)).map(|f| counts(&f));
        assert_eq!(e.unwrap(), [162, 162, 0], "a group is not cut");
        let e = deal(&super::tests::list(8, 8, &[Plane::Xy], false), &dealing(By::Patch, "99/1", 0)).unwrap_err();
        assert!(e.to_string().contains("12 patches by patch leave nothing for validation"), "{e}");
        assert!(deal(&super::tests::list(8, 8, &[Plane::Xy], false), &dealing(By::Cell, "50/50", 0)).is_err());
    }

    #[test]
    fn leaks_are_those_counted_voxel_by_voxel() {
        let list = list(4, 2, &PLANES, true);
        for seed in 0..3 {
            let folds = deal(&list, &dealing(By::Patch, "72/13/15", seed)).unwrap();
            for near in [1, 2] {
                let got = leak(&list, &folds, Fold::Test, near);
                let (mut same, mut close, mut cell, mut pixels) = (0, 0, 0, 0);
                for (p, _) in list.patches.iter().zip(&folds).filter(|(_, f)| **f == Fold::Test) {
                    let [xs, ys, zs] = p.voxels(4);
                    for (x, y, z) in xs.flat_map(|x| {
                        let zs = zs.clone();
                        ys.clone().flat_map(move |y| zs.clone().map(move |z| (x, y, z)))
                    }) {
                        pixels += 1;
                        let [mut a, mut b, mut c] = [false; 3];
                        for (t, _) in list.patches.iter().zip(&folds).filter(|(_, f)| **f == Fold::Train) {
                            let far =
                                t.voxels(4).into_iter().zip([x, y, z]).map(|(r, v)| {
                                    if v < r.start { r.start - v } else { (v + 1).saturating_sub(r.end) }
                                });
                            let far = far.max().unwrap();
                            a |= t.scan == p.scan && far == 0;
                            b |= t.scan == p.scan && far <= near;
                            c |= t.scan / 2 == p.scan / 2 && far == 0;
                        }
                        (same, close, cell) = (same + u64::from(a), close + u64::from(b), cell + u64::from(c));
                    }
                }
                assert_eq!(got, Leak { patches: 48, pixels, same, near: close, cell: Some(cell) });
                assert!(same > 0 && close > same && cell > same);
            }
        }
        let folds = deal(&list, &dealing(By::Cell, "50/50", 0)).unwrap();
        assert_eq!(leak(&list, &folds, Fold::Validation, 3).parts(), [Some(0.0), Some(0.0), Some(0.0)]);
        let folds = deal(&list, &dealing(By::Scan, "50/25/25", 0)).unwrap();
        let parts = leak(&list, &folds, Fold::Validation, 3).parts();
        assert_eq!(parts[..2], [Some(0.0), Some(0.0)], "another scan, though of the same cell");
    }

    #[test]
    fn a_split_is_read_again_and_only_for_its_list() {
        let list = list(4, 4, &[Plane::Xz], false);
        let how = dealing(By::Slice, "72/13/15", 4);
        let folds = deal(&list, &how).unwrap();
        let (text, leaks) = text(&list, &how, &folds, 2);
        assert_eq!(leaks[0].cell, None);
        assert_eq!(parse(&text, &list).unwrap(), folds);
        assert!(parse(&text.replace("\"seed\": \"4\"", "\"seed\": \"5\""), &list).is_err());
        let other = super::tests::list(4, 2, &[Plane::Xz], false);
        assert!(parse(&text, &other).unwrap_err().to_string().contains("another list"));
    }
}
