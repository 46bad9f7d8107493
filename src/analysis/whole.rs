//! A series from its first scan to its last: what is computed of each, in which order, and what of all.
//!
//! ```text
//! every scan       columns ── volumes, sides, geometry, roughness, contact, colocalisation, connectivity ── maps
//! after the turn   pits, voids, decrease and increase against the scan at the turn
//! at the end       rates, decays, knees, Faraday, capacity                                     `series`
//! ```
//!
//! The *turn* is the scan at which the cell goes from charge to discharge. What needs a class that the table has not, a
//! log or a turn is left out, and that is said. One scan is in memory as its columns and a slab; of the first scan and
//! the one at the turn some maps are kept.
//!
//! Intervals of this field: every interface may lie ±δ voxels off, all alike, and a scan ±σ by its registration:
//!
//! ```text
//! volume of a class    δ v · area of its faces            area of a map    δ · (edges of its rim + columns of one voxel) / columns
//! depth of a change    δ v · (2 columns with it + its rim) / columns
//! difference of depths √2 δ v                             between scans    δ → √(δ² + (1.96 σ)²)
//! ```

use super::between;
use super::coloc;
use super::columns::{Columns, NONE};
use super::confusion::Counts;
use super::dendrites::{self, Hanging, Parts};
use super::evaluated::Evaluated;
use super::labels::{Grid, Labels, same_grid};
use super::log::Log;
use super::map::{Map, Tiles};
use super::mesh;
use super::quantity::{Results, ScanInfo};
use super::roles::Roles;
use super::sampling::{Course, Gain, OfSet};
use super::solid::Grey;
use super::surface;
use super::thickness;
use super::view::{self, Paint, Picture};
use crate::error::{Error, Result};
use crate::segment::classes::Classes;
use crate::volume::Source;

/// A scan of a series.
pub struct Scan {
    /// Its labels.
    pub labels: Labels,
    /// Its number and when it was.
    pub info: ScanInfo,
    /// Standard deviation of its depth by registration, voxels.
    pub sigma: f64,
    /// Its grey values, if any.
    pub grey: Option<Box<dyn Source>>,
}

/// How a series is analysed.
pub struct Settings {
    /// Which class plays which part.
    pub roles: Roles,
    /// Area of the cell's electrodes, cm².
    pub cell_area: Option<f64>,
    /// What the potentiostat wrote.
    pub log: Option<Log>,
    /// Step at which charge turns into discharge; by the log, if none.
    pub turn: Option<usize>,
    /// δ, voxels.
    pub interface: f64,
    /// Tiles of the field; an edge of 0 is the longest correlation length of the maps.
    pub tiles: Tiles,
    /// Shifts of the test of a correlation.
    pub shifts: usize,
    /// Least voxels of a dendrite.
    pub least: u64,
    /// Most voxels that are held for local thickness.
    pub most: usize,
    /// What grey values mean.
    pub grey: Option<Grey>,
    /// How each class is painted; nothing: no pictures.
    pub paints: Vec<Paint>,
    /// Classes whose surfaces are wanted.
    pub meshes: Vec<u8>,
    /// Confusion of each evaluated scan.
    pub confusion: Option<Counts>,
    /// Series whose true labels are known, segmented as this one was.
    pub evaluated: Option<Evaluated>,
}

/// Takes what an analysis makes besides numbers.
pub trait Keep {
    /// A map: its name and unit.
    ///
    /// # Errors
    /// What the disk says.
    fn map(&mut self, name: &str, unit: &str, map: &Map) -> Result<()>;
    /// A picture.
    ///
    /// # Errors
    /// What the disk says.
    fn picture(&mut self, name: &str, picture: &Picture) -> Result<()>;
    /// A surface, `.stl`.
    ///
    /// # Errors
    /// What the disk says.
    fn mesh(&mut self, name: &str, stl: &[u8]) -> Result<()>;
}

