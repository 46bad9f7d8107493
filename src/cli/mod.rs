//! L9. The command line: a tree of commands, their options, and how a result becomes an exit code.
//!
//! - stdout is data, stderr is talk ([`output`]).
//! - An option's value comes from flag > environment `TOMOLITH_*` > `--config FILE` > default, with its origin
//!   ([`options`], [`config`]); `--show-config` prints them.
//! - The options of [`GLOBAL`] work with every command, before or after its name.
//! - Exit codes are those of [`Fault`]: 0 all fine, and 141 when the reader of stdout went away. A panic is our bug:
//!   exit 1 with one line that asks for a report.
//!
//! To add a command: write its file with a [`Command`], and name it in [`COMMANDS`].

use crate::error::{Error, Fault, Result};
use crate::json::Json;
use crate::num::lanes::Isa;
use crate::volume::reader::IoMode;
use clap::error::ErrorKind;
use config::Config;
use options::{Opt, Settings, Takes};
use output::{Loudness, Output, Talk};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

pub mod analyze;
pub mod axis;
pub mod canvas;
pub mod center;
pub mod child;
pub mod config;
pub mod convert;
pub mod demo;
pub mod device;
pub mod doctor;
pub mod fields;
pub mod info;
pub mod labels;
pub mod net;
pub mod open;
pub mod options;
pub mod orient;
pub mod output;
pub mod own;
pub mod passes;
pub mod peek;
pub mod phantom;
pub mod picture;
pub mod plan;
pub mod prepare;
pub mod progress;
pub mod recon;
pub mod reconstruct;
pub mod register;
pub mod report;
pub mod resample;
pub mod run;
pub mod scan;
pub mod seg;
pub mod stats;
pub mod stitch;
pub mod trace;
pub mod values;
pub mod verify;

/// Options of every command.
pub const GLOBAL: &[Opt] = &[
    Opt::new(
        "isa",
        Takes::Value("auto|scalar|avx2|avx512"),
        "Instruction set to compute with; the results are the same",
    )
    .default("auto"),
    Opt::new("threads", Takes::Number("N"), "Threads to compute with; the results are the same").default("auto"),
    Opt::new("io", Takes::Choice(&["mmap", "pread"]), "How volumes are read").default("mmap"),
    Opt::new("quiet", Takes::Switch, "Say nothing but errors").short('q'),
    Opt::new("verbose", Takes::Switch, "Say more").short('v'),
    Opt::new("log-json", Takes::Value("FILE"), "Append notes and progress to FILE, one JSON object per line"),
    Opt::new("status", Takes::Value("FILE.json"), "Keep FILE up to date with how far the job is"),
    Opt::new("config", Takes::Value("FILE.toml"), "Take values from this file where no flag gives one"),
    Opt::new("show-config", Takes::Switch, "Print every value and where it comes from, and do nothing else"),
];

/// All commands, in the order of `--help`.
pub const COMMANDS: &[Command] = &[
    recon::COMMAND,
    plan::COMMAND,
    center::COMMAND,
    stitch::VERTICAL,
    stitch::SIDE,
    orient::COMMAND,
    register::COMMAND,
    resample::COMMAND,
    info::COMMAND,
    verify::COMMAND,
    peek::COMMAND,
    convert::COMMAND,
    phantom::cell::COMMAND,
    phantom::discs::COMMAND,
    net::init::COMMAND,
    net::info::COMMAND,
    net::forward::COMMAND,
    net::step::COMMAND,
    net::train::COMMAND,
    net::audit::COMMAND,
    net::bench::COMMAND,
    net::convert::COMMAND,
    labels::import::COMMAND,
    labels::export::COMMAND,
    labels::inspect::LINT,
    labels::inspect::DIFF,
    labels::inspect::STATS,
    seg::patches::COMMAND,
    seg::split::COMMAND,
    seg::train::COMMAND,
    seg::predict::COMMAND,
    seg::eval::COMMAND,
    seg::merge::COMMAND,
    seg::propose::COMMAND,
    seg::after::COMMAND,
    seg::sheet::COMMAND,
    seg::round::RUN,
    seg::round::REPLAY,
    analyze::COMMAND,
    analyze::evaluate::COMMAND,
    trace::GRIDREC,
    trace::register::COMMAND,
    trace::conv::COMMAND,
    trace::step::COMMAND,
    report::COMMAND,
    run::init::COMMAND,
    run::RUN,
    run::STATUS,
    run::diff::COMMAND,
    demo::COMMAND,
    doctor::COMMAND,
];

/// Commands of two words have a first word; what it is about.
const GROUPS: &[(&str, &str)] = &[
    ("labels", "What somebody said a voxel is: bring it in, look at it, take it out"),
    ("net", "Look at, run, train and audit the network that segments"),
    ("phantom", "Make specimens and scans whose truth is known"),
    ("seg", "From labels to segmented scans"),
    ("stitch", "Join several fields of view"),
    ("trace", "Look inside a method, step by step (for teaching)"),
];

/// Columns of the running text in `--help`.
const PAGE_WIDTH: usize = 100;

