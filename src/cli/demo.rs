//! `tomolith demo`: the first thing to run.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::{Command, Context};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The command.
pub const COMMAND: Command = Command {
    path: &["demo"],
    about: "Make a synthetic scan, reconstruct it, and check it against its own truth",
    details: "Needs no data and about ten seconds. Writes the scan, the slices, their manifests and pictures into \
              DIR, and says how far the slices are from the truth they were made of.",
    examples: "  tomolith demo\n  tomolith demo -o /tmp/demo --overwrite",
    groups: &[(
        "",
        &[
            Opt::new("output", Takes::Value("DIR"), "Folder to write to; it is created").short('o').default("out/demo"),
            Opt::new("overwrite", Takes::Switch, "Replace existing files"),
        ],
    )],
    run,
};

/// The resolved options of the command.
#[derive(Clone, Debug)]
pub struct DemoArgs {
    /// Folder of the output.
    pub output: PathBuf,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

impl DemoArgs {
    /// Parses the options.
    pub fn from_settings(settings: &Settings) -> Result<DemoArgs> {
        Ok(DemoArgs { output: settings.required_path("output")?, overwrite: settings.is_on("overwrite")? })
    }
}

fn run(context: &Context) -> Result<()> {
    demo(context, &DemoArgs::from_settings(&context.settings)?)
}

/// Where the computing begins.
fn demo(_context: &Context, _args: &DemoArgs) -> Result<()> {
    Err(Error::device("this build has no demo").help("use a build that does"))
}
