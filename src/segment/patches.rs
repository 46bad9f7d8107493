//! Which squares of which slices are learnt from: a list, no copies of pixels.
//!
//! ```text
//! slices     start:stop:step of each plane, counted as Python counts: 100:-100:10
//! squares    size × size, every `step` rows and columns from the first; those that stick out are dropped
//! kept       labelled pixels / size² > least                              strictly
//! ```
//!
//! The authors: `xz` and `yz` slices 100:-100:10, size 512, step 256, least 0.2, of 512 rows of z.
//!
//! One pass over each scan, slice by slice of z, counts the labels of every square of every plane at once: a labelled
//! voxel lies in at most ⌈size/step⌉² squares of a slice. Sparse labels cost what reading them costs.
//!
//! Source: the authors' `prepare.py`.

use super::UNLABELLED;
use super::classes::Classes;
use super::ledger::read_u8;
use super::orient::{Plane, VIEWS};
use crate::error::{Error, Result};
use crate::json::{Json, MAX_TEXT};
use crate::os::check_interrupt;
use crate::provenance::Digest;
use crate::volume::manifest::seal;
use crate::volume::{Dims, Source};
use std::collections::BTreeMap;
use std::ops::Range;

/// Name and version of the list.
pub const SCHEMA: &str = "tomolith-patches-1";
/// Member that seals the list.
pub const SEAL: &str = "patches_sha256";

/// Largest side: what leaks is counted in a square of it.
const MOST_SIZE: usize = 4096;

/// Slices as Python counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    start: i64,
    stop: Option<i64>,
    step: usize,
}

impl Stride {
    /// Parses `start:stop:step`, each of which may be left out; negative numbers count from the end.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(text: &str) -> Result<Stride> {
        let wrong = || {
            Error::usage(format!("'{text}' is no range of slices"))
                .help("write start:stop:step as in Python, such as 100:-100:10 or ::8")
        };
        let parts: Vec<&str> = text.split(':').map(str::trim).collect();
        let number = |i: usize| match parts.get(i).copied().unwrap_or("") {
            "" => Ok(None),
            digits => digits.parse::<i64>().map(Some).map_err(|_| wrong()),
        };
        if !(2..=3).contains(&parts.len()) {
            return Err(wrong());
        }
        let step = usize::try_from(number(2)?.unwrap_or(1)).ok().filter(|&s| s > 0).ok_or_else(wrong)?;
        Ok(Stride { start: number(0)?.unwrap_or(0), stop: number(1)?, step })
    }

    /// The slices of `n`.
    pub fn of(self, n: usize) -> impl Iterator<Item = usize> {
        let n = n as i64;
        let at = |i: i64| if i < 0 { (n + i).max(0) } else { i.min(n) };
        let (start, stop) = (at(self.start), self.stop.map_or(n, at));
        (start..stop.max(start)).step_by(self.step).map(|i| i as usize)
    }

    /// As it is parsed.
    pub fn name(self) -> String {
        format!("{}:{}:{}", self.start, self.stop.map_or(String::new(), |s| s.to_string()), self.step)
    }
}

/// What makes a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Making {
    /// Planes, each once.
    pub planes: Vec<Plane>,
    /// Slices of each.
    pub slices: Stride,
    /// Rows and columns.
    pub size: usize,
    /// From one to the next.
    pub step: usize,
    /// Part that must be labelled.
    pub least: f64,
    /// Only these z, if not all.
    pub z: Option<Range<usize>>,
}

impl Making {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// Usage.
    pub fn check(&self) -> Result<()> {
        let twice = self.planes.iter().enumerate().any(|(i, p)| self.planes[..i].contains(p));
        if self.planes.is_empty() || twice {
            return Err(Error::usage("no plane, or one twice").help("planes are xy, xz, yz and zy"));
        }
        if !(1..=MOST_SIZE).contains(&self.size) || self.step == 0 || !(0.0..1.0).contains(&self.least) {
            let what =
                format!("patches of {} every {} of which more than {} is labelled", self.size, self.step, self.least);
            return Err(
                Error::usage(what).help(format!("sizes are 1 to {MOST_SIZE}, steps from 1, the part 0 to below 1"))
            );
        }
        Ok(())
    }

    fn to_json(&self) -> Json {
        Json::obj([
            ("planes", Json::Arr(self.planes.iter().map(|p| p.name().into()).collect())),
            ("slices", self.slices.name().into()),
            ("size", self.size.into()),
            ("step", self.step.into()),
            ("least_labelled", self.least.into()),
            ("z", self.z.as_ref().map_or(Json::Null, |z| Json::Arr(vec![z.start.into(), z.end.into()]))),
        ])
    }
}

