//! One step of a cell: how many voxels each layer has in each column, and the voxels themselves.
//!
//! The balance in levels (255ths of a voxel of solid lithium), N counted in voxels:
//!
//! ```text
//! charge       deposited + dendrites = ⌊ε 255 N(stripped)⌋,    dendrites = 0.9 · 255 N(dendrites)
//! discharge    deposited = f₁₂ · 255 N(deposited),  dendrites = 0.9 · 255 N(dendrites),
//!              plating electrode = what is left of the plating side, in whole voxels; the rest joins the dendrites
//!              redeposited = ⌊ε 255 N(returned)⌋
//! stripping electrode = what is left of it, over its voxels: dense, but for what left pores (p)
//! sink         what ε takes
//! ```
//!
//! A layer's levels are shared out over its voxels by cumulative rounding, so the sum is exact in any order of making.

use super::apportion::{apportion, cover, first};
use super::schedule::{self, DENDRITE_SOLID, HALF, Row};
use super::{Cell, VOXEL, count, levels, voxels};
use crate::error::{Error, Result};
use crate::os::check_interrupt;
use crate::phantom::matter::{FULL, Fill, Label, Voxel};
use crate::phantom::specimen::{Body, Layer, Marker, Specimen};
use rayon::prelude::*;
use std::ops::Range;

/// Slices of a specimen that are made before an interruption is looked for.
const BAND: usize = 32;

/// A layer with pores: voxels per column, voxels in all columns before, levels in all.
struct Porous {
    voxels: Vec<u16>,
    before: Vec<u64>,
    levels: u64,
}

impl Porous {
    fn new(voxels: Vec<u16>, levels: u64) -> Porous {
        let mut sum = 0u64;
        let before = voxels.iter().map(|&n| {
            let before = sum;
            sum += u64::from(n);
            before
        });
        let before = before.collect();
        Porous { voxels, before, levels }
    }
    fn total(&self) -> u64 {
        let last = self.voxels.len() - 1;
        self.before[last] + u64::from(self.voxels[last])
    }
    /// ⌊levels · (voxels before) / voxels⌋ at both ends of a column: their difference is the column's share.
    fn share(&self, column: usize) -> u32 {
        let total = self.total().max(1);
        let until = |n: u64| (u128::from(self.levels) * u128::from(n) / u128::from(total)) as u64;
        let before = self.before[column];
        (until(before + u64::from(self.voxels[column])) - until(before)) as u32
    }
}

/// What was moved and where it went, in voxels and levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Levels of solid lithium in the cell.
    pub solid: u64,
    /// Levels that side reactions took out of the metal.
    pub sink: u64,
}

/// A step of a cell.
pub struct Step<'a> {
    cell: &'a Cell,
    /// The timetable's row.
    pub row: Row,
    /// Where the lithium is.
    pub balance: Balance,
    /// Voxels by which the plating side has moved out.
    pub shift: usize,
    plating: Vec<u16>,
    deposited: Porous,
    dendrites: Porous,
    /// Voxels by which a dendrite has lost its neck.
    neck: Vec<u8>,
    pits: Vec<u16>,
    recession: Vec<u16>,
    redeposited: Porous,
    /// The stripping electrode, if pores were left in it.
    stripping: Option<Porous>,
    markers: Vec<Marker>,
}

/// What is where at one step, in voxels per column, whatever solid lithium there is for it.
pub(super) struct Grown {
    pub(super) row: Row,
    pub(super) shift: usize,
    pits: Vec<u16>,
    recession: Vec<u16>,
    deposited: Vec<u16>,
    redeposited: Vec<u16>,
    dendrites: Vec<u16>,
    neck: Vec<u8>,
}

impl Grown {
    /// Voxels that have grown on the plating electrode in a column.
    pub(super) fn on_plating(&self, c: usize) -> i32 {
        i32::from(self.deposited[c]) + i32::from(self.dendrites[c]) + i32::from(self.neck[c])
    }
}

