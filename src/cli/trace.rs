//! `tomolith trace gridrec`: every intermediate of one slice, for teaching.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::scan::{METHOD_OPTIONS, OpenScan, SCAN_OPTIONS, ScanArgs};
use crate::cli::values::{self, Rows};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The command.
pub const GRIDREC: Command = Command {
    path: &["trace", "gridrec"],
    about: "Reconstruct one slice by gridrec and keep every step as picture and array",
    details: "Writes into DIR the filter, a padded row, its spectrum, the gridding weights, the grid, its inverse and \
              the deapodised slice, each as .png and .npy, and prints the error of each step against its naive \
              definition. Without SCAN it takes a small phantom made on the spot.",
    examples: "  tomolith trace gridrec -o steps\n  tomolith trace gridrec tooth.h5 --row 1 --filter ramlak -o steps",
    groups: &[
        (
            "",
            &[
                Opt::new("scan", Takes::Argument("SCAN"), "The scan: .h5, .npy, .mhd [default: a phantom]"),
                Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o'),
                Opt::new("row", Takes::Number("K"), "Detector row, the first being 0 [default: the middle one]"),
                Opt::new("overwrite", Takes::Switch, "Replace existing files"),
            ],
        ),
        ("The scan", SCAN_OPTIONS),
        ("The method", METHOD_OPTIONS),
    ],
    run,
};

/// The resolved options of the command.
#[derive(Clone, Debug)]
pub struct TraceArgs {
    /// The scan, a phantom if `None`.
    pub scan: Option<PathBuf>,
    /// Folder of the output.
    pub output: PathBuf,
    /// Detector row, the middle one if `None`.
    pub row: Option<usize>,
    /// What the scan is and how to reconstruct it.
    pub how: ScanArgs,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

impl TraceArgs {
    /// Parses the options; opens nothing.
    pub fn from_settings(settings: &Settings) -> Result<TraceArgs> {
        Ok(TraceArgs {
            scan: settings.path("scan")?,
            output: settings.required_path("output")?,
            row: settings.parse("row", values::index)?,
            how: ScanArgs::from_settings(settings, "gridrec")?,
            overwrite: settings.is_on("overwrite")?,
        })
    }
}

fn run(context: &Context) -> Result<()> {
    let args = TraceArgs::from_settings(&context.settings)?;
    let scan = match &args.scan {
        Some(path) => {
            let row = args.row.map(|row| Rows::parse(&format!("{row}:{}", row.saturating_add(1)))).transpose()?;
            Some(args.how.open(path, row, context)?)
        }
        None => None,
    };
    trace(context, &args, scan)
}

/// Where the computing begins. Without a row the scan's middle one is meant.
fn trace(_context: &Context, _args: &TraceArgs, _scan: Option<OpenScan>) -> Result<()> {
    Err(Error::device("this build does not trace gridrec").help("use a build that does"))
}
