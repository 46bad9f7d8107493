//! Rounds: commands that follow one another, with the digests of what each made, so that they can be done again and
//! compared.
//!
//! ```toml
//! name = "r1"                                     # round.toml
//! parents = "r0"                                  # rounds whose results are used, by name; they lie beside this one
//!
//! [[step]]
//! run = "seg patches a=../r0/draft.mhd -o patches.json"      # a command, its paths from the round's folder; 'a b' is one word
//! makes = "patches.json"                          # files it leaves; of volumes (.mhd) the voxels are hashed
//! ```
//!
//! `round.json` is written after every step: its digest covers the text of the steps, what they read and made, and the
//! digests of the parents, so a round is the node of a graph, and a changed parent is noticed. Nothing in it depends on
//! the time, the place or the number of threads.

use super::patches::unseal;
use super::rules::{Rules, Schema};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::provenance::Digest;
use crate::volume::manifest::seal;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Schema of the record.
pub const SCHEMA: &str = "tomolith-round-1";
/// Key of its digest.
pub const SEAL: &str = "round_sha256";
/// The description's file in the folder of a round.
pub const ROUND: &str = "round.toml";
/// The record's.
pub const RECORD: &str = "round.json";
const KEYS: Schema = &[("", &["name", "parents"]), ("step", &["run", "makes"])];
/// What a round may run: commands that change nothing but what they make.
const ROOMS: [&str; 3] = ["seg", "labels", "net"];

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its words, without the program's name.
    pub run: Vec<String>,
    /// Files that it leaves.
    pub makes: Vec<String>,
}

/// Words as they may be written, and are read as the same words.
pub fn written(words: &[String]) -> String {
    let plain = |word: &String| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"".contains(c));
    let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\"'\"'"));
    words.iter().map(|w| if plain(w) { w.clone() } else { quoted(w) }).collect::<Vec<_>>().join(" ")
}

/// A round as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its name, that of its folder.
    pub name: String,
    /// Names of the rounds that it uses.
    pub parents: Vec<String>,
    /// Its commands.
    pub steps: Vec<Step>,
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or("").split(',').map(str::trim).filter(|t| !t.is_empty()).map(String::from).collect()
}

/// Words of a command, as a shell parts them: at blanks that stand outside of ' and ".
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Whether a text may be a round's name: a folder beside others.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl Round {
    /// Parses a description.
    ///
    /// # Errors
    /// Data: a key that nobody knows, no step, a step without files, a name that is no folder's.
    pub fn parse(text: &str) -> Result<Round> {
        let rules = Rules::parse(text, KEYS)?;
        let own = rules.own();
        let name = own.need_text("name")?.to_string();
        let parents = list(own.text("parents")?);
        if let Some(bad) = [&name].into_iter().chain(&parents).find(|n| !is_name(n)) {
            return Err(Error::data(format!("'{bad}' is no name of a round"))
                .help("rounds are folders beside one another: letters, digits, -, _ and ."));
        }
        if parents.contains(&name) {
            return Err(Error::data(format!("the round '{name}' is its own parent")));
        }
        let mut steps = Vec::new();
        for item in rules.all("step") {
            let text = item.need_text("run")?;
            let run = words(text)
                .ok_or_else(|| Error::data(format!("line {}: a quote is not closed in {text}", item.line)))?;
            let makes = list(item.text("makes")?);
            if !run.first().is_some_and(|first| ROOMS.contains(&first.as_str())) || run.len() < 2 {
                return Err(Error::data(format!("line {}: '{}' is no step", item.line, run.join(" ")))
                    .help(format!("a step is a command of {}", ROOMS.join(", "))));
            }
            if run[1] == "round" || run[1] == "replay" {
                return Err(Error::data(format!("line {}: a round in a round", item.line)).help("name it as a parent"));
            }
            if makes.is_empty() {
                return Err(Error::data(format!("line {}: a step makes nothing", item.line))
                    .help("name its files: makes = \"patches.json\""));
            }
            steps.push(Step { run, makes });
        }
        if steps.is_empty() {
            return Err(Error::data("no [[step]]"));
        }
        Ok(Round { name, parents, steps })
    }

    /// Digest of the description's meaning.
    pub fn digest(&self) -> Digest {
        let steps = self.steps.iter().map(|s| format!("{}\n{}\n", written(&s.run), s.makes.join(",")));
        Digest::of(format!("{}\n{}\n{}", self.name, self.parents.join(","), steps.collect::<String>()).as_bytes())
    }
}