impl Cell {
    /// What has grown and gone after `k` ≤ 24 current segments.
    pub(super) fn grown(&self, k: usize) -> Grown {
        let n = self.field.columns();
        let chemistry = &self.settings.chemistry;
        let row = schedule::row(k, chemistry);
        let share = |area: f64| (area * n as f64).round() as u64;
        let [pits, recession] = if k < HALF { self.stripped(k) } else { self.half.clone() };
        let shift = (row.gap / VOXEL).round() as usize;

        // Deposited.
        let charge = first(&self.deposited.priority, None, share(schedule::row(k.min(HALF), chemistry).deposited_area));
        let members = match k > HALF {
            true => first(&self.deposited.lasting, Some(&charge), share(row.deposited_area)),
            false => charge,
        };
        let room: Vec<u16> = (0..n).map(|c| (0.6 * f64::from(self.between(c, shift))) as u16).collect();
        let deposited = cover(&self.deposited.growth(), &members, &room, count(row.deposited, n));

        // Redeposited: grows from the floor of a pit, above its void.
        let members = first(&self.redeposited.priority, None, share(row.redeposited_area));
        let room: Vec<u16> = (0..n)
            .map(|c| {
                let open = self.between(c, shift) - i32::from(deposited[c]);
                (0.6 * f64::from(open.max(0))) as u16 + pits[c] - self.voids[c].min(pits[c])
            })
            .collect();
        let redeposited = match k > HALF {
            true => cover(&self.redeposited.growth(), &members, &room, count(row.redeposited, n)),
            false => vec![0; n],
        };

        // Dendrites: on the deposited layer, never into what stands opposite.
        let members = match k > HALF {
            true => {
                let half = share(schedule::row(HALF, chemistry).dendrite_area);
                let charge = first(&self.dendrites.priority, None, half);
                first(&self.dendrites.lasting, Some(&charge), share(row.dendrite_area))
            }
            false => first(&self.dendrites.priority, None, share(row.dendrite_area)),
        };
        let neck: Vec<u8> = (0..n).map(|c| if members[c] { self.neck(c, k) } else { 0 }).collect();
        let highest = voxels(self.settings.preset.highest) as i32;
        let room: Vec<u16> = (0..n)
            .map(|c| {
                let grown = i32::from(redeposited[c]) - i32::from(pits[c] + recession[c])
                    + i32::from(if k > HALF { self.voids[c] } else { 0 });
                let open = self.between(c, shift) - i32::from(deposited[c]) - grown.max(0) - i32::from(neck[c]) - 4;
                open.min(highest).max(0) as u16
            })
            .collect();
        let dendrites = cover(&self.dendrites.growth(), &members, &room, count(row.dendrite, n));
        Grown { row, shift, pits, recession, deposited, redeposited, dendrites, neck }
    }

    /// Where the stripping side begins in a column, electrode, pit or redeposited lithium.
    pub(super) fn stripping_top(&self, grown: &Grown, c: usize) -> i32 {
        let recessed = i32::from(self.face[c]) + i32::from(grown.recession[c]);
        let void = if grown.row.k > HALF { i32::from(self.voids[c].min(grown.pits[c])) } else { 0 };
        recessed.min(recessed + i32::from(grown.pits[c]) - void - i32::from(grown.redeposited[c]))
    }

    /// The cell after `k` ≤ 24 current segments: the same whether other steps are made or not.
    ///
    /// # Errors
    /// Usage: more lithium wanted in a layer than there is, or than it can hold. Interrupted.
    pub fn step(&self, k: usize) -> Result<Step<'_>> {
        let n = self.field.columns();
        let chemistry = &self.settings.chemistry;
        let Grown { row, shift, pits, recession, deposited, redeposited, dendrites, neck } = self.grown(k);
        check_interrupt()?;
        let returned = count(row.returned, n);

