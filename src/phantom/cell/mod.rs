//! A lithium/polymer/lithium pouch cell through one charge and discharge, known to the voxel.
//!
//! ```text
//!   y = 0                                                                                      y = ny
//!   nylon Al PP gap │ plating electrode │ deposited + dendrites │ electrolyte, seam │ voids/pits + redeposited │ stripping electrode │ gap PP Al nylon
//!        body P  ───────────────────────────────▶│  membranes  │◀─────────────────────────────────────────  body S
//! ```
//!
//! Everything is counted in columns along y: per column of the field whole numbers say where each layer begins and how
//! many voxels it has, so a step of a cell of 2.7 · 10⁹ voxels is a few maps of 4 · 10⁶ numbers and streams slice by
//! slice. The totals are those of the [`schedule`], exactly, chosen by [rank](apportion); solid lithium is counted in
//! 255ths of a voxel and their sum over the cell never changes by one of them (less what side reactions take).
//!
//! | file | holds |
//! |---|---|
//! | [`schedule`] | how much is where after each current segment; Faraday |
//! | [`surface`] | rough surfaces, sites of dendrites and pits, texture of pores |
//! | [`apportion`] | exact numbers of voxels by rank |
//! | `markers` | where the markers are, whole at every step |
//! | [`step`] | one step: columns, voxels, [`Specimen`](super::specimen::Specimen) |
//! | [`potentiostat`] | current, voltage and clock |
//!
//! Left out: crystallography, stress, gas evolution, a chemistry of the interphase; tabs and the edge of the pouch.

pub mod apportion;
mod markers;
pub mod potentiostat;
pub mod schedule;
pub mod step;
pub mod surface;
#[cfg(test)]
mod tests;

use super::matter::{FULL, Fill};
use super::specimen::Marker;
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::philox::Stream;
use crate::volume::Dims;
use apportion::{Growth, apportion, cover, first};
use schedule::{Chemistry, HALF, PIT_SHARE, SCANS, VOID_AREA, VOID_SHARE};
use surface::{Field, Site, Texture};

/// Edge of a voxel, µm.
pub const VOXEL: f64 = 1.33;

/// Size of a cell: what is cut out of the paper's, at the paper's voxel and layer thicknesses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Voxels along x, y, z.
    pub size: [usize; 3],
    /// Thicknesses from the electrode outwards: gap, polypropylene, aluminium, nylon; plating side.
    pub outside_plating: [usize; 4],
    /// The same, stripping side; what is left is empty.
    pub outside_stripping: [usize; 4],
    /// Voxels between the pristine electrodes.
    pub electrolyte: usize,
    /// Dendrites per mm² and the radius of their feet, µm.
    pub dendrites: [f64; 2],
    /// Largest height of a dendrite, µm.
    pub highest: f64,
    /// Detector columns and projections of a half turn.
    pub columns: usize,
    /// See [`Preset::columns`].
    pub projections: usize,
}

/// The smallest.
const TINY: Preset = Preset {
    name: "tiny",
    size: [64, 288, 48],
    outside_plating: [16, 10, 6, 8],
    outside_stripping: [8, 6, 4, 4],
    electrolyte: 60,
    dendrites: [900.0, 10.0],
    highest: 60.0,
    columns: 320,
    projections: 240,
};

/// The presets, from small to full.
pub const PRESETS: [Preset; 5] = [
    TINY,
    // As wide as registration needs.
    Preset { name: "demo", size: [96, 288, 72], columns: 304, ..TINY },
    Preset {
        name: "small",
        size: [256, 320, 256],
        outside_plating: [20, 12, 8, 8],
        outside_stripping: [10, 9, 6, 5],
        electrolyte: 76,
        dendrites: [500.0, 13.0],
        highest: 60.0,
        columns: 448,
        projections: 720,
    },
    Preset {
        name: "medium",
        size: [640, 448, 640],
        outside_plating: [40, 22, 14, 14],
        outside_stripping: [12, 18, 12, 8],
        electrolyte: 142,
        dendrites: [150.0, 24.0],
        highest: 60.0,
        columns: 832,
        projections: 1200,
    },
    Preset {
        name: "full",
        size: [1707, 698, 2280],
        outside_plating: [73, 45, 30, 19],
        outside_stripping: [17, 45, 30, 19],
        electrolyte: 229,
        dendrites: [45.0, 45.0],
        highest: 120.0,
        columns: 2560,
        projections: 1500,
    },
];

