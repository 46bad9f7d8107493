//! The cells: radiographs, reconstructions, truth and what somebody drew; and whether they are what the test says.

use super::report::Table;
use super::{Place, Role, Setting};
use crate::common::{axis_of, npy_of};
use std::collections::BTreeMap;

/// Classes of the network, and the label of a voxel that nobody labelled.
pub(crate) const CLASSES: [&str; 5] = ["background", "dendrite", "pit", "deposited", "electrode"];
pub(crate) const NONE: u8 = 255;
/// Of the cell's labels: background, dendrite, pit, deposited, plating, redeposited, stripping.
const OF_CELL: [u8; 7] = [0, 1, 2, 3, 4, 3, 4];
const PIT: u8 = 2;
const PLATING: u8 = 4;
const STRIPPING: u8 = 6;
/// Voxels of a class are pure that are so far from another.
const PURE: usize = 3;
/// Contrast to noise of a scan, at most.
const MOST_CONTRAST: f64 = 2.0;
/// Scans that registration brings onto another, one part of so many at least.
const REGISTERED: usize = 3;
/// Dendrites smaller than this, voxels, are not counted.
const LEAST_DENDRITE: usize = 100;

/// A scan: the classes that are there, and those that somebody drew.
pub(crate) struct Scan {
    pub(crate) name: String,
    pub(crate) cell: u32,
    pub(crate) role: Role,
    /// Contrast to noise of lithium and void, of lithium and electrolyte.
    pub(crate) contrast: [f64; 2],
    pub(crate) truth: Vec<u8>,
    pub(crate) drawn: Vec<u8>,
    pub(crate) dendrites: usize,
}

impl Scan {
    /// Its grey values.
    pub(crate) fn grey(&self) -> String {
        format!("scans/{}.npy", self.name)
    }
    pub(crate) fn truth_file(&self) -> String {
        format!("scans/{}.truth.npy", self.name)
    }
}

/// Makes what is not there.
pub(crate) fn make(s: &Setting, place: &Place, table: &mut Table) -> Vec<Scan> {
    let (mut scans, mut registered) = (Vec::new(), [0; 2]);
    for &(seed, steps, role) in s.cells {
        let (of_cell, brought) = cell(s, place, seed, steps, role);
        registered = [registered[0] + brought[0], registered[1] + brought[1]];
        scans.extend(of_cell);
    }
    let [brought, of] = registered;
    table.note(format!("registered: {brought} of {of} scans that have another to be brought onto"));
    assert!(REGISTERED * brought >= of, "{brought} of {of} scans registered");
    scans
}

/// Scans of a cell; how many were registered, of how many.
fn cell(s: &Setting, place: &Place, seed: u32, steps: &[usize], role: Role) -> (Vec<Scan>, [usize; 2]) {
    let only = steps.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let cell = format!("cells/c{seed}");
    place.step(
        &format!("cell_{seed}"),
        &format!(
            "phantom cell -q -o {cell} --preset {} --mode {} --dose {} --projections {} --annotate dense --only {only} \
             --seed {seed}",
            s.preset, s.scans[0], s.dose, s.views
        ),
    );
    let name = |step: usize| format!("c{seed}_{step:02}");
    for &step in steps {
        // As from an alignment scan: at this noise opposite views are alike by less than a half.
        let axis = axis_of(&place.at(&cell), step);
        place.step_in(
            &format!("{cell}/step_{step:02}"),
            &format!("recon_{}", name(step)),
            &format!("recon -q --config {} --center {axis} -o slices", s.scans[1]),
        );
    }
    let brought = register(s, place, &cell, steps);
    (steps.iter().map(|&step| open(s, place, &cell, (seed, role), step, name(step))).collect(), brought)
}

