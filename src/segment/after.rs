//! After the network: edges taken off, classes kept within their depths, classes told apart by depth.
//!
//! ```toml
//! axis = "y"                     # along which depth is counted, in voxels from 0
//!
//! [[edge]]                       # voxels nearer than this to an end of the axis become something else
//! axis = "x"
//! width = 20
//! becomes = "unlabelled"
//!
//! [[window]]                     # a class outside of from ≤ depth < to becomes something else
//! class = "dendrite"
//! from = 100
//! to = 349
//! becomes = "background"
//!
//! [[split]]                      # a class from this depth on is another class
//! class = "deposited"
//! at = 349
//! becomes = "redeposited"
//! ```
//!
//! Edges come first, then windows, then splits, each kind in the order of the file; a voxel that a rule changed is seen by
//! the next one as what it became. How many voxels each rule changed is counted. The authors keep such windows in their
//! code (`ALLOWED_SLICES`), scan by scan: here they are a file of each scan, and part of the result's manifest.

use super::UNLABELLED;
use super::classes::Classes;
use super::rules::{Item, Rules, Schema};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::provenance::InputFile;
use crate::volume::Dims;
use std::path::Path;

const SCHEMA: Schema = &[
    ("", &["axis"]),
    ("edge", &["axis", "width", "becomes"]),
    ("window", &["class", "from", "to", "becomes"]),
    ("split", &["class", "at", "becomes"]),
];

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// All classes, near both ends of an axis (0 z, 1 y, 2 x).
    Edge {
        /// Axis.
        axis: usize,
        /// Voxels.
        width: usize,
        /// Label.
        becomes: u8,
    },
    /// A class, outside of a range of depths.
    Window {
        /// Class.
        class: u8,
        /// First depth.
        from: usize,
        /// Depth after the last.
        to: usize,
        /// Label.
        becomes: u8,
    },
    /// A class, from a depth on.
    Split {
        /// Class.
        class: u8,
        /// First depth.
        at: usize,
        /// Label.
        becomes: u8,
    },
}

/// The rules of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// Axis of depth: 0 z, 1 y, 2 x.
    pub axis: usize,
    /// In the order of work.
    pub rules: Vec<Rule>,
}

fn axis(text: &str) -> Result<usize> {
    let found = ["z", "y", "x"].iter().position(|a| *a == text);
    found.ok_or_else(|| Error::data(format!("axis = \"{text}\"")).help("z, y or x"))
}

impl After {
    /// Reads the rules.
    ///
    /// # Errors
    /// Data: not such a file.
    pub fn read(path: &Path, classes: &Classes) -> Result<(After, InputFile)> {
        let (rules, input) = Rules::read(path, "rules", SCHEMA)?;
        Ok((After::of(&rules, classes).map_err(|e| e.at(path))?, input))
    }

    /// Parses the rules.
    ///
    /// # Errors
    /// Data.
    pub fn parse(text: &str, classes: &Classes) -> Result<After> {
        After::of(&Rules::parse(text, SCHEMA)?, classes)
    }

    fn of(rules: &Rules, classes: &Classes) -> Result<After> {
        let label = |item: &Item, key: &str| -> Result<u8> {
            let found = classes.find(item.need_text(key)?);
            found.map_err(|e| {
                Error::data(format!("line {}: {}", item.line, e.what())).help(e.advice().unwrap_or_default())
            })
        };
        let need = |item: &Item, key: &str| -> Result<usize> {
            item.index(key)?.ok_or_else(|| Error::data(format!("line {}: '{key}' is missing", item.line)))
        };
        let mut list = Vec::new();
        for item in rules.all("edge") {
            let (axis, width) = (axis(item.need_text("axis")?)?, need(item, "width")?);
            list.push(Rule::Edge { axis, width, becomes: label(item, "becomes")? });
        }
        for item in rules.all("window") {
            let (from, to) = (need(item, "from")?, need(item, "to")?);
            if from >= to {
                return Err(Error::data(format!("line {}: the window {from} to {to} is empty", item.line)));
            }
            list.push(Rule::Window { class: label(item, "class")?, from, to, becomes: label(item, "becomes")? });
        }
        for item in rules.all("split") {
            let at = need(item, "at")?;
            list.push(Rule::Split { class: label(item, "class")?, at, becomes: label(item, "becomes")? });
        }
        if list.is_empty() {
            return Err(Error::data("no rule").help("write [[edge]], [[window]] or [[split]]"));
        }
        Ok(After { axis: axis(rules.own().text("axis")?.unwrap_or("y"))?, rules: list })
    }

    /// Refuses rules beyond a volume: a typing error would do nothing, or everything.
    ///
    /// # Errors
    /// Data.
    pub fn check(&self, dims: Dims) -> Result<()> {
        let n = [dims.nz, dims.ny, dims.nx];
        for rule in &self.rules {
            let fits = match *rule {
                Rule::Edge { axis, width, .. } => 2 * width < n[axis],
                Rule::Window { to, .. } => to <= n[self.axis],
                Rule::Split { at, .. } => at < n[self.axis],
            };
            if !fits {
                let what =
                    format!("a rule reaches beyond the volume of {} x {} x {} (z, y, x): {rule:?}", n[0], n[1], n[2]);
                return Err(Error::data(what));
            }
        }
        Ok(())
    }

