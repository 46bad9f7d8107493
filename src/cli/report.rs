//! `tomolith report`: what `analyze` wrote, as one page.

use crate::analysis::labels::Region;
use crate::cli::analyze::{folder, region};
use crate::cli::labels::OVERWRITE;
use crate::cli::options::{Opt, Takes};
use crate::cli::seg::read_text;
use crate::cli::{Command, Context};
use crate::error::{Error, Fault, Result};
use crate::exchange::part::write_whole;
use crate::exchange::{open_stack, write_text};
use crate::json::Json;
use crate::os::{check_interrupt, open_regular};
use crate::provenance::Digest;
use crate::report::choice::Chosen;
use crate::report::diagrams::figures;
use crate::report::figures::MAPS;
use crate::report::map::{Map, thinning};
use crate::report::page::{Sources, page};
use crate::report::quality::quality;
use crate::report::sections::{Shown, evenly};
use crate::segment::orient::Axes;
use crate::volume::reader::Reader;
use crate::volume::{Dims, Source};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The command.
pub const COMMAND: Command = Command {
    path: &["report"],
    about: "Make one page of figures, maps and tables of what `analyze` wrote",
    details: "NUMBERS is the folder of `analyze`, or its results.json. The page is one file that needs no other and no network: \
              diagrams with 95 % intervals whose values show when one points at them, maps with their scales, all tables, \
              definitions, where each figure is, what was left out and why, parameters and digests. Which figures there are follows \
              from the parts that the classes play, or is said; 'none' is an empty list. Made again from \
              the same numbers it has the same bytes. With --volumes sections of grey volumes are on it, too; without NUMBERS \
              they are all of it.",
    examples: "  tomolith report out/numbers -o report.html\n  tomolith report --volumes out/tooth.mhd -o tooth.html",
    groups: &[(
        "",
        &[
            Opt::new("numbers", Takes::Argument("NUMBERS"), "Folder of `analyze`, or its results.json"),
            Opt::new("volumes", Takes::Value("VOLUME,…"), "Grey volumes to show, in the order of time"),
            Opt::new(
                "labels",
                Takes::Value("VOLUME,…"),
                "Their classes, one volume for each, shown over them in the colours of NUMBERS",
            ),
            Opt::new(
                "quality",
                Takes::Value("FILE.json"),
                "How good the classes are: what `seg eval -o` wrote of them",
            ),
            Opt::new(
                "boards",
                Takes::Value("FILE.png,…"),
                "Checkerboards (.audit.png) that `register` wrote of the scans",
            ),
            Opt::new(
                "panels",
                Takes::Value("NAME"),
                "Panels of which paper are listed: huang2023, none [default: by the classes' parts]",
            ),
            Opt::new(
                "curves",
                Takes::Value("NAME,…"),
                "Diagrams, by their anchors on the page, or numbers by their names [default: all]",
            ),
            Opt::new(
                "maps",
                Takes::Value("NAME,…"),
                "Maps, by the kind in their files' names or by class [default: all]",
            ),
            Opt::new("headlines", Takes::Value("NAME,…"), "Numbers that stand first [default: by the classes' parts]"),
            Opt::new("without", Takes::Value("WHAT: WHY;…"), "Say what is left out, and why"),
            Opt::new("title", Takes::Value("TEXT"), "Heading").default("Operando tomography"),
            Opt::new(
                "figures",
                Takes::Value("DIR"),
                "Write diagrams, maps and sections as files, too, SVG and PNG, with a list of their SHA-256",
            ),
            Opt::new("output", Takes::Value("FILE.html"), "Page to write").short('o'),
            OVERWRITE,
        ],
    )],
    run,
};

/// A map is no larger than this, pixels.
const LARGEST: usize = 1 << 28;