/// Brings the scans of a cell onto the grid of its last one, by an electrode, and what is true and drawn of them through the
/// same motion: what somebody labels is what registration gives. Cells of one scan, and those too thin, stay; and so does a
/// scan that registration refuses, which at this noise happens. How many were brought, of how many.
fn register(s: &Setting, place: &Place, cell: &str, steps: &[usize]) -> [usize; 2] {
    let (Some((last, others)), Some(bodies)) = (steps.split_last(), s.bodies) else { return [0; 2] };
    let of = |step: &usize| format!("{cell}/step_{step:02}/slices.mhd");
    let short = cell.trim_start_matches("cells/");
    let ([nx, ny, nz], n) = (s.size, s.columns);
    let mut brought = 0;
    for step in others {
        let (to, fixed) = (format!("{cell}/registered_{step:02}"), of(last));
        let words =
            format!("register -q --fixed {fixed} --moving {} {bodies} --capture 40 --crop fixed -o {to}", of(step));
        if !place.may(&format!("register_{short}_{step:02}"), &words) {
            continue;
        }
        brought += 1;
        for (what, file) in
            [("truth", format!("truth/step_{step:02}/label_scan.raw")), ("drawn", format!("step_{step:02}/drawn.raw"))]
        {
            let small = std::fs::read(place.at(format!("{cell}/{file}"))).unwrap();
            // In the whole slice, nothing known around.
            let mut whole = vec![NONE; n * n * nz];
            for (i, row) in small.chunks_exact(nx).enumerate() {
                let at = ((i / ny) * n + (n - ny) / 2 + i % ny) * n + (n - nx) / 2;
                whole[at..at + nx].copy_from_slice(row);
            }
            let (from, done) = (format!("{to}/{what}.npy"), format!("{to}/{what}_moved"));
            if !place.has(format!("{done}.json")) {
                place.write(&from, npy_of("|u1", &[nz, n, n], &whole));
            }
            place.step(
                &format!("resample_{short}_{step:02}_{what}"),
                &format!(
                    "resample -q {from} --transform {to}/slices.transform.json --like {fixed} --interpolation nearest -o {done}"
                ),
            );
        }
    }
    [brought, others.len()]
}

/// A volume's bytes, its box of labels alone; as bytes where it is numbers.
fn boxed(s: &Setting, whole: &[u8], width: usize) -> Vec<u8> {
    let ([nx, ny, nz], n) = (s.size, s.columns);
    let (left, top) = ((n - nx) / 2, (n - ny) / 2);
    assert_eq!(whole.len(), width * n * n * nz);
    let rows = (0..nz * ny).flat_map(|i| {
        let at = width * (((i / ny) * n + top + i % ny) * n + left);
        &whole[at..at + width * nx]
    });
    rows.copied().collect()
}

fn open(s: &Setting, place: &Place, folder: &str, (seed, role): (u32, Role), step: usize, name: String) -> Scan {
    let [nx, ny, nz] = s.size;
    let read = |file: &str| std::fs::read(place.at(format!("{folder}/{file}"))).unwrap();
    let moved = format!("registered_{step:02}");
    let (cell, drawn, slices) = if place.has(format!("{folder}/{moved}/drawn_moved.json")) {
        // Where nothing was seen nothing is known.
        let through = |what: &str| {
            let at = format!("{moved}/{what}_moved");
            let mut labels = boxed(s, &read(&format!("{at}.raw")), 1);
            let mask = boxed(s, &read(&format!("{at}.mask.raw")), 1);
            labels.iter_mut().zip(mask).filter(|(_, seen)| *seen == 0).for_each(|(label, _)| *label = NONE);
            labels
        };
        (through("truth"), through("drawn"), format!("{moved}/slices.raw"))
    } else {
        let at = format!("step_{step:02}");
        (read(&format!("truth/{at}/label_scan.raw")), read(&format!("{at}/drawn.raw")), format!("{at}/slices.raw"))
    };
    assert!(cell.len() == nx * ny * nz && drawn.len() == cell.len(), "{name}");
    let truth: Vec<u8> = cell.iter().map(|&l| if l == NONE { NONE } else { OF_CELL[usize::from(l)] }).collect();
    let shape = [nz, ny, nx];
    let grey_file = format!("scans/{name}.npy");
    if !place.has(&grey_file) {
        // The box of the labels in the square of the slices.
        let grey = boxed(s, &read(&slices), 4);
        place.write(format!("scans/{name}.truth.npy"), npy_of("|u1", &shape, &truth));
        place.write(format!("scans/{name}.drawn.npy"), npy_of("|u1", &shape, &drawn));
        let kept = truth.iter().enumerate().map(|(i, _)| u8::from((i / (nx * ny)).is_multiple_of(s.every)));
        place.write("scans/mask.npy", npy_of("|u1", &shape, &kept.collect::<Vec<_>>()));
        place.write(&grey_file, npy_of("<f4", &shape, &grey));
    }
    let grey = std::fs::read(place.at(&grey_file)).unwrap();
    let values = grey[grey.len() - 4 * nx * ny * nz..].as_chunks::<4>().0;
    let grey: Vec<f32> = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let contrast = contrast(s, &cell, &grey);
    let dendrites = if role == Role::Test { dendrites(s.size, &truth) } else { 0 };
    Scan { name, cell: seed, role, contrast, truth, drawn, dendrites }
}

