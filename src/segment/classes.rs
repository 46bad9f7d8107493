//! Classes: ids, names and colours, and what the values of a foreign file mean.
//!
//! ```toml
//! [[class]]
//! id = 1
//! name = "dendrite"
//! colour = "#009e73"
//! ```
//!
//! Two tables are built in: `network`, the five classes that the paper's network tells apart, and `cell`, the seven after
//! deposits and electrodes are told apart by depth. Class 0 is the background, wherever figures ask for one.
//!
//! | mapping | values | classes |
//! |---|---|---|
//! | `from-0` | 0, 1, … ; 255 unlabelled | the same: native volumes |
//! | `from-1` | 0 unlabelled, 1, 2, … | one less |
//! | `dragonfly`, `fiji`, `napari`, `webknossos` | as `from-1` | their label tools keep 0 for what nobody painted |
//! | `paper` | 0 unlabelled, 1 … 6 | 0, 1, 2, 3, 4, 3: the authors' last round, their film and deposits are one class |
//! | `cell-to-network` | 0 … 6; 255 unlabelled | 0, 1, 2, 3, 4, 3, 4: the classes of `cell` as those of `network` |
//! | `1=0,2=1,7=-` | as said | as said; `-` is unlabelled |
//!
//! A mapping is applied at once, not one rule after the other. A value that it does not name is unknown, never guessed.
//!
//! Source: the raw-to-output map of the authors' configuration, which puts −1 for unlabelled.

use super::rules::{Rules, Schema};
use super::{MOST_CLASSES, UNLABELLED};
use crate::error::{Error, Result, nearest};
use crate::json::Json;
use crate::phantom::matter::{LABELS, Label};
use crate::provenance::InputFile;
use std::collections::BTreeMap;
use std::path::Path;

const SCHEMA: Schema = &[("", &[]), ("class", &["id", "name", "colour"])];

/// One class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its number in volumes.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Red, green, blue.
    pub colour: [u8; 3],
}

/// A table of classes, ids ascending from 0 without a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    list: Vec<Class>,
}

/// Names, and colours by what the label is.
type Builtin = &'static [(&'static str, Label)];
const NETWORK: Builtin = &[
    ("background", Label::Background),
    ("dendrite", Label::Dendrite),
    ("pit", Label::Pit),
    ("deposited", Label::Deposited),
    ("electrode", Label::PlatingElectrode),
];
/// The colour of a class whose table gives none.
pub const UNPAINTED: [u8; 3] = [128; 3];
/// Names of the tables that are built in.
pub const TABLES: [&str; 2] = ["network", "cell"];

impl Classes {
    fn builtin(list: Builtin) -> Classes {
        let class = |(name, label): &(&str, Label)| (name.to_string(), label.colour());
        Classes::numbered(list.iter().map(class))
    }
    /// Refuses names that are not this table's; they are `whose`.
    ///
    /// # Errors
    /// Data: the first class that differs.
    pub fn check_names(&self, names: &[String], whose: &str) -> Result<()> {
        let own = |i: usize| self.list.get(i).map_or("nothing", |c| c.name.as_str());
        let other = |i: usize| names.get(i).map_or("nothing", |n| n.as_str());
        let what = |i| format!("class {i} is '{}' in {whose}, and '{}' in the table", other(i), own(i));
        (0..names.len().max(self.list.len()))
            .find(|&i| own(i) != other(i))
            .map_or(Ok(()), |i| Err(Error::data(what(i))))
    }
    fn numbered(list: impl Iterator<Item = (String, [u8; 3])>) -> Classes {
        Classes { list: (0..).zip(list).map(|(id, (name, colour))| Class { id, name, colour }).collect() }
    }
    /// The five classes of the paper's network.
    pub fn network() -> Classes {
        Classes::builtin(NETWORK)
    }
    /// The seven classes after the split by depth.
    pub fn cell() -> Classes {
        Classes::numbered(LABELS.iter().map(|label| (label.name().to_string(), label.colour())))
    }

