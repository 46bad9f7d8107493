//! What labels hold, what is wrong with them, and how two sets of them differ. All of it is counted in integers, slice by
//! slice.

use super::UNLABELLED;
use super::classes::Classes;
use super::explained::{Laid, Sample};
use super::ledger::{Ledger, Origin};
use super::orient::{PLANES, each_slice};
use crate::error::Result;
use crate::json::Json;
use crate::os::check_interrupt;
use crate::volume::{Dims, Source};
use std::collections::BTreeMap;

/// Bytes of grey values that are looked at together.
const BAND: u64 = 64 << 20;

/// Voxels of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// How many.
    pub voxels: u64,
    /// x, y, z of the first.
    pub first: [usize; 3],
    /// Least and greatest x, y, z.
    pub bounds: [[usize; 3]; 2],
}

/// What a ledger holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Census {
    /// Shape.
    pub dims: Dims,
    /// By label, those that occur.
    pub labels: BTreeMap<u8, Count>,
    /// Voxels by origin, those that occur; empty without origins.
    pub origins: BTreeMap<u8, u64>,
    /// Labelled voxels of every z, y, x.
    pub slices: [Vec<u64>; 3],
    /// Some of the labelled voxels.
    pub sample: Sample,
    /// Voxels with a label without origin or an origin without label or an unknown origin, and the first of them.
    pub stray: Option<(u64, [usize; 3])>,
}

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of(ledger: &Ledger) -> Result<Census> {
        let dims = ledger.dims();
        let mut census = Census {
            dims,
            labels: BTreeMap::new(),
            origins: BTreeMap::new(),
            slices: [vec![0; dims.nz], vec![0; dims.ny], vec![0; dims.nx]],
            sample: Sample::default(),
            stray: None,
        };
        let (mut labels, mut origins) = (vec![0u8; dims.slice()], vec![0u8; dims.slice()]);
        for z in 0..dims.nz {
            check_interrupt()?;
            ledger.read(z..z + 1, &mut labels, &mut origins)?;
            census.slice(z, &labels, ledger.origins.is_some().then_some(&origins));
        }
        Ok(census)
    }

    fn slice(&mut self, z: usize, labels: &[u8], origins: Option<&Vec<u8>>) {
        let nx = self.dims.nx;
        let mut of_label: Vec<Option<Count>> = vec![None; 256];
        for (i, &label) in labels.iter().enumerate() {
            let place = [i % nx, i / nx, z];
            let count =
                of_label[usize::from(label)].get_or_insert(Count { voxels: 0, first: place, bounds: [place; 2] });
            count.voxels += 1;
            count.bounds[0][0] = count.bounds[0][0].min(place[0]);
            count.bounds[1][0] = count.bounds[1][0].max(place[0]);
            count.bounds[1][1] = place[1];
            if label != UNLABELLED {
                self.slices[0][z] += 1;
                self.slices[1][place[1]] += 1;
                self.slices[2][place[0]] += 1;
                self.sample.add(place, label);
            }
        }
        for (label, new) in of_label.into_iter().enumerate().filter_map(|(l, c)| Some((l as u8, c?))) {
            let count = self.labels.entry(label).or_insert(Count { voxels: 0, ..new });
            count.voxels += new.voxels;
            for axis in 0..3 {
                count.bounds[0][axis] = count.bounds[0][axis].min(new.bounds[0][axis]);
                count.bounds[1][axis] = count.bounds[1][axis].max(new.bounds[1][axis]);
            }
        }
        let mut of_origin = [0u64; 256];
        origins.into_iter().flatten().for_each(|&o| of_origin[usize::from(o)] += 1);
        for (origin, n) in of_origin.into_iter().enumerate().filter(|(_, n)| *n > 0) {
            *self.origins.entry(origin as u8).or_default() += n;
        }
        for (i, (&origin, &label)) in origins.into_iter().flatten().zip(labels).enumerate() {
            if (label == UNLABELLED) != (origin == 0) || !Origin(origin).is_known() {
                self.stray.get_or_insert((0, [i % nx, i / nx, z])).0 += 1;
            }
        }
    }

    /// Labelled voxels.
    pub fn labelled(&self) -> u64 {
        self.labels.iter().filter(|(l, _)| **l != UNLABELLED).map(|(_, c)| c.voxels).sum()
    }

    /// For files.
    pub fn to_json(&self, classes: &Classes) -> Json {
        let label = |(&l, c): (&u8, &Count)| {
            let bounds = c.bounds.map(|b| Json::Arr(b.iter().map(|&v| v.into()).collect()));
            let members = [
                ("label", Json::Int(i64::from(l))),
                ("name", classes.name(l).into()),
                ("voxels", c.voxels.into()),
                ("bounds_xyz", Json::Arr(bounds.to_vec())),
            ];
            Json::obj(members)
        };
        let origins = self.origins.iter().map(|(&o, &n)| (Origin(o).name(), n.into()));
        let planes = PLANES
            .iter()
            .zip(&self.slices)
            .map(|(p, counts)| (p.name(), Json::from(counts.iter().filter(|&&n| n > 0).count())));
        Json::obj([
            ("voxels", self.dims.voxels().into()),
            ("labelled", self.labelled().into()),
            ("labels", Json::Arr(self.labels.iter().map(label).collect())),
            ("origins", Json::obj(origins)),
            ("labelled_slices", Json::obj(planes)),
        ])
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It may be meant so.
    Note,
    /// It is hardly meant so.
    Warning,
    /// Nothing good can come of it.
    Bad,
}

