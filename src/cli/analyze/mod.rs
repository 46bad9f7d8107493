//! `tomolith analyze`: a series of labelled scans becomes numbers with intervals, tables and maps.

use crate::analysis::evaluated::Evaluated;
use crate::analysis::impedance::{self, spectra};
use crate::analysis::labels::{Labels, Region};
use crate::analysis::log::Log;
use crate::analysis::map::{Map, Tiles};
use crate::analysis::quantity::{Results, ScanInfo};
use crate::analysis::roles::{ROLES, Roles};
use crate::analysis::solid::Grey;
use crate::analysis::view::{Paint, Picture};
use crate::analysis::whole::{Keep, Scan, Settings, analyse};
use crate::cli::labels::{OVERWRITE, classes, mapping};
use crate::cli::options::{Opt, Takes};
use crate::cli::progress::Progress;
use crate::cli::stitch::with_role;
use crate::cli::{Command, Context, values};
use crate::error::{Error, Result};
use crate::exchange::open_stack;
use crate::exchange::png::encode_rgb8;
use crate::json::Json;
use crate::segment::classes::{Class, Classes, Mapping, UNPAINTED};
use crate::segment::ledger::check_classes;
use crate::segment::orient::Axes;
use crate::units::Micrometre;
use folder::Folder;
use given::{Given, GivenScan};
use std::path::Path;

pub mod ahead;
pub mod evaluate;
pub mod folder;
pub mod given;