/// Analysis on its way.
pub(super) struct Run<'a> {
    pub scans: &'a [Scan],
    pub classes: &'a Classes,
    pub settings: &'a Settings,
    /// Which class plays which part in what is looked at.
    pub roles: Roles,
    pub grid: Grid,
    pub results: Results,
    /// Thickness of every class, by scan.
    pub thickness: Vec<Vec<f64>>,
    /// By scan: sets of classes, and by how much their thickness may be off by their interfaces.
    pub bands: Vec<Vec<(Vec<u8>, f64)>>,
    /// What other fields may show of the change of thickness of some classes.
    pub gains: Vec<Gain>,
    /// Thickness of some classes by tile and scan.
    pub courses: Vec<Course>,
    /// Scans since which changes are counted, and what is in their columns.
    pub since: Vec<(usize, Vec<OfSet>)>,
    /// Dense thickness of every class of lithium, by scan; empty without grey values.
    pub dense: Vec<Option<Vec<f64>>>,
    /// Index of the scan at the turn.
    pub turn: Option<usize>,
    /// Table of dendrites.
    pub dendrites: String,
    keep: &'a mut dyn Keep,
}

/// What is kept of an earlier scan.
struct Kept {
    /// Inner and outer.
    gap: Option<[Map; 2]>,
    /// Of the plating and of the stripping electrode.
    outer_faces: [Option<Map>; 2],
}

/// Maps of the scan at the turn.
struct AtTurn {
    index: usize,
    pits: Option<Map>,
    grown: Option<Map>,
    redeposited: Option<Map>,
    /// What has grown on the plating side, and the other side's layer, through the field.
    across: [Vec<u32>; 2],
}

/// Analyses a series; `progress` takes how many of how many scans are done. Results, and the table of dendrites.
///
/// # Errors
/// Data: scans of different grids; those of reading and of `keep`.
pub fn analyse(
    scans: &[Scan],
    classes: &Classes,
    settings: &Settings,
    keep: &mut dyn Keep,
    progress: &dyn Fn(usize, usize),
) -> Result<(Results, String)> {
    let first = scans.first().ok_or_else(|| Error::usage("no scan to analyse").help("name a series"))?;
    for (a, b) in scans.iter().zip(&scans[1..]) {
        if b.info.step <= a.info.step {
            return Err(Error::data(format!("step {} follows step {}", b.info.step, a.info.step))
                .help("give the scans in the order of time, each once"));
        }
        if let (Some(before), Some(now)) = (a.info.minutes, b.info.minutes)
            && now < before
        {
            let what = format!(
                "step {} has {before} minutes of current before it, and step {} {now}",
                a.info.step, b.info.step
            );
            return Err(Error::data(what).help("minutes are counted from the first scan on: they never fall"));
        }
        same_grid(&[&a.labels, &b.labels])?;
    }
    let results = Results { scans: scans.iter().map(|s| s.info.clone()).collect(), ..Results::default() };
    let mut run = Run {
        scans,
        classes,
        settings,
        roles: settings.roles,
        grid: first.labels.grid(),
        results,
        thickness: Vec::new(),
        bands: Vec::new(),
        gains: Vec::new(),
        courses: Vec::new(),
        since: Vec::new(),
        dense: Vec::new(),
        turn: None,
        dendrites: "step,number,track,event,voxels,volume_um3,footprint_um2,base_um2,height_um,tip_x,tip_y,tip_z,\
                    connected,fragile,bridged_1,bridged_2,isolated\n"
            .into(),
        keep,
    };
    run.turn = run.find_turn()?;
    let turn = run.turn.and_then(|i| run.step(i));
    run.results.parameters.insert("turn_used".into(), turn.into());
    let (mut kept, mut at_turn, mut hanging, mut side) = (None, None, None, None);
    for i in 0..scans.len() {
        progress(i, scans.len());
        run.scan(i, &mut kept, &mut at_turn, &mut hanging, &mut side)?;
    }
    progress(scans.len(), scans.len());
    let lithium = settings.roles.lithium();
    if !lithium.is_empty() && run.thickness.iter().all(|t| lithium.iter().all(|&c| t[usize::from(c)] == 0.0)) {
        return Err(Error::data("no scan has a voxel of lithium in what is looked at")
            .help("name a --region that holds the cell, or its classes with --classes and --roles"));
    }
    run.series();
    if let Some(evaluated) = &settings.evaluated {
        evaluated.correct(&mut run.results);
    }
    Ok((run.results, run.dendrites))
}