/// A scan that patches are of.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Its name, of no other.
    pub name: String,
    /// The cell that was scanned, if somebody said so.
    pub cell: Option<String>,
    /// Shape.
    pub dims: Dims,
    /// SHA-256 of its labels.
    pub labels: Digest,
}

/// A square of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Number of its scan.
    pub scan: usize,
    /// Plane.
    pub plane: Plane,
    /// Slice of the plane.
    pub slice: usize,
    /// First row.
    pub row: usize,
    /// First column.
    pub column: usize,
    /// Labelled pixels by class.
    pub labels: Vec<u64>,
}

impl Patch {
    /// Labelled pixels.
    pub fn labelled(&self) -> u64 {
        self.labels.iter().sum()
    }
    /// Voxels as ranges of x, y, z.
    pub fn voxels(&self, size: usize) -> [Range<usize>; 3] {
        let low = self.plane.place(self.slice, self.row, self.column);
        let high = self.plane.place(self.slice + 1, self.row + size, self.column + size);
        [low[0]..high[0], low[1]..high[1], low[2]..high[2]]
    }
    fn to_text(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(u64::to_string).collect();
        let Patch { scan, plane, slice, row, column, .. } = self;
        format!("{scan} {} {slice} {row} {column} {}", plane.name(), labels.join(","))
    }
    fn parse(text: &str) -> Option<Patch> {
        let words: Vec<&str> = text.split(' ').collect();
        let [scan, plane, slice, row, column, labels] = words.as_slice() else { return None };
        Some(Patch {
            scan: scan.parse().ok()?,
            plane: Plane::parse(plane).ok()?,
            slice: slice.parse().ok()?,
            row: row.parse().ok()?,
            column: column.parse().ok()?,
            labels: labels.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

/// Patches of some scans.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// Side of the patches.
    pub size: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Scans.
    pub scans: Vec<Scan>,
    /// By scan, plane, slice, row, column.
    pub patches: Vec<Patch>,
    json: Json,
}

/// Squares of one plane of a scan, and what is counted in them.
struct Grid {
    plane: Plane,
    /// Number in the list of a slice that is taken.
    slices: Vec<Option<usize>>,
    taken: Vec<usize>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Squares that hold a row, a column.
    of_row: Vec<Range<usize>>,
    of_column: Vec<Range<usize>>,
    counts: Vec<u32>,
}

/// Where squares start in `from`, and for each place of 0 … n which of them hold it.
fn squares(from: Range<usize>, n: usize, size: usize, step: usize) -> (Vec<usize>, Vec<Range<usize>>) {
    let starts: Vec<usize> = from.clone().step_by(step).filter(|s| s + size <= from.end).collect();
    let hold = |i: usize| starts.partition_point(|&s| s + size <= i)..starts.partition_point(|&s| s <= i);
    let of = (0..n).map(hold).collect();
    (starts, of)
}

impl Grid {
    fn new(making: &Making, plane: Plane, dims: Dims, classes: usize) -> Grid {
        let d = plane.dims(dims);
        let z = making.z.clone().unwrap_or(0..dims.nz);
        let [rows, columns] = plane.in_z(d, z.clone());
        let taken: Vec<usize> = making.slices.of(d.nz).filter(|s| plane != Plane::Xy || z.contains(s)).collect();
        let mut slices = vec![None; d.nz];
        taken.iter().enumerate().for_each(|(i, &s)| slices[s] = Some(i));
        let (rows, of_row) = squares(rows, d.ny, making.size, making.step);
        let (columns, of_column) = squares(columns, d.nx, making.size, making.step);
        let counts = vec![0; taken.len() * rows.len() * columns.len() * classes];
        Grid { plane, slices, taken, rows, columns, of_row, of_column, counts }
    }

    fn add(&mut self, [x, y, z]: [usize; 3], label: u8, classes: usize) {
        let (slice, row, column) = [(z, y, x), (y, z, x), (x, z, y), (x, y, z)][self.plane as usize];
        let Some(slice) = self.slices[slice] else { return };
        for r in self.of_row[row].clone() {
            for c in self.of_column[column].clone() {
                let square = (slice * self.rows.len() + r) * self.columns.len() + c;
                self.counts[square * classes + usize::from(label)] += 1;
            }
        }
    }
}

impl List {
    /// Lists the patches of scans.
    ///
    /// # Errors
    /// Usage: rules that make no sense, names twice, a range outside. Data: labels that are no class; no patch at all,
    /// with the most that was labelled. Those of reading.
    pub fn of(
        making: &Making,
        classes: &Classes,
        scans: &[(Scan, &dyn Source)],
        progress: &dyn Fn(usize, usize),
    ) -> Result<List> {
        making.check()?;
        let k = classes.len();
        let (mut patches, mut most, mut squares) = (Vec::new(), 0u64, 0usize);
        let total: usize = scans.iter().map(|(s, _)| s.dims.nz).sum();
        let mut done = 0;
        for (number, (scan, source)) in scans.iter().enumerate() {
            if scans[..number].iter().any(|(s, _)| s.name == scan.name) {
                return Err(
                    Error::usage(format!("two scans are named '{}'", scan.name)).help("give them names: NAME=FILE")
                );
            }
            let d = scan.dims;
            if let Some(z) = making.z.as_ref().filter(|z| z.is_empty() || z.end > d.nz) {
                let what = format!("z {}:{} of the scan '{}'", z.start, z.end, scan.name);
                return Err(Error::usage(what).help(format!("it has 0 to {}", d.nz)));
            }
            let mut grids: Vec<Grid> = making.planes.iter().map(|&p| Grid::new(making, p, d, k)).collect();
            let mut labels = vec![0u8; d.slice()];
            for z in 0..d.nz {
                check_interrupt()?;
                read_u8(*source, z..z + 1, &mut labels)?;
                for (i, &label) in labels.iter().enumerate().filter(|(_, l)| **l != UNLABELLED) {
                    let place = [i % d.nx, i / d.nx, z];
                    if usize::from(label) >= k {
                        let [x, y, z] = place;
                        return Err(Error::data(format!(
                            "the scan '{}' has the label {label} at x {x}, y {y}, z {z}, which is no class",
                            scan.name
                        ))
                        .help("look at it with `labels lint`"));
                    }
                    grids.iter_mut().for_each(|g| g.add(place, label, k));
                }
                done += 1;
                progress(done, total);
            }
            for grid in &grids {
                let places = grid.taken.iter().flat_map(|&slice| {
                    grid.rows.iter().flat_map(move |&row| grid.columns.iter().map(move |&column| (slice, row, column)))
                });
                for ((slice, row, column), counts) in places.zip(grid.counts.chunks_exact(k)) {
                    let labels: Vec<u64> = counts.iter().map(|&n| u64::from(n)).collect();
                    let labelled: u64 = labels.iter().sum();
                    (most, squares) = (most.max(labelled), squares + 1);
                    if labelled as f64 / (making.size * making.size) as f64 > making.least {
                        patches.push(Patch { scan: number, plane: grid.plane, slice, row, column, labels });
                    }
                }
            }
        }
        if patches.is_empty() {
            let part = most as f64 / (making.size * making.size) as f64;
            return Err(match squares {
                0 => Error::data(format!("no square of {} fits into a slice", making.size)).help("lower --size"),
                _ => Error::data(format!(
                    "of {squares} squares none is labelled enough: the most is {part:.4} of a square, more than {} is wanted",
                    making.least
                ))
                .help("lower --least-labelled, or the size of the squares"),
            });
        }
        let scan_json = |s: &Scan| {
            Json::obj([
                ("name", s.name.as_str().into()),
                ("cell", s.cell.as_deref().map_or(Json::Null, Json::from)),
                ("dims_zyx", Json::Arr(vec![s.dims.nz.into(), s.dims.ny.into(), s.dims.nx.into()])),
                ("labels_sha256", s.labels.hex().into()),
            ])
        };
        let members: BTreeMap<String, Json> = [
            ("schema", SCHEMA.into()),
            ("making", making.to_json()),
            ("classes", classes.to_json()),
            ("scans", Json::Arr(scans.iter().map(|(s, _)| scan_json(s)).collect())),
            ("columns", "scan plane slice row column labelled-by-class".into()),
            ("patches", Json::Arr(patches.iter().map(|p| Json::Str(p.to_text())).collect())),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_string(), v))
        .collect();
        let text = seal(members, SEAL);
        if text.len() > MAX_TEXT {
            return Err(Error::data(format!("{} patches make a list of {} bytes", patches.len(), text.len()))
                .help(format!("at most {MAX_TEXT} are read: take fewer slices, or a larger step")));
        }
        List::parse(&text)
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        self.json.to_canonical()
    }
    /// What identifies it.
    pub fn digest(&self) -> &str {
        self.json.get(SEAL).and_then(Json::as_str).unwrap_or_default()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// Data: changed after it was written, or not a list.
    pub fn parse(text: &str) -> Result<List> {
        let json = unseal(text, SEAL, SCHEMA)?;
        let bad = |what: &str| Error::data(format!("the list of patches is malformed: {what}"));
        let size = json.need("making")?.need_u64("size")?;
        let size = usize::try_from(size).ok().filter(|s| (1..=MOST_SIZE).contains(s)).ok_or_else(|| bad("size"))?;
        let texts = |key: &str| -> Result<Vec<String>> {
            let list = json.need_arr(key)?.iter().map(|v| v.as_str().map(str::to_string));
            list.collect::<Option<Vec<String>>>().ok_or_else(|| bad(key))
        };
        let classes = texts("classes")?;
        let mut scans = Vec::new();
        for scan in json.need_arr("scans")? {
            let dims: Option<Vec<usize>> =
                scan.need_arr("dims_zyx")?.iter().map(|v| usize::try_from(v.as_u64()?).ok()).collect();
            let Some(&[nz, ny, nx]) = dims.as_deref() else { return Err(bad("dims_zyx")) };
            scans.push(Scan {
                name: scan.need_str("name")?.to_string(),
                cell: scan.get("cell").and_then(Json::as_str).map(str::to_string),
                dims: Dims::new(nz, ny, nx)?,
                labels: Digest::parse(scan.need_str("labels_sha256")?)?,
            });
        }
        let mut patches = Vec::new();
        for text in texts("patches")? {
            let patch = Patch::parse(&text).ok_or_else(|| bad(&text))?;
            let scan = scans.get(patch.scan).ok_or_else(|| bad(&text))?;
            let d = patch.plane.dims(scan.dims);
            let inside = |at: usize, n: usize| at.checked_add(size).is_some_and(|end| end <= n);
            let fits = patch.slice < d.nz && inside(patch.row, d.ny) && inside(patch.column, d.nx);
            if !fits || patch.labels.len() != classes.len() {
                return Err(bad(&text));
            }
            patches.push(patch);
        }
        Ok(List { size, classes, scans, patches, json })
    }

    /// Patches by plane.
    pub fn by_plane(&self) -> Vec<(Plane, usize)> {
        let count = |plane: Plane| (plane, self.patches.iter().filter(|p| p.plane == plane).count());
        VIEWS.into_iter().map(count).filter(|(_, n)| *n > 0).collect()
    }
}

/// Reads a sealed text of a schema.
///
/// # Errors
/// Data: not canonical, another schema, or changed after it was sealed.
pub fn unseal(text: &str, key: &str, schema: &str) -> Result<Json> {
    let json = Json::parse(text)?;
    if json.need_str("schema")? != schema {
        return Err(Error::data(format!("its schema is not `{schema}`")));
    }
    let Json::Obj(members) = &json else { return Err(Error::data("not a JSON object")) };
    if seal(members.clone(), key) != text {
        return Err(
            Error::data(format!("`{key}` is not the digest of the rest: the file was changed")).help("make it again")
        );
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Memory;

    fn scan(name: &str, dims: Dims) -> Scan {
        Scan { name: name.into(), cell: None, dims, labels: Digest::of(name.as_bytes()) }
    }

    fn making(planes: &[Plane], slices: &str) -> Making {
        let slices = Stride::parse(slices).unwrap();
        Making { planes: planes.to_vec(), slices, size: 4, step: 2, least: 0.2, z: None }
    }

    #[test]
    fn slices_are_counted_as_in_python() {
        let of = |text: &str, n: usize| Stride::parse(text).unwrap().of(n).collect::<Vec<_>>();
        assert_eq!(of("100:-100:10", 230), [100, 110, 120]);
        assert_eq!(of("::2", 5), [0, 2, 4]);
        assert_eq!(of("-3:", 5), [2, 3, 4]);
        assert_eq!(of(":-9", 5), [0usize; 0]);
        assert_eq!(of("3:99", 5), [3, 4]);
        assert_eq!(of("4:2", 5), [0usize; 0]);
        for text in ["", "3", "1:2:0", "1:2:-1", "a:b", "1:2:3:4"] {
            assert!(Stride::parse(text).is_err(), "{text}");
        }
    }

    /// Labels of a pseudo-random half of the voxels.
    fn labels(dims: Dims) -> Vec<f32> {
        (0..dims.voxels()).map(|i| if i * i % 97 < 40 { (i % 5) as f32 } else { 255.0 }).collect()
    }

    #[test]
    fn patches_are_those_of_the_definition_in_every_plane() {
        let dims = Dims::new(9, 10, 11).unwrap();
        let values = labels(dims);
        let memory = Memory::new(dims, values.clone()).unwrap();
        for (least, z) in [(0.2, None), (0.4, None), (0.45, Some(1..8))] {
            let making = Making { least, z: z.clone(), ..making(&VIEWS, "1:-1:3") };
            let list = List::of(&making, &Classes::network(), &[(scan("a", dims), &memory)], &|_, _| ()).unwrap();
            let mut want = Vec::new();
            for plane in VIEWS {
                let d = plane.dims(dims);
                let z = z.clone().unwrap_or(0..9);
                let within = |is: bool, n: usize| if is { z.clone() } else { 0..n };
                let (rows, columns) =
                    (within(matches!(plane, Plane::Xz | Plane::Yz), d.ny), within(plane == Plane::Zy, d.nx));
                for slice in (1..d.nz - 1).step_by(3).filter(|s| plane != Plane::Xy || z.contains(s)) {
                    for row in rows.clone().step_by(2).filter(|r| r + 4 <= rows.end) {
                        for column in columns.clone().step_by(2).filter(|c| c + 4 <= columns.end) {
                            let mut counts = vec![0u64; 5];
                            for (r, c) in (row..row + 4).flat_map(|r| (column..column + 4).map(move |c| (r, c))) {
                                let [x, y, z] = plane.place(slice, r, c);
                                let v = values[(z * 10 + y) * 11 + x];
                                (v != 255.0).then(|| counts[v as usize] += 1);
                            }
                            if counts.iter().sum::<u64>() as f64 / 16.0 > least {
                                want.push(Patch { scan: 0, plane, slice, row, column, labels: counts });
                            }
                        }
                    }
                }
            }
            assert!(want.len() > 10, "{}", want.len());
            assert_eq!(list.patches, want, "{least}");
            // The file says all of it.
            assert_eq!(List::parse(&list.text()).unwrap(), list);
        }
    }

    #[test]
    fn strictly_more_than_the_part_and_nothing_at_all_is_said() {
        let dims = Dims::new(1, 4, 4).unwrap();
        let memory = Memory::new(dims, (0..16).map(|i| if i < 4 { 1.0 } else { 255.0 }).collect()).unwrap();
        let of = |least: f64, size: usize| {
            let making = Making { least, size, ..making(&[Plane::Xy], "::") };
            List::of(&making, &Classes::network(), &[(scan("a", dims), &memory)], &|_, _| ())
        };
        assert_eq!(of(0.24, 4).unwrap().patches.len(), 1);
        let e = of(0.25, 4).unwrap_err().to_string();
        assert!(e.contains("none is labelled enough: the most is 0.2500"), "{e}");
        assert!(of(0.2, 5).unwrap_err().to_string().contains("no square of 5 fits"));
        let twice = [(scan("a", dims), &memory as &dyn Source), (scan("a", dims), &memory as &dyn Source)];
        let list = List::of(&making(&[Plane::Xy], "::"), &Classes::network(), &twice, &|_, _| ());
        assert!(list.unwrap_err().to_string().contains("two scans"));
        let strange = Memory::new(dims, vec![9.0; 16]).unwrap();
        let list =
            List::of(&making(&[Plane::Xy], "::"), &Classes::network(), &[(scan("a", dims), &strange)], &|_, _| ());
        assert!(list.unwrap_err().to_string().contains("label 9 at x 0, y 0, z 0"));
    }

    #[test]
    fn a_changed_list_is_refused() {
        let dims = Dims::new(9, 10, 11).unwrap();
        let memory = Memory::new(dims, labels(dims)).unwrap();
        let list =
            List::of(&making(&[Plane::Xz], "::4"), &Classes::network(), &[(scan("a", dims), &memory)], &|_, _| ());
        let text = list.unwrap().text();
        for (from, to) in [("\"0 xz 0 0 0 ", "\"0 xz 0 0 1 "), ("patches-1", "patches-2"), ("\"a\"", "\"b\"")] {
            assert!(text.contains(from), "{from}");
            assert!(List::parse(&text.replace(from, to)).is_err(), "{from}");
        }
        assert!(List::parse("{}").is_err() && List::parse("").is_err());
        // Sealed anew, and still not one: sides and places beyond what there is.
        for (from, to) in [
            ("\"size\": 4", "\"size\": 100000"),
            ("\"0 xz 0 0 0 ", "\"0 xz 0 0 9 "),
            ("\"0 xz 0 0 0 ", "\"7 xz 0 0 0 "),
        ] {
            assert!(text.contains(from), "{from}");
            let Json::Obj(members) = Json::parse(&text.replace(from, to)).unwrap() else { panic!("an object") };
            assert!(List::parse(&seal(members, SEAL)).unwrap_err().to_string().contains("malformed"), "{to}");
        }
    }
}
