//! Faraday's chain: what lithium a charge moves, and what is seen of it.
//!
//! ```text
//! m = Q / q        V = m / ρ        T = V / A_cell         q = 3860 mAh/g, ρ = 0.534 g/cm³
//! ```
//!
//! What a scan shows is compared in two ways, and both are told by name:
//!
//! ```text
//! per area       T_CT / T(Q)           thickness in the field over thickness over the cell's electrode
//! whole cell     V_CT / V(Q)           volume in the field over the volume of the whole cell's charge
//! ```
//!
//! The second is smaller by A_field / A_cell: it is no efficiency unless the field is the cell. That the paper's "missing
//! capacity" is of the second kind is our inference from its printed numbers.
//!
//! Source: Faraday's law; q and ρ as in the phantom and the paper's supplementary note 3.

/// Charge that a gram of lithium gives, mAh/g.
pub const CAPACITY: f64 = 3860.0;
/// Density of lithium, g/cm³.
pub const DENSITY: f64 = 0.534;
/// µm³ in a cm³.
const CUBIC: f64 = 1e12;
/// µm² in a cm².
pub const SQUARE: f64 = 1e8;

/// m of a charge in mAh, g.
pub fn mass(charge: f64) -> f64 {
    charge / CAPACITY
}
/// V of a charge in mAh, µm³.
pub fn volume(charge: f64) -> f64 {
    mass(charge) / DENSITY * CUBIC
}
/// T of a charge in mAh on an electrode of `area` cm², µm.
pub fn thickness(charge: f64, area: f64) -> f64 {
    volume(charge) / (area * SQUARE)
}
/// Charge of dense lithium of a thickness in µm, mAh/cm².
pub fn areal_charge(thickness: f64) -> f64 {
    thickness * 1e-4 * DENSITY * CAPACITY
}

/// What a scan shows over what the current moved, in both ways; unknown without charge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// T_CT / T(Q).
    pub per_area: Option<f64>,
    /// V_CT / V(Q).
    pub whole_cell: Option<f64>,
}

/// The ratios of lithium `thick` µm over a field of `field` µm², for a charge in mAh on a cell of `cell` cm².
pub fn ratio(thick: f64, field: f64, charge: f64, cell: f64) -> Ratio {
    let over = |a: f64, b: f64| (b != 0.0).then(|| a / b);
    Ratio { per_area: over(thick, thickness(charge, cell)), whole_cell: over(thick * field, volume(charge)) }
}

/// 1 − T(Q)/T_CT: the porosity of a layer if all charge were in it; unknown without a layer.
pub fn apparent_porosity(thick: f64, charge: f64, cell: f64) -> Option<f64> {
    (thick > 0.0).then(|| 1.0 - thickness(charge, cell) / thick)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within a part of a million of a printed number, or half of its last digit.
    fn close(got: f64, want: f64, relative: f64) {
        assert!((got / want - 1.0).abs() <= relative, "{got} for {want}");
    }

    #[test]
    fn the_table_of_a_segment() {
        // 1.5 mA/cm² for 10 min; the paper's field is 1707 x 2280 voxels of 1.33 um.
        let (charge, field) = (1.5 * 10.0 / 60.0, 1707.0 * 2280.0 * 1.33 * 1.33);
        close(field, 6.884488e6, 1e-6);
        close(mass(charge), 6.476684e-5, 1e-6);
        close(thickness(charge, 1.0), 1.2128621606, 1e-9);
        let cell = 0.75 * 10.0 / 60.0;
        close(mass(cell), 3.238342e-5, 1e-6);
        close(volume(cell), 6.0643108e7, 1e-6);
        close(cell / 0.5 * field / SQUARE, 0.0172112, 1e-5);
        close(volume(cell / 0.5 * field / SQUARE), 8.349935e6, 1e-6);
        close(12.0 * volume(cell), 7.27717e8, 1e-6);
        close(24.0 * volume(cell), 1.455435e9, 1e-6);
        close(12.0 * thickness(charge, 1.0), 14.5543, 4e-6);
        close(24.0 * thickness(charge, 1.0), 29.1087, 4e-6);
        close(12.0 * volume(cell / 0.5 * field / SQUARE), 1.001992e8, 1e-6);
        close(volume(cell / 0.5 * field / SQUARE) / (1.33 * 1.33 * 1.33), 3_549_181.0, 1e-6);
        close(areal_charge(1.0), 0.206124, 1e-6);
    }

    #[test]
    fn the_printed_thicknesses_in_both_ways() {
        let (half, field) = (12.0 * 0.125, 1707.0 * 2280.0 * 1.33 * 1.33);
        // Deposited, stripped, redeposited, net.
        let printed = [
            (140.1 - 107.7, 223.0, 30.7),
            (112.9 - 101.7, 77.0, 10.6),
            (130.5 - 101.7, 198.0, 27.2),
            (130.5 - 112.9, 121.0, 16.7),
        ];
        for (thick, area, whole) in printed {
            let r = ratio(thick, field, half, 0.5);
            assert!((100.0 * r.per_area.unwrap() - area).abs() < 0.5, "{thick}: {r:?}");
            assert!((100.0 * r.whole_cell.unwrap() - whole).abs() < 0.06, "{thick}: {r:?}");
        }
        assert_eq!(ratio(1.0, field, 0.0, 0.5), Ratio { per_area: None, whole_cell: None });
        close(apparent_porosity(32.4, half, 0.5).unwrap(), 0.55, 0.01);
        close(apparent_porosity(28.8, half, 0.5).unwrap(), 0.49, 0.01);
        assert_eq!(apparent_porosity(0.0, half, 0.5), None);
    }
}