impl Preset {
    /// The preset of this name.
    ///
    /// # Errors
    /// Usage: there is none.
    pub fn parse(name: &str) -> Result<Preset> {
        let names = || PRESETS.iter().map(|p| p.name);
        PRESETS.into_iter().find(|p| p.name == name).ok_or_else(|| {
            let near = crate::error::nearest(name, names()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
            Error::usage(format!("no preset '{name}'"))
                .help(format!("{near}there are {}", names().collect::<Vec<_>>().join(", ")))
        })
    }
    /// Shape of its volumes.
    pub fn dims(&self) -> Dims {
        let [nx, ny, nz] = self.size;
        Dims { nz, ny, nx }
    }
    /// y at which the plating electrode begins, pristine.
    fn plating_from(&self) -> usize {
        self.outside_plating.iter().sum()
    }
    /// y of the pristine face of the stripping electrode.
    fn stripping_from(&self) -> usize {
        self.plating_from() + voxels(schedule::PLATING) + self.electrolyte
    }
}

/// Whole voxels of a thickness in µm.
fn voxels(thickness: f64) -> usize {
    (thickness / VOXEL).round() as usize
}

/// What a cell is made from: with the same settings it is the same cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellSettings {
    /// Its size.
    pub preset: Preset,
    /// Its seed.
    pub seed: u64,
    /// Efficiency, side reactions, dead lithium.
    pub chemistry: Chemistry,
    /// Probability that a pit lies below a dendrite.
    pub pit_correlation: f64,
    /// What fills the pores of deposited lithium.
    pub pore_fill: Fill,
    /// What fills pits.
    pub pit_fill: Fill,
}

impl CellSettings {
    /// A cell without side reactions.
    pub fn new(preset: Preset, seed: u64) -> CellSettings {
        CellSettings {
            preset,
            seed,
            chemistry: Chemistry::default(),
            pit_correlation: 0.0,
            pore_fill: Fill::Void,
            pit_fill: Fill::Void,
        }
    }

    /// The same with what is drawn at random: efficiency 0.85 … 1, side reactions 0 … 0.1, dead lithium 0.8 … 2.4 µm,
    /// pits below dendrites 0 … 0.8.
    pub fn blind(self) -> CellSettings {
        let s = Stream::new(self.seed, streams::BLIND);
        let between = |i: u64, low: f64, high: f64| low + (high - low) * s.uniform_f64(i);
        CellSettings {
            chemistry: Chemistry {
                efficiency: between(0, 0.85, 1.0),
                side_reaction: between(1, 0.0, 0.1),
                dead: between(2, 0.8, 2.4),
                ..self.chemistry
            },
            pit_correlation: between(3, 0.0, 0.8),
            ..self
        }
    }
}

/// Streams of random numbers, one per purpose.
mod streams {
    pub const BLIND: u32 = 0x6365_0000;
    pub const WAVY: u32 = 0x6365_0001;
    pub const ROUGH: u32 = 0x6365_0010;
    pub const PHASE: u32 = 0x6365_0030;
    pub const DENDRITES: u32 = 0x6365_0040;
    pub const PITS: u32 = 0x6365_0041;
    pub const MARKERS: u32 = 0x6365_0042;
    pub const TEXTURE: u32 = 0x6365_0050;
}

/// Where voxels of a layer come first and how its columns grow.
struct Shape {
    /// Columns that are covered first have the smallest.
    priority: Vec<f32>,
    /// Columns that stay covered longest have the smallest.
    lasting: Vec<f32>,
    weight: Vec<f32>,
    phase: Vec<f32>,
}

impl Shape {
    fn growth(&self) -> Growth<'_> {
        Growth { weight: &self.weight, phase: &self.phase }
    }
}

/// A cell: what does not change over the series.
pub struct Cell {
    settings: CellSettings,
    field: Field,
    /// y of the outer face of the plating electrode, before it moves.
    plating_from: Vec<i16>,
    /// y of the pristine face of the stripping electrode, its thickness, and where its packaging begins.
    face: Vec<i16>,
    stripping: Vec<u16>,
    outside: Vec<i16>,
    /// Waviness of the seam between the membranes, and its opening, voxels.
    seam: Vec<[i16; 2]>,
    plating_shape: Shape,
    deposited: Shape,
    dendrites: Shape,
    dendrite_sites: Vec<Site>,
    dendrite_of: Vec<u16>,
    pits: Shape,
    recession: Shape,
    redeposited: Shape,
    /// Pits and recession at the half cycle, and the voids that will stay, per column.
    half: [Vec<u16>; 2],
    voids: Vec<u16>,
    texture: Texture,
    /// The markers of step 0.
    anchors: Vec<Marker>,
}

