//! Configuration files: TOML, the same names as the flags.
//!
//! ```toml
//! threads = 8            # options of every command stand first
//!
//! [recon]                # then one table per command
//! scan = "tooth.h5"
//! filter = "hann"
//! rows = "0:64"
//! overwrite = true
//!
//! [trace.gridrec]        # a command of two words
//! row = 12
//! ```
//!
//! Every key of every table is checked, also of the commands that are not running, so that a typing error is found
//! on the day it is made. Paths are relative to the working folder, as on the command line.

use crate::cli::Command;
use crate::cli::options::{Opt, Takes};
use crate::error::{Error, Result, nearest};
use crate::os::open_regular;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml_span::value::{Table, Value, ValueInner};

/// A configuration is a page of text; a longer file is a mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// One value of a configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The value as it would stand on the command line; several only for options that take several.
    pub values: Vec<String>,
    /// Line of the key, the first line being 1.
    pub line: usize,
}

/// The values that a configuration file gives to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Option name to value: the options of every command and those of the running one.
    pub entries: BTreeMap<&'static str, Entry>,
}

impl Config {
    /// Reads a file and picks what concerns `running`.
    pub fn read(path: &Path, global: &[Opt], commands: &[Command], running: &Command) -> Result<Config> {
        let mut bytes = Vec::new();
        let file = open_regular(path)?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::data(format!("is longer than {LARGEST_FILE} bytes, too long for a configuration"))
                .help("check that --config names the right file")
                .at(path));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::data("is not UTF-8 text").help("--config takes a .toml file").at(path))?;
        Self::parse(&text, path, global, commands, running).map_err(|e| e.at(path))
    }

    /// Parses the text of a file; see [`Config::read`].
    pub fn parse(text: &str, path: &Path, global: &[Opt], commands: &[Command], running: &Command) -> Result<Config> {
        let line_of =
            |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count();
        let root = toml_span::parse(text).map_err(|e| {
            // The parser counts lines from 0.
            let line = e.line_info.map_or_else(|| line_of(e.span.start), |(line, _)| line + 1);
            Error::usage(format!("line {line}: not valid TOML: {e}"))
                .help("a line reads  name = \"value\"  or  [command];  --show-config prints an example")
        })?;
        let mut reader = Reader { global, commands, running, line_of: &line_of, entries: BTreeMap::new() };
        if let Some(table) = root.as_table() {
            reader.table(table, &mut Vec::new())?;
        }
        Ok(Config { path: path.to_path_buf(), entries: reader.entries })
    }
}

/// Commands that take the table of another, whose options they have.
const ALIKE: [(&str, &str); 1] = [("plan", "recon")];

/// Walks the tables; `line_of` turns a byte offset into a line number.
struct Reader<'a> {
    global: &'a [Opt],
    commands: &'a [Command],
    running: &'a Command,
    line_of: &'a dyn Fn(usize) -> usize,
    entries: BTreeMap<&'static str, Entry>,
}

impl Reader<'_> {
    fn table(&mut self, table: &Table<'_>, path: &mut Vec<String>) -> Result<()> {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let command = self.commands.iter().find(|c| c.path == words.as_slice());
        let own: Vec<Opt> = command.map(Command::options).unwrap_or_default();
        let alike = |(one, other): &(&str, &str)| self.running.path == [*one] && words == [*other];
        let own_table = path.is_empty() || self.running.path == words.as_slice();
        let concerns_us = own_table || ALIKE.iter().any(alike);
        let children: Vec<&'static str> = self
            .commands
            .iter()
            .filter(|c| c.path.len() > words.len() && c.path.starts_with(&words))
            .map(|c| c.path[words.len()])
            .collect();
        // The tables of a command come after the keys, so that the more specific one has the last word.
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, value)| (value.as_table().is_some(), key.span.start));
        for (key, value) in keys {
            let line = (self.line_of)(key.span.start);
            let name = key.name.as_ref();
            if let Some(inner) = value.as_table() {
                if !children.contains(&name) {
                    let mut label = path.clone();
                    label.push(name.to_string());
                    return Err(unknown(line, &format!("table [{}]", label.join(".")), name, children.iter().copied()));
                }
                path.push(name.to_string());
                self.table(inner, path)?;
                path.pop();
                continue;
            }
            let known = || self.global.iter().chain(&own).filter(|o| !o.is_about_the_call());
            let Some(option) = known().find(|o| o.name == name) else {
                let place = if path.is_empty() { String::new() } else { format!(" in [{}]", path.join(".")) };
                return Err(unknown(line, &format!("key '{name}'{place}"), name, known().map(|o| o.name)));
            };
            let values = values_of(option, value).map_err(|e| {
                Error::usage(format!("line {line}: {name}: {}", e.what())).help(e.advice().unwrap_or(""))
            })?;
            if concerns_us && (own_table || !self.entries.contains_key(option.name)) {
                self.entries.insert(option.name, Entry { values, line });
            }
        }
        Ok(())
    }
}

fn unknown<'a>(line: usize, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'? known: {}", known.join(", ")),
        None => format!("known: {}", known.join(", ")),
    };
    Error::usage(format!("line {line}: unknown {what}")).help(hint)
}

/// The value as text, as it would stand on the command line.
fn values_of(option: &Opt, value: &Value<'_>) -> Result<Vec<String>> {
    let scalar = |v: &Value<'_>| match v.as_ref() {
        ValueInner::String(s) => Ok(s.to_string()),
        ValueInner::Integer(i) => Ok(i.to_string()),
        ValueInner::Float(f) => Ok(f.to_string()),
        ValueInner::Boolean(_) => Err(Error::usage("a true or false here makes no sense").help("give a value")),
        other => Err(Error::usage(format!("a value is wanted, this is a {}", other.type_str())).help("give a value")),
    };
    match (option.takes, value.as_ref()) {
        (Takes::Switch, ValueInner::Boolean(b)) => Ok(vec![b.to_string()]),
        (Takes::Switch, _) => Err(Error::usage("is a switch").help("give true or false, without quotes")),
        (Takes::Arguments(_), ValueInner::Array(list)) => list.iter().map(scalar).collect(),
        // `filter-par = [0.4, 2]` is `--filter-par 0.4,2`.
        (_, ValueInner::Array(list)) => Ok(vec![list.iter().map(scalar).collect::<Result<Vec<_>>>()?.join(",")]),
        _ => Ok(vec![scalar(value)?]),
    }
}
