//! The definition, term by term in f64: slow, and the oracle of every other file here.

use super::{Direction, root_of_unity};

/// `X[k] = Σ_j x[j] e^(∓2πi jk/n)` for complex `x` as `[re, im]`; O(n²).
pub fn dft(x: &[[f64; 2]], direction: Direction) -> Vec<[f64; 2]> {
    let n = x.len();
    (0..n)
        .map(|k| {
            let mut sum = [0.0, 0.0];
            for (j, &[re, im]) in x.iter().enumerate() {
                let [c, s] = root_of_unity(j * k, n);
                let s = if direction == Direction::Forward { -s } else { s };
                sum[0] += re * c - im * s;
                sum[1] += re * s + im * c;
            }
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_four_points() {
        // x = (1, i, −1, 2): X0 = 2 + i, X1 = 1 − i + 1 + … worked by hand with e^(−iπ/2) = −i.
        let x = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [2.0, 0.0]];
        let expected = [[2.0, 1.0], [3.0, 2.0], [-2.0, -1.0], [1.0, -2.0]];
        for (got, want) in dft(&x, Direction::Forward).iter().zip(expected) {
            assert!((got[0] - want[0]).abs() < 1e-14 && (got[1] - want[1]).abs() < 1e-14, "{got:?} {want:?}");
        }
    }
}
