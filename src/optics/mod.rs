//! L2. X-ray optics as functions of spatial frequency: what free space does to a wave behind a sample, and how much of
//! it one projection gives back.
//!
//! ```text
//! λ = hc / E                                          12.398 419 84 Å keV / E
//! Paganin      H(ν) = 1 / (1 + π λ z (δ/β) |ν|²)      acts on I/I₀; −ln of the result is the absorption of one material
//! decay        ℓ = √(λ z (δ/β) / 4π)                  H's kernel falls as e^(−r/ℓ): (2πℓ)² = π λ z δ/β
//! free space   H(ν) = e^(−iπ λ z |ν|²)                acts on the wave; e^(ikz), the same everywhere, left out
//! Fresnel      F = a² / (λ z)                         ≫ 1: near field, where Paganin holds for details of size a
//! ```
//!
//! n = 1 − δ + iβ is the refractive index. TomoPy's `alpha` is the same filter: H ∝ 1 / (λ z |ν|²/4π + α), so
//! α = 1 / (4π² δ/β). Sources: Paganin et al., J. Microsc. 206, 33 (2002); hc: CODATA 2018 (exact).

use crate::num::elementary::sincos;
use crate::units::{KiloElectronVolt, Micrometre};
use std::f64::consts::PI;

/// h c in keV µm.
pub const PLANCK_TIMES_LIGHT: f64 = 1.239_841_984_332_002_6e-3;

/// λ = hc / E.
pub fn wavelength(energy: KiloElectronVolt) -> Micrometre {
    Micrometre(PLANCK_TIMES_LIGHT / energy.0)
}

/// π λ z (δ/β) in µm², the factor of |ν|² in Paganin's response.
pub fn paganin_area(energy: KiloElectronVolt, distance: Micrometre, delta_beta: f64) -> f64 {
    PI * wavelength(energy).0 * distance.0 * delta_beta
}

/// H(ν) for |ν|² in µm⁻² and [`paganin_area`].
pub fn paganin(area: f64, nu_squared: f64) -> f64 {
    1.0 / (1.0 + area * nu_squared)
}

/// ℓ, over which the kernel of H falls by e.
pub fn paganin_decay(area: f64) -> Micrometre {
    Micrometre(area.sqrt() / (2.0 * PI))
}

/// TomoPy's `alpha` for a δ/β.
pub fn alpha_of(delta_beta: f64) -> f64 {
    1.0 / (4.0 * PI * PI * delta_beta)
}

/// H(ν) = e^(−iπ λ z |ν|²) of free space as [re, im], for λ z in µm² and |ν|² in µm⁻².
pub fn free_space(lambda_z: f64, nu_squared: f64) -> [f64; 2] {
    let (sin, cos) = sincos(PI * lambda_z * nu_squared);
    [cos, -sin]
}

/// a² / (λ z).
pub fn fresnel_number(detail: Micrometre, energy: KiloElectronVolt, distance: Micrometre) -> f64 {
    detail.0 * detail.0 / (wavelength(energy).0 * distance.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_literature() {
        let angstrom = wavelength(KiloElectronVolt(27.5)).0 * 1e4;
        assert!((angstrom - 0.450_852).abs() < 1e-6, "{angstrom}");
        // TomoPy's default alpha, 1e-3, is δ/β = 25.3.
        assert!((alpha_of(25.330_295_9) - 1e-3).abs() < 1e-10);
        let area = paganin_area(KiloElectronVolt(27.5), Micrometre(6e4), 500.0);
        assert_eq!(paganin(area, 0.0), 1.0);
        assert!((paganin_decay(area).0 - 10.375).abs() < 0.01, "{}", paganin_decay(area).0);
        let near = fresnel_number(Micrometre(1.33), KiloElectronVolt(27.5), Micrometre(6e4));
        assert!((near - 0.654).abs() < 1e-3, "{near}");
    }
}
