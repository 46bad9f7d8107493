//! `tomolith demo --train`: the weights that are shipped, made again.
//!
//! Cells of the seeds [`LEARN`] are learnt from, those of [`VALIDATE`] tell how well, each at five steps, [`scans_of`]; what lithium they lose,
//! and where, is drawn for each: phase scans with the errors of a detector, retrieved and reconstructed by the configuration beside
//! them, about the true axis, against the truth of the scan. From the volumes on it is a round, `training/rounds/weights`, which goes
//! on where it was stopped, and which `seg replay` makes again. No scan of another cell is looked at.

use crate::cli::seg::read_json;
use crate::cli::{Context, child};
use crate::error::{Error, Result};
use crate::exchange::npy::NpyWriter;
use crate::exchange::write_text;
use crate::json::Json;
use crate::os::check_interrupt;
use crate::segment::UNLABELLED;
use crate::volume::reader::{IoMode, Reader, with_suffix};
use crate::volume::{Dims, Dtype, Sink, Source};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

const LEARN: std::ops::RangeInclusive<u32> = 1001..=1016;
const VALIDATE: [u32; 2] = [1017, 1018];
/// What the demo records: a cell that is always where it was, and a wider one that is clamped anew for every scan.
pub const STILL: &str = "--preset tiny --mode radiographs-phase --blind";
/// See [`STILL`].
pub const MOVING: &str = "--preset demo --mode radiographs-phase --blind --warp 0.3";
/// How it is reconstructed: both cells are wider than the detector.
const PADDED: &str = "--padding edge";
/// Rows that the slices of a moving cell lack at their top and bottom, scan by scan: registered volumes end anywhere, too.
const LACKED: [[usize; 2]; 5] = [[0, 9], [12, 0], [6, 18], [18, 4], [3, 14]];
/// The network's classes of the cell's.
const OF_CELL: [u8; 7] = [0, 1, 2, 3, 4, 3, 4];
/// What both trainings have in common: five slices at a time, levels that truncation shifts, a rate that falls to nothing at the last epoch,
/// which is kept.
const HOW: &str = "--grey -0.5,2.2 --dropout 0.1 --batch 8 --schedule cosine --keep last \
                   --augment none,flip-columns=0.5,gain=0.1,offset=0.08,noise=0.03";
/// From scratch; then slowly, rare classes counting more.
const STAGES: [(&str, &str); 2] = [
    ("run", "--channels 16,32,64,64 --context 2 --lr 2e-3 --epochs 7"),
    ("refined", "--weights run/best.safetensors --class-weights 1,3,2,1,1 --lr 4e-4 --epochs 4"),
];

/// Where the labels of a series lie in its slices.
pub struct Geometry {
    /// Columns of the detector, those of a slice.
    pub columns: usize,
    /// Column and row of the first label.
    pub corner: [usize; 2],
    /// Labels along x, y, z.
    pub size: [usize; 3],
}

impl Geometry {
    /// What `series.json` tells.
    pub fn of(series: &Path) -> Result<Geometry> {
        let json = read_json(series)?;
        let geometry = json.need("geometry")?;
        let whole = |key: &str| -> Result<Vec<usize>> {
            Ok(geometry.need_arr(key)?.iter().filter_map(Json::as_u64).map(|n| n as usize).collect())
        };
        match (&whole("box_in_slice_column_row")?[..], &whole("size_xyz")?[..]) {
            (&[x, y], &[nx, ny, nz]) => {
                let columns = geometry.need_u64("columns")? as usize;
                Ok(Geometry { columns, corner: [x, y], size: [nx, ny, nz] })
            }
            _ => Err(Error::data("tells no geometry").at(series)),
        }
    }
}

/// Whether the weights know the cell of a seed.
pub fn knows(seed: u64) -> bool {
    LEARN.chain(VALIDATE).any(|known| u64::from(known) == seed)
}

/// Trains in `folder/training`, or what is left of it; where the weights are.
pub fn weights(c: &Context, folder: &Path, device: &str) -> Result<PathBuf> {
    let folder = folder.join("training");
    std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let (mut imports, mut labels, mut scans) = (String::new(), String::new(), String::new());
    for cell in LEARN.chain(VALIDATE) {
        for at in volumes(c, &folder, cell)? {
            // Names are part of what is drawn.
            let ledger = format!("labels/{}", at.replace('/', "_"));
            let _ = write!(
                imports,
                "[[step]]\nrun = \"labels import ../../{at}/truth.npy --map from-0 --like ../../{at}/slices.mhd -o {ledger}\"\n\
                 makes = \"{ledger}.mhd\"\n"
            );
            let _ = write!(labels, " c{cell}:{at}={ledger}.mhd");
            let _ = write!(scans, " {at}=../../{at}/slices.mhd,{ledger}.mhd");
        }
    }
    let mut round = format!(
        "name = \"weights\"\n{imports}[[step]]\nrun = \"seg patches{labels} --planes xy --slices 4::8 --size 128 --step 64 \
         --least-labelled 0.4 -o patches.json\"\nmakes = \"patches.json\"\n[[step]]\nrun = \"seg split patches.json --by cell \
         --validation {} -o split.json\"\nmakes = \"split.json\"\n",
        VALIDATE.map(|cell| format!("c{cell}")).join(",")
    );
    // The words of a round are part of what it is: strict bits are the same on every device.
    let device = if device == "cpu" { String::new() } else { format!(" --device {device}") };
    for (name, own) in STAGES {
        let _ = write!(
            round,
            "[[step]]\nrun = \"seg train --patches patches.json --split split.json{scans} {HOW} {own}{device} -o {name}\"\n\
             makes = \"{name}/best.safetensors\"\n"
        );
    }
    write_text(&folder.join("weights.toml"), &round, true)?;
    step(c, "seg round weights.toml -o rounds", &folder)?;
    Ok(folder.join("rounds/weights/refined/best.safetensors"))
}

