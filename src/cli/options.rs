//! One table of options per command: it makes the flags and `--help`, the keys of the configuration file, and the
//! `TOMOLITH_*` environment variables, so that the three cannot drift apart.
//!
//! A value comes from, in this order: **flag > environment > configuration file > default**. Where it came from is
//! kept beside it ([`Origin`]), for `--show-config`, for error messages and for `NAME.run.json`.
//! This is the only place of the program that reads environment variables.

use crate::cli::config::Config;
use crate::cli::output::wrap;
use crate::error::{Error, Result, nearest};
use clap::{Arg, ArgAction, ArgMatches, builder::OsStringValueParser};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Every environment variable of the program starts with this.
pub const ENVIRONMENT_PREFIX: &str = "TOMOLITH_";

/// Columns of the explanation of an option in `--help`.
const HELP_WIDTH: usize = 72;

/// Variables that begin like ours and belong to the test suite and the benches, not to the program.
const FOREIGN_ENVIRONMENT: [&str; 3] = ["TOMOLITH_TEST_", "TOMOLITH_REQUIRE_", "TOMOLITH_BENCH_"];

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// Nothing: it is there or not. In files and variables `true` or `false`.
    Switch,
    /// One value, shown by this name in `--help`.
    Value(&'static str),
    /// One value that may begin with a minus sign.
    Number(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One value without a flag: a positional argument.
    Argument(&'static str),
    /// One or more values without a flag.
    Arguments(&'static str),
}

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Its name: `--name`, the key `name` in a configuration file, the variable `TOMOLITH_NAME`.
    pub name: &'static str,
    /// Its one-letter flag.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
    /// Its value when nobody gives one.
    pub default: Option<&'static str>,
    /// The line in `--help`.
    pub help: &'static str,
}

impl Opt {
    /// An option without a one-letter flag and without a default.
    pub const fn new(name: &'static str, takes: Takes, help: &'static str) -> Opt {
        Opt { name, short: None, takes, default: None, help }
    }
    /// Adds a one-letter flag.
    pub const fn short(mut self, short: char) -> Opt {
        self.short = Some(short);
        self
    }
    /// Adds a default.
    pub const fn default(mut self, value: &'static str) -> Opt {
        self.default = Some(value);
        self
    }
    /// Name of its environment variable: `filter-par` becomes `TOMOLITH_FILTER_PAR`.
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.to_uppercase().replace('-', "_"))
    }
    /// Whether it can stand in the environment: positional arguments cannot.
    fn has_variable(&self) -> bool {
        !matches!(self.takes, Takes::Argument(_) | Takes::Arguments(_)) && !self.is_about_the_call()
    }
    /// Options that say how to find the others and so cannot stand in a configuration file.
    pub fn is_about_the_call(&self) -> bool {
        matches!(self.name, "config" | "show-config")
    }

    /// The option as clap knows it. Values stay unparsed: they are checked later, wherever they come from.
    pub fn to_clap(self) -> Arg {
        let mut help = self.help.to_string();
        if let Takes::Choice(words) = self.takes {
            help += &format!(" [one of: {}]", words.join(", "));
        }
        if let Some(default) = self.default {
            help += &format!(" [default: {default}]");
        }
        let arg = Arg::new(self.name).help(wrap(&help, HELP_WIDTH));
        let arg = match self.takes {
            Takes::Argument(value) | Takes::Arguments(value) => arg.value_name(value),
            _ => arg.long(self.name),
        };
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        match self.takes {
            Takes::Switch => arg.action(ArgAction::SetTrue),
            Takes::Value(value) => arg.value_name(value).value_parser(OsStringValueParser::new()),
            Takes::Number(value) => {
                arg.value_name(value).value_parser(OsStringValueParser::new()).allow_hyphen_values(true)
            }
            Takes::Choice(_) => arg.value_name("NAME").value_parser(OsStringValueParser::new()),
            Takes::Argument(_) => arg.value_parser(OsStringValueParser::new()),
            Takes::Arguments(_) => arg.value_parser(OsStringValueParser::new()).num_args(0..),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(String),
    /// A configuration file and the line in it.
    Config(PathBuf, usize),
    /// The built-in default, or nothing at all.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Flag => write!(f, "command line"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Config(file, line) => write!(f, "{} line {line}", file.display()),
            Origin::Default => write!(f, "default"),
        }
    }
}

/// An option with its resolved value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The option.
    pub option: Opt,
    /// Its values: none when unset, several only for [`Takes::Arguments`].
    pub values: Vec<OsString>,
    /// Where they come from.
    pub origin: Origin,
}

impl Setting {
    /// How an error names it: the flag as typed, and the source when it was not typed.
    fn label(&self) -> String {
        let name = match self.option.takes {
            Takes::Argument(name) | Takes::Arguments(name) => name.to_string(),
            _ => format!("--{}", self.option.name),
        };
        match &self.origin {
            Origin::Flag | Origin::Default => name,
            other => format!("{name} ({other})"),
        }
    }

