//! How much lithium is where after each current segment: the cell's timetable, in micrometres averaged over the field.
//!
//! Faraday, per current segment of 10 minutes at 1.5 mA/cm²:
//!
//! ```text
//! charge  q = j t = 0.25 mAh/cm²     mass m = q / (3860 mAh/g)     thickness h = m / (0.534 g/cm³) = 1.21286 µm dense
//! ```
//!
//! k = 0 pristine, 1 … 12 charge, 13 … 24 discharge; x = k − 12, u = x / 12. With ε the efficiency (the part of the
//! moved lithium that becomes metal again), s the part of the charge that goes into side reactions, and p the part of the
//! stripped lithium that leaves pores in the electrode:
//!
//! ```text
//! stripping electrode, dense   112.9 − (1 − s) h min(k, 12);  apparent 112.9 − (1 − p)(1 − s) h min(k, 12)
//! deposited, apparent          32.4 (1 − (1 − k/10)²) for k ≤ 10, then 32.4;  32.4 (e^(−x/3) − e^−4)/(1 − e^−4)
//! dendrites, apparent          4.2 (k/12)^1.3;  4.6 at 13;  d + 2.99 e^(−(k−13)/3.5), d = 1.612 at 24;  0.9 solid
//! redeposited, apparent        2.40 x, solid fraction ε (1 − s) h / 2.40 = 0.505
//! dendrites' area, %           29.5 (1 − e^(−k/4))/(1 − e^−3);  12 + 17.5 (e^(−x/3) − e^−4)/(1 − e^−4)
//! deposited coverage, %        98.4 (1 − e^(−k/1.6));  98.4 (1 − u³) + 0.16 u³
//! pits' area, %                60 (1 − e^(−k/3))/(1 − e^−4), 0.6 of the stripped volume;  voids under 53.9 at the end
//! redeposited coverage, %      97 (1 − e^(−x/1.5))
//! body P moves out by          39.3 · deposited / 32.4 in charge, and stays
//! ```
//!
//! What closes the balance: in charge the porosity of the deposited layer; in discharge that porosity stays at its
//! value of k = 12 and the plating electrode takes the rest. Source of the shapes and numbers: Huang, Perlmutter et al.
//! 2023 (printed thicknesses, rates, areas), Faraday's law for the rest.

use crate::num::elementary::{exp, pow};

/// Current density, mA/cm².
pub const CURRENT_DENSITY: f64 = 1.5;
/// Area of the cell's electrodes, cm².
pub const CELL_AREA: f64 = 0.5;
/// Minutes of current per segment.
pub const SEGMENT_MINUTES: f64 = 10.0;
/// Capacity of lithium, mAh/g.
pub const CAPACITY: f64 = 3860.0;
/// Density of lithium, g/cm³.
pub const DENSITY: f64 = 0.534;
/// Segments of charge, and of discharge.
pub const HALF: usize = 12;
/// Scans of the series: pristine and one after each segment.
pub const SCANS: usize = 2 * HALF + 1;
/// Thickness of the pristine electrodes, µm.
pub const PLATING: f64 = 107.7;
/// See [`PLATING`].
pub const STRIPPING: f64 = 112.9;
/// Solid part of a dendrite.
pub const DENDRITE_SOLID: f64 = 0.9;
/// Part of the stripped volume that leaves pits; the rest is uniform recession.
pub const PIT_SHARE: f64 = 0.6;
/// Part of the field with a void under the redeposited layer at the end.
pub const VOID_AREA: f64 = 0.539;
/// Part of the pits' volume that stays void.
pub const VOID_SHARE: f64 = 0.45;

/// Charge of one segment, mAh/cm².
pub fn segment_charge() -> f64 {
    CURRENT_DENSITY * SEGMENT_MINUTES / 60.0
}

/// Mass of lithium that a charge (mAh) moves, g.
pub fn mass_of(charge: f64) -> f64 {
    charge / CAPACITY
}

/// Volume of dense lithium of a mass (g), µm³.
pub fn volume_of(mass: f64) -> f64 {
    mass / DENSITY * 1e12
}

/// h: dense lithium of one segment, µm.
pub fn segment_thickness() -> f64 {
    volume_of(mass_of(segment_charge())) * 1e-8
}

/// p with which the stripping electrode is 101.7 µm thick at the half cycle, as printed, at s; by charge alone, s = 0, it is
/// 98.35.
pub fn printed_pores(side_reaction: f64) -> f64 {
    1.0 - (STRIPPING - 101.7) / ((1.0 - side_reaction) * HALF as f64 * segment_thickness())
}

/// What may differ from cell to cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chemistry {
    /// ε.
    pub efficiency: f64,
    /// s.
    pub side_reaction: f64,
    /// Dendrites that are left at the end, µm.
    pub dead: f64,
    /// p.
    pub pores: f64,
}

impl Default for Chemistry {
    fn default() -> Chemistry {
        Chemistry { efficiency: 1.0, side_reaction: 0.0, dead: 1.612, pores: 0.0 }
    }
}

/// One step of the timetable: means over the field, thicknesses in µm, areas as parts of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Current segments so far.
    pub k: usize,
    /// Dense lithium stripped from the stripping electrode so far.
    pub stripped: f64,
    /// By how much it has become thinner: what left pores is not in it.
    pub receded: f64,
    /// Dense lithium that left the plating side so far, in discharge.
    pub returned: f64,
    /// Apparent thicknesses.
    pub deposited: f64,
    /// See [`Row::deposited`].
    pub dendrite: f64,
    /// See [`Row::deposited`].
    pub redeposited: f64,
    /// Parts of the field that each covers.
    pub deposited_area: f64,
    /// See [`Row::deposited_area`].
    pub dendrite_area: f64,
    /// See [`Row::deposited_area`].
    pub redeposited_area: f64,
    /// See [`Row::deposited_area`].
    pub pit_area: f64,
    /// How far the plating side has moved outwards.
    pub gap: f64,
}