impl Cell {
    /// Makes a cell.
    ///
    /// # Errors
    /// Usage: parameters out of range, or a chemistry that does not close (more lithium in dendrites than was moved).
    pub fn new(settings: CellSettings, isa: Isa) -> Result<Cell> {
        let CellSettings { preset, seed, chemistry, .. } = settings;
        let within = |name: &str, v: f64, low: f64, high: f64| match (low..=high).contains(&v) {
            true => Ok(()),
            false => Err(Error::usage(format!("{name} {v} is out of range")).help(format!("from {low} to {high}"))),
        };
        within("efficiency", chemistry.efficiency, 0.5, 1.0)?;
        within("side reactions", chemistry.side_reaction, 0.0, 0.4)?;
        within("dead lithium (µm)", chemistry.dead, 0.2, 4.0)?;
        within("part of the stripped lithium that leaves pores", chemistry.pores, 0.0, 0.5)?;
        within("pit correlation", settings.pit_correlation, 0.0, 1.0)?;
        let [nx, _, nz] = preset.size;
        let field = Field { nx, nz, voxel: VOXEL, seed, isa };
        let n = field.columns();
        let rough = |i: u32, sigma: f64| field.rough(streams::ROUGH + i, sigma);
        let phase = |i: u32| field.phase(streams::PHASE + i);
        let half_cycle = schedule::row(HALF, &chemistry);
        let whole = |micrometres: f32| (f64::from(micrometres) / VOXEL).round() as i16;
        // Waves of up to ±5 µm, and roughness of 1.5 µm on every face.
        let wavy = [0, 1, 2].map(|i| field.wavy(streams::WAVY + i, 7.0));
        let faces = [rough(0, 25.0)?, rough(1, 25.0)?];
        let at = |base: usize, map: &[f32], fine: &[f32], amplitude: f32| -> Vec<i16> {
            map.iter().zip(fine).map(|(w, r)| base as i16 + whole(w + amplitude * r)).collect()
        };
        const ROUGHNESS: f32 = 1.5;
        let plating_from = at(preset.plating_from(), &wavy[0], &faces[0], ROUGHNESS);
        let face = at(preset.stripping_from(), &wavy[1], &faces[1], ROUGHNESS);
        let outside = at(preset.stripping_from() + voxels(schedule::STRIPPING), &wavy[1], &faces[1], 0.0);
        let electrode = |surface: Vec<f32>, thickness: f64, phase: Vec<f32>| Shape {
            priority: Vec::new(),
            lasting: Vec::new(),
            weight: surface.iter().map(|r| 1.0 + ROUGHNESS * r / thickness as f32).collect(),
            phase,
        };
        let plating_shape = electrode(rough(2, 20.0)?, schedule::PLATING, phase(0)?);
        let stripping_shape = electrode(rough(3, 20.0)?, schedule::STRIPPING, phase(1)?);
        let caps = vec![u16::MAX; n];
        let stripping = apportion(&stripping_shape.growth(), &caps, count(schedule::STRIPPING, n));
        let opening = rough(4, 45.0)?;
        let seam = wavy[2].iter().zip(&opening).map(|(&w, &g)| {
            // Features of 5 to 25 µm on about a fifth of the field.
            let open = if g > 0.8 { (5.0 + 14.0 * (g - 0.8)).min(25.0) } else { 0.0 };
            [whole(w), whole(open)]
        });
        let seam = seam.collect();

        // e^x of a surface, for weights that must be positive.
        let exp_of = |surface: &[f32], k: f32| -> Vec<f32> {
            surface.iter().map(|&r| crate::num::elementary::exp_f32((k * r).clamp(-3.0, 3.0))).collect()
        };
        let deposited = Shape {
            priority: rough(5, 12.0)?,
            lasting: rough(6, 18.0)?,
            weight: exp_of(&rough(7, 9.0)?, 0.35),
            phase: phase(2)?,
        };

        let [per_mm2, radius] = preset.dendrites;
        let density = rough(8, 60.0)?;
        let dendrite_sites = field.sites(streams::DENDRITES, &density, per_mm2, 3, radius, (0.0, &[]));
        let (shape, dendrite_of) =
            footprints(&field, &dendrite_sites, &rough(9, 4.0)?, phase(3)?, (1.3, half_cycle.dendrite_area));
        let mut dendrites = shape;
        // In discharge some dendrites dissolve before others.
        for (lasting, &site) in dendrites.lasting.iter_mut().zip(&dendrite_of) {
            *lasting += dendrite_sites[usize::from(site)].fate as f32;
        }
        let pit_density = rough(10, 50.0)?;
        let follow = (settings.pit_correlation, dendrite_sites.as_slice());
        let pit_sites = field.sites(streams::PITS, &pit_density, 1.5 * per_mm2, 4, 1.2 * radius, follow);
        let (pits, _) = footprints(&field, &pit_sites, &rough(11, 5.0)?, phase(4)?, (0.6, half_cycle.pit_area));
        let recession = Shape {
            priority: Vec::new(),
            lasting: Vec::new(),
            weight: exp_of(&rough(12, 30.0)?, 0.3),
            phase: phase(5)?,
        };
        let redeposited = Shape {
            priority: rough(13, 20.0)?,
            lasting: Vec::new(),
            weight: exp_of(&rough(14, 10.0)?, 0.3),
            phase: phase(6)?,
        };
        let mut cell = Cell {
            settings,
            field,
            plating_from,
            face,
            stripping,
            outside,
            seam,
            plating_shape,
            deposited,
            dendrites,
            dendrite_sites,
            dendrite_of,
            pits,
            recession,
            redeposited,
            half: [Vec::new(), Vec::new()],
            voids: Vec::new(),
            texture: Texture::new(seed, streams::TEXTURE, 1.6, isa)?,
            anchors: Vec::new(),
        };
        cell.half = cell.stripped(HALF);
        let pit = &cell.half[0];
        let share = |area: f64| (area * n as f64).round() as u64;
        // A pit that nothing covers at the end stays open whole; the others keep part of their void below a bridge.
        let last = schedule::row(SCANS - 1, &cell.settings.chemistry).redeposited_area;
        let covered = first(&cell.redeposited.priority, None, share(last));
        let open: Vec<bool> = pit.iter().zip(&covered).map(|(&p, &covered)| p > 0 && !covered).collect();
        let bridged: Vec<bool> = pit.iter().zip(&open).map(|(&p, &open)| p > 0 && !open).collect();
        let area = share(VOID_AREA).saturating_sub(open.iter().filter(|&&o| o).count() as u64);
        let volume: u64 = pit.iter().map(|&p| u64::from(p)).sum();
        let left: u64 = pit.iter().zip(&open).map(|(&p, &o)| if o { p.into() } else { 0 }).sum();
        let below = (VOID_SHARE * volume as f64).round() as u64;
        let voids = first(&cell.pits.priority, Some(&bridged), area);
        let mut voids = cover(&cell.pits.growth(), &voids, pit, below.saturating_sub(left));
        voids.iter_mut().zip(pit).zip(&open).filter(|(_, o)| **o).for_each(|((v, &p), _)| *v = p);
        cell.voids = voids;
        cell.anchors = markers::place(&cell);
        Ok(cell)
    }