/// The command.
pub const COMMAND: Command = Command {
    path: &["analyze"],
    about: "From a series of labelled scans to numbers with intervals, tables and maps",
    details: "SERIES is a folder of `phantom cell`; a .toml file with voxel_um, log, clock_offset_s, cell_area_cm2 and for each \
              scan [[scan]] labels, step, start_s, minutes, grey, and sigma or what `register` wrote, transform; a folder of volumes (.mhd, .npy, TIFF, folders of TIFF) \
              with numbers in their names; or volumes with commas. Depth is y, from the plating side: --axes turns what lies \
              otherwise. results.json has every number with its definition, unit, interval95 (what labels and motions leave \
              open about this field) and sampling95 (what another field of the cell may show), what was left out and why; \
              tables/ the same as CSV, maps/ a number per column as TIFF (f32), views/ pictures of every scan, \
              places of dendrites and surfaces are in the volume, not in --region; analysis.json the digests of all that was read \
              and written. Needed classes are found by their names in the table `cell`, or as --roles says; what needs a class, \
              a log or a turn that is not there is left out, and that is said.",
    examples: "  tomolith analyze out/cell -o out/numbers\n  \
               tomolith analyze segmented --classes table.toml --roles plating=anode,stripping=cathode --voxel 1.33um \
               --log cell.mpt --cell-area 0.5 -o out/numbers\n  \
               tomolith analyze a.tif,b.tif,c.tif --axes yzx --map fiji --voxel 0.65um --turn 1 -o out/numbers",
    groups: &[
        (
            "",
            &[
                Opt::new("series", Takes::Argument("SERIES"), "What to analyse"),
                Opt::new("output", Takes::Value("DIR"), "Folder of the results; created").short('o'),
                Opt::new("labels", Takes::Value("PATTERN"), "Labels of a step within the folder, # its two digits"),
                Opt::new("classes", Takes::Value("TABLE"), "Classes: network, cell, or a .toml file").default("cell"),
                Opt::new("map", Takes::Value("NAME|RULES"), "What values mean, as for `labels import`")
                    .default("from-0"),
                Opt::new("axes", Takes::Value("ORDER"), "Axes of the files, slowest first: zyx, yzx, z-yx …")
                    .default("zyx"),
                Opt::new("region", Takes::Value("x=A:B,…"), "Look at this box only: ranges of x, y, z"),
                Opt::new("voxel", Takes::Value("LENGTH"), "Voxel size with its unit, where files tell none"),
                Opt::new(
                    "roles",
                    Takes::Value("PART=CLASS,…"),
                    "Classes of plating, deposited, dendrite, stripping, \
                     redeposited, pit; - for none",
                ),
                Opt::new("maps", Takes::Choice(&["all", "none"]), "Maps and views to write").default("all"),
                Opt::new(
                    "mesh",
                    Takes::Value("CLASS,…"),
                    "Write surfaces of these classes, too: closed, binary STL in um",
                ),
                OVERWRITE,
            ],
        ),
        (
            "Current",
            &[
                Opt::new("log", Takes::Value("FILE"), "Log of the potentiostat: CSV or BioLogic .mpt"),
                Opt::new("impedance", Takes::Value("FILE,…"), "Spectra of the impedance: CSV or BioLogic .mpt"),
                Opt::new("clock-offset", Takes::Number("S"), "Seconds by which the scans' clock is ahead of the log's"),
                Opt::new("cell-area", Takes::Number("CM2"), "Area of the cell's electrodes"),
                Opt::new("turn", Takes::Number("STEP"), "Step at which charge becomes discharge; else by the log"),
            ],
        ),
        (
            "Grey values",
            &[
                Opt::new("grey", Takes::Value("PATTERN"), "Grey values of a step within the folder, # its two digits"),
                Opt::new(
                    "grey-lithium",
                    Takes::Number("VALUE"),
                    "That of dense lithium; else the mean of the electrodes",
                ),
                Opt::new(
                    "grey-fill",
                    Takes::Number("VALUE"),
                    "That of what fills pores: an assumption, void or electrolyte",
                ),
            ],
        ),
        (
            "Intervals and limits",
            &[
                Opt::new("interface", Takes::Number("VOXELS"), "Interfaces may be off by this, all alike")
                    .default("0.25"),
                Opt::new("sigma", Takes::Number("VOXELS"), "Standard deviation of a scan's depth by registration")
                    .default("0.05"),
                Opt::new(
                    "confusion",
                    Takes::Value("FILE.json"),
                    "What `seg eval` wrote: volumes with its confusion undone",
                ),
                Opt::new(
                    "evaluated",
                    Takes::Value("FILE.json,…"),
                    "What `evaluate` kept of series whose truth is known, or their results.json, of labels made as these were: \
                     numbers are corrected and their intervals widened by what is measured there; one that fewer than three of them have keeps \
                     no interval",
                ),
                Opt::new("truth", Takes::Value("FILE.json,…"), "results.json of their true labels, in the same order"),
                Opt::new("tile", Takes::Number("COLUMNS"), "Edge of a tile; 0: as far as a map is alike").default("0"),
                Opt::new("draws", Takes::Number("N"), "How often tiles are drawn again").default("400"),
                Opt::new("shifts", Takes::Number("N"), "Shifts of the test of a correlation").default("199"),
                Opt::new("seed", Takes::Number("N"), "Seed of draws and shifts").default("1"),
                Opt::new("least", Takes::Number("VOXELS"), "Least voxels of a dendrite").default("8"),
                Opt::new(
                    "thickness-voxels",
                    Takes::Number("N"),
                    "Voxels held at a time for local thickness, 9 bytes each",
                )
                .default("100000000"),
            ],
        ),
    ],
    run,
};

/// Version of the stage in manifests.
pub const VERSION: u32 = 11;

/// `x=A:B,y=A:B`: what is not named is whole.
pub(super) fn region(text: &str, whole: &Region) -> Result<Region> {
    let [x, y, z] = values::along_axes(text, &[whole.x.clone(), whole.y.clone(), whole.z.clone()])?;
    Ok(Region { z, y, x })
}

/// A number from 0.
fn amount(text: &str) -> Result<f64> {
    values::number(text).and_then(|v| match v >= 0.0 {
        true => Ok(v),
        false => Err(Error::usage(format!("'{text}' is below zero")).help("write a number from 0")),
    })
}

/// Refuses what is said of a current that nobody measured, where one of these options is given.
pub(super) fn need_log(is_given: impl Fn(&str) -> bool) -> Result<()> {
    match ["cell-area", "clock-offset"].into_iter().find(|option| is_given(option)) {
        Some(option) => Err(Error::usage(format!("--{option} is given, and no log of the current"))
            .help("name it with --log; without one there is no charge to compare with, and this says nothing")),
        None => Ok(()),
    }
}