/// The timetable at step k ≤ 24.
pub fn row(k: usize, chemistry: &Chemistry) -> Row {
    let (charge, x) = (k.min(HALF) as f64, k.saturating_sub(HALF) as f64);
    let h = (1.0 - chemistry.side_reaction) * segment_thickness();
    let (e3, e4) = (exp(-3.0), exp(-4.0));
    // Falls from 1 to 0 over the discharge.
    let fall = (exp(-x / 3.0) - e4) / (1.0 - e4);
    let rise = |k: f64| if k < 10.0 { 1.0 - (1.0 - k / 10.0) * (1.0 - k / 10.0) } else { 1.0 };
    let u3 = x * x * x / 1728.0;
    let discharge = k > HALF;
    Row {
        k,
        stripped: h * charge,
        receded: (1.0 - chemistry.pores) * (h * charge),
        returned: h * x,
        deposited: 32.4 * if discharge { fall } else { rise(charge) },
        dendrite: match k {
            0..=HALF => 4.2 * pow(charge / 12.0, 1.3),
            24 => chemistry.dead,
            _ => chemistry.dead + (4.6 - chemistry.dead) * exp(-(x - 1.0) / 3.5),
        },
        redeposited: 2.4 * x,
        deposited_area: if discharge { 0.984 * (1.0 - u3) + 0.0016 * u3 } else { 0.984 * (1.0 - exp(-charge / 1.6)) },
        dendrite_area: if discharge { 0.12 + 0.175 * fall } else { 0.295 * (1.0 - exp(-charge / 4.0)) / (1.0 - e3) },
        redeposited_area: 0.97 * (1.0 - exp(-x / 1.5)),
        pit_area: 0.6 * (1.0 - exp(-charge / 3.0)) / (1.0 - e4),
        gap: 39.3 * rise(charge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-6, "{got} {want}");
    }

    #[test]
    fn faraday_s_chain() {
        // Per cm²: charge, mass, thickness; the whole cell; the field of 1707 x 2280 voxels of 1.33 µm.
        let q = segment_charge();
        near(q, 0.25);
        near(mass_of(q), 6.476_684e-5);
        near(segment_thickness(), 1.212_862);
        near(CELL_AREA * CURRENT_DENSITY, 0.75);
        near(mass_of(q * CELL_AREA), 3.238_342e-5);
        near(volume_of(mass_of(q * CELL_AREA)), 6.064_311e7);
        let field = 1707.0 * 2280.0 * 1.33 * 1.33;
        near(field, 6.884_488e6);
        near(q * field * 1e-8, 0.017_211_22);
        near(mass_of(q * field * 1e-8), 4.458_865e-6);
        near(volume_of(mass_of(q * field * 1e-8)), 8.349_935e6);
        near(volume_of(mass_of(q * field * 1e-8)) / (1.33 * 1.33 * 1.33), 3_549_181.0);
        near(segment_thickness() / 1.33, 0.911_926);
        near(12.0 * segment_thickness(), 14.554_34);
        near(24.0 * segment_thickness(), 29.108_69);
        near(12.0 * volume_of(mass_of(q * CELL_AREA)), 7.277_174e8);
        near(24.0 * volume_of(mass_of(q * CELL_AREA)), 1.455_435e9);
        near(12.0 * volume_of(mass_of(q * field * 1e-8)), 1.001_992e8);
        near(24.0 * volume_of(mass_of(q * field * 1e-8)), 2.003_984e8);
        near(DENSITY * CAPACITY * 1e-4, 0.206_124);
    }

    #[test]
    fn the_table_of_the_specification() {
        // k, stripping, redeposited, deposited, dendrites, their area %, coverage %, gap.
        let table = [
            (0, 112.90, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            (3, 109.26, 0.0, 16.52, 0.69, 16.4, 83.4, 20.0),
            (6, 105.62, 0.0, 27.22, 1.71, 24.1, 96.1, 33.0),
            (9, 101.98, 0.0, 32.08, 2.89, 27.8, 98.1, 38.9),
            (12, 98.35, 0.0, 32.40, 4.20, 29.5, 98.4, 39.3),
            (13, 98.35, 2.4, 23.04, 4.60, 24.5, 98.3, 39.3),
            (16, 98.35, 9.6, 8.10, 2.88, 16.3, 94.8, 39.3),
            (20, 98.35, 19.2, 1.69, 2.02, 12.8, 69.3, 39.3),
            (24, 98.35, 28.8, 0.00, 1.61, 12.0, 0.16, 39.3),
        ];
        for (k, s, redep, d, dend, area, coverage, gap) in table {
            let r = row(k, &Chemistry::default());
            // Half a unit of the last printed digit; areas, which are printed more roughly, within 1 %.
            let close = |got: f64, want: f64, digit: f64| {
                assert!((got - want).abs() <= 0.51 * digit, "k = {k}: {got} for {want}");
            };
            close(STRIPPING - r.stripped, s, 0.01);
            close(r.redeposited, redep, 0.01);
            close(r.deposited, d, 0.01);
            close(r.dendrite, dend, 0.01);
            assert!((100.0 * r.dendrite_area - area).abs() <= 0.01 * area, "k = {k}");
            assert!((100.0 * r.deposited_area - coverage).abs() <= 0.01 * coverage, "k = {k}");
            close(r.gap, gap, 0.1);
        }
    }
}
