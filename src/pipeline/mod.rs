//! L8. The whole way from scans to a report, as steps whose results are kept by content.
//!
//! | file | what |
//! |---|---|
//! | [`cell`] | the way itself: which command makes what of what |
//! | [`record`] | what a run folder holds, and from what it was made |
//!
//! A step is a command of this program, with files that it reads and files that it makes. Its key is
//!
//! ```text
//! key = SHA-256(contract, command, version of the command's stage, words, digests of what it reads)
//! ```
//!
//! so a step is done again when, and only when, something that its result depends on is another: the file it reads, not
//! its name or time. Where it lies and with how many threads it runs is no part of it. Commands keep what they have done
//! when they are interrupted, and a step is recorded when it is whole; so a run that is killed anywhere and started again
//! ends with the bytes of one that was not.

pub mod cell;
pub mod record;

use crate::error::Result;
use crate::num::CONTRACT;
use crate::provenance::{Digest, Hasher};
use std::path::PathBuf;

/// Versions of the stages: raised when the bits of a stage's result change, so that what was made before is made anew. They
/// are those that the commands write into their manifests, where they write one; a test of `cli` compares them.
pub const VERSIONS: [(&str, u32); 8] = [
    ("center", 1),
    ("recon", 6),
    ("register", 6),
    ("seg predict", 1),
    ("seg after", 1),
    ("series", 1),
    ("analyze", 11),
    ("report", 10),
];

/// Version of a stage.
pub fn version(stage: &str) -> u32 {
    VERSIONS.iter().find(|(name, _)| *name == stage).map_or(0, |(_, version)| *version)
}

/// One word of a step's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Itself.
    Text(String),
    /// Itself, and no part of the key: no bit depends on it.
    Free(String),
    /// Files from outside of the run folder, with commas.
    Inputs(Vec<PathBuf>),
    /// A file in the run folder that an earlier step made.
    Made(String),
    /// The text of such a file: a number.
    Value(String),
    /// Files in the run folder, with commas.
    List(Vec<String>),
    /// Where it writes, in the run folder.
    Output(String),
}

impl Word {
    /// A word that is itself.
    pub fn text(text: impl Into<String>) -> Word {
        Word::Text(text.into())
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Runs a command: its words behind the program's name, and the folder in which it runs.
    Command(Vec<Word>, Option<PathBuf>),
    /// The same, and keeps what this makes of its standard output in its file.
    Says(Vec<Word>, fn(&str) -> Option<String>),
    /// Writes a text into its file; of the files it is about, only the names matter.
    Text(String),
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name in the run: `recon s07`.
    pub name: String,
    /// The stage: the command's words.
    pub stage: &'static str,
    /// What it does.
    pub does: Does,
    /// Files from outside that it reads without naming them in words.
    pub reads: Vec<PathBuf>,
    /// Files of earlier steps that it reads without naming them in words.
    pub uses: Vec<String>,
    /// Files that it makes, in the run folder.
    pub makes: Vec<String>,
}

impl Step {
    /// Its words; none of a text.
    pub fn words(&self) -> &[Word] {
        match &self.does {
            Does::Command(words, _) | Does::Says(words, _) => words,
            Does::Text(_) => &[],
        }
    }

    /// Files of earlier steps that it reads.
    pub fn needs(&self) -> impl Iterator<Item = &String> {
        let named = self.words().iter().flat_map(|word| match word {
            Word::Made(name) | Word::Value(name) => std::slice::from_ref(name),
            Word::List(names) => names,
            _ => &[],
        });
        named.chain(&self.uses)
    }

    /// Its key. `outside` gives the digest of a file from outside, `made` that of one that an earlier step made; where one
    /// is not made there is no key.
    ///
    /// # Errors
    /// What `outside` says.
    pub fn key<'a>(
        &self,
        outside: &mut dyn FnMut(&PathBuf) -> Result<Digest>,
        made: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<String>> {
        if self.needs().any(|name| made(name).is_none()) {
            return Ok(None);
        }
        let made = |name: &String| made(name).unwrap_or_default();
        let mut hasher = Hasher::new();
        let mut part = |kind: &str, text: &str| {
            // Lengths keep words apart.
            hasher.update(format!("{kind} {} {text}\n", text.len()).as_bytes());
        };
        part("contract", CONTRACT);
        part("stage", self.stage);
        part("version", &version(self.stage).to_string());
        for word in self.words() {
            match word {
                Word::Text(text) => part("text", text),
                Word::Free(_) => (),
                Word::Inputs(paths) => {
                    for path in paths {
                        part("input", &outside(path)?.hex());
                    }
                }
                Word::Made(name) | Word::Value(name) => part("made", made(name)),
                Word::List(names) => {
                    for name in names {
                        part("name", name);
                        part("made", made(name));
                    }
                }
                Word::Output(name) => part("output", name),
            }
        }
        if let Does::Text(text) = &self.does {
            part("content", text);
        }
        for path in &self.reads {
            part("reads", &outside(path)?.hex());
        }
        for name in &self.uses {
            part("name", name);
            part("made", made(name));
        }
        for name in &self.makes {
            part("makes", name);
        }
        Ok(Some(hasher.finish().hex()))
    }
}