/// Something that lint found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What.
    pub what: String,
}

/// Looks for what is wrong.
///
/// # Errors
/// Those of reading.
pub fn lint(census: &Census, classes: &Classes, like: Option<&dyn Source>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut say = |level: Level, what: String| found.push(Finding { level, what });
    let place = |[x, y, z]: [usize; 3]| format!("x {x}, y {y}, z {z}");
    for (&label, count) in &census.labels {
        if label != UNLABELLED && usize::from(label) >= classes.len() {
            let (n, at) = (count.voxels, place(count.first));
            say(Level::Bad, format!("class {label} is not in the table: {n} voxels, first at {at}"));
        }
    }
    if census.labelled() == 0 {
        say(Level::Bad, "no voxel has a label".into());
    } else {
        for class in classes.list().iter().filter(|c| !census.labels.contains_key(&c.id)) {
            say(Level::Note, format!("class {} ({}) has no voxel", class.id, class.name));
        }
    }
    if let Some((n, at)) = census.stray {
        say(
            Level::Bad,
            format!(
                "{n} voxels have a label without origin, an origin without label or an unknown one, first at {}",
                place(at)
            ),
        );
    }
    let Some(like) = like else { return Ok(found) };
    if like.dims() != census.dims {
        let e = super::import::shape_error(census.dims, census.dims, super::orient::Axes::NATIVE, like.dims());
        say(Level::Bad, format!("{}; {}", e.what(), e.advice().unwrap_or_default()));
        return Ok(found);
    }
    let d = like.dims();
    let mut odd: Option<(u64, [usize; 3])> = None;
    let mut laid = Laid::new(&census.sample, d);
    each_slice(like, 0..d.nz, BAND, |z, slice| {
        laid.slice(z, slice);
        for (i, _) in slice.iter().enumerate().filter(|(_, v)| !v.is_finite()) {
            odd.get_or_insert((0, [i % d.nx, i / d.nx, z])).0 += 1;
        }
        Ok(())
    })?;
    if let Some((n, at)) = odd {
        say(Level::Bad, format!("{n} grey values are NaN or infinite, first at {}", place(at)));
    }
    if let Some(better) = laid.better() {
        say(Level::Warning, better.text());
    }
    Ok(found)
}

/// How two sets of labels differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Voxels of each pair of labels.
    pub pairs: BTreeMap<(u8, u8), u64>,
    /// x, y, z of the first that differs.
    pub first: Option<[usize; 3]>,
    /// z that differ.
    pub slices: u64,
}