    /// A table by its name, or from a file, which then stands among the inputs.
    ///
    /// # Errors
    /// Usage: neither a name nor a file. Data: a file that is no table.
    pub fn open(text: &str) -> Result<(Classes, Option<InputFile>)> {
        match text {
            "network" => Ok((Classes::network(), None)),
            "cell" => Ok((Classes::cell(), None)),
            _ if !text.contains(['.', '/']) => {
                let near = nearest(text, TABLES).map_or(String::new(), |n| format!("did you mean '{n}'? "));
                Err(Error::usage(format!("'{text}' is no table of classes"))
                    .help(format!("{near}write {} or the name of a .toml file", TABLES.join(", "))))
            }
            _ => {
                let path = Path::new(text);
                let (rules, input) = Rules::read(path, "classes", SCHEMA)?;
                Ok((Classes::of(&rules).map_err(|e| e.at(path))?, Some(input)))
            }
        }
    }

    /// Parses the text of a table.
    ///
    /// # Errors
    /// Data.
    pub fn parse(text: &str) -> Result<Classes> {
        Classes::of(&Rules::parse(text, SCHEMA)?)
    }

    fn of(rules: &Rules) -> Result<Classes> {
        let mut list = Vec::new();
        for item in rules.all("class") {
            let at = |what: String| Error::data(format!("line {}: {what}", item.line));
            let id = item.index("id")?.ok_or_else(|| at("a class without an id".into()))?;
            if id >= MOST_CLASSES {
                return Err(at(format!("id {id}")).help(format!("ids are 0 to {}", MOST_CLASSES - 1)));
            }
            let name = item.need_text("name")?.to_string();
            if name.trim().is_empty() || name.contains([',', '=']) {
                return Err(at(format!("'{name}' is no name")).help("a name is not empty and has no comma and no ="));
            }
            let colour = match item.text("colour")? {
                Some(text) => colour(text).ok_or_else(|| at(format!("'{text}' is no colour")).help("write #rrggbb"))?,
                None => UNPAINTED,
            };
            list.push(Class { id: id as u8, name, colour });
        }
        list.sort_by_key(|c| c.id);
        if list.is_empty() {
            return Err(Error::data("a table without a class").help("write [[class]], id = 0, name = \"background\""));
        }
        for (i, class) in list.iter().enumerate() {
            if usize::from(class.id) != i {
                let twice = list[..i].iter().any(|c| c.id == class.id);
                let what = if twice { format!("id {} twice", class.id) } else { format!("no class {i}") };
                return Err(Error::data(what).help("ids go from 0 up without a gap"));
            }
            if list[..i].iter().any(|c| c.name == class.name) {
                return Err(Error::data(format!("two classes are named '{}'", class.name)));
            }
        }
        Ok(Classes { list })
    }

