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