fn run(c: &Context) -> Result<()> {
    let s = &c.settings;
    let output = s.required_path("output")?;
    let (classes, table) = classes(s)?;
    let series =
        s.text("series")?.ok_or_else(|| Error::usage("SERIES is missing").help("name a series; see --help"))?;
    let given = Given::open(c, series, s.text("labels")?, s.text("grey")?)?;
    given.check_classes(&classes)?;
    let mapping = mapping(s, "map", &classes)?.ok_or_else(|| Error::bug("no mapping"))?;
    let roles = s.text("roles")?;
    let roles = Roles::of(&classes, roles).map_err(|e| s.blame("roles", e))?;
    let mut inputs = given.inputs.clone();
    inputs.extend(table);
    let log = match s.path("log")?.or_else(|| given.log.clone()) {
        Some(path) => {
            let (log, input) = Log::read(&path)?;
            inputs.push(input);
            Some(log)
        }
        None => None,
    };
    if log.is_none() {
        need_log(|option| s.is_given(option).is_ok_and(|given| given))?;
    }
    let interface = s.parsed("interface", amount)?;
    let sigma = s.parsed("sigma", amount)?;
    let mut notes = Notes { context: c, all: Vec::new() };
    let offset = clock_offset(&mut notes, &given, log.as_ref())?;
    let scans = scans(&mut notes, &given, (&mapping, &classes), log.as_ref(), (sigma, offset))?;
    let mut impedance = Vec::new();
    for path in s.text("impedance")?.into_iter().flat_map(|t| t.split(',')) {
        let (found, input) = spectra(Path::new(path.trim()))?;
        impedance.extend(found);
        inputs.push(input);
    }
    impedance::check(&impedance)?;
    let with_maps = s.text("maps")? != Some("none");
    let meshes = s.text("mesh")?.into_iter().flat_map(|t| t.split(','));
    let meshes = meshes.map(|name| classes.find(name.trim())).collect::<Result<Vec<u8>>>()?;
    // What decides, beside the labels, of what the numbers are.
    let turn = s.parse("turn", values::index)?;
    let grid = scans[0].labels.grid();
    let cell_area = s.parse("cell-area", values::positive)?.or(given.cell_area);
    let least = s.parsed("least", values::count)? as u64;
    let about = evaluate::ABOUT.into_iter().zip([
        classes.to_json(),
        roles.to_json(&classes),
        Json::Arr(grid.voxel.map(Json::from).to_vec()),
        Json::Arr([grid.dims.nz, grid.dims.ny, grid.dims.nx].map(Json::from).to_vec()),
        turn.into(),
        cell_area.into(),
        least.into(),
    ]);
    let about: Vec<_> = about.collect();
    let settings = Settings {
        roles,
        cell_area,
        log,
        turn,
        interface,
        tiles: Tiles {
            edge: s.parsed("tile", values::index)?,
            draws: s.parsed("draws", values::index)?,
            seed: s.parsed("seed", values::seed)?,
        },
        shifts: s.parsed("shifts", values::index)?,
        least,
        most: s.parsed("thickness-voxels", values::index)?,
        grey: s
            .parse("grey-fill", values::number)?
            .map(|fill| Ok::<_, Error>(Grey { lithium: s.parse("grey-lithium", values::number)?, fill }))
            .transpose()?,
        paints: if with_maps { paints(&classes, &roles) } else { Vec::new() },
        meshes,
        confusion: match s.path("confusion")? {
            Some(path) => {
                let (counts, input) = given::confusion(&path, &classes)?;
                inputs.push(input);
                Some(counts)
            }
            None => None,
        },
        evaluated: evaluate::evaluated(s.text("evaluated")?, s.text("truth")?, &about, &mut inputs)?,
    };
    if settings.grey.is_none() && scans.iter().any(|s| s.grey.is_some()) {
        return Err(Error::usage("grey values are given, and not what fills the pores")
            .help("say it: --grey-fill VALUE, the grey value of void or of electrolyte"));
    }
    let others = [
        ("axes", s.parsed("axes", Axes::parse)?.name().into()),
        ("region", s.text("region")?.map_or(Json::Null, Json::from)),
        ("map", mapping.to_text().into()),
        ("colours", Json::Arr(paints(&classes, &settings.roles).into_iter().map(hex).collect())),
        ("clock_offset_s", offset.into()),
        ("mesh", Json::Arr(settings.meshes.iter().map(|&m| classes.name(m).into()).collect())),
        ("interface_voxels", settings.interface.into()),
        ("sigma_voxels", Json::Arr(scans.iter().map(|s| s.sigma.into()).collect())),
        ("tile_columns", settings.tiles.edge.into()),
        ("draws", settings.tiles.draws.into()),
        ("shifts", settings.shifts.into()),
        ("seed", Json::Str(settings.tiles.seed.to_string())),
        (
            "grey",
            settings.grey.map_or(Json::Null, |g| Json::obj([("lithium", g.lithium.into()), ("fill", g.fill.into())])),
        ),
        ("confusion_scans", settings.confusion.as_ref().map(Vec::len).into()),
        ("evaluated_series", settings.evaluated.as_ref().map(Evaluated::count).into()),
        ("thickness_voxels", settings.most.into()),
    ];
    let params = Json::obj(about.into_iter().chain(others));
    let steps = Json::Arr(scans.iter().map(|s| s.info.step.into()).collect());
    let plan = Json::obj([("analysis", params.clone()), ("steps", steps), ("maps", with_maps.into())]).to_canonical();
    let mut folder = Folder::claim(&output, &plan, s.is_on("overwrite")?)?;

    let progress = Progress::new(&c.talk, "analyze", "scans");
    let bytes = grid.dims.voxels() as u64;
    let mut keep = Kept { folder: &mut folder, with_maps, pixel: grid.voxel[0] };
    let (mut results, dendrites) = analyse(&scans, &classes, &settings, &mut keep, &|done, all| {
        progress.update(done as u64, all as u64, done as u64 * bytes);
    })?;
    progress.finish();
    if let Json::Obj(members) = &params {
        results.parameters.extend(members.clone());
    }
    results.notes.splice(0..0, notes.all);
    if roles.list().iter().any(|(_, class)| class.is_some()) {
        results.notes.extend(NOTES.map(String::from));
    }
    if settings.evaluated.is_none() {
        results.notes.push(UNEVALUATED.into());
    }
    results.put_impedance(impedance);
    given.scans.iter().for_each(|scan| registered(&mut results, scan));
    if let Some(log) = &settings.log {
        let line =
            |i: usize| [log.time[i] / 3600.0, log.current[i]].into_iter().chain(log.voltage.get(i).copied()).collect();
        results.course = log.course(COURSE).into_iter().map(line).collect();
    }
    folder.text("results.json", &results.to_json().to_canonical())?;
    for (name, text) in results.tables() {
        folder.text(&format!("tables/{name}.csv"), &text)?;
    }
    folder.text("tables/dendrite_list.csv", &dendrites)?;
    for scan in &scans {
        if let Some(grey) = &scan.grey {
            inputs.extend(with_role(grey.inputs()?, &format!("grey of step {}", scan.info.step)));
        }
        inputs.extend(with_role(scan.labels.source().inputs()?, &format!("labels of step {}", scan.info.step)));
    }
    let digest = folder.finish(c, params, &inputs, VERSION)?;
    summary(c, &results)?;
    c.out.line(format!("{}: {} numbers, {digest}", output.join("analysis.json").display(), results.quantities.len()))
}