/// A command of the demo in a folder: what it says.
pub fn step(c: &Context, words: &str, folder: &Path) -> Result<String> {
    check_interrupt()?;
    c.talk.note(format!("tomolith {words}"));
    let words: Vec<String> = words.split(' ').map(String::from).collect();
    child::run(c, &words, Some(folder))
}

/// Of the 25 scans of a cell every fifth, from that of its seed modulo five on: five cells of seeds in a row show all 25.
fn scans_of(cell: u32) -> [usize; 5] {
    [0, 5, 10, 15, 20].map(|k| k + cell as usize % 5)
}

/// Scans of a cell, reconstructed, and their truth on the grid of the slices; the folders in which they are.
fn volumes(c: &Context, folder: &Path, cell: u32) -> Result<Vec<String>> {
    let (home, is_still) = (folder.join(format!("c{cell}")), cell.is_multiple_of(2));
    if !home.join("series.json").is_file() {
        let only = scans_of(cell).map(|k| k.to_string()).join(",");
        let what = if is_still { STILL } else { MOVING };
        step(c, &format!("phantom cell -o c{cell} {what} --only {only} --seed {cell}"), folder)?;
    }
    let geometry = Geometry::of(&home.join("series.json"))?;
    let truth = home.join("truth/truth.json");
    let json = read_json(&truth)?;
    let mut names = Vec::new();
    for (own, lacked) in json.need_arr("steps")?.iter().zip(LACKED) {
        let k = own.need("step")?.need_u64("step")?;
        let name = format!("step_{k:02}");
        let there = home.join(&name);
        let [top, bottom] = if is_still { [0, 0] } else { lacked };
        let rows = top..geometry.columns - bottom;
        if !with_suffix(&there.join("slices"), ".json").is_file() {
            let axis = own.need_arr("fields")?.first().ok_or_else(|| Error::bug("a scan without fields"))?;
            let axis = axis.need_f64("axis_pixel")?;
            let crop = format!("--crop y={}:{}", rows.start, rows.end);
            step(c, &format!("recon --config scan_phase.toml {PADDED} {crop} --center {axis} -o slices"), &there)?;
        }
        if !there.join("truth.npy").is_file() {
            truth_of(&geometry, rows, &home.join(format!("truth/{name}/label_scan.mhd")), &there.join("truth.npy"))?;
        }
        names.push(format!("c{cell}/{name}"));
    }
    Ok(names)
}

/// The network's classes of a scan on the grid of its slices, of which there are the rows `kept`, nothing known around the box of
/// its labels.
fn truth_of(g: &Geometry, kept: Range<usize>, labels: &Path, to: &Path) -> Result<()> {
    let (source, [x, y], n) = (Reader::open(labels, IoMode::Pread)?, g.corner, g.columns);
    let Dims { nz, ny, nx } = source.dims();
    // A slice has its axis in the middle, and the box of labels about it.
    if g.size != [nx, ny, nz] || x.checked_add(nx).is_none_or(|e| e > n) || y.checked_add(ny).is_none_or(|e| e > n) {
        return Err(Error::data("does not lie in its slices as series.json says").at(labels));
    }
    let mut writer = NpyWriter::create(to, Dims::new(nz, kept.len(), n)?, Dtype::U8, false)?;
    let mut own = vec![0f32; nx * ny];
    for z in 0..nz {
        source.read(z..z + 1, 0..ny, &mut own)?;
        let mut slice = vec![f32::from(UNLABELLED); n * n];
        for (row, classes) in own.chunks_exact(nx).enumerate() {
            for (to, &class) in slice[(y + row) * n + x..][..nx].iter_mut().zip(classes) {
                let class = OF_CELL.get(class as usize);
                *to = f32::from(*class.ok_or_else(|| Error::data("a class that no cell has").at(labels))?);
            }
        }
        writer.write(&slice[kept.start * n..kept.end * n])?;
    }
    writer.finish()
}
