//! `NAME.json`, the authoritative manifest: what a volume is, what it was made from and how, and the digests that
//! prove that the bytes are these. `NAME.run.json` beside it holds what may differ between two runs.
//!
//! Both are *sealed*: canonical JSON with one member that is the SHA-256 of the canonical text without that member.
//! One changed bit anywhere in them shows.

use super::header::{Header, Native, Offset};
use super::slabs::{Layout, Statistics};
use super::{Dims, Dtype, Spacing};
use crate::error::{Error, Result};
use crate::json::{Json, MAX_TEXT};
use crate::provenance::{Digest, InputFile};
use crate::units::Micrometre;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// Name and version of the manifest's schema.
pub const SCHEMA: &str = "tomolith-volume-1";
/// Member of `NAME.json` that seals it.
pub const SEAL: &str = "manifest_sha256";
/// Member of `NAME.run.json` that seals it.
pub const RUN_SEAL: &str = "run_sha256";

/// What is going to be written, and everything that decides its bytes.
#[derive(Clone, Debug)]
pub struct Job {
    /// Shape.
    pub dims: Dims,
    /// Stored type.
    pub dtype: Dtype,
    /// Voxel size.
    pub spacing: Spacing,
    /// physical = stored · slope + intercept; 1 for f32.
    pub slope: f64,
    /// See `slope`; 0 for f32.
    pub intercept: f64,
    /// Unit of the physical values, for example `1/cm`.
    pub value_unit: String,
    /// The stage that computes it, for example `recon`.
    pub stage: String,
    /// Version of the stage: raised whenever its output bits change.
    pub stage_version: u32,
    /// Every resolved parameter's value.
    pub params: Json,
    /// What it is made from.
    pub inputs: Vec<InputFile>,
    /// Name of the arithmetic contract.
    pub contract: &'static str,
}

impl Job {
    /// Members of the manifest that are known before the first voxel.
    fn members(&self) -> BTreeMap<String, Json> {
        let version = env!("CARGO_PKG_VERSION");
        let inputs: Vec<Json> = self.inputs.iter().map(InputFile::to_json).collect();
        let members = [
            ("schema", SCHEMA.into()),
            ("tool", Json::obj([("name", "tomolith".into()), ("version", version.into())])),
            ("contract", self.contract.into()),
            ("stage", self.stage.as_str().into()),
            ("stage_version", self.stage_version.into()),
            ("params", self.params.clone()),
            ("inputs", inputs.into()),
            ("volume", Json::Obj(self.volume())),
        ];
        members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    fn volume(&self) -> BTreeMap<String, Json> {
        let Dims { nz, ny, nx } = self.dims;
        let spacing: Json = self.spacing.map(|s| s.map(|Micrometre(v)| v)).into();
        let members = [
            ("dims", Json::obj([("nz", nz.into()), ("ny", ny.into()), ("nx", nx.into())])),
            ("dtype", self.dtype.name().into()),
            ("spacing_um", spacing),
            ("unit", self.value_unit.as_str().into()),
            ("slope", self.slope.into()),
            ("intercept", self.intercept.into()),
            ("bytes", self.dims.bytes(self.dtype).into()),
        ];
        members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// The job's key: two jobs with one key have the same output, byte for byte. SHA-256 of the canonical JSON of
    /// everything in here and the program's version.
    pub fn key(&self) -> Digest {
        Digest::of(Json::Obj(self.members()).to_canonical().as_bytes())
    }

    /// The header of the finished volume.
    pub(super) fn header(&self, name: &str, digest: Digest) -> Header {
        Header {
            dims: self.dims,
            dtype: self.dtype,
            big_endian: false,
            spacing: self.spacing,
            slope: self.slope,
            intercept: self.intercept,
            unit: self.value_unit.clone(),
            offset: Offset::Bytes(0),
            data_file: format!("{name}.raw"),
            native: Some(Native { stage: self.stage.clone(), digest }),
        }
    }
}

/// What only the finished volume can tell.
pub(super) struct Outcome<'a> {
    pub layout: Layout,
    pub slabs: &'a [Digest],
    pub statistics: Statistics,
    pub results: Json,
    pub mhd: &'a str,
    pub nhdr: &'a str,
}

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    json: Json,
    text: String,
    layout: Layout,
    slabs: Vec<Digest>,
}