/// How a scan's bodies moved, as registration found it.
fn registered(results: &mut Results, scan: &GivenScan) {
    let step = Some(scan.step);
    for moved in &scan.moved {
        for (name, numbers) in [("registration.shift", &moved.shift), ("registration.turn", &moved.turn)] {
            for (axis, [value, sigma]) in ["x", "y", "z"].iter().zip(numbers) {
                // 95 % of a normal number.
                let interval = Some([value - 1.96 * sigma, value + 1.96 * sigma]);
                let of = format!("{axis} of {}", moved.body);
                results.put_with(name, &of, step, Some(*value), (interval, "registration"), None);
            }
        }
        if moved.residual.is_some() {
            results.put("registration.residual", &moved.body, step, moved.residual);
        }
    }
}

/// Lines of a log that are kept in the results, and two more.
const COURSE: usize = 1000;
/// Of intervals without evaluated series.
const UNEVALUATED: &str = "intervals take every class for what it is called and only its faces as inexact (interface_voxels, \
     sigma_voxels): what a network confuses is not in them; analyze --evaluated measures it";

/// How classes are painted: the colours of their roles; electrodes can be looked through, background is not there.
fn paints(classes: &Classes, roles: &Roles) -> Vec<Paint> {
    let cell = Classes::cell();
    let part = |id: u8| roles.list().into_iter().find(|(_, class)| *class == Some(id)).map(|(part, _)| part);
    let paint = |class: &Class| match part(class.id) {
        Some(part) => {
            let opacity = match part {
                "plating" | "stripping" => 0.16,
                "pit" => 0.6,
                _ => 1.0,
            };
            // What a table does not say is as in the table `cell`.
            let of_part = ROLES.iter().find(|r| r.0 == part).and_then(|r| cell.list().iter().find(|c| c.name == r.1));
            let own = of_part.filter(|_| class.colour == UNPAINTED).map_or(class.colour, |c| c.colour);
            Some((own, opacity))
        }
        None if class.id == 0 => None,
        None => Some((class.colour, 1.0)),
    };
    classes.list().iter().map(paint).collect()
}