    /// Names of the rules, for counts.
    pub fn names(&self, classes: &Classes) -> Vec<String> {
        let name = |(i, rule): (usize, &Rule)| match rule {
            Rule::Edge { axis, width, .. } => format!("{i:02} edge {} {width}", ['z', 'y', 'x'][*axis]),
            Rule::Window { class, from, to, .. } => format!("{i:02} window {} {from}:{to}", classes.name(*class)),
            Rule::Split { class, at, .. } => format!("{i:02} split {} {at}", classes.name(*class)),
        };
        self.rules.iter().enumerate().map(name).collect()
    }

    /// For manifests.
    pub fn to_json(&self, classes: &Classes) -> Json {
        let becomes = |rule: &Rule| match rule {
            Rule::Edge { becomes, .. } | Rule::Window { becomes, .. } | Rule::Split { becomes, .. } => *becomes,
        };
        let rules = self.rules.iter().zip(self.names(classes));
        let rule = |(rule, name): (&Rule, String)| {
            Json::obj([("rule", name.into()), ("becomes", classes.name(becomes(rule)).into())])
        };
        Json::obj([("axis", ["z", "y", "x"][self.axis].into()), ("rules", Json::Arr(rules.map(rule).collect()))])
    }

    /// Applies the rules to slice `z`, and adds to the count of each what it changed.
    pub fn slice(&self, dims: Dims, z: usize, labels: &mut [u8], counts: &mut [u64]) {
        let n = [dims.nz, dims.ny, dims.nx];
        for (i, label) in labels.iter_mut().enumerate() {
            let place = [z, i / dims.nx, i % dims.nx];
            let depth = place[self.axis];
            for (rule, count) in self.rules.iter().zip(counts.iter_mut()) {
                let (hit, becomes) = match *rule {
                    Rule::Edge { axis, width, becomes } => {
                        // Nobody's label stays nobody's.
                        (*label != UNLABELLED && (place[axis] < width || place[axis] + width >= n[axis]), becomes)
                    }
                    Rule::Window { class, from, to, becomes } => {
                        (*label == class && !(from..to).contains(&depth), becomes)
                    }
                    Rule::Split { class, at, becomes } => (*label == class && depth >= at, becomes),
                };
                if hit && *label != becomes {
                    *label = becomes;
                    *count += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "axis = \"y\"\n[[split]]\nclass = \"deposited\"\nat = 3\nbecomes = \"redeposited\"\n\
                        [[edge]]\naxis = \"x\"\nwidth = 1\nbecomes = \"unlabelled\"\n\
                        [[window]]\nclass = \"dendrite\"\nfrom = 1\nto = 3\nbecomes = \"deposited\"\n";

    #[test]
    fn rules_work_in_their_order_and_are_counted() {
        let after = After::parse(TEXT, &Classes::cell()).unwrap();
        let dims = Dims::new(1, 5, 4).unwrap();
        after.check(dims).unwrap();
        // Columns: edge, dendrite, deposited, edge.
        let mut labels: Vec<u8> = (0..20).map(|i| [0, 1, 3, 0][i % 4]).collect();
        let mut counts = vec![0; 3];
        after.slice(dims, 0, &mut labels, &mut counts);
        let none = UNLABELLED;
        let want = [
            [none, 3, 3, none],
            [none, 1, 3, none],
            [none, 1, 3, none],
            // A dendrite too deep becomes deposited, which at this depth is redeposited.
            [none, 5, 5, none],
            [none, 5, 5, none],
        ];
        assert_eq!(labels, want.as_flattened());
        assert_eq!(counts, [10, 3, 4]);
        let names = after.names(&Classes::cell());
        assert_eq!(names, ["00 edge x 1", "01 window dendrite 1:3", "02 split deposited 3"]);
    }

    #[test]
    fn rules_beyond_the_volume_and_nonsense_are_refused() {
        let after = After::parse(TEXT, &Classes::cell()).unwrap();
        for (ny, nx) in [(2, 4), (3, 4), (5, 2)] {
            assert!(after.check(Dims::new(1, ny, nx).unwrap()).is_err(), "{ny} {nx}");
        }
        for (text, says) in [
            ("axis = \"y\"", "no rule"),
            ("[[edge]]\naxis = \"w\"\nwidth = 1\nbecomes = \"pit\"", "z, y or x"),
            ("[[edge]]\naxis = \"x\"\nbecomes = \"pit\"", "'width' is missing"),
            ("[[window]]\nclass = \"pit\"\nfrom = 3\nto = 3\nbecomes = \"background\"", "is empty"),
            ("[[split]]\nclass = \"pitt\"\nat = 3\nbecomes = \"background\"", "did you mean 'pit'"),
            ("[[split]]\nclass = \"pit\"\nat = -3\nbecomes = \"background\"", "negative"),
        ] {
            let e = After::parse(text, &Classes::cell()).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