    /// Its settings.
    pub fn settings(&self) -> &CellSettings {
        &self.settings
    }

    /// Pits and recession per column at k ≤ 12.
    fn stripped(&self, k: usize) -> [Vec<u16>; 2] {
        let n = self.field.columns();
        let row = schedule::row(k, &self.settings.chemistry);
        let total = count(row.receded, n);
        let in_pits = (PIT_SHARE * total as f64).round() as u64;
        let members = first(&self.pits.priority, None, (row.pit_area * n as f64).round() as u64);
        // Half of the electrode stays in any case.
        let room: Vec<u16> = self.stripping.iter().map(|&s| s / 2).collect();
        let pits = cover(&self.pits.growth(), &members, &room, in_pits);
        let deep: u64 = pits.iter().map(|&p| u64::from(p)).sum();
        let rest: Vec<u16> = self.stripping.iter().zip(&pits).map(|(&s, &p)| (s - p).saturating_sub(8)).collect();
        [pits, apportion(&self.recession.growth(), &rest, total - deep)]
    }
}

/// Whole voxels in `columns` columns of `thickness` µm on average.
fn count(thickness: f64, columns: usize) -> u64 {
    (thickness / VOXEL * columns as f64).round() as u64
}

/// Cones (`power` 1) or caps (`power` ½) about sites, h (1 − (r / R)²)^power with R the rim of what is covered when
/// `area` of the field is: who is covered first, and how high.
fn footprints(
    field: &Field,
    sites: &[Site],
    fine: &[f32],
    phase: Vec<f32>,
    (power, area): (f64, f64),
) -> (Shape, Vec<u16>) {
    let (mut reach, owner) = field.reach(sites);
    reach.iter_mut().zip(fine).for_each(|(r, f)| *r *= 1.0 + 0.15 * f.clamp(-3.0, 3.0));
    let mut sorted = reach.clone();
    let last = (area * reach.len() as f64) as usize;
    let rim = f64::from(*sorted.select_nth_unstable_by(last.min(reach.len() - 1), f32::total_cmp).1);
    let weight = reach
        .iter()
        .zip(&owner)
        .zip(fine)
        .map(|((&r, &o), &f)| {
            let inner = f64::from(r) / rim;
            let profile = crate::num::elementary::pow((1.0 - inner * inner).max(0.02), power);
            (sites[usize::from(o)].height * profile) as f32 * (1.0 + 0.15 * f.clamp(-3.0, 3.0))
        })
        .collect();
    (Shape { lasting: reach.clone(), priority: reach, weight, phase }, owner)
}

/// Solid lithium of whole voxels, in levels.
fn levels(voxels: u64) -> u64 {
    voxels * u64::from(FULL)
}
