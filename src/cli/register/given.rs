//! What `register` is given: which volumes, which bodies of them, which box.

use super::Named;
use crate::cli::options::Settings as Options;
use crate::cli::values;
use crate::error::{Error, Result};
use crate::volume::Dims;
use crate::volume::reader::base_of;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The volumes to register: those listed, or those of a folder but the fixed one, in the order of their names; if it holds
/// folders instead, the volume of the fixed one's name in each.
pub(super) fn moving(options: &Options, fixed: &Path) -> Result<Vec<PathBuf>> {
    let text = options
        .text("moving")?
        .ok_or_else(|| Error::usage("--moving is missing").help("name the volumes to register, or their folder"))?;
    let folder = Path::new(text);
    if !folder.is_dir() {
        return Ok(text.split(',').map(PathBuf::from).collect());
    }
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))?;
        let paths = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>();
        let mut paths = paths.map_err(|e| Error::reading(folder, &e))?;
        paths.sort();
        Ok(paths)
    };
    let own = std::fs::canonicalize(fixed).ok();
    let here = list(folder)?;
    let mut paths: Vec<PathBuf> = here.iter().filter(|p| p.extension().is_some_and(|e| e == "mhd")).cloned().collect();
    if let (true, Some(name)) = (paths.is_empty(), fixed.file_name()) {
        paths = here.iter().map(|p| p.join(name)).filter(|p| p.is_file()).collect();
    }
    paths.retain(|p| std::fs::canonicalize(p).ok() != own);
    if paths.is_empty() {
        return Err(Error::missing("holds no volume (.mhd) but the fixed one")
            .at(folder)
            .help("name the volumes themselves"));
    }
    Ok(paths)
}

/// Where the results of each volume go: by its name, or where two have the same, by that of its folder and its own, such
/// as `step_12.grey`; and last, `fixed`.
pub(super) fn bases(folder: &Path, moving: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let name = |path: &Path, with_folder: bool| -> Result<String> {
        let base = base_of(path);
        let base = if base == path { path.with_extension("") } else { base };
        let text = |name: Option<&std::ffi::OsStr>| name.map(|n| n.to_string_lossy().into_owned());
        let own = text(base.file_name())
            .ok_or_else(|| Error::usage(format!("'{}' names no file", path.display())).help("name a volume"))?;
        let parent = text(base.parent().and_then(Path::file_name)).filter(|_| with_folder);
        Ok(parent.map_or(own.clone(), |parent| format!("{parent}.{own}")))
    };
    for with_folder in [false, true] {
        let mut names = moving.iter().map(|path| name(path, with_folder)).collect::<Result<Vec<_>>>()?;
        names.push("fixed".into());
        if names.iter().enumerate().all(|(k, name)| !names[..k].contains(name)) {
            return Ok(names.iter().map(|name| folder.join(name)).collect());
        }
    }
    Err(Error::usage("two volumes have the same name, and so have their folders")
        .help("results are named after volumes: rename one, or register them one at a time"))
}

/// `NAME=A:B,…` within the fixed volume; one body, all of it, if none is named.
pub(super) fn bodies(options: &Options, dims: Dims) -> Result<Vec<Named>> {
    let of = |name: &str, n: usize| -> Result<Range<usize>> {
        options.text(name)?.map_or(Ok(0..n), |text| values::range(text, n).map_err(|e| options.blame(name, e)))
    };
    let (columns, slices) = (of("columns", dims.nx)?, of("slices", dims.nz)?);
    let region = |y: Range<usize>| [columns.clone(), y, slices.clone()];
    let Some(text) = options.text("bodies")? else {
        return Ok(vec![Named { name: "all".into(), region: region(0..dims.ny) }]);
    };
    let one = |part: &str| -> Result<Named> {
        let wrong = || Error::usage(format!("'{part}' is no body")).help("write NAME=A:B, such as plating=0:180");
        let (name, y) = part.split_once('=').ok_or_else(wrong)?;
        if name.trim().is_empty() {
            return Err(wrong());
        }
        Ok(Named { name: name.trim().into(), region: region(values::range(y, dims.ny)?) })
    };
    let named: Vec<Named> =
        text.split(',').map(|part| one(part).map_err(|e| options.blame("bodies", e))).collect::<Result<_>>()?;
    match named.iter().enumerate().find(|(k, body)| named[..*k].iter().any(|other| other.name == body.name)) {
        None => Ok(named),
        Some((_, twice)) => {
            let what = Error::usage(format!("'{}' is two bodies", twice.name)).help("give each a name of its own");
            Err(options.blame("bodies", what))
        }
    }
}

/// The box of the fixed volume within which volumes are kept; none where all of it is, whoever saw it.
pub(super) fn kept(crop: &str, d: Dims) -> Result<Option<[Range<usize>; 3]>> {
    let whole = [0..d.nx, 0..d.ny, 0..d.nz];
    match crop {
        "fixed" => Ok(None),
        "common" => Ok(Some(whole)),
        _ if !crop.contains('=') => {
            Err(Error::usage(format!("'{crop}' is no grid")).help("common, fixed, or a box: x=100:500,y=0:700"))
        }
        _ => {
            let kept = values::along_axes(crop, &whole)?;
            match kept.iter().zip(&whole).all(|(k, w)| !k.is_empty() && k.end <= w.end) {
                true => Ok(Some(kept)),
                false => {
                    Err(Error::usage(format!("'{crop}': the fixed volume has {} x {} x {} voxels", d.nx, d.ny, d.nz))
                        .help("write ranges within it, the end not included"))
                }
            }
        }
    }
}