/// |µ(Li) − µ(other)| over the root mean square of the two standard deviations, of single voxels within a scan: noise, rings,
/// streaks and what is left of fringes. Pits are the void; not a number where a scan has no pure voxel of one.
fn contrast(s: &Setting, cell: &[u8], grey: &[f32]) -> [f64; 2] {
    let [nx, ny, nz] = s.size;
    let at = |x: usize, y: usize, z: usize| (z * ny + y) * nx + x;
    // Rows from the last of the plating to the first of the stripping electrode are electrolyte where they are background.
    let rows_of = |class: u8| (0..ny).filter(move |&y| (0..nx).any(|x| cell[at(x, y, nz / 2)] == class));
    let (first, last) = (rows_of(PLATING).next_back().unwrap_or(0), rows_of(STRIPPING).next().unwrap_or(ny));
    let mut sums = [[0.0f64; 3]; 3];
    for (z, y, x) in
        (PURE..nz - PURE).flat_map(|z| (PURE..ny - PURE).flat_map(move |y| (PURE..nx - PURE).map(move |x| (z, y, x))))
    {
        let class = cell[at(x, y, z)];
        let which = match class {
            PLATING | STRIPPING => 0,
            // Away from what grows: the middle of the electrolyte.
            0 if y > first + 3 * (last - first) / 8 && y < first + 5 * (last - first) / 8 => 1,
            PIT => 2,
            _ => continue,
        };
        let near = [at(x - PURE, y, z), at(x + PURE, y, z), at(x, y - PURE, z), at(x, y + PURE, z)];
        let near = near.into_iter().chain([at(x, y, z - PURE), at(x, y, z + PURE)]);
        if near.into_iter().all(|i| cell[i] == class) {
            let v = f64::from(grey[at(x, y, z)]);
            sums[which][0] += 1.0;
            sums[which][1] += v;
            sums[which][2] += v * v;
        }
    }
    let [lithium, electrolyte, void] = sums.map(|[n, sum, squares]| (sum / n, squares / n - (sum / n) * (sum / n)));
    [void, electrolyte].map(|(mean, of)| (mean - lithium.0).abs() / ((lithium.1 + of) / 2.0).sqrt())
}

/// Pieces of dendrite that hang together over faces, edges and corners.
fn dendrites([nx, ny, nz]: [usize; 3], truth: &[u8]) -> usize {
    let mut open: Vec<bool> = truth.iter().map(|&t| t == 1).collect();
    let mut found = 0;
    for start in 0..open.len() {
        if !open[start] {
            continue;
        }
        open[start] = false;
        let mut stack = vec![start];
        let mut size = 0;
        while let Some(i) = stack.pop() {
            size += 1;
            let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
            for (z, y, x) in (z.saturating_sub(1)..(z + 2).min(nz)).flat_map(|z| {
                (y.saturating_sub(1)..(y + 2).min(ny))
                    .flat_map(move |y| (x.saturating_sub(1)..(x + 2).min(nx)).map(move |x| (z, y, x)))
            }) {
                let j = (z * ny + y) * nx + x;
                if open[j] {
                    open[j] = false;
                    stack.push(j);
                }
            }
        }
        found += usize::from(size >= LEAST_DENDRITE);
    }
    found
}

/// Whether the cells are what the test says: contrast to noise, dendrites.
pub(crate) fn check(s: &Setting, place: &Place, scans: &[Scan], table: &mut Table) {
    let mut lines = String::from("scan,role,cnr_lithium_void,cnr_lithium_electrolyte,dendrites\n");
    let mut means = [(0.0, 0.0); 2];
    for scan in scans {
        let [void, electrolyte] = scan.contrast;
        lines += &format!("{},{:?},{void:.3},{electrolyte:.3},{}\n", scan.name, scan.role, scan.dendrites);
        // Without a voxel that is far enough from all others there is none.
        for (sum, contrast) in means.iter_mut().zip(scan.contrast).filter(|(_, c)| !c.is_nan()) {
            *sum = (sum.0 + contrast, sum.1 + 1.0);
        }
        let most = scan.contrast.into_iter().fold(0.0, f64::max);
        assert!(most <= MOST_CONTRAST && !electrolyte.is_nan(), "{}: contrast to noise {:?}", scan.name, scan.contrast);
    }
    let means = means.map(|(sum, n)| sum / n);
    place.write("cells.csv", &lines);
    // One and the same dendrite is in two scans of a cell: the scan with most of them counts.
    let mut most = BTreeMap::new();
    for scan in scans.iter().filter(|scan| scan.role == Role::Test) {
        let n = most.entry(scan.cell).or_insert(0);
        *n = scan.dendrites.max(*n);
    }
    let dendrites: usize = most.values().sum();
    assert!(dendrites >= s.dendrites, "{dendrites} dendrites in the test cells, {} are wanted", s.dendrites);
    table.note(format!(
        "contrast to noise in the mean: lithium and void {:.2}, and electrolyte {:.2}",
        means[0], means[1]
    ));
    table.note(format!("{lines}{dendrites} dendrites of at least {LEAST_DENDRITE} voxels in the test cells"));
}
