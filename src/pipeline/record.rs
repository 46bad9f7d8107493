//! What a run folder holds: for every step its key and the digests of the files that it made.
//!
//! `run.json` is written after every step, or after those that are made at a time, and sealed; two runs with the same seal hold the same bytes. It names files by
//! their place in the folder, and nothing of the machine, the time or the paths of the inputs.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::CONTRACT;
use crate::segment::patches::unseal;
use crate::volume::manifest::seal;
use std::collections::BTreeMap;

/// Schema of the record.
pub const SCHEMA: &str = "tomolith-run-1";
/// The member that seals it.
pub const SEAL: &str = "run_sha256";
/// Its file in the run folder.
pub const RECORD: &str = "run.json";

/// A step that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Its key.
    pub key: String,
    /// Its files with their digests.
    pub made: BTreeMap<String, String>,
}

/// What is done of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The run's name: a folder is of one cell.
    pub name: String,
    /// Digests of the scans that it is of.
    pub scans: Vec<String>,
    /// Steps by name.
    pub steps: BTreeMap<String, Done>,
}

impl Record {
    /// The sealed text.
    pub fn text(&self) -> String {
        let done = |d: &Done| {
            let made = d.made.iter().map(|(k, v)| (k.clone(), Json::Str(v.clone())));
            Json::obj([("key", Json::Str(d.key.clone())), ("made", Json::Obj(made.collect()))])
        };
        let members = [
            ("schema", Json::Str(SCHEMA.into())),
            ("contract", CONTRACT.into()),
            ("name", Json::Str(self.name.clone())),
            ("scans", Json::Arr(self.scans.iter().map(|s| s.as_str().into()).collect())),
            ("steps", Json::Obj(self.steps.iter().map(|(k, v)| (k.clone(), done(v))).collect())),
        ];
        seal(members.map(|(k, v)| (k.to_string(), v)).into(), SEAL)
    }

    /// The seal: the digest of all that was made.
    pub fn seal(&self) -> String {
        let json = Json::parse(&self.text()).ok();
        json.and_then(|j| j.get(SEAL)?.as_str().map(String::from)).unwrap_or_default()
    }

    /// Reads a sealed text.
    ///
    /// # Errors
    /// Data: changed after it was written, or no such record.
    pub fn parse(text: &str) -> Result<Record> {
        let json = unseal(text, SEAL, SCHEMA)?;
        let bad = || Error::data("not a record of a run");
        let mut steps = BTreeMap::new();
        for (name, done) in json.need("steps")?.as_obj().ok_or_else(bad)? {
            let made = done.need("made")?.as_obj().ok_or_else(bad)?;
            let made: Option<_> = made.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_string()))).collect();
            let key = done.need_str("key")?.to_string();
            steps.insert(name.clone(), Done { key, made: made.ok_or_else(bad)? });
        }
        let scans = json.get("scans").and_then(Json::as_arr).unwrap_or_default();
        let scans = scans.iter().filter_map(|s| s.as_str().map(String::from)).collect();
        Ok(Record { name: json.need_str("name")?.to_string(), scans, steps })
    }

    /// Whether it is of none of these scans.
    pub fn is_of_others(&self, scans: &[String]) -> bool {
        !self.scans.is_empty() && !self.scans.iter().any(|s| scans.contains(s))
    }

    /// Digest of a file that a step made; none if no step did.
    pub fn digest_of(&self, file: &str) -> Option<&str> {
        self.steps.values().find_map(|d| d.made.get(file)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_notices_a_change() {
        let made = BTreeMap::from([("slices/s00.mhd".to_string(), "aa".to_string())]);
        let steps = BTreeMap::from([("recon s00".to_string(), Done { key: "bb".into(), made })]);
        let record = Record { name: "cell".into(), scans: vec!["cc".into()], steps };
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert_eq!(record.seal().len(), 64);
        assert_eq!(record.digest_of("slices/s00.mhd"), Some("aa"));
        assert!(record.digest_of("slices/s01.mhd").is_none());
        let of = |scans: &[&str]| record.is_of_others(&scans.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert!(of(&["dd"]) && !of(&["dd", "cc"]) && !Record::default().is_of_others(&[]));
        assert!(Record::parse(&record.text().replace("aa", "ab")).unwrap_err().to_string().contains("changed"));
    }
}