/// `#rrggbb`; nothing for what is clear.
fn hex(paint: Paint) -> Json {
    paint.map_or(Json::Null, |(colour, _)| crate::report::draw::hex(colour).into())
}

/// What goes into the folder.
struct Kept<'a> {
    folder: &'a mut Folder,
    with_maps: bool,
    pixel: f64,
}

impl Keep for Kept<'_> {
    fn map(&mut self, name: &str, unit: &str, map: &Map) -> Result<()> {
        match self.with_maps {
            true => self.folder.map(name, [map.nz, map.nx], &map.to_f32(), unit, self.pixel),
            false => Ok(()),
        }
    }
    fn picture(&mut self, name: &str, picture: &Picture) -> Result<()> {
        let png = encode_rgb8(picture.width, picture.height, &picture.rgb)?;
        self.folder.bytes(&format!("views/{name}.png"), &png)
    }
    fn mesh(&mut self, name: &str, stl: &[u8]) -> Result<()> {
        self.folder.bytes(&format!("meshes/{name}.stl"), stl)
    }
}

/// What a reader of the numbers of a cell should know, whatever the series.
const NOTES: [&str; 3] = [
    "thickness of a porous layer is apparent: labels count it as solid, so a total that changes is no lithium gained or lost",
    "ratio.whole_cell compares the field's volume with the whole cell's charge and is no efficiency; that the paper's missing \
     capacity is of this kind is inferred from its printed numbers",
    "pit_fill.area, pit_fill.thickness, pit_fill.voxels and void.area are different questions and may differ widely",
];

/// What is said at once, and on the page, too.
struct Notes<'a> {
    context: &'a Context,
    all: Vec<String>,
}

impl Notes<'_> {
    fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.context.talk.warn(&text);
        self.all.push(text);
    }
}

/// Seconds by which the scans' clock is ahead of the log's.
fn clock_offset(notes: &mut Notes, given: &Given, log: Option<&Log>) -> Result<f64> {
    let said = notes.context.settings.parse("clock-offset", values::number)?.or(given.clock_offset);
    if said.is_none() && log.is_some() && given.scans.iter().any(|s| s.start.is_some()) {
        notes.warn(
            "by how much the scans' clock is ahead of the log's is not known, and taken as 0; see --clock-offset",
        );
    }
    Ok(said.unwrap_or(0.0))
}

/// Looks whether a log tells of the scans: some may rest before its first line and after its last, which is said.
///
/// # Errors
/// Data: most lie there, so that clocks differ or the log is not whole.
fn covered(notes: &mut Notes, log: &Log, scans: &[Scan]) -> Result<()> {
    let [first, last] = log.span();
    let places =
        [("before the log's first line", "its charge is 0"), ("after the log's last line", "its charge is all of it")];
    for (k, (place, charge)) in places.into_iter().enumerate() {
        let is_outside = |t: f64| if k == 0 { t < first } else { t > last };
        let found: Vec<&Scan> = scans.iter().filter(|s| s.info.time.is_some_and(is_outside)).collect();
        match found[..] {
            [one, _, ..] if 2 * found.len() > scans.len() => {
                return Err(Error::data(format!(
                    "the log goes from {first} s to {last} s, and {} scans begin {place}, step {} at {} s of its clock",
                    found.len(),
                    one.info.step,
                    one.info.time.unwrap_or_default()
                ))
                .help("give the whole log, and with --clock-offset by how much the scans' clock is ahead of it; where no current flowed, say so with a line of 0 mA"));
            }
            _ => found.iter().for_each(|one| notes.warn(format!("step {} begins {place}: {charge}", one.info.step))),
        }
    }
    Ok(())
}

