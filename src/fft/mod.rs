//! L2. Discrete Fourier transforms of sixteen signals at a time.
//!
//! **Definition.** Forward `X[k] = Σ_j x[j] e^(−2πi jk/n)`, inverse the same with `+`. Neither is normalised:
//! forward then inverse multiplies by `n`. Lengths are 2^a 3^b 5^c; [`bluestein`] takes any length.
//!
//! **Layout.** A signal occupies one lane of a slice of [`ComplexLane`]; sixteen signals are transformed by the
//! same scalar-readable butterflies, and none can influence another.
//!
//! | file | holds |
//! |---|---|
//! | [`dft`] | the sum above in f64: the oracle of every test |
//! | [`complex`] | in-place decimation in frequency, radix 2, 3, 4, 5, 8 |
//! | [`real`] | real signals through a complex transform of half the length |
//! | [`plane`] | 2-D transforms of one image: lanes run across rows, then across columns |
//! | [`bluestein`] | any length as a convolution of a 2^a 3^b 5^c length |
//!
//! **Order of output.** [`complex::ComplexPlan::run_scrambled`] leaves its output digit-reversed and hands out the
//! permutation, because a consumer that reads cells of a whole cache line anyway reads them in any order for free.
//! `run` restores the natural order.
//!
//! **Accuracy.** Relative L2 error below `1.0e-7 · (1 + log2 n)`, tested against the oracle.

pub mod bluestein;
mod butterfly;
pub mod complex;
pub mod dft;
pub mod plane;
pub mod real;

pub use complex::{ComplexPlan, Direction};
pub use real::RealPlan;

use crate::error::{Error, Result};
use crate::num::elementary::sincos;
use crate::num::lanes::ComplexLane;

/// `e^(2πi k/n)` in f64 as `[cos, sin]`, reduced to the first octant so that symmetric roots have symmetric bits.
pub fn root_of_unity(k: usize, n: usize) -> [f64; 2] {
    let k = k % n;
    // Eighths of the circle: 8k = octant·n + rest, all integers.
    let (octant, rest) = ((8 * k) / n, (8 * k) % n);
    // Odd octants are measured back from their end, so that the angle stays within π/4.
    let eighths = if octant % 2 == 0 { rest } else { n - rest };
    let (s, c) = if eighths == n {
        (std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::FRAC_1_SQRT_2)
    } else {
        sincos(eighths as f64 / n as f64 * std::f64::consts::FRAC_PI_4)
    };
    match octant {
        0 => [c, s],
        1 => [s, c],
        2 => [-s, c],
        3 => [-c, s],
        4 => [-c, -s],
        5 => [-s, -c],
        6 => [s, -c],
        _ => [c, -s],
    }
}

/// Whether `n` = 2^a 3^b 5^c.
pub fn is_smooth(n: usize) -> bool {
    let mut rest = n;
    for p in [2, 3, 5] {
        while rest > 1 && rest.is_multiple_of(p) {
            rest /= p;
        }
    }
    rest == 1
}

/// The smallest even 2^a 3^b 5^c that is at least `n`.
pub fn next_even_smooth(n: usize) -> usize {
    let mut m = n.max(2).next_multiple_of(2);
    while !is_smooth(m) {
        m += 2;
    }
    m
}

/// A buffer of zeroed cells; large ones ask for huge pages, since strided passes are bound by address translation.
pub fn cells(n: usize) -> Vec<ComplexLane> {
    let mut buffer = vec![ComplexLane::ZERO; n];
    crate::os::advise_huge_pages(&mut buffer);
    buffer
}

/// An error for a length that no plan takes.
fn check_length(n: usize) -> Result<()> {
    if n == 0 || !is_smooth(n) {
        return Err(Error::usage(format!("no transform of length {n}"))
            .help(format!("lengths are 2^a 3^b 5^c, for example {}", next_even_smooth(n))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_symmetric_and_on_the_circle() {
        for n in [1, 2, 3, 5, 8, 60, 1000, 2560] {
            for k in 0..n {
                let [c, s] = root_of_unity(k, n);
                let angle = 2.0 * std::f64::consts::PI * k as f64 / n as f64;
                assert!((c - angle.cos()).abs() < 1e-15 && (s - angle.sin()).abs() < 1e-15, "{k}/{n}");
                let [c2, s2] = root_of_unity(n - k, n);
                assert_eq!((c, s), (c2, if s2 == 0.0 { s } else { -s2 }), "{k}/{n}");
            }
        }
        assert_eq!(root_of_unity(1, 4), [0.0, 1.0]);
    }

    #[test]
    fn smooth_lengths() {
        assert!(is_smooth(1) && is_smooth(2560) && is_smooth(4050) && !is_smooth(14) && !is_smooth(0));
        assert_eq!(next_even_smooth(4095), 4096);
        assert_eq!(next_even_smooth(2561), 2592);
        assert_eq!(next_even_smooth(1), 2);
    }
}