/// What a round has made so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Digest of its description.
    pub description: String,
    /// Parents with the digests of their records.
    pub parents: BTreeMap<String, String>,
    /// Per step that is done, its files with their digests.
    pub steps: Vec<BTreeMap<String, String>>,
    /// What each of them read, by the name that it has in its words; nothing in records of before that was noted.
    pub inputs: Vec<BTreeMap<String, String>>,
    /// Whether all steps are done.
    pub complete: bool,
}

fn of_map(map: &BTreeMap<String, String>) -> Json {
    Json::Obj(map.iter().map(|(k, v)| (k.clone(), Json::Str(v.clone()))).collect())
}

fn to_map(json: &Json) -> Option<BTreeMap<String, String>> {
    json.as_obj()?.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect()
}

impl Record {
    /// A round of which nothing is done.
    pub fn new(round: &Round, parents: BTreeMap<String, String>) -> Record {
        let description = round.digest().hex();
        Record { description, parents, steps: Vec::new(), inputs: Vec::new(), complete: false }
    }

    /// The sealed text.
    pub fn text(&self) -> String {
        let mut members = vec![
            ("schema", Json::Str(SCHEMA.into())),
            ("contract", CONTRACT.into()),
            ("description", Json::Str(self.description.clone())),
            ("parents", of_map(&self.parents)),
            ("steps", Json::Arr(self.steps.iter().map(of_map).collect())),
            ("complete", Json::Bool(self.complete)),
        ];
        if !self.inputs.is_empty() {
            members.push(("inputs", Json::Arr(self.inputs.iter().map(of_map).collect())));
        }
        seal(members.into_iter().map(|(k, v)| (k.to_string(), v)).collect(), SEAL)
    }

    /// Its digest: the round's.
    pub fn digest(&self) -> String {
        Digest::of(self.text().as_bytes()).hex()
    }

    /// What a step made that no later one made again, with the digests.
    pub fn lasting(&self, step: usize) -> BTreeMap<String, String> {
        let plain = |name: &str| PathBuf::from_iter(Path::new(name).components().filter(|c| *c != Component::CurDir));
        let later = |name: &str| self.steps.iter().skip(step + 1).flatten().any(|(n, _)| plain(n) == plain(name));
        let files = self.steps.get(step).into_iter().flatten();
        files.filter(|(name, _)| !later(name)).map(|(name, digest)| (name.clone(), digest.clone())).collect()
    }

    /// Reads a sealed text.
    ///
    /// # Errors
    /// Data: changed after it was written, or no such record.
    pub fn parse(text: &str) -> Result<Record> {
        let json = unseal(text, SEAL, SCHEMA)?;
        let bad = || Error::data("not a record of a round");
        let steps: Option<Vec<_>> = json.need_arr("steps")?.iter().map(to_map).collect();
        let inputs = json.get("inputs").map_or(Some(&[][..]), Json::as_arr);
        let inputs: Option<Vec<_>> = inputs.and_then(|list| list.iter().map(to_map).collect());
        Ok(Record {
            description: json.need_str("description")?.to_string(),
            parents: to_map(json.need("parents")?).ok_or_else(bad)?,
            steps: steps.ok_or_else(bad)?,
            inputs: inputs.ok_or_else(bad)?,
            complete: json.need("complete")?.as_bool().ok_or_else(bad)?,
        })
    }