/// Files `step_SS.KIND.ENDING` of a folder, none where there is no folder: kind, step, path.
fn of_steps(folder: &Path, ending: &str) -> Result<Vec<(String, usize, PathBuf)>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder).map_err(|e| Error::reading(folder, &e))? {
        let name = entry.map_err(|e| Error::reading(folder, &e))?.file_name().to_string_lossy().into_owned();
        let Some(((step, rest), (_, last))) = name.split_once('.').zip(name.rsplit_once('.')) else { continue };
        let Some(kind) = rest.strip_suffix(last).and_then(|kind| kind.strip_suffix('.')) else { continue };
        let Some(step) = step.strip_prefix("step_").and_then(|s| s.parse().ok()) else { continue };
        if last == ending {
            found.push((kind.to_string(), step, folder.join(&name)));
        }
    }
    Ok(found)
}

/// The maps of a folder: `step_SS.KIND.tif`.
fn maps(c: &Context, folder: &Path, pixel: f64) -> Result<BTreeMap<(String, usize), Map>> {
    let mut found = BTreeMap::new();
    for (kind, step, path) in of_steps(folder, "tif")? {
        if !kind.starts_with("class_") && !MAPS.iter().any(|m| m.kind == kind) {
            continue;
        }
        let source = open_stack(&path, c.io)?;
        let d = source.dims();
        if d.nz != 1 || d.slice() > LARGEST {
            return Err(Error::data(format!("{} x {} x {} is no map", d.nx, d.ny, d.nz)).at(&path));
        }
        let mut values = vec![0.0; d.slice()];
        source.read(0..1, 0..d.ny, &mut values)?;
        found.insert((kind, step), Map { title: format!("step {step}"), width: d.nx, values, pixel: Some(pixel) });
    }
    Ok(found)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(LARGEST as u64).read_to_end(&mut bytes).map_err(|e| Error::reading(path, &e))?;
    Ok(bytes)
}

/// A checkerboard, and the scan that it is of.
fn board(path: &str) -> Result<(String, Vec<u8>)> {
    let path = Path::new(path.trim());
    let name = path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let bytes = bytes_of(path)?;
    match bytes.starts_with(b"\x89PNG") {
        true => Ok((name.trim_end_matches(".png").trim_end_matches(".audit").to_string(), bytes)),
        false => Err(Error::data("is no PNG").help("give what `register` wrote: NAME.audit.png").at(path)),
    }
}

/// The list of the files in a folder of figures, as `sha256sum` writes and checks it.
pub const FIGURES: &str = "figures.sha256";

/// Checks every file that such a list names.
///
/// # Errors
/// Mismatch: another file. What reading says.
pub fn check_figures(list: &Path) -> Result<()> {
    for line in read_text(list)?.lines() {
        let (digest, name) = line.split_once("  ").unwrap_or_default();
        let path = list.with_file_name(name);
        if name.is_empty() || name.contains('/') || Digest::of_file(&path)?.0.hex() != digest {
            return Err(Error::mismatch(format!("{name} is not what was written"))
                .help("make the report again")
                .at(&path));
        }
    }
    Ok(())
}

/// Pictures of an analysis: `step_SS.KIND.png`.
fn pictures(folder: &Path) -> Result<BTreeMap<(String, usize), Vec<u8>>> {
    let mut found = BTreeMap::new();
    for (kind, step, path) in of_steps(folder, "png")? {
        found.insert((kind, step), bytes_of(&path)?);
    }
    Ok(found)
}

/// Rows of a section across x that are read: as many as the page shows, for each lies elsewhere on the disk.
pub fn rows_across_x([nz, ny]: [usize; 2]) -> (usize, usize) {
    let n = thinning(ny, nz);
    (n, nz.div_ceil(n) * ny.div_ceil(n))
}

/// The section across x; NaN where it is not read.
fn across_x(of: &Reader) -> Result<Vec<f32>> {
    let d = of.dims();
    let (n, _) = rows_across_x([d.nz, d.ny]);
    let (mut values, mut row) = (vec![f32::NAN; d.nz * d.ny], vec![0.0; d.nx]);
    for z in (0..d.nz).step_by(n) {
        check_interrupt()?;
        for y in (0..d.ny).step_by(n) {
            of.read(z..z + 1, y..y + 1, &mut row)?;
            values[z * d.ny + y] = row[d.nx / 2];
        }
    }
    Ok(values)
}