/// A command.
pub struct Command {
    /// Its words: `["recon"]`, `["trace", "gridrec"]`.
    pub path: &'static [&'static str],
    /// One line in the list of commands.
    pub about: &'static str,
    /// What a newcomer should know, in its `--help`.
    pub details: &'static str,
    /// Lines to try, in its `--help`.
    pub examples: &'static str,
    /// Its options in groups with headings; commands may share groups.
    pub groups: &'static [(&'static str, &'static [Opt])],
    /// What it does.
    pub run: fn(&Context) -> Result<()>,
}

impl Command {
    /// Its options without the global ones.
    pub fn options(&self) -> Vec<Opt> {
        self.groups.iter().flat_map(|(_, options)| options.iter().copied()).collect()
    }
    /// Its name as typed.
    pub fn name(&self) -> String {
        self.path.join(" ")
    }

    fn to_clap(&self) -> clap::Command {
        let last = self.path.last().copied().unwrap_or_default();
        let mut command = clap::Command::new(last).about(self.about).after_help(format!(
            "{}\n\nExamples:\n{}",
            output::wrap(self.details, PAGE_WIDTH),
            self.examples
        ));
        for (heading, options) in self.groups {
            for option in options.iter() {
                let arg = option.to_clap();
                // An empty heading is clap's own: "Options", or "Arguments" for what has no flag.
                let own = heading.is_empty() || arg.is_positional();
                command = command.arg(if own { arg } else { arg.help_heading(*heading) });
            }
        }
        command
    }
}

/// What a command gets.
pub struct Context {
    /// Its options with their values and origins.
    pub settings: Settings,
    /// Instruction set to compute with.
    pub isa: Isa,
    /// Threads of the pool in which the command runs.
    pub threads: usize,
    /// How volumes are read.
    pub io: IoMode,
    /// stdout.
    pub out: Output,
    /// stderr and the log.
    pub talk: Talk,
    /// The words of the command line, for `NAME.run.json`.
    pub argv: Vec<String>,
    /// What a network ran on, once it does.
    pub device: OnceLock<Json>,
}

impl Context {
    /// What may differ between two runs with the same result: the command line, the origins of values, the machine.
    pub fn run_record(&self) -> Json {
        let text = |s: &str| Json::Str(s.to_string());
        let origins = self.settings.origins();
        let origins = origins
            .iter()
            .map(|(name, value, origin)| (*name, Json::obj([("value", text(value)), ("origin", text(origin))])));
        Json::obj([
            ("command_line", Json::Arr(self.argv.iter().map(|w| text(w)).collect())),
            ("options", Json::obj(origins)),
            ("isa", text(self.isa.name())),
            ("threads", Json::Int(self.threads as i64)),
            ("device", self.device.get().cloned().unwrap_or_else(|| text("cpu"))),
        ])
    }
}

/// Runs the program: the words of the command line, the first being the program, and the environment.
/// Returns the exit code. Never panics.
pub fn main(argv: Vec<OsString>, environment: BTreeMap<OsString, OsString>) -> u8 {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        output::to_stderr(&format!(
            "error: internal error in tomolith {}: {}{place}; this is our bug, please report this line and the command\n",
            env!("CARGO_PKG_VERSION"),
            output::printable(message)
        ));
    }));
    crate::os::install_interrupt_handler();
    guard(|| run(argv, environment))
}

/// Turns a panic, which the hook has reported, into the exit code of a bug.
fn guard(work: impl FnOnce() -> u8) -> u8 {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(Fault::Bug.exit_code())
}

fn run(argv: Vec<OsString>, environment: BTreeMap<OsString, OsString>) -> u8 {
    let matches = match tree().try_get_matches_from(&argv) {
        Ok(matches) => matches,
        Err(e) => return usage(&e),
    };
    let argv = argv.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let (command, settings) = match asked(&matches, &environment) {
        Ok(asked) => asked,
        Err(e) => return report(&e),
    };
    let context = match context(settings, argv) {
        Ok(context) => context,
        Err(e) => return report(&e),
    };
    let work = |context: &Context| match context.settings.is_on("show-config")? {
        true => context.out.text(&context.settings.to_toml(&command.name(), GLOBAL, &command.options())),
        false => (command.run)(context),
    };
    match in_pool(&context, work) {
        Ok(()) => {
            context.talk.status("complete", &[]);
            context.out.exit_code()
        }
        Err(e) => {
            context.talk.error(&e);
            e.fault().exit_code()
        }
    }
}

/// The command that the words of a line name, and its options.
fn asked(
    mut matches: &clap::ArgMatches,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<(&'static Command, Settings)> {
    // Down the tree to the command: every word has been checked by clap.
    let mut words = Vec::new();
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word);
        matches = inner;
    }
    let command = COMMANDS.iter().find(|c| c.path == words.as_slice());
    let command = command.ok_or_else(|| Error::bug(format!("no command '{}'", words.join(" "))))?;
    Ok((command, settings(command, matches, environment)?))
}

