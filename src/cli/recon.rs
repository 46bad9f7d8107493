//! `tomolith recon`: a scan in, attenuation slices out.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::prepare::{PREPARE_OPTIONS, PrepareArgs};
use crate::cli::reconstruct;
use crate::cli::scan::{METHOD_OPTIONS, SCAN_OPTIONS, ScanArgs};
use crate::cli::values::{self, Rows};
use crate::cli::{Command, Context, fields, stitch};
use crate::error::{Error, Result};
use crate::json::Json;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Its options, which `plan` has, too.
pub const GROUPS: &[(&str, &[Opt])] = &[
    (
        "",
        &[
            Opt::new(
                "scan",
                Takes::Argument("SCAN"),
                "The scan: .h5, .nxs, .tiff, a folder of .tiff, .mrc, .npy, .mhd",
            ),
            Opt::new("output", Takes::Value("DIR/NAME"), "Where to write, without extension; DIR is created")
                .short('o'),
            Opt::new("rows", Takes::Number("A:B"), "Detector rows A to B, B not included [default: all]"),
            Opt::new(
                "crop",
                Takes::Value("BOX"),
                "Write this part of each slice only, such as x=100:500,y=0:700: where the sample is (the picture shows all) [default: all]",
            ),
            Opt::new("slab", Takes::Number("N"), "Slices computed and written at a time; the results are the same"),
            Opt::new(
                "memory",
                Takes::Number("SIZE|auto"),
                "Stay within this much memory, such as 4GiB; the results are the same",
            )
            .default("auto"),
            Opt::new(
                "keep-intermediate",
                Takes::Switch,
                "Keep what lies between: NAME.sinograms, NAME.retrieved, NAME.unpacked, NAME.field0 ..., NAME.joined",
            ),
            Opt::new("overwrite", Takes::Switch, "Replace an existing output"),
        ],
    ),
    (
        "Fields of view above one another",
        &[
            Opt::new(
                "fields",
                Takes::Value("SCAN,SCAN"),
                "The scans above SCAN, from the lowest up: one volume of all. --center, --theta, --flats and --darks may then list one value for each",
            ),
            stitch::OFFSET,
            stitch::STEP,
            stitch::SEARCH,
        ],
    ),
    ("The scan", SCAN_OPTIONS),
    ("Before", PREPARE_OPTIONS),
    (
        "The method",
        &[Opt::new(
            "algorithm",
            Takes::Choice(&["gridrec", "gridrec-compat", "fbp"]),
            "gridrec is fast and right, gridrec-compat is TomoPy's to the digit, fbp is slow and exact",
        )
        .default("gridrec")],
    ),
    ("The method", METHOD_OPTIONS),
];

/// The command.
pub const COMMAND: Command = Command {
    path: &["recon"],
    about: "Reconstruct a scan: projections in, attenuation slices out",
    details: "SCAN is an HDF5 file (Data Exchange, NXtomo) with its flats, darks and angles, or a stack of projections \
              (theta, row, column) with --flats, --darks and --theta: a TIFF file, a folder of them or a pattern in quotes, \
              MRC, .npy, a native volume, or FILE.h5:/path/to/data. Written are NAME.raw \
              with its headers NAME.mhd and NAME.nhdr, the manifest NAME.json, NAME.run.json, and a picture of the \
              middle slice, NAME.png, which appears first. An interrupted run goes on where it stopped: run the same \
              command again. Values are attenuation per pixel, or 1/cm when the pixel size is known.",
    examples: "  tomolith recon tooth.h5 -o out/tooth\n  \
               tomolith recon tooth.h5 -o out/tooth_hann --filter hann --rows 0:1 --pixel 1.33um\n  \
               tomolith recon low.nxs --fields mid.nxs,high.nxs --offset 1900 -o out/all\n  \
               tomolith recon proj.npy --flats flats.npy --darks darks.npy --theta theta.txt --theta-unit deg -o out/scan\n  \
               tomolith recon --config scan.toml --show-config",
    groups: GROUPS,
    run,
};

/// The resolved options of the command.
#[derive(Clone, Debug)]
pub struct ReconArgs {
    /// The scan.
    pub scan: PathBuf,
    /// Folder and name of the output, without extension.
    pub output: PathBuf,
    /// What the scan is and how to reconstruct it.
    pub how: ScanArgs,
    /// Detector rows, all if `None`.
    pub rows: Option<Rows>,
    /// Slices at a time, 16 if `None`.
    pub slab: Option<usize>,
    /// Bytes of memory to stay within, what is free if `None`.
    pub memory: Option<u64>,
    /// What of each slice is written: its text, and columns and rows, to the end of the slice where none is given.
    pub crop: Option<(String, [Range<usize>; 2])>,
    /// Whether what lies between passes stays on disk.
    pub keep: bool,
    /// Whether an existing output may be replaced.
    pub overwrite: bool,
    /// What it is for.
    pub role: Role,
    /// Of fields that were joined before: how, and what was counted on the way.
    pub joined: Option<[Json; 2]>,
}

