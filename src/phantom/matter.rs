//! What a voxel of the cell is made of, what a perfect segmenter would call it, and what X-rays see of it.
//!
//! ```text
//! voxel = level | label << 8 | fill << 12        level / 255: the part of the voxel that is solid lithium
//! µ = f µ(Li) + (1 − f) µ(fill),  δ alike        f = level / 255
//! ```
//!
//! Attenuation and refraction at 27.5 keV. Source: xraydb 4.5.8 (Elam tables), which equals the NIST tables to three
//! digits for the elements here. Attenuation in 1/cm, n = 1 − δ + iβ.

/// Photon energy of the tables.
pub const ENERGY_KEV: f64 = 27.5;
/// Levels of solid lithium in a voxel that is full of it.
pub const FULL: u16 = 255;

/// Attenuation and refraction of a material.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optical {
    /// Linear attenuation, 1/cm.
    pub mu: f64,
    /// Decrement of the refractive index.
    pub delta: f64,
}

/// Lithium metal, 0.534 g/cm³.
pub const LITHIUM: Optical = Optical { mu: 0.0896, delta: 1.27e-7 };

/// What fills a voxel where there is no solid lithium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fill {
    /// Gas, or the empty pouch.
    Void = 0,
    /// Polymer electrolyte: PEO with LiTFSI 20:1, 1.27 g/cm³.
    Electrolyte = 1,
    /// Polyamide of the laminate, 1.14 g/cm³.
    Nylon = 2,
    /// Aluminium of the laminate.
    Aluminium = 3,
    /// Polypropylene of the laminate, 0.90 g/cm³.
    Polypropylene = 4,
    /// A marker of lithium fluoride, as debris is.
    Fluoride = 5,
    /// A marker of alumina.
    Alumina = 6,
}

/// Fills in the order of their numbers.
pub const FILLS: [Fill; 7] =
    [Fill::Void, Fill::Electrolyte, Fill::Nylon, Fill::Aluminium, Fill::Polypropylene, Fill::Fluoride, Fill::Alumina];

impl Fill {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        ["void", "electrolyte", "nylon", "aluminium", "polypropylene", "lithium fluoride", "alumina"][self as usize]
    }
    /// Its attenuation and refraction.
    pub fn optical(self) -> Optical {
        let [mu, delta] = [
            [0.0005, 3e-10],
            [0.629, 3.70e-7],
            [0.363, 3.4e-7],
            [3.827, 7.15e-7],
            [0.262, 2.8e-7],
            [1.151, 6.7e-7],
            [3.78, 1.06e-6],
        ][self as usize];
        Optical { mu, delta }
    }
}

/// What a perfect segmenter calls a voxel: the classes of the paper, after the split by depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Label {
    /// Everything else: electrolyte, packaging, gas.
    Background = 0,
    /// Dendrite, on the plating side.
    Dendrite = 1,
    /// What was stripped out of pits and is not filled again.
    Pit = 2,
    /// Deposited lithium, on the plating side.
    Deposited = 3,
    /// Plating electrode.
    PlatingElectrode = 4,
    /// Redeposited lithium, on the stripping side.
    Redeposited = 5,
    /// Stripping electrode.
    StrippingElectrode = 6,
}

/// Labels in the order of their numbers.
pub const LABELS: [Label; 7] = [
    Label::Background,
    Label::Dendrite,
    Label::Pit,
    Label::Deposited,
    Label::PlatingElectrode,
    Label::Redeposited,
    Label::StrippingElectrode,
];

/// Colours of the labels in their order, everywhere: Okabe and Ito's, told apart by colour-blind eyes.
pub const COLOURS: [[u8; 3]; 7] =
    [[0, 0, 0], [0, 158, 115], [230, 159, 0], [204, 121, 167], [0, 114, 178], [213, 94, 0], [86, 180, 233]];

impl Label {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        ["background", "dendrite", "pit", "deposited", "plating electrode", "redeposited", "stripping electrode"]
            [self as usize]
    }
    /// Its number among the five classes of the paper's network: background, dendrite, pit, deposited, electrode.
    pub fn network_class(self) -> u8 {
        [0, 1, 2, 3, 4, 3, 4][self as usize]
    }
    /// Its colour in pictures.
    pub fn colour(self) -> [u8; 3] {
        COLOURS[self as usize]
    }
}

/// A voxel, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Voxel(pub u16);

impl Voxel {
    /// Packs a voxel; level 0 … 255.
    pub fn new(fill: Fill, label: Label, level: u16) -> Voxel {
        debug_assert!(level <= FULL);
        Voxel(level | (label as u16) << 8 | (fill as u16) << 12)
    }
    /// Solid lithium in 255ths of the voxel.
    pub fn level(self) -> u16 {
        self.0 & 0xff
    }
    /// The number of its label.
    pub fn label(self) -> u8 {
        (self.0 >> 8) as u8 & 0xf
    }
    /// The number of its fill.
    pub fn fill(self) -> u8 {
        (self.0 >> 12) as u8
    }
}

/// µ and δ of every voxel there can be, by level and fill: `table[voxel.0 as usize]`, the label ignored.
pub fn optical_table() -> Vec<Optical> {
    (0..=u16::MAX)
        .map(|code| {
            let voxel = Voxel(code);
            let fill = FILLS.get(usize::from(voxel.fill())).copied().unwrap_or(Fill::Void).optical();
            let solid = f64::from(voxel.level()) / f64::from(FULL);
            Optical {
                mu: solid * LITHIUM.mu + (1.0 - solid) * fill.mu,
                delta: solid * LITHIUM.delta + (1.0 - solid) * fill.delta,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxels_keep_their_three_parts_and_mix_by_volume() {
        let table = optical_table();
        for fill in FILLS {
            for label in LABELS {
                for level in [0, 1, 128, 255] {
                    let v = Voxel::new(fill, label, level);
                    assert_eq!((v.fill(), v.label(), v.level()), (fill as u8, label as u8, level));
                    let f = f64::from(level) / 255.0;
                    let want = f * LITHIUM.mu + (1.0 - f) * fill.optical().mu;
                    assert!((table[usize::from(v.0)].mu - want).abs() < 1e-15);
                }
            }
        }
        // The issue of contrast: porous lithium with electrolyte in its pores looks like neither.
        let porous = table[usize::from(Voxel::new(Fill::Electrolyte, Label::Deposited, 84).0)];
        assert!(porous.mu > 4.0 * LITHIUM.mu && porous.mu < 0.8 * Fill::Electrolyte.optical().mu);
    }
}
