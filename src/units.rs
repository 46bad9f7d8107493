//! L0. Physical units as types, so that a degree cannot pass for a radian nor a millimetre for a micrometre.

/// Micrometre, the unit of voxel sizes.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Micrometre(pub f64);

impl Micrometre {
    /// The length in centimetres: 1 µm = 10⁻⁴ cm.
    pub fn centimetres(self) -> f64 {
        self.0 * 1e-4
    }
}

/// Degree of arc.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Degree(pub f64);

/// Radian.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Radian(pub f64);

impl From<Degree> for Radian {
    fn from(d: Degree) -> Radian {
        Radian(d.0 * (std::f64::consts::PI / 180.0))
    }
}

impl From<Radian> for Degree {
    fn from(r: Radian) -> Degree {
        Degree(r.0 * (180.0 / std::f64::consts::PI))
    }
}

/// A photon energy.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct KiloElectronVolt(pub f64);

/// Unit of angles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AngleUnit {
    /// 360 to the turn.
    Degree,
    /// 2π to the turn.
    Radian,
}

impl AngleUnit {
    /// The unit of this name, in upper or lower case: `deg`, `degree`, `degrees`, `°`; `rad`, `radian`, `radians`.
    pub fn from_name(name: &str) -> Option<AngleUnit> {
        match name.trim().to_lowercase().as_str() {
            "deg" | "degs" | "degree" | "degrees" | "°" => Some(AngleUnit::Degree),
            "rad" | "rads" | "radian" | "radians" => Some(AngleUnit::Radian),
            _ => None,
        }
    }
    /// `deg` or `rad`.
    pub fn name(self) -> &'static str {
        match self {
            AngleUnit::Degree => "deg",
            AngleUnit::Radian => "rad",
        }
    }
}