/// The options of a command that is given by its words, as it will see them when it runs without an environment.
///
/// # Errors
/// Usage: words that no command takes.
pub fn settings_of(words: &[String]) -> Result<Settings> {
    let line = std::iter::once("tomolith").chain(words.iter().map(String::as_str));
    let matches = tree().try_get_matches_from(line).map_err(|e| Error::usage(e.to_string()))?;
    Ok(asked(&matches, &BTreeMap::new())?.1)
}

fn report(error: &Error) -> u8 {
    output::print_error(error);
    error.fault().exit_code()
}

/// `--help` and `--version` are data and fine; everything else that clap says is a usage error.
fn usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let out = Output::default();
            match out.text(&text) {
                Ok(()) => out.exit_code(),
                Err(e) => report(&e),
            }
        }
        _ => {
            output::to_stderr(&text);
            Fault::Usage.exit_code()
        }
    }
}

/// The tree of commands as clap knows it.
fn tree() -> clap::Command {
    let global = GLOBAL.iter().map(|o| o.to_clap().global(true).help_heading("Options of every command"));
    let mut tree = clap::Command::new("tomolith")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Operando X-ray micro-CT, from raw projections to numbers, the same bits everywhere.")
        .after_help(AFTER_HELP)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(global);
    let mut groups: Vec<clap::Command> = GROUPS
        .iter()
        .filter(|(word, _)| COMMANDS.iter().any(|c| c.path.len() == 2 && c.path[0] == *word))
        .map(|&(word, about)| {
            clap::Command::new(word).about(about).subcommand_required(true).arg_required_else_help(true)
        })
        .collect();
    for command in COMMANDS {
        match groups.iter_mut().find(|g| command.path.len() == 2 && g.get_name() == command.path[0]) {
            Some(group) => *group = std::mem::take(group).subcommand(command.to_clap()),
            None => tree = tree.subcommand(command.to_clap()),
        }
    }
    tree.subcommands(groups)
}

const AFTER_HELP: &str = "\
Start here:
  tomolith doctor                          is this machine fit?
  tomolith demo                            a synthetic cell, from radiographs to a report beside its truth
  tomolith recon tooth.h5 -o out/tooth     a real scan in, slices out
  tomolith verify out                      are the bytes what they were?

Values come from: flag, else environment TOMOLITH_NAME, else --config FILE.toml, else default.
Exit codes: 0 fine · 1 our bug · 2 usage · 3 verify found a difference · 65 bad data · 66 missing file ·
            69 device or feature missing · 73 cannot create · 74 read or write failed · 75 interrupted: run again ·
            77 forbidden path · 141 the reader of the output went away";

/// Resolves every option of `command`.
fn settings(
    command: &Command,
    matches: &clap::ArgMatches,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Settings> {
    let own = command.options();
    let everything: Vec<Opt> = GLOBAL.iter().copied().chain(COMMANDS.iter().flat_map(Command::options)).collect();
    options::check_environment(environment, &everything)?;
    let where_from: Vec<Opt> = GLOBAL.iter().copied().filter(|o| o.name == "config").collect();
    let config = match Settings::resolve(&where_from, matches, environment, None)?.path("config")? {
        Some(path) => Some(Config::read(&path, GLOBAL, COMMANDS, command)?),
        None => None,
    };
    let all: Vec<Opt> = GLOBAL.iter().copied().chain(own).collect();
    Settings::resolve(&all, matches, environment, config.as_ref())
}

fn context(settings: Settings, argv: Vec<String>) -> Result<Context> {
    let loudness = match (settings.is_on("quiet")?, settings.is_on("verbose")?) {
        (true, true) => return Err(Error::usage("--quiet and --verbose exclude each other").help("give one of them")),
        (true, false) => Loudness::Quiet,
        (false, true) => Loudness::Verbose,
        (false, false) => Loudness::Normal,
    };
    // Showing the configuration leaves no trace.
    let shows = settings.is_on("show-config")?;
    let [log, status] = [settings.path("log-json")?, settings.path("status")?].map(|path| path.filter(|_| !shows));
    Ok(Context {
        isa: settings.parsed("isa", Isa::parse)?,
        threads: settings.parsed("threads", values::threads)?,
        io: settings.parsed("io", IoMode::parse)?,
        out: Output::default(),
        talk: Talk::new(loudness, log.as_deref().map(Path::new), status.as_deref())?,
        argv,
        device: OnceLock::new(),
        settings,
    })
}

/// Runs a command inside a pool of its own with the threads asked for: nothing depends on a global pool.
fn in_pool(context: &Context, work: impl Fn(&Context) -> Result<()> + Sync) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads)
        .thread_name(|i| format!("tomolith-{i}"))
        .build()
        .map_err(|e| {
            Error::device(format!("cannot start {} threads: {e}", context.threads))
                .help("ask for fewer with --threads N")
        })?;
    pool.install(|| work(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn a_panic_becomes_the_exit_code_of_a_bug() {
        assert_eq!(guard(|| std::panic::panic_any("on purpose")), 1);
        assert_eq!(guard(|| 0), 0);
    }
}