fn scans(
    notes: &mut Notes,
    given: &Given,
    (mapping, classes): (&Mapping, &Classes),
    log: Option<&Log>,
    (sigma, offset): (f64, f64),
) -> Result<Vec<Scan>> {
    let c = notes.context;
    let s = &c.settings;
    let axes = s.parsed("axes", Axes::parse)?;
    if axes != Axes::NATIVE && !given.inputs.iter().all(|i| i.role != "transform") {
        return Err(Error::usage("transforms tell depths along y, and --axes turns the volumes")
            .help("leave --axes out, or give sigma instead of transform"));
    }
    let voxel = s.parse("voxel", values::length)?;
    let mut scans = Vec::new();
    for one in &given.scans {
        let GivenScan { labels, step, start, minutes, .. } = one;
        let source = open_stack(labels, c.io)?;
        let whole = axes.volume(source.dims())?;
        let region = s.parse("region", |text| region(text, &Region::whole(whole)))?;
        // A voxel size that the series tells is for files that tell none.
        let voxel = voxel.or(given.voxel.filter(|_| source.spacing().is_none()).map(Micrometre));
        let name = labels.display().to_string();
        if s.text("map")? == Some("from-0") {
            check_classes(labels, classes).map_err(|e| e.help(given::OTHER_CLASSES))?;
        }
        let labels = Labels::new(&name, source, axes, region.as_ref(), voxel, (mapping, classes.len()))?;
        let time = start.map(|t| t - offset);
        if log.zip(time).is_some_and(|(log, t)| log.is_on(t)) {
            notes.warn(format!("step {step} begins while current flows: its charge is that of its beginning"));
        }
        let minutes = minutes.or_else(|| Some(log?.minutes_on(time?)));
        let info = ScanInfo { step: *step, minutes, time };
        let grey = one.grey.as_ref().map(|path| open_stack(path, c.io)).transpose()?;
        if let (Some(grey), Some(path)) = (&grey, &one.grey) {
            labels.beside(grey.as_ref()).map_err(|e| e.at(path))?;
        }
        scans.push(Scan { labels, info, sigma: one.sigma.unwrap_or(sigma), grey });
    }
    if let Some(log) = log {
        covered(notes, log, &scans)?;
    }
    Ok(scans)
}

/// The numbers that people ask for first.
fn summary(c: &Context, results: &Results) -> Result<()> {
    let last = results.scans.last().map(|s| s.step);
    let headline = [
        ("thickness.side", "plating side"),
        ("thickness.side", "stripping side"),
        ("void.area", "pits"),
        ("gap", "electrodes"),
        ("dead.volume", "dendrite"),
        ("ratio.per_area", "redeposited"),
        ("ratio.whole_cell", "redeposited"),
    ];
    for (name, of) in headline {
        if let Some(q) = results.get(name, of, last) {
            let value = q.value.map_or("-".to_string(), |v| format!("{v:.6}"));
            let interval = q.interval.map_or(String::new(), |[a, b]| format!("  {a:.6} … {b:.6}"));
            c.out.line(format!("{name:18} {of:16} step {:3} {value:>16}{interval}", q.step.unwrap_or_default()))?;
        }
    }
    for (what, why) in &results.left_out {
        c.talk.warn(format!("left out: {what}: {why}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Dims;

    #[test]
    fn regions_are_ranges_of_named_axes() {
        let whole = Region::whole(Dims::new(5, 6, 7).unwrap());
        let r = region("x=1:3, z=2:5", &whole).unwrap();
        assert_eq!(r, Region { z: 2..5, y: 0..6, x: 1..3 });
        for text in ["x", "w=1:2", "x=1", "x=a:2"] {
            assert_eq!(region(text, &whole).unwrap_err().fault().exit_code(), 2, "{text}");
        }
        assert!(amount("-1").is_err());
    }
}