/// Sections through the middle of a volume across z and across y, of one that is seen across x, too, and what its manifest tells.
fn shown(c: &Context, path: &Path, labels: Option<&str>, is_seen: bool) -> Result<Shown> {
    let volume = Reader::open(path, c.io)?;
    let d = volume.dims();
    let classes = labels.map(|text| Reader::open(Path::new(text.trim()), c.io)).transpose()?;
    let digest =
        classes.as_ref().and_then(|classes| classes.manifest()?.get("volume")?.get("digest").map(Json::to_line));
    if let Some(other) = classes.as_ref().filter(|classes| classes.dims() != d) {
        let o = other.dims();
        return Err(Error::data(format!(
            "{} x {} x {} voxels, and its volume {} x {} x {}",
            o.nx, o.ny, o.nz, d.nx, d.ny, d.nz
        ))
        .help("give the classes of each volume, in the order of --volumes")
        .at(other.header_path()));
    }
    let spacing = volume.spacing().map(|s| s.map(|v| v.0));
    let pixel = spacing.map(|s| s[0]);
    let sections = |of: &Reader| -> Result<Vec<Map>> {
        let one = |(title, z, y): (String, std::ops::Range<usize>, std::ops::Range<usize>)| {
            let mut values = vec![0.0; z.len() * y.len() * d.nx];
            of.read(z, y, &mut values)?;
            Ok(Map { title, width: d.nx, values, pixel })
        };
        let (z, y) = (d.nz / 2, d.ny / 2);
        let two = [(format!("z {z}"), z..z + 1, 0..d.ny), (format!("y {y}"), 0..d.nz, y..y + 1)];
        let mut found = two.into_iter().map(one).collect::<Result<Vec<_>>>()?;
        if is_seen {
            found.push(Map { title: format!("x {}", d.nx / 2), width: d.ny, values: across_x(of)?, pixel });
        }
        Ok(found)
    };
    let mut facts = vec![("voxels x, y, z".to_string(), format!("{} x {} x {}", d.nx, d.ny, d.nz))];
    let size =
        spacing.map_or("not told: lengths are in voxels".to_string(), |s| format!("{} x {} x {} um", s[0], s[1], s[2]));
    facts.push(("voxel".into(), size));
    let plain = |j: &Json| j.as_str().map_or_else(|| j.to_line(), String::from);
    if let Some(manifest) = volume.manifest() {
        let of = |group: &str, key: &str| manifest.get(group)?.get(key).map(plain);
        let tool = of("tool", "name").zip(of("tool", "version")).map(|(name, version)| format!("{name} {version}"));
        facts.extend(tool.map(|tool| ("made by".into(), tool)));
        facts.extend(of("volume", "digest").map(|digest| ("digest".into(), digest)));
        for input in manifest.get("inputs").and_then(Json::as_arr).unwrap_or_default() {
            let text = |key: &str| input.get(key).map(plain).unwrap_or_default();
            facts.push((format!("read: {} {}", text("role"), text("name")), format!("SHA-256 {}", text("sha256"))));
        }
        for (key, value) in manifest.get("params").and_then(Json::as_obj).into_iter().flatten() {
            facts.push((key.clone(), plain(value)));
        }
    }
    facts.extend(digest.map(|digest| ("classes".into(), format!("digest {}", digest.trim_matches('"')))));
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let classes = classes.as_ref().map(&sections).transpose()?.unwrap_or_default();
    Ok(Shown { name, facts, sections: sections(&volume)?, classes })
}

