//! Several predictions become one set of labels: binary nets and a net of several classes, of one scan.
//!
//! ```toml
//! conflict = "unlabelled"        # or "priority", "margin"
//! nothing = "unlabelled"         # or a class: what a voxel becomes of which no source says anything
//!
//! [[source]]
//! labels = "electrode/seg.mhd"   # paths as on the command line
//! map = "0=-,1=electrode"        # - says nothing
//! margin = "electrode/seg.margin.mhd"
//! threshold = 0.3                # below it the source says nothing
//! priority = 2                   # the greatest wins where conflicts go by priority
//! ```
//!
//! | what sources say of a voxel | it becomes |
//! |---|---|
//! | nothing | `nothing` |
//! | one class, once or more often | it |
//! | several classes | unlabelled; or the class of the greatest priority or margin, unlabelled where two are equal |
//!
//! Unlabelled is the safe end: the next network is not taught what nobody is sure of. Every case is counted.

use super::UNLABELLED;
use super::classes::{Classes, Mapping};
use super::rules::{Rules, Schema};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::provenance::InputFile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SCHEMA: Schema =
    &[("", &["conflict", "nothing"]), ("source", &["labels", "map", "margin", "threshold", "priority"])];

/// How several classes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Nobody is right.
    Unlabelled,
    /// The source that comes first.
    Priority,
    /// The source that is surest.
    Margin,
}

/// One prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its classes.
    pub labels: PathBuf,
    /// What its values mean; unlabelled says nothing.
    pub mapping: Mapping,
    /// How sure it is.
    pub margin: Option<PathBuf>,
    /// How sure it has to be.
    pub threshold: f32,
    /// Its rank.
    pub priority: i64,
}

/// The rules of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    /// For several classes.
    pub conflict: Conflict,
    /// For none.
    pub nothing: u8,
    /// Predictions.
    pub sources: Vec<Source>,
}

/// What a source says of a voxel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The class.
    pub class: u8,
    /// How sure.
    pub margin: f32,
    /// The source's rank.
    pub priority: i64,
}

/// Counts of the cases, by name.
pub type Counts = BTreeMap<String, u64>;

impl Merge {
    /// Reads the rules.
    ///
    /// # Errors
    /// Data: not such a file.
    pub fn read(path: &Path, classes: &Classes) -> Result<(Merge, InputFile)> {
        let (rules, input) = Rules::read(path, "rules", SCHEMA)?;
        Ok((Merge::of(&rules, classes).map_err(|e| e.at(path))?, input))
    }

    /// Parses the rules.
    ///
    /// # Errors
    /// Data.
    pub fn parse(text: &str, classes: &Classes) -> Result<Merge> {
        Merge::of(&Rules::parse(text, SCHEMA)?, classes)
    }

    fn of(rules: &Rules, classes: &Classes) -> Result<Merge> {
        let own = rules.own();
        let conflict = match own.text("conflict")?.unwrap_or("unlabelled") {
            "unlabelled" => Conflict::Unlabelled,
            "priority" => Conflict::Priority,
            "margin" => Conflict::Margin,
            other => {
                return Err(Error::data(format!("conflict = \"{other}\"")).help("unlabelled, priority or margin"));
            }
        };
        let as_data = |e: Error| Error::data(e.what()).help(e.advice().unwrap_or_default());
        let nothing = classes.find(own.text("nothing")?.unwrap_or("unlabelled")).map_err(as_data)?;
        let mut sources = Vec::new();
        for item in rules.all("source") {
            let at = |what: String| Error::data(format!("line {}: {what}", item.line));
            let mapping = Mapping::parse(item.need_text("map")?, classes).map_err(as_data)?;
            let margin = item.text("margin")?.map(PathBuf::from);
            let threshold = item.number("threshold")?.unwrap_or(0.0);
            if !(0.0..=1.0).contains(&threshold) {
                return Err(at(format!("a threshold of {threshold}")).help("0 to 1"));
            }
            if margin.is_none() && (threshold > 0.0 || conflict == Conflict::Margin) {
                return Err(at("no margin to go by".into()).help("give margin = \"….margin.mhd\""));
            }
            if conflict == Conflict::Priority && !item.has("priority") {
                return Err(at("no priority to go by".into()).help("give priority = 1"));
            }
            sources.push(Source {
                labels: item.need_text("labels")?.into(),
                mapping,
                margin,
                threshold: threshold as f32,
                priority: item.int("priority")?.unwrap_or(0),
            });
        }
        if sources.is_empty() {
            return Err(Error::data("no [[source]]: nothing to merge"));
        }
        Ok(Merge { conflict, nothing, sources })
    }

    /// For manifests.
    pub fn to_json(&self, classes: &Classes) -> Json {
        let source = |s: &Source| {
            Json::obj([
                ("map", s.mapping.to_text().into()),
                ("threshold", s.threshold.into()),
                ("priority", s.priority.into()),
            ])
        };
        let conflict = ["unlabelled", "priority", "margin"][self.conflict as usize];
        Json::obj([
            ("conflict", conflict.into()),
            ("nothing", classes.name(self.nothing).into()),
            ("sources", Json::Arr(self.sources.iter().map(source).collect())),
        ])
    }

    /// What a source claims: nothing where it is not sure enough.
    pub fn claim(&self, source: usize, class: u8, margin: f32) -> Option<Claim> {
        let s = &self.sources[source];
        (class != UNLABELLED && margin >= s.threshold).then_some(Claim { class, margin, priority: s.priority })
    }