    /// The classes.
    pub fn list(&self) -> &[Class] {
        &self.list
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }
    /// Never.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// The name of a label.
    pub fn name(&self, label: u8) -> &str {
        match self.list.get(usize::from(label)) {
            Some(class) => &class.name,
            None if label == UNLABELLED => "unlabelled",
            None => "unknown",
        }
    }
    /// The class of a name or a number; `-` and `unlabelled` are [`UNLABELLED`].
    ///
    /// # Errors
    /// Usage: there is none.
    pub fn find(&self, text: &str) -> Result<u8> {
        let text = text.trim();
        if text == "-" || text == "unlabelled" {
            return Ok(UNLABELLED);
        }
        let by_number = text.parse::<usize>().ok().filter(|&id| id < self.len());
        let id = by_number.or_else(|| self.list.iter().position(|c| c.name == text));
        id.map(|id| id as u8).ok_or_else(|| {
            let names: Vec<&str> = self.list.iter().map(|c| c.name.as_str()).collect();
            let near = nearest(text, names.iter().copied()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
            Error::usage(format!("no class '{text}'")).help(format!("{near}classes are {}", names.join(", ")))
        })
    }
    /// For manifests.
    pub fn to_json(&self) -> Json {
        Json::Arr(self.list.iter().map(|c| Json::Str(c.name.clone())).collect())
    }
}

/// A colour from `#rrggbb`.
pub fn colour(text: &str) -> Option<[u8; 3]> {
    let hex = text.strip_prefix('#').filter(|h| h.len() == 6 && h.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let channel = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok();
    Some([channel(0)?, channel(1)?, channel(2)?])
}

/// What the values of a file mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    of: BTreeMap<i64, u8>,
}

/// Names of mappings that are built in.
pub const MAPPINGS: [&str; 8] =
    ["from-0", "from-1", "dragonfly", "fiji", "napari", "webknossos", "paper", "cell-to-network"];

impl Mapping {
    /// A mapping by its name, or from its rules, to these classes.
    ///
    /// # Errors
    /// Usage: neither a name nor rules; a class that is not in the table; a value named twice.
    pub fn parse(text: &str, classes: &Classes) -> Result<Mapping> {
        let k = classes.len() as i64;
        let listed = |first: i64, list: &[u8]| -> Result<BTreeMap<i64, u8>> {
            if list.iter().any(|&c| i64::from(c) >= k) {
                return Err(Error::usage(format!("the mapping '{text}' makes classes that the table has not"))
                    .help("give the table that it is for: --classes network"));
            }
            Ok(list.iter().enumerate().map(|(i, &c)| (first + i as i64, c)).collect())
        };
        let mut of: BTreeMap<i64, u8> = match text {
            "from-0" => (0..k).map(|v| (v, v as u8)).collect(),
            "from-1" | "dragonfly" | "fiji" | "napari" | "webknossos" => (0..k).map(|v| (v + 1, v as u8)).collect(),
            "paper" => listed(1, &[0, 1, 2, 3, 4, 3])?,
            "cell-to-network" => listed(0, &[0, 1, 2, 3, 4, 3, 4])?,
            rules if rules.contains('=') => return Mapping::of_rules(rules, classes),
            _ => {
                let near = nearest(text, MAPPINGS).map_or(String::new(), |n| format!("did you mean '{n}'? "));
                return Err(Error::usage(format!("'{text}' is no mapping")).help(format!(
                    "{near}write {} or rules such as 0=-,1=background,2=dendrite",
                    MAPPINGS.join(", ")
                )));
            }
        };
        let from_0 = matches!(text, "from-0" | "cell-to-network");
        of.insert(if from_0 { i64::from(UNLABELLED) } else { 0 }, UNLABELLED);
        Ok(Mapping { of })
    }

    fn of_rules(text: &str, classes: &Classes) -> Result<Mapping> {
        let mut of = BTreeMap::new();
        for rule in text.split(',') {
            let (value, class) = rule.split_once('=').ok_or_else(|| {
                Error::usage(format!("'{rule}' is no rule")).help("write value=class, such as 2=dendrite or 0=-")
            })?;
            let value: i64 = value
                .trim()
                .parse()
                .map_err(|_| Error::usage(format!("'{}' in '{rule}' is no whole number", value.trim())))?;
            if of.insert(value, classes.find(class)?).is_some() {
                return Err(Error::usage(format!("the value {value} stands twice")));
            }
        }
        Ok(Mapping { of })
    }