/// Values of labels as numbers of classes, by the map with which they were analysed; none outside of the region that was.
fn as_classes(results: &Json, sections: &mut [Map]) -> Result<()> {
    let told = |key: &str| results.get("parameters").and_then(|p| p.get(key)?.as_str()).unwrap_or_default();
    let map = told("map");
    // Ranges of labels whose axes were exchanged are of others than those that are shown.
    if let [across_z, across_y, others @ ..] = sections
        && told("axes") == Axes::NATIVE.name()
        && !told("region").is_empty()
    {
        let rows = |m: &Map| m.values.len() / m.width.max(1);
        let (nz, ny, nx) = (rows(across_y), rows(across_z), across_z.width);
        let r = region(told("region"), &Region::whole(Dims::new(nz, ny, nx)?))?;
        let of = [(across_z, &r.y, r.z.contains(&(nz / 2))), (across_y, &r.z, r.y.contains(&(ny / 2)))];
        for (section, rows, within) in of {
            let inside = |i: usize| within && rows.contains(&(i / nx)) && r.x.contains(&(i % nx));
            section.values.iter_mut().enumerate().filter(|(i, _)| !inside(*i)).for_each(|(_, v)| *v = f32::NAN);
        }
        for (i, v) in others.iter_mut().flat_map(|across_x| across_x.values.iter_mut().enumerate()) {
            if !(r.x.contains(&(nx / 2)) && r.z.contains(&(i / ny)) && r.y.contains(&(i % ny))) {
                *v = f32::NAN;
            }
        }
    }
    let pair = |text: &str| {
        let (value, class) = text.split_once('=')?;
        Some((value.parse::<f32>().ok()?, class.parse().unwrap_or(f32::NAN)))
    };
    let known: Vec<(f32, f32)> = map.split(',').filter_map(pair).collect();
    for value in sections.iter_mut().flat_map(|section| &mut section.values).filter(|v| !v.is_nan()) {
        let Some((_, class)) = known.iter().find(|(v, _)| v == value) else {
            return Err(Error::data(format!("{value} is no class: the numbers are of labels with {map}"))
                .help("give the labels that were analysed"));
        };
        *value = *class;
    }
    Ok(())
}

