//! Text files of rules and tables: TOML, one level of tables, every key known.
//!
//! ```toml
//! axis = "y"                # keys of the file itself stand first
//!
//! [[class]]                 # then tables, each as often as needed
//! id = 0
//! name = "background"
//! ```
//!
//! A key or table that nobody knows is an error with the nearest known name: a typing error in a rule is a wrong result.

use crate::error::{Error, Result, nearest};
use crate::os::open_regular;
use crate::provenance::{Digest, InputFile};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use toml_span::value::{Table, ValueInner};

/// Rules are a page of text; a longer file is a mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// What may stand in a file: tables with their keys; the table "" is the file itself.
pub type Schema = &'static [(&'static str, &'static [&'static str])];

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Another number.
    Num(f64),
}

/// One table: its values and the line that it begins in, the first being 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    values: BTreeMap<String, Scalar>,
    /// Line of its first key.
    pub line: usize,
}

/// A parsed file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    items: BTreeMap<String, Vec<Item>>,
}

impl Rules {
    /// Reads a file, and says what it is for a manifest.
    ///
    /// # Errors
    /// Missing where it cannot be read; data where it is no such file, with its line.
    pub fn read(path: &Path, role: &str, schema: Schema) -> Result<(Rules, InputFile)> {
        let mut bytes = Vec::new();
        open_regular(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::data(format!("is longer than {LARGEST_FILE} bytes, too long for rules")).at(path));
        }
        let input = InputFile {
            role: role.into(),
            name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            bytes: bytes.len() as u64,
            digest: Digest::of(&bytes),
        };
        let text = String::from_utf8(bytes).map_err(|_| Error::data("is not UTF-8 text").at(path))?;
        Ok((Rules::parse(&text, schema).map_err(|e| e.at(path))?, input))
    }

    /// Parses a text; see [`Rules::read`].
    ///
    /// # Errors
    /// Data.
    pub fn parse(text: &str, schema: Schema) -> Result<Rules> {
        let line_of = |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count();
        let root = toml_span::parse(text).map_err(|e| {
            let line = e.line_info.map_or_else(|| line_of(e.span.start), |(line, _)| line + 1);
            Error::data(format!("line {line}: not valid TOML: {e}"))
        })?;
        let mut rules = Rules::default();
        let Some(root) = root.as_table() else { return Ok(rules) };
        let tables: Vec<&str> = schema.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
        let mut own = Item::default();
        for (key, value) in root {
            let (name, line) = (key.name.as_ref(), line_of(key.span.start));
            let item = |table: &Table| read_item(table, name, schema, &line_of, line);
            match value.as_ref() {
                ValueInner::Table(table) => rules.items.entry(name.into()).or_default().push(item(table)?),
                ValueInner::Array(list) if list.iter().any(|v| v.as_table().is_some()) => {
                    for value in list {
                        let table = value.as_table();
                        let table = table.ok_or_else(|| Error::data(format!("line {line}: '{name}' mixes kinds")))?;
                        rules.items.entry(name.into()).or_default().push(item(table)?);
                    }
                }
                _ => {
                    let known = schema.iter().find(|(table, _)| table.is_empty()).map_or(&[][..], |(_, keys)| *keys);
                    if !known.contains(&name) {
                        return Err(unknown(line, &format!("key '{name}'"), name, known, &tables));
                    }
                    own.line = line;
                    own.values.insert(name.into(), scalar(value.as_ref(), name, line)?);
                }
            }
        }
        rules.items.insert(String::new(), vec![own]);
        Ok(rules)
    }

    /// Tables of a name, in the order of the file.
    pub fn all(&self, name: &str) -> &[Item] {
        self.items.get(name).map_or(&[], |items| items)
    }

    /// The file's own keys.
    pub fn own(&self) -> Item {
        self.all("").first().cloned().unwrap_or_default()
    }
}