impl Manifest {
    /// The manifest of a finished job.
    pub(super) fn of(job: &Job, outcome: Outcome) -> Result<Manifest> {
        let mut members = job.members();
        let mut volume = job.volume();
        let slabs: Vec<String> = outcome.slabs.iter().map(Digest::hex).collect();
        volume.insert("slab_slices".into(), outcome.layout.slab_slices.into());
        volume.insert("slab_sha256".into(), slabs.into());
        volume.insert("digest".into(), Digest::root(outcome.slabs).hex().into());
        let headers = [("mhd", outcome.mhd), ("nhdr", outcome.nhdr)];
        let headers = headers.map(|(k, text)| (k, Digest::of(text.as_bytes()).hex().into()));
        members.insert("volume".into(), Json::Obj(volume));
        members.insert("headers_sha256".into(), Json::obj(headers));
        members.insert("statistics".into(), outcome.statistics.to_json());
        members.insert("results".into(), outcome.results);
        members.insert("job".into(), job.key().hex().into());
        // What is written must be readable: the same checks, before the commit and not after it.
        Manifest::parse(&seal(members, SEAL))
    }

    /// Reads and checks `NAME.json`.
    ///
    /// # Errors
    /// Files that cannot be read; [`Fault::Data`](crate::error::Fault::Data) for text that is not canonical, does not
    /// carry its own digest, is of another schema, or contradicts itself.
    pub fn read(path: &Path) -> Result<Manifest> {
        Manifest::parse(&read_text(path)?).map_err(|e| e.at(path))
    }

    /// As [`Manifest::read`], from its text.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(text: &str) -> Result<Manifest> {
        let json = unseal(text, SEAL)?;
        let schema = json.need_str("schema")?;
        if schema != SCHEMA {
            return Err(Error::data(format!("the manifest's schema is `{schema}`; this version reads `{SCHEMA}`")));
        }
        let volume = json.need("volume")?;
        let shape = volume.need("dims")?;
        let extent = |key| -> Result<usize> {
            usize::try_from(shape.need_u64(key)?).map_err(|_| Error::data(format!("`{key}` is too large")))
        };
        let dims = Dims::new(extent("nz")?, extent("ny")?, extent("nx")?)?;
        let dtype = dtype(volume.need_str("dtype")?)?;
        let slab_slices = usize::try_from(volume.need_u64("slab_slices")?).unwrap_or(0);
        if slab_slices == 0 || slab_slices > dims.nz {
            return Err(Error::data(format!("slabs of {slab_slices} slices in a volume of {}", dims.nz)));
        }
        let layout = Layout { dims, dtype, slab_slices };
        let digest_of = |v: &Json| Digest::parse(v.as_str().unwrap_or(""));
        let slabs: Vec<Digest> = volume.need_arr("slab_sha256")?.iter().map(digest_of).collect::<Result<_>>()?;
        let agrees = |what: &str, so: bool| {
            if so { Ok(()) } else { Err(Error::data(format!("the manifest contradicts itself: {what}"))) }
        };
        agrees("bytes", volume.need_u64("bytes")? == dims.bytes(dtype))?;
        agrees("number of slabs", slabs.len() == layout.slabs())?;
        agrees("digest of the volume", digest_of(volume.need("digest")?)? == Digest::root(&slabs))?;
        let manifest = Manifest { json, text: text.to_owned(), layout, slabs };
        manifest.header_digests()?;
        manifest.job_key()?;
        manifest.spacing()?;
        manifest.inputs()?;
        for number in ["slope", "intercept"] {
            manifest.volume().need_f64(number)?;
        }
        Ok(manifest)
    }

    /// All of it.
    pub fn json(&self) -> &Json {
        &self.json
    }
    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Shape, type and slabs.
    pub fn layout(&self) -> Layout {
        self.layout
    }
    /// SHA-256 of each slab.
    pub fn slabs(&self) -> &[Digest] {
        &self.slabs
    }
    /// The volume's digest: the [root](Digest::root) of the slabs' digests.
    pub fn digest(&self) -> Digest {
        Digest::root(&self.slabs)
    }
    /// The member that seals the manifest, which identifies it.
    pub fn seal(&self) -> &str {
        self.json.get(SEAL).and_then(Json::as_str).unwrap_or("")
    }
    /// The files it was made from.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) when the list is malformed; not after [`Manifest::read`].
    pub fn inputs(&self) -> Result<Vec<InputFile>> {
        self.json.need_arr("inputs")?.iter().map(InputFile::from_json).collect()
    }

    fn volume(&self) -> &Json {
        self.json.get("volume").unwrap_or(&Json::Null)
    }

    /// Key of the job that made the volume.
    ///
    /// # Errors
    /// If there is none: not a manifest of this schema.
    pub fn job_key(&self) -> Result<Digest> {
        Digest::parse(self.json.need_str("job")?)
    }

    /// Digests of the texts of `NAME.mhd` and `NAME.nhdr`.
    pub(super) fn header_digests(&self) -> Result<[Digest; 2]> {
        let both = self.json.need("headers_sha256")?;
        Ok([Digest::parse(both.need_str("mhd")?)?, Digest::parse(both.need_str("nhdr")?)?])
    }

    fn spacing(&self) -> Result<Spacing> {
        match self.volume().need("spacing_um")? {
            Json::Null => Ok(None),
            Json::Arr(list) => match list.iter().map(Json::as_f64).collect::<Option<Vec<f64>>>().as_deref() {
                Some(&[x, y, z]) => Ok(Some([x, y, z].map(Micrometre))),
                _ => Err(Error::data("`spacing_um` is not a list of three numbers")),
            },
            _ => Err(Error::data("`spacing_um` is not a list")),
        }
    }

    /// Whether a header describes this volume.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the first thing that differs.
    pub fn check_header(&self, header: &Header) -> Result<()> {
        let volume = self.volume();
        let checks = [
            ("shape", header.dims == self.layout.dims),
            ("type", header.dtype == self.layout.dtype),
            ("byte order", !header.big_endian),
            ("start of the data", header.offset == Offset::Bytes(0)),
            ("voxel size", header.spacing == self.spacing()?),
            ("slope", header.slope == volume.need_f64("slope")?),
            ("intercept", header.intercept == volume.need_f64("intercept")?),
            ("unit", Some(header.unit.as_str()) == volume.get("unit").and_then(Json::as_str)),
            (
                "stage",
                header.native.as_ref().map(|n| n.stage.as_str()) == self.json.get("stage").and_then(Json::as_str),
            ),
            ("digest", header.native.as_ref().map(|n| n.digest) == Some(self.digest())),
        ];
        match checks.iter().find(|(_, agrees)| !agrees) {
            None => Ok(()),
            Some((what, _)) => Err(Error::data(format!("header and manifest disagree: {what}"))
                .help("one of the two was changed or belongs to another volume")),
        }
    }
}