    /// What a voxel becomes, and the name of its case.
    pub fn voxel(&self, claims: &[Claim]) -> (u8, Case) {
        let Some(first) = claims.first() else { return (self.nothing, Case::Nothing) };
        if claims.iter().all(|c| c.class == first.class) {
            return (first.class, if claims.len() > 1 { Case::Agreed } else { Case::Single });
        }
        let other = claims.iter().find(|c| c.class != first.class).map_or(first.class, |c| c.class);
        let pair = (first.class.min(other), first.class.max(other));
        let rank = |c: &Claim| match self.conflict {
            Conflict::Unlabelled => 0.0,
            Conflict::Priority => c.priority as f64,
            Conflict::Margin => f64::from(c.margin),
        };
        let best = claims.iter().map(rank).fold(f64::NEG_INFINITY, f64::max);
        let mut winners = claims.iter().filter(|c| rank(c) == best).map(|c| c.class);
        let winner = winners.next().unwrap_or(UNLABELLED);
        if winners.all(|c| c == winner) { (winner, Case::Decided) } else { (UNLABELLED, Case::Conflict(pair)) }
    }
}

/// How a voxel came to its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Nobody said anything.
    Nothing,
    /// One source.
    Single,
    /// Several, the same.
    Agreed,
    /// Several classes, of which one won.
    Decided,
    /// Several classes; two of them.
    Conflict((u8, u8)),
}

impl Case {
    /// Its name in counts.
    pub fn name(self, classes: &Classes) -> String {
        match self {
            Case::Nothing => "nothing said".into(),
            Case::Single => "one source".into(),
            Case::Agreed => "agreed".into(),
            Case::Decided => "conflict decided".into(),
            Case::Conflict((a, b)) => format!("conflict {} / {}", classes.name(a), classes.name(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(conflict: &str) -> Merge {
        let source = |p: i64, t: f64| {
            format!(
                "[[source]]\nlabels = \"a.mhd\"\nmap = \"from-0\"\nmargin = \"m.mhd\"\nthreshold = {t}\npriority = {p}\n"
            )
        };
        let text = format!(
            "conflict = \"{conflict}\"\nnothing = \"background\"\n{}{}{}",
            source(1, 0.0),
            source(2, 0.5),
            source(2, 0.0)
        );
        Merge::parse(&text, &Classes::network()).unwrap()
    }

    #[test]
    fn voxels_become_what_the_table_says() {
        let said = |m: &Merge, list: &[(u8, f32)]| {
            let claims: Vec<Claim> =
                list.iter().enumerate().filter_map(|(i, &(class, margin))| m.claim(i, class, margin)).collect();
            m.voxel(&claims)
        };
        let none = UNLABELLED;
        for conflict in ["unlabelled", "priority", "margin"] {
            let m = merge(conflict);
            assert_eq!(said(&m, &[(none, 1.0), (none, 1.0), (none, 1.0)]), (0, Case::Nothing));
            assert_eq!(said(&m, &[(none, 1.0), (3, 0.4), (none, 1.0)]), (0, Case::Nothing), "below the threshold");
            assert_eq!(said(&m, &[(none, 1.0), (3, 0.5), (none, 1.0)]), (3, Case::Single));
            assert_eq!(said(&m, &[(3, 0.1), (3, 0.5), (none, 1.0)]), (3, Case::Agreed));
        }
        let conflict = [(1, 0.9), (2, 0.6), (none, 0.0)];
        assert_eq!(said(&merge("unlabelled"), &conflict), (none, Case::Conflict((1, 2))));
        assert_eq!(said(&merge("priority"), &conflict), (2, Case::Decided));
        assert_eq!(said(&merge("margin"), &conflict), (1, Case::Decided));
        // Two of one rank that disagree, and two that agree against a third.
        assert_eq!(said(&merge("priority"), &[(1, 0.9), (2, 0.6), (4, 0.6)]), (none, Case::Conflict((1, 2))));
        assert_eq!(said(&merge("priority"), &[(1, 0.9), (2, 0.6), (2, 0.1)]), (2, Case::Decided));
        assert_eq!(said(&merge("margin"), &[(1, 0.6), (2, 0.6), (none, 0.6)]), (none, Case::Conflict((1, 2))));
        assert_eq!(Case::Conflict((1, 2)).name(&Classes::network()), "conflict dendrite / pit");
    }

    #[test]
    fn rules_that_lack_what_they_go_by_are_refused() {
        let network = Classes::network();
        let source = "[[source]]\nlabels = \"a.mhd\"\nmap = \"0=-,1=pit\"\n";
        assert!(Merge::parse(source, &network).is_ok());
        for (text, says) in [
            ("", "nothing to merge"),
            ("conflict = \"x\"\n", "unlabelled, priority or margin"),
            (&format!("conflict = \"margin\"\n{source}"), "line 3: no margin"),
            (&format!("conflict = \"priority\"\n{source}"), "line 3: no priority"),
            (&format!("{source}threshold = 0.5\n"), "no margin"),
            (&format!("{source}threshold = 2\n"), "a threshold of 2"),
            (&format!("nothing = \"lithium\"\n{source}"), "no class 'lithium'"),
            ("[[source]]\nlabels = \"a.mhd\"\nmap = \"1=lithium\"\n", "no class 'lithium'"),
        ] {
            let e = Merge::parse(text, &network).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