/// What a reconstruction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Itself.
    Whole,
    /// A part of a greater output: what this very job has finished already is taken as it is.
    Part,
    /// A field that is joined with others before the phase is retrieved: it ends as transmissions.
    Joined,
}

impl ReconArgs {
    /// Parses the options; opens nothing.
    pub fn from_settings(settings: &Settings) -> Result<ReconArgs> {
        let output = settings.required_path("output")?;
        check_base(&output).map_err(|e| settings.blame("output", e))?;
        ReconArgs::of(settings, output)
    }

    /// The options for the output `output`.
    pub fn of(settings: &Settings, output: PathBuf) -> Result<ReconArgs> {
        for name in ["offset", "step", "search"] {
            if settings.is_given(name)? && !settings.is_given("fields")? {
                return Err(Error::usage(format!("--{name} without --fields")).help("name the scans above SCAN"));
            }
        }
        Ok(ReconArgs {
            scan: settings.required_path("scan")?,
            output,
            how: ScanArgs {
                prepare: PrepareArgs::from_settings(settings)?,
                ..ScanArgs::from_settings(settings, settings.text("algorithm")?.unwrap_or_default())?
            },
            rows: settings.parse("rows", Rows::parse)?,
            slab: settings.parse("slab", values::count)?,
            memory: settings
                .parse("memory", |text| if text == "auto" { Ok(0) } else { values::bytes(text) })?
                .filter(|&m| m > 0),
            crop: settings.parse("crop", crop)?,
            keep: settings.is_on("keep-intermediate")?,
            overwrite: settings.is_on("overwrite")?,
            role: Role::Whole,
            joined: None,
        })
    }
}

impl ReconArgs {
    /// Columns and rows of an n × n slice that are written.
    ///
    /// # Errors
    /// Usage: what no slice has.
    pub fn cropped(&self, n: usize) -> Result<[Range<usize>; 2]> {
        let Some((text, box_of)) = &self.crop else { return Ok([0..n, 0..n]) };
        let own = box_of.clone().map(|r| r.start..if r.end == usize::MAX { n } else { r.end });
        match own.iter().all(|r| !r.is_empty() && r.end <= n) {
            true => Ok(own),
            false => Err(Error::usage(format!("--crop {text}: slices have {n} columns and rows"))
                .help("write ranges within them, the end not included")),
        }
    }
}

/// A box of slices of any size.
fn crop(text: &str) -> Result<(String, [Range<usize>; 2])> {
    let all = 0..usize::MAX;
    let [x, y, z] = values::along_axes(text, &[all.clone(), all.clone(), all.clone()])?;
    if z != all {
        return Err(Error::usage("slices are chosen by rows of the detector").help("write --rows A:B"));
    }
    match x.is_empty() || y.is_empty() {
        false => Ok((text.to_string(), [x, y])),
        true => Err(Error::usage(format!("'{text}' holds nothing")).help("write ranges, the end not included")),
    }
}

/// An output is `DIR/NAME`: a name, and none of our extensions, which are added.
pub fn check_base(base: &Path) -> Result<()> {
    const OURS: [&str; 6] = ["raw", "mhd", "nhdr", "json", "png", "part"];
    let text = base.to_string_lossy();
    if base.file_name().is_none() || text.ends_with('/') {
        return Err(Error::usage(format!("'{text}' names no file")).help("write DIR/NAME, such as out/tooth"));
    }
    if let Some(extension) = base.extension().and_then(|e| e.to_str()).filter(|e| OURS.contains(e)) {
        let bare = base.with_extension("");
        return Err(Error::usage(format!("'{text}' has the extension .{extension}"))
            .help(format!("extensions are added: write {}", bare.display())));
    }
    Ok(())
}

fn run(context: &Context) -> Result<()> {
    if let Some(above) = context.settings.text("fields")? {
        return fields::run(context, above);
    }
    let args = ReconArgs::from_settings(&context.settings)?;
    let scan = args.how.open(&args.scan, args.rows, context)?;
    let manifest = reconstruct::run(context, &args, scan)?;
    context.out.line(reconstruct::summary(&args.output, &manifest)?)
}