        let sum = |counts: &[u16]| -> u64 { counts.iter().map(|&n| u64::from(n)).sum() };
        let pristine = count(schedule::PLATING, n);
        let efficient = |voxels: u64| (chemistry.efficiency * levels(voxels) as f64).floor() as u64;
        // What left pores has moved no face.
        let receded = sum(&pits) + sum(&recession);
        let stripped = receded + count(row.stripped, n) - count(row.receded, n);
        let stripping = (stripped > receded).then(|| {
            let left = (0..n).map(|c| self.stripping[c] - pits[c] - recession[c]).collect();
            Porous::new(left, levels(sum(&self.stripping) - stripped))
        });
        let plated = efficient(stripped);
        let [n_deposited, n_dendrites, n_redeposited] = [&deposited, &dendrites, &redeposited].map(|c| sum(c));
        let solid_dendrites = (DENDRITE_SOLID * levels(n_dendrites) as f64).round() as u64;
        let unbalanced = |what: &str| {
            Error::usage(format!("step {k}: {what}"))
                .help("take a larger efficiency, fewer side reactions or less dead lithium")
        };
        let fraction = |voxels: u64, row: &Row| {
            // f₁₂ from the timetable: the same for every step that uses it.
            let solid = chemistry.efficiency * row.stripped - DENDRITE_SOLID * row.dendrite;
            (levels(voxels) as f64 * (solid / row.deposited)).round() as u64
        };
        let (in_deposited, in_dendrites, plating_voxels) = if k > HALF {
            let side = levels(pristine) + plated - levels(returned);
            let in_deposited = fraction(n_deposited, &schedule::row(HALF, chemistry));
            let rest = side
                .checked_sub(in_deposited + solid_dendrites)
                .ok_or_else(|| unbalanced("more lithium in layers than there is"))?;
            (in_deposited, solid_dendrites + rest % levels(1), rest / levels(1))
        } else {
            let in_deposited = plated
                .checked_sub(solid_dendrites)
                .ok_or_else(|| unbalanced("more lithium in dendrites than was plated"))?;
            (in_deposited, solid_dendrites, pristine)
        };
        let in_redeposited = if k > HALF { efficient(returned) } else { 0 };
        for (what, solid, voxels) in [
            ("deposited", in_deposited, n_deposited),
            ("dendritic", in_dendrites, n_dendrites),
            ("redeposited", in_redeposited, n_redeposited),
        ] {
            if solid > levels(voxels) {
                return Err(unbalanced(&format!("the {what} lithium is denser than lithium")));
            }
        }
        let moved = levels(stripped + if k > HALF { returned } else { 0 });
        let sink = moved - plated - in_redeposited;
        let solid =
            levels(plating_voxels + sum(&self.stripping) - stripped) + in_deposited + in_dendrites + in_redeposited;
        let plating = apportion(&self.plating_shape.growth(), &vec![u16::MAX; n], plating_voxels);
        Ok(Step {
            cell: self,
            row,
            balance: Balance { solid, sink },
            shift,
            plating,
            deposited: Porous::new(deposited, in_deposited),
            dendrites: Porous::new(dendrites, in_dendrites),
            neck,
            pits,
            recession,
            redeposited: Porous::new(redeposited, in_redeposited),
            stripping,
            markers: self.markers(shift),
        })
    }

    /// Voxels between the pristine electrodes in a column, the plating side moved out.
    fn between(&self, c: usize, shift: usize) -> i32 {
        let plating = i32::from(self.plating_from[c]) - shift as i32 + voxels(schedule::PLATING) as i32;
        (i32::from(self.face[c]) - plating - 3).max(1)
    }

    /// How far a dendrite has come off its foot: a third of them do, by one to three voxels, in discharge.
    fn neck(&self, c: usize, k: usize) -> u8 {
        let fate = self.dendrite_sites[usize::from(self.dendrite_of[c])].fate;
        // Thirds of the fates: lost, kept. Within the lost third, when and how far.
        let lost = 3.0 * fate;
        let when = HALF as f64 + 1.0 + 8.0 * lost;
        if lost < 1.0 && k as f64 >= when { 1 + (7.0 * lost) as u8 % 3 } else { 0 }
    }

    fn markers(&self, shift: usize) -> Vec<Marker> {
        let moved = |m: &Marker| {
            let [x, y, z] = m.centre;
            Marker { centre: [x, y - m.body.moved(shift) as f64, z], ..*m }
        };
        self.anchors.iter().map(moved).collect()
    }

    /// Where the membranes part in a column, and by how many voxels, when the plating side has moved out by `shift`: half
    /// way between the pristine faces.
    pub(super) fn opening(&self, c: usize, shift: usize) -> (i32, i32) {
        let preset = &self.settings.preset;
        let middle = (preset.stripping_from() - preset.electrolyte / 2) as i32 - Body::Membrane.moved(shift) as i32;
        let [wave, open] = self.seam[c].map(i32::from);
        (middle + wave - open / 2, open)
    }
}