/// Results without a number: what a report of volumes alone is made of.
fn nothing() -> Json {
    let empty = |key: &str| (key.to_string(), Json::Arr(Vec::new()));
    let none = |key: &str| (key.to_string(), Json::Obj(BTreeMap::new()));
    let lists = ["quantities", "scans", "left_out", "notes"].map(empty);
    Json::Obj(lists.into_iter().chain(["parameters", "definitions"].map(none)).collect())
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let (given, output) = (s.path("numbers")?, s.required_path("output")?);
    super::net::check_output(&output, s.is_on("overwrite")?)?;
    let list = |name: &str| -> Result<Vec<&str>> { Ok(s.text(name)?.into_iter().flat_map(|t| t.split(',')).collect()) };
    let (volumes, labels) = (list("volumes")?, list("labels")?);
    if !labels.is_empty() && (labels.len() != volumes.len() || given.is_none()) {
        let what = format!("--labels names {} volumes, and --volumes {}", labels.len(), volumes.len());
        let what = if given.is_none() { "nobody says what the --labels mean".into() } else { what };
        return Err(Error::usage(what).help("name the folder of `analyze`, and the classes of each of --volumes"));
    }
    let seen: Vec<usize> = evenly(volumes.len()).collect();
    let volumes = volumes.into_iter().enumerate();
    let volumes = volumes
        .map(|(k, p)| shown(c, Path::new(p.trim()), labels.get(k).copied(), seen.contains(&k)))
        .collect::<Result<Vec<_>>>()?;
    let pixel = |shown: &Shown| shown.sections.first().and_then(|s| s.pixel);
    let other = |a: f64, b: f64| (a / b - 1.0).abs() > 1e-6;
    if let Some(other) = volumes.iter().find(|v| pixel(v).zip(pixel(&volumes[0])).is_some_and(|(a, b)| other(a, b))) {
        let size = |v: &Shown| pixel(v).map_or("no told size".to_string(), |p| format!("{p} um"));
        let what =
            format!("{} has voxels of {}, and {} of {}", other.name, size(other), volumes[0].name, size(&volumes[0]));
        return Err(
            Error::data(what).help("bring all volumes of a series to one voxel size first, or make a page of each")
        );
    }
    if given.is_none() && volumes.is_empty() {
        return Err(Error::usage("a report of what?").help("name the folder of `analyze`, or --volumes"));
    }
    let file = given.map(|given| if given.is_dir() { given.join("results.json") } else { given });
    let read = |path: &Path| Json::parse(&read_text(path)?).map_err(|e| Error::data(e.to_string()).at(path));
    let own = |name: &str| -> Result<Option<String>> { Ok(s.text(name)?.map(String::from)) };
    let mut sources = Sources {
        results: nothing(),
        provenance: None,
        maps: BTreeMap::new(),
        pictures: BTreeMap::new(),
        volumes,
        quality: None,
        boards: list("boards")?.into_iter().map(board).collect::<Result<_>>()?,
        chosen: Chosen {
            panels: own("panels")?,
            curves: own("curves")?,
            maps: own("maps")?,
            headlines: own("headlines")?,
        },
    };
    if let Some(path) = s.path("quality")? {
        let metrics = read(&path)?;
        let name = path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
        let section = quality(&metrics, &name, &Digest::of_file(&path)?.0.hex()).map_err(|e| e.at(&path))?;
        sources.quality = Some(section);
    }
    if let Some(file) = &file {
        sources.results = read(file)?;
        if sources.results.get("schema").and_then(Json::as_str) != Some(crate::analysis::quantity::SCHEMA) {
            return Err(Error::data("is not what `analyze` writes").at(file));
        }
        let place = file.parent().unwrap_or(Path::new(""));
        let record = place.join("analysis.json");
        if let Some(checked) = folder::verify(&record) {
            match checked {
                // Maps and meshes may be gone: the page is made of what is there.
                Err(e) if e.fault() == Fault::Missing => {
                    c.talk.warn(format!("the analysis is not whole, and not verified: {e}"))
                }
                checked => drop(checked?),
            }
            sources.provenance = Some((read(&record)?, Digest::of_file(&record)?.0.hex()));
        }
        let parameters = sources.results.get("parameters");
        let pixel = parameters.and_then(|p| p.get("voxel_um")?.as_arr()?.first()?.as_f64()).unwrap_or(1.0);
        for (volume, path) in sources.volumes.iter_mut().zip(&labels) {
            as_classes(&sources.results, &mut volume.classes).map_err(|e| e.at(path.trim()))?;
        }
        sources.maps = maps(c, &place.join("maps"), pixel)?;
        sources.pictures = pictures(&place.join("views"))?;
    }
    if let (Some(text), Json::Obj(members)) = (s.text("without")?, &mut sources.results)
        && let Some(Json::Arr(left_out)) = members.get_mut("left_out")
    {
        for part in text.split(';') {
            let (what, why) = part.split_once(':').unwrap_or((part, "not said"));
            left_out.push(Json::obj([("what", what.trim().into()), ("why", Json::from(why.trim()))]));
        }
    }
    let overwrite = s.is_on("overwrite")?;
    let text = page(s.text("title")?.unwrap_or_default(), &sources)?;
    let mut drawn: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if let Some(folder) = s.path("figures")? {
        drawn.extend(figures(&sources)?.into_iter().map(|(name, bytes)| (folder.join(name), bytes)));
        let name = |path: &Path| path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
        let line = |(path, bytes): &(PathBuf, Vec<u8>)| format!("{}  {}\n", Digest::of(bytes).hex(), name(path));
        let listed: String = drawn.iter().map(line).collect();
        drawn.push((folder.join(FIGURES), listed.into_bytes()));
        drawn.iter().try_for_each(|(path, _)| super::net::check_output(path, overwrite))?;
        std::fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    }
    write_text(&output, &text, overwrite)?;
    for (path, bytes) in drawn {
        write_whole(&path, overwrite, &bytes)?;
    }
    let (maps, pictures) = (sources.maps.len(), sources.pictures.len());
    c.out.line(format!("{}: {maps} maps, {pictures} pictures, {} bytes", output.display(), text.len()))
}