impl Difference {
    /// Compares two ledgers.
    ///
    /// # Errors
    /// Data: of other shapes. Those of reading.
    pub fn of(a: &Ledger, b: &Ledger) -> Result<Difference> {
        let d = a.dims();
        if b.dims() != d {
            return Err(super::import::other_shape(("second volume", b.dims()), ("first", d)));
        }
        let mut difference = Difference { pairs: BTreeMap::new(), first: None, slices: 0 };
        let [mut la, mut lb, mut unused] = [(); 3].map(|()| vec![0u8; d.slice()]);
        for z in 0..d.nz {
            check_interrupt()?;
            a.read(z..z + 1, &mut la, &mut unused)?;
            b.read(z..z + 1, &mut lb, &mut unused)?;
            difference.slices += u64::from(la != lb);
            let mut counts = vec![0u64; 1 << 16];
            la.iter().zip(&lb).for_each(|(&x, &y)| counts[usize::from(x) << 8 | usize::from(y)] += 1);
            for (pair, n) in counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                *difference.pairs.entry(((pair >> 8) as u8, pair as u8)).or_default() += n;
            }
            if let (None, Some(i)) = (difference.first, la.iter().zip(&lb).position(|(x, y)| x != y)) {
                difference.first = Some([i % d.nx, i / d.nx, z]);
            }
        }
        Ok(difference)
    }

    /// Voxels that differ.
    pub fn voxels(&self) -> u64 {
        self.pairs.iter().filter(|((a, b), _)| a != b).map(|(_, n)| n).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::ledger::{LedgerWriter, Making};
    use crate::testing::Scratch;
    use crate::volume::Memory;
    use crate::volume::reader::IoMode;

    fn written(folder: &Scratch, name: &str, labels: &[u8]) -> Ledger {
        let dims = Dims::new(labels.len() / 6, 2, 3).unwrap();
        let params = Json::obj::<&str>([]);
        let making = Making { dims, spacing: None, stage: "labels", params, inputs: vec![], origins: true };
        let mut writer = LedgerWriter::create(&folder.join(name), making, &Classes::network(), false).unwrap();
        for slice in labels.chunks(6) {
            let origins: Vec<u8> = slice.iter().map(|&l| u8::from(l != UNLABELLED)).collect();
            writer.write(slice, &origins).unwrap();
        }
        writer.finish(vec![], Json::obj::<&str>([])).unwrap();
        Ledger::open(&folder.join(format!("{name}.mhd")), IoMode::Pread).unwrap()
    }

    #[test]
    fn counts_bounds_and_slices() {
        let folder = Scratch::new("census");
        let labels = [255, 1, 255, 255, 255, 2, 255, 255, 255, 1, 255, 255];
        let ledger = written(&folder, "a", &labels);
        let census = Census::of(&ledger).unwrap();
        assert_eq!(census.labels[&1], Count { voxels: 2, first: [1, 0, 0], bounds: [[0, 0, 0], [1, 1, 1]] });
        assert_eq!((census.labels[&255].voxels, census.labelled()), (9, 3));
        assert_eq!(census.origins, BTreeMap::from([(0, 9), (1, 3)]));
        assert_eq!(census.slices, [vec![2, 1], vec![1, 2], vec![1, 1, 1]]);
        assert_eq!(census.stray, None);
        let json = census.to_json(&Classes::network());
        assert_eq!(json.get("origins").unwrap().need_u64("human").unwrap(), 3);
        assert_eq!(json.get("labelled_slices").unwrap().need_u64("xz").unwrap(), 2);
    }

    #[test]
    fn every_fault_is_found_and_a_good_ledger_has_none_that_is_bad() {
        let folder = Scratch::new("lint");
        let network = Classes::network();
        let good = Census::of(&written(&folder, "good", &[0, 1, 2, 3, 4, 255])).unwrap();
        let grey = Memory::new(Dims::new(1, 2, 3).unwrap(), vec![0.5; 6]).unwrap();
        assert_eq!(lint(&good, &network, Some(&grey)).unwrap(), []);
        let says = |census: &Census, like: Option<&dyn Source>, level: Level, text: &str| {
            let found = lint(census, &network, like).unwrap();
            assert!(found.iter().any(|f| f.level == level && f.what.contains(text)), "{text}: {found:?}");
        };
        says(
            &Census::of(&written(&folder, "u", &[7, 0, 7, 1, 2, 255])).unwrap(),
            None,
            Level::Bad,
            "class 7 is not in the table: 2 voxels, first at x 0, y 0, z 0",
        );
        says(&Census::of(&written(&folder, "e", &[255; 6])).unwrap(), None, Level::Bad, "no voxel has a label");
        says(&Census::of(&written(&folder, "p", &[0; 6])).unwrap(), None, Level::Note, "class 2 (pit) has no voxel");
        let nan = Memory::new(Dims::new(1, 2, 3).unwrap(), vec![0.0, 1.0, 1.0, 1.0, f32::NAN, f32::NAN]).unwrap();
        says(&good, Some(&nan), Level::Bad, "2 grey values are NaN or infinite, first at x 1, y 1, z 0");
        let turned = Memory::new(Dims::new(3, 2, 1).unwrap(), vec![0.0; 6]).unwrap();
        says(&good, Some(&turned), Level::Bad, "--axes xyz");
        let mut stray = good.clone();
        stray.slice(0, &[255, 0, 0, 0, 0, 0], Some(&vec![1, 1, 0, 3, 1, 1]));
        assert_eq!(stray.stray, Some((3, [0, 0, 0])));
        says(&stray, None, Level::Bad, "3 voxels");
    }

    #[test]
    fn differences_are_counted_by_pair() {
        let folder = Scratch::new("diff");
        let a = written(&folder, "a", &[0, 1, 2, 255, 4, 255, 0, 0, 0, 0, 0, 0]);
        let b = written(&folder, "b", &[0, 1, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0]);
        let d = Difference::of(&a, &b).unwrap();
        assert_eq!((d.voxels(), d.first, d.slices), (3, Some([2, 0, 0]), 1));
        assert_eq!((d.pairs[&(2, 3)], d.pairs[&(4, 255)], d.pairs[&(255, 1)], d.pairs[&(0, 0)]), (1, 1, 1, 7));
        assert_eq!(Difference::of(&a, &a).unwrap().voxels(), 0);
        assert!(Difference::of(&a, &written(&folder, "c", &[0; 6])).is_err());
    }
}