fn read_item(
    table: &Table<'_>,
    name: &str,
    schema: Schema,
    line_of: &dyn Fn(usize) -> usize,
    line: usize,
) -> Result<Item> {
    let tables: Vec<&str> = schema.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
    let Some((_, known)) = schema.iter().find(|(table, _)| *table == name && !table.is_empty()) else {
        return Err(unknown(line, &format!("table [[{name}]]"), name, &tables, &[]));
    };
    let mut item =
        Item { values: BTreeMap::new(), line: table.keys().map(|k| line_of(k.span.start)).min().unwrap_or(line) };
    for (key, value) in table {
        let (key_name, line) = (key.name.as_ref(), line_of(key.span.start));
        if !known.contains(&key_name) {
            return Err(unknown(line, &format!("key '{key_name}' in [[{name}]]"), key_name, known, &[]));
        }
        item.values.insert(key_name.into(), scalar(value.as_ref(), key_name, line)?);
    }
    Ok(item)
}

fn scalar(value: &ValueInner<'_>, name: &str, line: usize) -> Result<Scalar> {
    match value {
        ValueInner::String(text) => Ok(Scalar::Text(text.to_string())),
        ValueInner::Integer(i) => Ok(Scalar::Int(*i)),
        ValueInner::Float(v) if v.is_finite() => Ok(Scalar::Num(*v)),
        other => Err(Error::data(format!("line {line}: '{name}' is a {}", other.type_str()))
            .help("give a text in quotes or a number")),
    }
}

fn unknown(line: usize, what: &str, name: &str, known: &[&str], tables: &[&str]) -> Error {
    let all: Vec<&str> = known.iter().chain(tables).copied().collect();
    let near = nearest(name, all.iter().copied()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
    Error::data(format!("line {line}: unknown {what}")).help(format!("{near}known: {}", all.join(", ")))
}

impl Item {
    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::data(format!("line {}: '{key}' {what}", self.line))
    }
    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
    /// A text, if there is one.
    ///
    /// # Errors
    /// Data: not a text.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Scalar::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "is not a text in quotes")),
        }
    }
    /// A text that must be there.
    ///
    /// # Errors
    /// Data: not a text, or not there.
    pub fn need_text(&self, key: &str) -> Result<&str> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }
    /// A whole number, if there is one.
    ///
    /// # Errors
    /// Data: not a whole number.
    pub fn int(&self, key: &str) -> Result<Option<i64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Scalar::Int(i)) => Ok(Some(*i)),
            Some(_) => Err(self.wrong(key, "is not a whole number")),
        }
    }
    /// A whole number from 0, if there is one.
    ///
    /// # Errors
    /// Data: not such a number.
    pub fn index(&self, key: &str) -> Result<Option<usize>> {
        self.int(key)?.map(|i| usize::try_from(i).map_err(|_| self.wrong(key, "is negative"))).transpose()
    }
    /// A number, if there is one.
    ///
    /// # Errors
    /// Data: not a number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Scalar::Int(i)) => Ok(Some(*i as f64)),
            Some(Scalar::Num(v)) => Ok(Some(*v)),
            Some(_) => Err(self.wrong(key, "is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = &[("", &["axis"]), ("class", &["id", "name"])];

    #[test]
    fn tables_and_keys_are_read_in_order_with_their_lines() {
        let text = "axis = \"y\"\n[[class]]\nid = 3\n\n[[class]]\nname = \"pit\"\n";
        let rules = Rules::parse(text, SCHEMA).unwrap();
        assert_eq!(rules.own().text("axis").unwrap(), Some("y"));
        let all = rules.all("class");
        assert_eq!((all[0].int("id").unwrap(), all[0].line), (Some(3), 3));
        assert_eq!((all[1].need_text("name").unwrap(), all[1].line), ("pit", 6));
        assert!(all[1].int("name").unwrap_err().to_string().contains("line 6: 'name' is not a whole number"));
        assert!(all[0].need_text("name").unwrap_err().to_string().contains("missing"));
        assert_eq!(all[0].number("id").unwrap(), Some(3.0));
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_nearest_name() {
        for (text, says) in [
            ("axes = \"y\"", "did you mean 'axis'"),
            ("[[clas]]\nid = 1", "did you mean 'class'"),
            ("[[class]]\nnmae = \"x\"", "line 2: unknown key 'nmae' in [[class]]"),
            ("[[class]]\nid = [1]", "is a array"),
            ("axis = ", "line 1: not valid TOML"),
        ] {
            let e = Rules::parse(text, SCHEMA).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