    /// The label of a stored value; `None` where the mapping does not know it.
    #[inline]
    pub fn label(&self, value: f32) -> Option<u8> {
        // Every f32 that is a whole number within ±2⁵³ converts exactly; others never compare equal.
        let whole = value as i64;
        if whole as f32 == value { self.of.get(&whole).copied() } else { None }
    }
    /// The value that is written for a label: the least that means it.
    pub fn value(&self, label: u8) -> Option<i64> {
        self.of.iter().find(|&(_, &l)| l == label).map(|(&v, _)| v)
    }
    /// Values and labels, values ascending.
    pub fn pairs(&self) -> impl Iterator<Item = (i64, u8)> + '_ {
        self.of.iter().map(|(&v, &l)| (v, l))
    }
    /// For manifests: text of rules, values ascending.
    pub fn to_text(&self) -> String {
        let rule = |(v, l): (i64, u8)| if l == UNLABELLED { format!("{v}=-") } else { format!("{v}={l}") };
        self.pairs().map(rule).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_gaps_are_refused() {
        let text = "[[class]]\nid = 1\nname = \"lithium\"\ncolour = \"#ff0010\"\n[[class]]\nid = 0\nname = \"rest\"\n";
        let classes = Classes::parse(text).unwrap();
        assert_eq!(classes.list()[1], Class { id: 1, name: "lithium".into(), colour: [255, 0, 16] });
        assert_eq!((classes.name(0), classes.name(255), classes.name(9)), ("rest", "unlabelled", "unknown"));
        assert_eq!(
            (classes.find("lithium").unwrap(), classes.find("1").unwrap(), classes.find("-").unwrap()),
            (1, 1, 255)
        );
        assert!(classes.find("lithum").unwrap_err().to_string().contains("did you mean 'lithium'"));
        for (text, says) in [
            ("", "without a class"),
            ("[[class]]\nid = 1\nname = \"a\"", "no class 0"),
            ("[[class]]\nid = 0\nname = \"a\"\n[[class]]\nid = 0\nname = \"b\"", "id 0 twice"),
            ("[[class]]\nid = 0\nname = \"a\"\n[[class]]\nid = 1\nname = \"a\"", "two classes"),
            ("[[class]]\nid = 255\nname = \"a\"", "ids are 0 to 254"),
            ("[[class]]\nid = 0\nname = \"a=b\"", "no name"),
            ("[[class]]\nid = 0\nname = \"a\"\ncolour = \"red\"", "#rrggbb"),
        ] {
            let e = Classes::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }

    #[test]
    fn mappings_mean_what_their_table_says() {
        let network = Classes::network();
        let label = |text: &str, value: f32| Mapping::parse(text, &network).unwrap().label(value);
        assert_eq!([0.0, 4.0, 5.0, 255.0].map(|v| label("from-0", v)), [Some(0), Some(4), None, Some(UNLABELLED)]);
        assert_eq!([0.0, 1.0, 5.0, 6.0].map(|v| label("from-1", v)), [Some(UNLABELLED), Some(0), Some(4), None]);
        let paper: Vec<Option<u8>> = (0..8).map(|v| label("paper", v as f32)).collect();
        assert_eq!(paper, [Some(255), Some(0), Some(1), Some(2), Some(3), Some(4), Some(3), None]);
        assert_eq!(label("cell-to-network", 6.0), Some(4));
        // At once: 1 becomes 2, and 2 becomes 1.
        assert_eq!([1.0, 2.0, -1.0, 3.0].map(|v| label("1=2,2=dendrite,-1=-", v)), [Some(2), Some(1), Some(255), None]);
        for odd in [0.5, f32::NAN, f32::INFINITY, 1e30] {
            assert_eq!(label("from-0", odd), None);
        }
        let text = Mapping::parse("2=pit,0=-", &network).unwrap().to_text();
        assert_eq!(text, "0=-,2=2");
        assert_eq!(Mapping::parse("from-1", &network).unwrap().value(3), Some(4));
        for (text, says) in
            [("1=dendrit", "did you mean"), ("1=0,1=1", "twice"), ("x=0", "no whole number"), ("form-1", "from-1")]
        {
            let e = Mapping::parse(text, &network).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
        let two = Classes::parse("[[class]]\nid=0\nname=\"a\"\n[[class]]\nid=1\nname=\"b\"").unwrap();
        assert!(Mapping::parse("paper", &two).is_err());
    }
}