    /// The setting as one line of a configuration file, its origin as a comment.
    fn to_toml(&self) -> String {
        let quoted = |s: &OsString| {
            let escaped: String = s
                .to_string_lossy()
                .chars()
                .map(|c| match c {
                    '"' | '\\' => format!("\\{c}"),
                    c if c.is_control() => format!("\\u{:04X}", c as u32),
                    c => c.to_string(),
                })
                .collect();
            format!("\"{escaped}\"")
        };
        let name = self.option.name;
        let value = match (self.option.takes, self.values.as_slice()) {
            (Takes::Switch, []) => "false".to_string(),
            (_, []) => return format!("# {name} is not set"),
            (Takes::Switch, [v, ..]) => v.to_string_lossy().into_owned(),
            (Takes::Arguments(_), many) => format!("[{}]", many.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            (_, [v, ..]) => quoted(v),
        };
        format!("{:<36} # {}", format!("{name} = {value}"), self.origin)
    }
}

/// All options of one call with their values and origins.
#[derive(Clone, Debug, Default)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Resolves `options` from the command line, the environment, a configuration file and the defaults.
    pub fn resolve(
        options: &[Opt],
        matches: &ArgMatches,
        environment: &BTreeMap<OsString, OsString>,
        config: Option<&Config>,
    ) -> Result<Settings> {
        let mut settings = Settings::default();
        for &option in options {
            let setting = if let Some(values) = on_command_line(&option, matches) {
                Setting { option, values, origin: Origin::Flag }
            } else if let Some((name, value)) = in_environment(&option, environment) {
                Setting { option, values: vec![value], origin: Origin::Environment(name) }
            } else if let Some(entry) = config.and_then(|c| c.entries.get(option.name)) {
                let origin = Origin::Config(config.map(|c| c.path.clone()).unwrap_or_default(), entry.line);
                Setting { option, values: entry.values.iter().map(OsString::from).collect(), origin }
            } else {
                let values = option.default.iter().map(OsString::from).collect();
                Setting { option, values, origin: Origin::Default }
            };
            check(&setting)?;
            settings.0.insert(option.name, setting);
        }
        Ok(settings)
    }

    fn setting(&self, name: &str) -> Result<&Setting> {
        self.0.get(name).ok_or_else(|| Error::bug(format!("the command has no option '{name}'")))
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> Result<bool> {
        Ok(self.setting(name)?.values.first().is_some_and(|v| v == "true"))
    }

    /// The value of an option, as text.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        let setting = self.setting(name)?;
        match setting.values.first() {
            None => Ok(None),
            Some(v) => {
                v.to_str().map(Some).ok_or_else(|| Error::usage(format!("{}: not valid UTF-8 text", setting.label())))
            }
        }
    }

    /// The value of an option, parsed; errors name the option and where its value comes from.
    pub fn parse<T>(&self, name: &str, parser: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parser(text).map(Some).map_err(|e| self.blame(name, e))
    }

    /// The value of an option that has a default, parsed.
    pub fn parsed<T>(&self, name: &str, parser: impl Fn(&str) -> Result<T>) -> Result<T> {
        self.parse(name, parser)?.ok_or_else(|| self.missing(name))
    }