    /// Refuses to go on where the description or a parent is another than when this round began.
    ///
    /// # Errors
    /// Data, which names it.
    pub fn check(&self, round: &Round, parents: &BTreeMap<String, String>) -> Result<()> {
        if self.description != round.digest().hex() {
            return Err(Error::data("the round was begun with another description")
                .help("name a new round, or remove what this one made"));
        }
        match parents.iter().find(|(name, digest)| self.parents.get(*name) != Some(digest)) {
            None => Ok(()),
            Some((name, _)) => Err(Error::data(format!("its parent '{name}' has changed since the round began"))
                .help("do this round again in a new folder")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"r1\"\nparents = \"r0\"\n[[step]]\nrun = \"seg patches a=l.mhd  -o p.json\"\nmakes = \"p.json\"\n\
                        [[step]]\nrun = \"seg train -o run\"\nmakes = \"run/best.safetensors, run/epochs.csv\"\n";

    #[test]
    fn descriptions_are_read_and_refused() {
        let round = Round::parse(TEXT).unwrap();
        assert_eq!((round.name.as_str(), round.parents.len(), round.steps.len()), ("r1", 1, 2));
        assert_eq!(round.steps[1].makes, ["run/best.safetensors", "run/epochs.csv"]);
        // Spaces mean nothing, words do.
        assert_eq!(round.digest(), Round::parse(&TEXT.replace("  -o", " -o")).unwrap().digest());
        assert_ne!(round.digest(), Round::parse(&TEXT.replace("p.json", "q.json")).unwrap().digest());
        // A word may hold blanks; what it is has one digest, however it is quoted.
        let blanks = |quoted: &str| Round::parse(&TEXT.replace("a=l.mhd", quoted)).unwrap();
        let [whole, part, two] = [blanks("'a=my l.mhd'"), blanks("a='my l'.mhd"), blanks("a=my l.mhd")];
        assert_eq!(whole.steps[0].run, ["seg", "patches", "a=my l.mhd", "-o", "p.json"]);
        assert_eq!(
            (whole.digest(), written(&whole.steps[0].run)),
            (part.digest(), "seg patches 'a=my l.mhd' -o p.json".into())
        );
        assert_ne!(whole.digest(), two.digest());
        // What is written is read as the same words, whatever is in them.
        for run in [vec!["a' b"], vec!["a'", "b'"], vec!["a'\" \"b'"], vec!["", "\""], vec!["plain", "'\"'"]] {
            let run: Vec<String> = run.into_iter().map(String::from).collect();
            let text = written(&run);
            assert_eq!(words(&text), Some(run), "{text}");
        }
        for (from, to, says) in [
            ("name = \"r1\"", "", "name"),
            ("\"r1\"", "\"../r1\"", "no name of a round"),
            ("\"r0\"", "\"r1\"", "its own parent"),
            ("seg patches", "recon x", "no step"),
            ("a=l.mhd", "'a=l.mhd", "line 4: a quote is not closed"),
            ("seg train", "seg replay", "a round in a round"),
            ("makes = \"p.json\"", "", "makes nothing"),
            ("makes", "make", "makes"),
        ] {
            let error = Round::parse(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(says), "{from}: {error}");
        }
        assert!(Round::parse("name = \"a\"").unwrap_err().to_string().contains("no [[step]]"));
    }

    #[test]
    fn a_record_notices_what_changed() {
        let round = Round::parse(TEXT).unwrap();
        let parents = |digest: &str| BTreeMap::from([("r0".to_string(), digest.to_string())]);
        let mut record = Record::new(&round, parents("aa"));
        record.steps.push(BTreeMap::from([("p.json".to_string(), "bb".to_string())]));
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(!record.text().contains("inputs"), "a record of before has the digest that it had");
        record.inputs.push(BTreeMap::from([("l.mhd".to_string(), "dd".to_string())]));
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(Record::parse(&record.text().replace("bb", "cc")).unwrap_err().to_string().contains("changed"));
        assert!(record.check(&round, &parents("aa")).is_ok());
        assert!(record.check(&round, &parents("ab")).unwrap_err().to_string().contains("'r0'"));
        let other = Round::parse(&TEXT.replace("p.json", "q.json")).unwrap();
        assert!(record.check(&other, &parents("aa")).unwrap_err().to_string().contains("another description"));
        // What is made once more counts as it was made last.
        record.steps.push(BTreeMap::from(["./p.json", "q.json"].map(|name| (name.to_string(), "ee".to_string()))));
        assert!(record.lasting(0).is_empty() && record.lasting(2).is_empty());
        assert_eq!(record.lasting(1), record.steps[1]);
        let before = record.digest();
        record.complete = true;
        assert_ne!(record.digest(), before);
    }
}