fn dtype(name: &str) -> Result<Dtype> {
    [Dtype::U8, Dtype::U16, Dtype::F32]
        .into_iter()
        .find(|d| d.name() == name)
        .ok_or_else(|| Error::data(format!("the type `{name}` is not u8, u16 or f32")))
}

/// The text of a sealed file, at most [`MAX_TEXT`] bytes.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let file = crate::os::open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
    if bytes.len() > MAX_TEXT {
        return Err(Error::data(format!("a manifest longer than {MAX_TEXT} bytes")).at(path));
    }
    String::from_utf8(bytes).map_err(|_| Error::data("not UTF-8 text").at(path))
}

/// Canonical text of `members` with one more, `key`, that seals them.
pub fn seal(mut members: BTreeMap<String, Json>, key: &str) -> String {
    members.remove(key);
    let digest = Digest::of(Json::Obj(members.clone()).to_canonical().as_bytes());
    members.insert(key.to_owned(), digest.hex().into());
    Json::Obj(members).to_canonical()
}

/// Reads a sealed text.
///
/// # Errors
/// [`Fault::Data`](crate::error::Fault::Data) when it is not canonical or its seal is not that of the rest.
pub(super) fn unseal(text: &str, key: &str) -> Result<Json> {
    let json = Json::parse(text)?;
    if json.to_canonical() != text {
        return Err(Error::data("the text is not canonical JSON: it was changed after it was written"));
    }
    let sealed = json.need_str(key)?;
    let Json::Obj(members) = &json else { return Err(Error::data("not a JSON object")) };
    let mut rest = members.clone();
    rest.remove(key);
    if Digest::of(Json::Obj(rest).to_canonical().as_bytes()).hex() != sealed {
        return Err(Error::data(format!("`{key}` is not the digest of the rest: the file was changed")));
    }
    Ok(json)
}

impl InputFile {
    /// For manifests.
    pub fn to_json(&self) -> Json {
        Json::obj([
            ("role", self.role.as_str().into()),
            ("name", self.name.as_str().into()),
            ("bytes", self.bytes.into()),
            ("sha256", self.digest.hex().into()),
        ])
    }

    /// Reads what [`InputFile::to_json`] writes.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) naming the member that is missing or of another kind.
    pub fn from_json(json: &Json) -> Result<InputFile> {
        Ok(InputFile {
            role: json.need_str("role")?.to_owned(),
            name: json.need_str("name")?.to_owned(),
            bytes: json.need_u64("bytes")?,
            digest: Digest::parse(json.need_str("sha256")?)?,
        })
    }
}