    /// The value of an option, as path.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        Ok(self.setting(name)?.values.first().map(PathBuf::from))
    }

    /// The value of an option that must be given, as path.
    pub fn required_path(&self, name: &str) -> Result<PathBuf> {
        self.path(name)?.ok_or_else(|| self.missing(name))
    }

    /// All values of an argument that must be given once or more, as paths.
    pub fn required_paths(&self, name: &str) -> Result<Vec<PathBuf>> {
        let setting = self.setting(name)?;
        if setting.values.is_empty() {
            return Err(self.missing(name));
        }
        Ok(setting.values.iter().map(PathBuf::from).collect())
    }

    /// The same for the field `k` of `count`: its own `scan`, and its own value of those `listed` options that have a
    /// value for each field.
    #[must_use]
    pub fn of_field(&self, scan: &OsStr, k: usize, count: usize, listed: &[&str]) -> Settings {
        let mut own = self.clone();
        for (name, setting) in &mut own.0 {
            let text = setting.values.first().and_then(|v| v.to_str()).unwrap_or_default();
            let parts: Vec<&str> = text.split(',').collect();
            if *name == "scan" {
                setting.values = vec![scan.to_os_string()];
            } else if listed.contains(name) && parts.len() == count {
                setting.values = vec![parts[k].into()];
            }
        }
        own
    }

    /// The same with the values of a scan's own configuration, where neither the command line nor the environment gives
    /// one; its `files` lie beside it.
    #[must_use]
    pub fn of_scan(&self, config: &Config, files: &[&str]) -> Settings {
        let folder = config.path.parent().unwrap_or(Path::new(""));
        let mut own = self.clone();
        for (name, entry) in &config.entries {
            let Some(setting) = own.0.get_mut(name) else { continue };
            let is_about_all = matches!(setting.origin, Origin::Flag | Origin::Environment(_));
            if is_about_all && *name != "scan" {
                continue;
            }
            let value = |v: &String| if files.contains(name) { folder.join(v).into_os_string() } else { v.into() };
            setting.values = entry.values.iter().map(value).collect();
            setting.origin = Origin::Config(config.path.clone(), entry.line);
        }
        own
    }

    /// Whether somebody gave a value.
    pub fn is_given(&self, name: &str) -> Result<bool> {
        Ok(self.setting(name)?.origin != Origin::Default)
    }

    /// Puts the option's name, and where its value comes from, in front of an error about the value.
    pub fn blame(&self, name: &str, error: Error) -> Error {
        let Ok(setting) = self.setting(name) else { return error };
        let mut blamed = Error::new(error.fault(), format!("{}: {}", setting.label(), error.what()));
        if let Some(path) = error.path() {
            blamed = blamed.at(path);
        }
        match error.advice() {
            Some(advice) => blamed.help(advice),
            None => blamed,
        }
    }

    fn missing(&self, name: &str) -> Error {
        match self.setting(name) {
            Ok(s) => Error::usage(format!("{} is missing", s.label()))
                .help("see the command's --help for what it needs and for an example"),
            Err(e) => e,
        }
    }

    /// Name, value and origin of every option, in the order of the names, for `NAME.run.json`.
    pub fn origins(&self) -> Vec<(&'static str, String, String)> {
        self.0
            .values()
            .filter(|s| !s.option.is_about_the_call() && !s.values.is_empty())
            .map(|s| {
                let values: Vec<_> = s.values.iter().map(|v| v.to_string_lossy()).collect();
                (s.option.name, values.join(" "), s.origin.to_string())
            })
            .collect()
    }

    /// The whole configuration as a file that `--config` accepts, every value with its origin.
    pub fn to_toml(&self, command: &str, global: &[Opt], own: &[Opt]) -> String {
        let lines = |options: &[Opt]| -> String {
            let settings = options.iter().filter(|o| !o.is_about_the_call()).filter_map(|o| self.0.get(o.name));
            settings.map(|s| s.to_toml() + "\n").collect()
        };
        let mut text = format!(
            "# tomolith {command}: every value and where it comes from\n\
             # command line > environment {ENVIRONMENT_PREFIX}* > configuration file > default\n{}",
            lines(global)
        );
        if !own.is_empty() {
            text += &format!("\n[{}]\n{}", command.replace(' ', "."), lines(own));
        }
        text
    }
}

fn on_command_line(option: &Opt, matches: &ArgMatches) -> Option<Vec<OsString>> {
    if option.takes == Takes::Switch {
        return matches.get_flag(option.name).then(|| vec![OsString::from("true")]);
    }
    matches.get_many::<OsString>(option.name).map(|values| values.cloned().collect())
}

fn in_environment(option: &Opt, environment: &BTreeMap<OsString, OsString>) -> Option<(String, OsString)> {
    // Only `config` is looked up although it is about the call: the caller asks for it by itself.
    if !option.has_variable() && option.name != "config" {
        return None;
    }
    let name = option.variable();
    // An empty variable counts as unset, as in most programs.
    environment.get(OsStr::new(&name)).filter(|v| !v.is_empty()).map(|v| (name, v.clone()))
}

/// Checks switches and choices; everything else is checked by whoever parses it.
fn check(setting: &Setting) -> Result<()> {
    let wrong = |given: &OsStr, known: &[&'static str]| {
        let given = given.to_string_lossy();
        let hint = match nearest(&given, known.iter().copied()) {
            Some(name) => format!("did you mean '{name}'? known: {}", known.join(", ")),
            None => format!("known: {}", known.join(", ")),
        };
        Err(Error::usage(format!("{}: unknown value '{given}'", setting.label())).help(hint))
    };
    for value in &setting.values {
        match setting.option.takes {
            Takes::Switch if value != "true" && value != "false" => return wrong(value, &["true", "false"]),
            Takes::Choice(words) if !words.iter().any(|w| value == w) => return wrong(value, words),
            _ if value.is_empty() => {
                return Err(Error::usage(format!("{}: the value is empty", setting.label()))
                    .help("give a value, or leave the option out"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses variables that begin with our prefix and belong to no option of any command.
pub fn check_environment(environment: &BTreeMap<OsString, OsString>, all: &[Opt]) -> Result<()> {
    let mut known: Vec<String> =
        all.iter().filter(|o| o.has_variable() || o.name == "config").map(Opt::variable).collect();
    known.sort();
    known.dedup();
    for name in environment.keys().map(|n| n.to_string_lossy()) {
        let ours = name.starts_with(ENVIRONMENT_PREFIX) && !FOREIGN_ENVIRONMENT.iter().any(|p| name.starts_with(p));
        if ours && !known.iter().any(|k| *k == name) {
            let hint = match nearest(&name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}? otherwise unset it"),
                None => "unset it; an option --some-name is read from TOMOLITH_SOME_NAME".to_string(),
            };
            return Err(Error::usage(format!("unknown environment variable {name}")).help(hint));
        }
    }
    Ok(())
}
