//! The folder of an analysis: what it is for, what lies in it, when it is finished.
//!
//! `analysis.plan.json` is written first and says what the folder is for, `analysis.json` last: sealed, with the digests of
//! all inputs and outputs. A folder without it is not finished, and the same command does it again; one that holds
//! something else is left alone.

use crate::cli::Context;
use crate::cli::output::bytes_for_people;
use crate::error::{Error, Result};
use crate::exchange::part::write_whole;
use crate::exchange::tiff::write::TiffWriter;
use crate::exchange::write_text;
use crate::json::Json;
use crate::num::CONTRACT;
use crate::provenance::{Digest, InputFile};
use crate::segment::patches::unseal;
use crate::units::Micrometre;
use crate::volume::manifest::{RUN_SEAL, seal};
use crate::volume::{Dims, Dtype, Sink};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Schema of `analysis.json`, and the member that seals it.
pub const SCHEMA: &str = "tomolith-analysis-1";
const SEAL: &str = "analysis_sha256";
const PLAN: &str = "analysis.plan.json";
const DONE: &str = "analysis.json";
const RUN: &str = "analysis.run.json";

/// Checks a folder that holds an analysis, or its `analysis.json`: the seal, and every file that was written. None for
/// another folder; else a line about it.
pub fn verify(path: &Path) -> Option<Result<String>> {
    let done = if path.is_dir() { path.join(DONE) } else { path.to_path_buf() };
    (done.is_file() && done.file_name().is_some_and(|n| n == DONE)).then(|| check(&done))
}

fn check(done: &Path) -> Result<String> {
    let text = super::given::read_text(done)?.0;
    let json = unseal(&text, SEAL, SCHEMA).map_err(|e| Error::mismatch(e.what()).at(done))?;
    let outputs = json.need("outputs")?.as_obj().ok_or_else(|| Error::data("`outputs` is no object").at(done))?;
    let mut total = 0;
    for (name, said) in outputs {
        let path = done.with_file_name(name);
        if name.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(Error::policy(format!("names '{name}', out of its folder")).at(done));
        }
        let (digest, bytes) = Digest::of_file(&path)?;
        if digest.hex() != said.need_str("sha256")? {
            return Err(Error::mismatch("is not what was written").help("run the analysis again").at(&path));
        }
        total += bytes;
    }
    let (size, digest) = (bytes_for_people(total), Digest::of(text.as_bytes()));
    Ok(format!("{}  {} files, {size}, {digest}", done.display(), outputs.len()))
}

/// Folders that it fills, and the kind of file in each.
const OWN: [(&str, &str); 4] = [("tables", "csv"), ("maps", "tif"), ("views", "png"), ("meshes", "stl")];

/// Takes away what an analysis writes.
fn clear(path: &Path) -> Result<()> {
    let mut files: Vec<PathBuf> = [DONE, RUN, "results.json", PLAN].map(|n| path.join(n)).into();
    for (folder, kind) in OWN {
        let entries = std::fs::read_dir(path.join(folder)).into_iter().flatten().filter_map(|e| e.ok());
        files.extend(entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == kind)));
    }
    for file in files.iter().filter(|f| f.is_file()) {
        std::fs::remove_file(file).map_err(|e| Error::writing(file, &e))?;
    }
    // A folder that holds something else stays, and is no error.
    for (folder, _) in OWN {
        let _ = std::fs::remove_dir(path.join(folder));
    }
    Ok(())
}

/// The folder being filled.
pub struct Folder {
    path: PathBuf,
    /// Name, length and digest of what is written.
    outputs: BTreeMap<String, (u64, Digest)>,
}

impl Folder {
    /// Claims a folder for `plan`.
    ///
    /// # Errors
    /// Cannot create: it is finished, and `overwrite` is not set; it holds something else.
    pub fn claim(path: &Path, plan: &str, overwrite: bool) -> Result<Folder> {
        let entries: Vec<_> = match std::fs::read_dir(path) {
            Ok(entries) => entries.filter_map(|e| e.ok()).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::writing(path, &e)),
        };
        let said = std::fs::read_to_string(path.join(PLAN)).ok();
        let is_done = path.join(DONE).exists();
        match (said, entries.is_empty()) {
            (_, true) => {}
            (None, false) => {
                return Err(Error::cannot_create("exists and holds something else")
                    .help("choose another folder with -o")
                    .at(path));
            }
            (Some(_), _) if is_done && !overwrite => {
                return Err(Error::cannot_create("already holds a finished analysis")
                    .help("choose another folder with -o, or replace it with --overwrite")
                    .at(path));
            }
            (Some(said), _) if said != plan && !overwrite => {
                return Err(Error::cannot_create("holds the beginning of another analysis")
                    .help("choose another folder with -o, or replace it with --overwrite")
                    .at(path));
            }
            // Ours, or to be replaced: nothing of an earlier analysis stays, and everything else does.
            _ => clear(path)?,
        }
        std::fs::create_dir_all(path).map_err(|e| Error::writing(path, &e))?;
        write_text(&path.join(PLAN), plan, false)?;
        Ok(Folder { path: path.to_path_buf(), outputs: BTreeMap::new() })
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
        }
        Ok(path)
    }
    fn keep(&mut self, name: &str, path: &Path) -> Result<()> {
        let (digest, bytes) = Digest::of_file(path)?;
        self.outputs.insert(name.to_string(), (bytes, digest));
        Ok(())
    }

    /// Writes a text.
    ///
    /// # Errors
    /// What the disk says.
    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.place(name)?;
        write_text(&path, text, true)?;
        self.keep(name, &path)
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.place(name)?;
        write_whole(&path, true, bytes)?;
        self.keep(name, &path)
    }

    /// Writes a map of `height` rows as a TIFF of f32.
    ///
    /// # Errors
    /// What the disk says.
    pub fn map(
        &mut self,
        name: &str,
        [height, width]: [usize; 2],
        values: &[f32],
        unit: &str,
        pixel: f64,
    ) -> Result<()> {
        let name = format!("maps/{name}.tif");
        let path = self.place(&name)?;
        let dims = Dims::new(1, height, width)?;
        let description = format!("values in {unit}");
        let mut writer = TiffWriter::create(&path, dims, Dtype::F32, Some(Micrometre(pixel)), &description, true)?;
        writer.write(values)?;
        writer.finish()?;
        self.keep(&name, &path)
    }

    /// Writes what it was made from and how, last.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(self, context: &Context, params: Json, inputs: &[InputFile], version: u32) -> Result<Digest> {
        let outputs = self.outputs.iter().map(|(name, (bytes, digest))| {
            (name.clone(), Json::obj([("bytes", (*bytes).into()), ("sha256", digest.hex().into())]))
        });
        let members = [
            ("schema", SCHEMA.into()),
            ("tool", Json::obj([("name", "tomolith".into()), ("version", env!("CARGO_PKG_VERSION").into())])),
            ("contract", CONTRACT.into()),
            ("stage", "analyze".into()),
            ("stage_version", version.into()),
            ("params", params),
            ("inputs", Json::Arr(inputs.iter().map(InputFile::to_json).collect())),
            ("outputs", Json::obj(outputs)),
        ];
        let text = seal(members.map(|(k, v)| (k.to_string(), v)).into(), SEAL);
        let run = [("run", context.run_record())].map(|(k, v)| (k.to_string(), v));
        write_text(&self.path.join(RUN), &seal(run.into(), RUN_SEAL), true)?;
        write_text(&self.path.join(DONE), &text, true)?;
        Ok(Digest::of(text.as_bytes()))
    }
}