impl Run<'_> {
    pub(super) fn name(&self, class: u8) -> String {
        self.classes.name(class).to_string()
    }

    pub(super) fn step(&self, i: usize) -> Option<usize> {
        Some(self.scans[i].info.step)
    }

    pub(super) fn map(&mut self, i: usize, name: &str, unit: &str, map: &Map) -> Result<()> {
        let name = self.file(i, name);
        self.keep.map(&name, unit, map)
    }

    /// Name of a file of a scan.
    fn file(&self, i: usize, name: &str) -> String {
        format!("step_{:02}.{name}", self.scans[i].info.step)
    }

    /// What a class is called in names of files: its part in the cell, else its number. No name of a table is in the way.
    fn kind(&self, class: u8) -> String {
        let part = self.settings.roles.list().into_iter().find(|(_, of)| *of == Some(class));
        part.map_or_else(|| format!("class_{class}"), |(part, _)| part.to_string())
    }

    /// Pictures and surfaces; `key`: of a scan that is shown in more ways.
    fn pictures(&mut self, i: usize, key: bool) -> Result<()> {
        let (scans, settings) = (self.scans, self.settings);
        if !settings.paints.is_empty() {
            let name = self.file(i, "view");
            self.keep.picture(&name, &view::view(&scans[i].labels, &settings.paints)?)?;
            if key {
                let name = self.file(i, "section");
                self.keep.picture(&name, &view::section(&scans[i].labels, &settings.paints)?)?;
            }
        }
        for &class in &settings.meshes {
            let name = self.file(i, &self.kind(class));
            self.keep.mesh(&name, &mesh::stl(&scans[i].labels, class)?)?;
        }
        Ok(())
    }

    fn scan(
        &mut self,
        i: usize,
        first: &mut Option<Kept>,
        at_turn: &mut Option<AtTurn>,
        hanging: &mut Option<Hanging>,
        sides_before: &mut Option<[Map; 2]>,
    ) -> Result<()> {
        let (scans, grid) = (self.scans, self.grid);
        let columns = Columns::of(&scans[i].labels, self.classes.len())?;
        if i == 0 {
            self.look_for_electrodes(&columns);
        }
        let roles = self.roles;
        let step = self.step(i);
        self.volumes(i, &columns);
        self.changes(i, &columns);
        self.corrected(i, &columns);
        self.solid(i, &columns)?;
        self.geometry(i, &columns, first)?;
        self.surfaces(i, &columns);
        for class in 0..self.classes.len() as u8 {
            let kind = self.kind(class);
            // Of electrodes there are edges; background is no class of its own.
            if !["plating", "stripping", "class_0"].contains(&kind.as_str()) {
                self.map(i, &kind, "um", &Map::thickness(&grid, &columns.counts(class)))?;
            }
        }
        self.colocalisation(i, &columns);
        self.current(i, &columns, sides_before)?;
        if self.turn == Some(i) {
            let of = |role: Option<u8>| role.map(|c| Map::thickness(&grid, &columns.counts(c)));
            let grown: Vec<u8> = [roles.deposited, roles.dendrite].into_iter().flatten().collect();
            *at_turn = Some(AtTurn {
                index: i,
                pits: of(roles.pit),
                grown: (!grown.is_empty()).then(|| Map::thickness(&grid, &columns.counts_of(&grown))),
                redeposited: of(roles.redeposited),
                across: [columns.across(&grown), columns.across(roles.redeposited.as_slice())],
            });
        }
        if let Some(turn) = at_turn.as_ref().filter(|t| t.index < i) {
            self.since_turn(i, &columns, turn)?;
        }
        if let (Some(dendrite), false) = (roles.dendrite, roles.plating.is_none() && roles.stripping.is_none()) {
            let parts = Parts {
                dendrite,
                ground: [roles.plating, roles.deposited].into_iter().flatten().collect(),
                electrodes: [roles.plating, roles.stripping],
                lithium: roles.lithium(),
            };
            let found = dendrites::hanging(&scans[i].labels, &columns, &parts, self.settings.least, hanging.as_ref())?;
            self.hanging(i, &found, columns.volume(&[dendrite]), hanging.is_some());
            *hanging = Some(found);
        } else {
            self.results
                .leave_out("connectivity, dendrites", "no class plays the part of dendrite and of an electrode");
        }
        let key = i == 0 || self.turn == Some(i) || i + 1 == scans.len();
        self.pictures(i, key)?;
        for class in [roles.dendrite, roles.deposited].into_iter().flatten().filter(|_| key) {
            let name = self.name(class);
            match thickness::of_class(&scans[i].labels, &columns, class, self.settings.most)? {
                Ok(found) => {
                    self.results.put("local_thickness.mean", &name, step, found.map(|f| f[0]));
                    self.results.put("local_thickness.p95", &name, step, found.map(|f| f[1]));
                }
                Err(why) => self.results.leave_out(&format!("local thickness of {name}"), why),
            }
        }
        Ok(())
    }

    /// An electrode of which the first scan has no voxel plays no part: no side is 0 thick. Without the stripping electrode
    /// there are no pits in it; lithium stays lithium, whatever it stands on.
    fn look_for_electrodes(&mut self, columns: &Columns) {
        let absent = |class: &mut u8| columns.voxels[usize::from(*class)] == 0;
        let (plating, stripping) = (self.roles.plating.take_if(absent), self.roles.stripping.take_if(absent));
        if stripping.is_some() {
            self.roles.pit = None;
        }
        for class in plating.into_iter().chain(stripping) {
            let what = format!("everything of {}", self.classes.name(class));
            self.results.leave_out(&what, "no voxel of it is in the first scan's box: see --region");
        }
    }

    fn geometry(&mut self, i: usize, columns: &Columns, first: &mut Option<Kept>) -> Result<()> {
        let (grid, step, roles) = (self.grid, self.step(i), self.roles);
        let ends = |class: u8| [columns.first(class), columns.last(class)];
        let (plating, stripping) = (roles.plating.map(ends), roles.stripping.map(ends));
        let v = grid.depth();
        let between =
            |sigma: f64| (self.settings.interface * self.settings.interface + 1.96 * 1.96 * sigma * sigma).sqrt();
        let half = 2f64.sqrt() * between(self.scans[i].sigma) * v;
        let around = |value: Option<f64>| (value.map(|v| [v - half, v + half]), "interface + registration");
        let mut gap = None;
        if let (Some(p), Some(s)) = (&plating, &stripping) {
            let maps = surface::gaps(&grid, [&p[0], &p[1]], [&s[0], &s[1]]);
            let [inner, outer] = [0, 1].map(|k| surface::mean(&maps[k]));
            // Both gaps: stray voxels bring the inner one below 0, the outer one they do not.
            if i == 0 && [inner, outer].iter().all(|gap| gap.is_some_and(|gap| gap < 0.0)) {
                let what = "the stripping electrode lies above the plating electrode: depth goes from the plating side inwards";
                return Err(Error::data(what)
                    .help("turn y, such as with --axes z-yx, or exchange the electrodes with --roles")
                    .at(&self.scans[i].labels.name));
            }
            for (name, value, map) in [("gap", inner, &maps[0]), ("outer", outer, &maps[1])] {
                let sampling = self.sampling(map);
                self.results.put_with(name, "electrodes", step, value, around(value), sampling);
            }
            if let (Some(Kept { gap: Some(before), .. }), Some(inner), Some(outer)) = (&first, inner, outer) {
                for (k, name) in ["swelling.inner", "swelling.outer"].into_iter().enumerate() {
                    let value = surface::mean(&before[k]).map(|before| [inner, outer][k] - before);
                    let sampling = self.sampling(&maps[k].with(&before[k], |now, before| now - before));
                    self.results.put_with(name, "electrodes", step, value, around(value), sampling);
                }
            }
            self.map(i, "gap", "um", &maps[0])?;
            gap = Some(maps);
        } else {
            self.results.leave_out("gap, swelling", "no class plays the part of one of the electrodes");
        }
        let face = |ends: &Option<[Vec<u16>; 2]>, end: usize| ends.as_ref().map(|e| surface::heights(&grid, &e[end]));
        let outer_faces = [face(&plating, 0), face(&stripping, 1)];
        let named = [("plating electrode", "displacement"), ("stripping electrode", "displacement_stripping")];
        for (k, (name, file)) in named.into_iter().enumerate() {
            let before = first.as_ref().and_then(|kept| kept.outer_faces[k].as_ref());
            let Some((before, now)) = before.zip(outer_faces[k].as_ref()) else { continue };
            let moved = now.with(before, |now, before| v * (now - before));
            let mean = surface::mean(&moved);
            let sampling = self.sampling(&moved);
            self.results.put_with("displacement", name, step, mean, around(mean), sampling);
            self.map(i, file, "um", &moved)?;
        }
        if first.is_none() {
            *first = Some(Kept { gap, outer_faces });
        }
        // Mean over z of the first and last voxels of an electrode in their columns: [y][x].
        if i == 0 || self.turn == Some(i) || i + 1 == self.scans.len() {
            for (name, ends) in [("plating", &plating), ("stripping", &stripping)] {
                let Some(ends) = ends else { continue };
                let mut edges = Map { nz: grid.dims.ny, nx: grid.dims.nx, values: vec![0.0; grid.dims.slice()] };
                let part = 1.0 / grid.dims.nz as f64;
                for (c, (&a, &b)) in ends[0].iter().zip(&ends[1]).enumerate().filter(|(_, (a, _))| **a != NONE) {
                    let x = c % grid.dims.nx;
                    edges.values[usize::from(a) * grid.dims.nx + x] += part;
                    if b != a {
                        edges.values[usize::from(b) * grid.dims.nx + x] += part;
                    }
                }
                self.map(i, &format!("edges_{name}"), "1", &edges)?;
            }
        }
        Ok(())
    }

    /// Current that thickened the growing side since the scan before.
    fn current(&mut self, i: usize, columns: &Columns, before: &mut Option<[Map; 2]>) -> Result<()> {
        let sides = self.roles.sides();
        if sides.iter().any(|(_, classes)| classes.is_empty()) {
            return Ok(());
        }
        let now = sides.map(|(_, classes)| Map::thickness(&self.grid, &columns.counts_of(&classes)));
        let minutes = |i: usize| self.scans[i].info.minutes;
        if self.turn.is_some() && minutes(i).is_none() {
            self.results.leave_out("local current density", "not all scans tell the minutes of current before them");
        }
        let hours = i.checked_sub(1).and_then(|b| Some((minutes(i)? - minutes(b)?) / 60.0)).filter(|h| *h > 0.0);
        if let (Some(before), Some(hours), Some(turn)) = (before.as_ref(), hours, self.turn) {
            let side = usize::from(i > turn);
            let name = ["plating side", "stripping side"][side];
            let change = now[side].with(&before[side], |a, b| a - b);
            let (j, hotspot) = surface::current_density(&change, hours);
            self.results.put("current.mean", name, self.step(i), Some(j.mean()));
            self.results.put("current.hotspot", name, self.step(i), hotspot);
            self.map(i, "current_density", "mA/cm2", &j)?;
        }
        *before = Some(now);
        Ok(())
    }

    fn since_turn(&mut self, i: usize, columns: &Columns, turn: &AtTurn) -> Result<()> {
        let (grid, step, roles, scans) = (self.grid, self.step(i), self.roles, self.scans);
        let thick = |c: u8| Map::thickness(&grid, &columns.counts(c));
        let sum = |m: &Map| crate::num::sum::sum_f64(&m.values);
        let sigma = (scans[i].sigma * scans[i].sigma + scans[turn.index].sigma * scans[turn.index].sigma).sqrt();
        let delta = (self.settings.interface * self.settings.interface + 1.96 * 1.96 * sigma * sigma).sqrt();
        let around = |value: f64, half: f64| {
            (Some([(value - half).max(0.0), (value + half).min(1.0)]), "interface + registration")
        };
        // A change is a body with two faces and a rim.
        let v = grid.depth();
        let depth = |map: &Map| delta * v * (2.0 * map.occupied() + rim(map, v));
        let filled = |fill: Option<f64>, half: f64, whole: f64| match (fill, whole > 0.0) {
            (Some(fill), true) => around(fill, half / whole),
            _ => (None, ""),
        };
        let length =
            |value: f64, half: f64| (Some([(value - half).max(0.0), value + half]), "interface + registration");
        if let (Some(pits), Some(pit), Some(redeposited)) = (&turn.pits, roles.pit, roles.redeposited) {
            let unfilled = between::decrease(pits, &thick(redeposited));
            let area = unfilled.occupied();
            let sampling = self.sampling(&unfilled.indicator());
            let half = delta * rim(&unfilled, grid.depth());
            self.results.put_with("unfilled.area", "pits", step, Some(area), around(area, half), sampling);
            let fill = between::fill(sum(&unfilled), sum(pits));
            let interval = filled(fill, depth(&unfilled), pits.mean());
            // Of what is left of a whole, the rest is filled.
            let rest = |part: Option<[f64; 2]>| part.map(|[low, high]| [1.0 - high, 1.0 - low]);
            let tiles = self.tiles(&unfilled);
            let sampling = rest(unfilled.interval_of_part(pits, tiles));
            self.results.put_with("pit_fill.thickness", "pits", step, fill, interval, sampling);
            let fill = between::fill(area, pits.occupied());
            let interval = filled(fill, half, pits.occupied());
            let sampling = rest(unfilled.indicator().interval_of_part(&pits.indicator(), tiles));
            self.results.put_with("pit_fill.area", "pits", step, fill, interval, sampling);
            self.map(i, "unfilled", "um", &unfilled)?;
            let counts = between::lost(&scans[turn.index].labels, pit, &scans[i].labels, &[redeposited])?;
            let void = Map::thickness(&grid, &counts);
            let (area, half) = (void.occupied(), delta * rim(&void, grid.depth()));
            let sampling = self.sampling(&void.indicator());
            self.results.put_with("void.area", "pits", step, Some(area), around(area, half), sampling);
            self.results.put_with(
                "void.contact",
                "pits",
                step,
                Some(1.0 - area),
                around(1.0 - area, half),
                rest(sampling),
            );
            let (thick, half) = (void.mean(), depth(&void));
            let tiles = self.tiles(&void);
            let sampling = void.interval(tiles);
            self.results.put_with("void.thickness", "pits", step, Some(thick), length(thick, half), sampling);
            let fill = between::fill(sum(&void), sum(pits));
            let interval = filled(fill, half, pits.mean());
            let sampling = rest(void.interval_of_part(pits, tiles));
            self.results.put_with("pit_fill.voxels", "pits", step, fill, interval, sampling);
            self.map(i, "void", "um", &void)?;
        } else {
            self.results.leave_out("pits, voids", "no class plays the part of pit or redeposited");
        }
        let grown: Vec<u8> = [roles.deposited, roles.dendrite].into_iter().flatten().collect();
        let layer = roles.stripping.and(roles.redeposited);
        if let (Some(before), Some(redeposited), Some(layer)) = (&turn.grown, &turn.redeposited, layer) {
            let decrease = between::decrease(before, &Map::thickness(&grid, &columns.counts_of(&grown)));
            let increase = between::decrease(&thick(layer), redeposited);
            let both = [("decrease", "plating side", &decrease), ("increase", "stripping side", &increase)];
            let tiles = both.map(|(_, _, map)| self.tiles(map));
            for ((name, of, map), tiles) in both.into_iter().zip(tiles) {
                let (mean, sampling) = (map.mean(), map.interval(tiles));
                self.results.put_with(name, of, step, Some(mean), length(mean, depth(map)), sampling);
            }
            let t = coloc::together(&decrease, &increase, self.settings.shifts, self.settings.tiles.seed);
            let band = (t.and_then(|t| t.band), "shifts");
            let sampling = t.as_ref().and_then(|_| decrease.interval_of_correlation(&increase, tiles));
            let name = "decrease - increase";
            self.results.put_with("change_correlation", name, step, t.map(|t| t.pearson), band, sampling);
            self.map(i, "decrease", "um", &decrease)?;
            self.map(i, "increase", "um", &increase)?;
            // The same in cross-section: [y][x], through the field along z.
            let now = [columns.across(&grown), columns.across(&[layer])];
            let through = |from: &[u32], to: &[u32]| {
                let values =
                    from.iter().zip(to).map(|(&a, &b)| f64::from(a.saturating_sub(b)) * grid.voxel[2]).collect();
                Map { nz: grid.dims.ny, nx: grid.dims.nx, values }
            };
            self.map(i, "decrease_across", "um", &through(&turn.across[0], &now[0]))?;
            self.map(i, "increase_across", "um", &through(&now[1], &turn.across[1]))?;
        }
        Ok(())
    }
}

/// Edges between columns with a value above 0 and those without, and columns of one voxel of `v`, per column.
pub(super) fn rim(map: &Map, v: f64) -> f64 {
    let inside = |c: usize| map.values[c] > 0.0;
    let n = map.values.len();
    let along = (0..n).filter(|&c| c % map.nx + 1 < map.nx && inside(c) != inside(c + 1)).count();
    let across = (0..n - map.nx).filter(|&c| inside(c) != inside(c + map.nx)).count();
    let thin = map.values.iter().filter(|&&m| m > 0.0 && m < 1.5 * v).count();
    (along + across + thin) as f64 / n as f64
}