impl Step<'_> {
    /// Voxels `[z][y][x]` of the slices `z`, packed.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn voxels(&self, z: Range<usize>, out: &mut [u16]) {
        let [nx, ny, _] = self.cell.settings.preset.size;
        assert_eq!(out.len(), z.len() * ny * nx);
        out.par_chunks_mut(ny * nx).zip(z).for_each(|(slice, z)| {
            let near: Vec<&Marker> =
                self.markers.iter().filter(|m| (m.centre[2] - z as f64).abs() <= m.radii[2]).collect();
            let mut column = vec![0u16; ny];
            for x in 0..nx {
                self.column(x, z, &near, &mut column);
                for (y, &v) in column.iter().enumerate() {
                    slice[y * nx + x] = v;
                }
            }
        });
    }

    /// One column from y = 0.
    fn column(&self, x: usize, z: usize, near: &[&Marker], out: &mut [u16]) {
        let cell = self.cell;
        let (preset, c) = (&cell.settings.preset, z * cell.field.nx + x);
        let ny = out.len() as i32;
        let electrolyte = Voxel::new(Fill::Electrolyte, Label::Background, 0).0;
        out.fill(Voxel::new(Fill::Void, Label::Background, 0).0);
        let mut put = |from: i32, to: i32, voxel: u16| {
            let (from, to) = (from.clamp(0, ny) as usize, to.clamp(0, ny) as usize);
            if from < to {
                out[from..to].fill(voxel);
            }
        };
        let plain = |fill: Fill| Voxel::new(fill, Label::Background, 0).0;
        const LAYERS: [Fill; 4] = [Fill::Void, Fill::Polypropylene, Fill::Aluminium, Fill::Nylon];

        // The plating side, outwards and inwards from its outer face.
        let foot = i32::from(cell.plating_from[c]) - self.shift as i32;
        let mut y = foot;
        for (fill, n) in LAYERS.into_iter().zip(preset.outside_plating) {
            put(y - n as i32, y, plain(fill));
            y -= n as i32;
        }
        let surface = foot + i32::from(self.plating[c]);
        put(foot, surface, Voxel::new(Fill::Void, Label::PlatingElectrode, FULL).0);
        let deposited = surface + i32::from(self.deposited.voxels[c]);
        // The stripping side.
        let face = i32::from(cell.face[c]);
        let recessed = face + i32::from(self.recession[c]);
        let floor = recessed + i32::from(self.pits[c]);
        let void = if self.row.k > HALF { i32::from(cell.voids[c].min(self.pits[c])) } else { 0 };
        let bridge = floor - void;
        let redeposited = bridge - i32::from(self.redeposited.voxels[c]);
        put(deposited, redeposited.min(recessed), electrolyte);
        let pit = Voxel::new(cell.settings.pit_fill, Label::Pit, 0).0;
        put(recessed.min(bridge), redeposited, pit);
        put(bridge, floor, pit);
        put(floor, face + i32::from(cell.stripping[c]), Voxel::new(Fill::Void, Label::StrippingElectrode, FULL).0);
        let mut y = i32::from(cell.outside[c]).max(face + i32::from(cell.stripping[c]));
        for (fill, n) in LAYERS.into_iter().zip(preset.outside_stripping) {
            put(y, y + n as i32, plain(fill));
            y += n as i32;
        }
        // The seam between the membranes.
        let (seam, open) = cell.opening(c, self.shift);
        for y in seam.max(0)..(seam + open).min(ny) {
            if out[y as usize] == electrolyte {
                out[y as usize] = plain(Fill::Void);
            }
        }
        for m in near {
            let (dx, dz) = ((x as f64 - m.centre[0]) / m.radii[0], (z as f64 - m.centre[2]) / m.radii[2]);
            let reach = m.radii[1] * (1.0 - dx * dx - dz * dz).max(0.0).sqrt();
            let from = (m.centre[1] - reach).ceil().max(0.0) as usize;
            let to = ((m.centre[1] + reach).floor() + 1.0).clamp(0.0, f64::from(ny)) as usize;
            if reach > 0.0 && from < to {
                for voxel in &mut out[from..to] {
                    let v = Voxel(*voxel);
                    if v.level() == 0 && v.label() == Label::Background as u8 {
                        *voxel = plain(m.fill);
                    }
                }
            }
        }
        // Layers with pores.
        let pore = cell.settings.pore_fill;
        let above = deposited + i32::from(self.neck[c]);
        for (layer, from, label, textured) in [
            (&self.deposited, surface, Label::Deposited, true),
            (&self.dendrites, above, Label::Dendrite, false),
            (&self.redeposited, redeposited, Label::Redeposited, true),
        ]
        .into_iter()
        .chain(self.stripping.iter().map(|layer| (layer, floor, Label::StrippingElectrode, false)))
        {
            let n = usize::from(layer.voxels[c]);
            if n > 0 {
                let from = from.max(0) as usize;
                let run = &mut out[from..from + n];
                self.share_out(layer.share(c), [x, from, z], textured, run);
                run.iter_mut().for_each(|v| *v = Voxel::new(pore, label, *v).0);
            }
        }
    }

    /// Shares `solid` levels out over a run of voxels by their weights, none above [`FULL`].
    fn share_out(&self, solid: u32, [x, y, z]: [usize; 3], textured: bool, run: &mut [u16]) {
        let weight = |i: usize| if textured { self.cell.texture.at(x, y + i, z) } else { 1.0 };
        let sum: f64 = (0..run.len()).map(|i| f64::from(weight(i))).sum();
        let (mut before, mut over, mut cumulated) = (0u32, 0u32, 0.0f64);
        let last = run.len() - 1;
        for i in 0..run.len() {
            cumulated += f64::from(weight(i));
            let until = if i == last { solid } else { (f64::from(solid) * (cumulated / sum)) as u32 };
            let wanted = until.saturating_sub(before) + over;
            before = before.max(until);
            let level = wanted.min(u32::from(FULL));
            run[i] = level as u16;
            over = wanted - level;
        }
        // What found no room above goes where there is some.
        for level in run.iter_mut() {
            let more = over.min(u32::from(FULL - *level));
            *level += more as u16;
            over -= more;
        }
    }

    /// The markers, where the bodies have taken them.
    pub fn markers(&self) -> &[Marker] {
        &self.markers
    }

    /// Up to which y everything rides on the plating side, and from which on on the stripping side.
    pub fn bodies(&self) -> [f64; 2] {
        let n = self.cell.field.columns();
        let tops = (0..n).map(|c| {
            let plating = i32::from(self.cell.plating_from[c]) - self.shift as i32 + i32::from(self.plating[c]);
            let grown = self.deposited.voxels[c] + self.dendrites.voxels[c] + u16::from(self.neck[c]);
            let floor = i32::from(self.cell.face[c]) + i32::from(self.recession[c] + self.pits[c]);
            let void = if self.row.k > HALF { i32::from(self.cell.voids[c].min(self.pits[c])) } else { 0 };
            let face = floor - void - i32::from(self.redeposited.voxels[c]);
            (plating + i32::from(grown), face.min(i32::from(self.cell.face[c])))
        });
        let (mut from, mut to) = (i32::MIN, i32::MAX);
        for (plating, stripping) in tops {
            from = from.max(plating);
            to = to.min(stripping);
        }
        // Where tips nearly touch the other side a few voxels are left to the membranes.
        if to - from < 8 {
            let middle = (to + from) / 2;
            (from, to) = (middle - 4, middle + 4);
        }
        [from, to].map(f64::from)
    }

    /// Everything a scan needs of it.
    ///
    /// # Errors
    /// Interrupted.
    pub fn specimen(&self) -> Result<Specimen> {
        let dims = self.cell.settings.preset.dims();
        let mut voxels = vec![0u16; dims.voxels()];
        for (k, band) in voxels.chunks_mut(BAND * dims.slice()).enumerate() {
            check_interrupt()?;
            self.voxels(k * BAND..k * BAND + band.len() / dims.slice(), band);
        }
        let [plating_until, stripping_from] = self.bodies();
        Ok(Specimen {
            dims,
            voxels,
            plating_until,
            stripping_from,
            markers: self.markers.clone(),
            layers: self.layers(),
        })
    }

    /// The stack outside the field: flat layers of the mean thicknesses, as wide as the parts of the cell are.
    fn layers(&self) -> Vec<Layer> {
        const DISC: f64 = 4000.0 / VOXEL;
        const MEMBRANE: f64 = 5550.0 / VOXEL;
        const POUCH: f64 = 7500.0 / VOXEL;
        let cell = self.cell;
        let (preset, n) = (&cell.settings.preset, cell.field.columns() as f64);
        let mean = |counts: &[u16]| counts.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let porous = |layer: &Porous, label: Label| {
            let level = (layer.levels + layer.total() / 2) / layer.total().max(1);
            Voxel::new(cell.settings.pore_fill, label, level.min(u64::from(FULL)) as u16)
        };
        let plain = |fill: Fill| Voxel::new(fill, Label::Background, 0);
        let lithium = Voxel::new(Fill::Void, Label::Background, FULL);
        let mut layers = Vec::new();
        // Voxel edges are at halves.
        let mut y = -0.5 + preset.plating_from() as f64 - self.shift as f64;
        for (fill, n) in
            [Fill::Polypropylene, Fill::Aluminium, Fill::Nylon].into_iter().zip(&preset.outside_plating[1..])
        {
            if layers.is_empty() {
                y -= preset.outside_plating[0] as f64;
            }
            layers.insert(0, Layer { y: [y - *n as f64, y], half_width: POUCH, voxel: plain(fill) });
            y -= *n as f64;
        }
        let mut y = -0.5 + preset.plating_from() as f64 - self.shift as f64;
        let stripped = mean(&self.pits) + mean(&self.recession);
        let grown = mean(&self.redeposited.voxels);
        let end = -0.5 + preset.stripping_from() as f64;
        let stack = [
            (mean(&self.plating), DISC, lithium),
            (mean(&self.deposited.voxels), DISC, porous(&self.deposited, Label::Deposited)),
            (mean(&self.dendrites.voxels), DISC, porous(&self.dendrites, Label::Dendrite)),
        ];
        for (thickness, half_width, voxel) in stack {
            layers.push(Layer { y: [y, y + thickness], half_width, voxel });
            y += thickness;
        }
        let face = end + stripped;
        layers.push(Layer { y: [y, face - grown], half_width: MEMBRANE, voxel: plain(Fill::Electrolyte) });
        layers.push(Layer {
            y: [face - grown, face],
            half_width: DISC,
            voxel: porous(&self.redeposited, Label::Redeposited),
        });
        let back = end + mean(&cell.stripping);
        let voxel = self.stripping.as_ref().map_or(lithium, |layer| porous(layer, Label::StrippingElectrode));
        layers.push(Layer { y: [face, back], half_width: DISC, voxel });
        let mut y = back;
        for (fill, &n) in
            [Fill::Void, Fill::Polypropylene, Fill::Aluminium, Fill::Nylon].into_iter().zip(&preset.outside_stripping)
        {
            if fill != Fill::Void {
                layers.push(Layer { y: [y, y + n as f64], half_width: POUCH, voxel: plain(fill) });
            }
            y += n as f64;
        }
        layers.retain(|l| l.y[1] > l.y[0]);
        layers
    }
}
