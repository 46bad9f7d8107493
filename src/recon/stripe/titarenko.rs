//! Stripes by regularised inversion (Titarenko, Withers and Yagola, Appl. Math. Lett. 23, 1489 (2010); Miqueles et al.,
//! J. Synchrotron Rad. 21, 1333 (2014)), as TomoPy's `remove_stripe_ti` combines two of them.
//!
//! ```text
//! p(x)  = mean over θ of S(θ, x)
//! q_h   = argmin |H (p + q)|² + α |q|²        (HᵀH + α) q = −HᵀH p,   α = 1/(2 (max_θ − min_θ) Σ_x S)
//! d_h   = S + q_h                             h = [1, −1] and h = [−1, 2, −1], H its valid correlation
//! S     ← √(d₁ d₂ + a |min d₁ d₂|)            a = 1.5
//! ```
//!
//! The systems are banded and are solved exactly, by Cholesky in f64 (TomoPy iterates until a residual of 1e-7).
//! The last line is not linear: it lifts the grey values, by √(1 + a) where S is constant. The method is here because
//! results made with it exist; for numbers use another. Where all projections have one sum, α is infinite and q zero.
//! Left out: blocks of angles, which in TomoPy replace the rows beyond the last whole block by ones.

/// The two kernels.
const KERNELS: [&[f64]; 2] = [&[1.0, -1.0], &[-1.0, 2.0, -1.0]];
/// Diagonals of HᵀH from the main one on.
const BAND: usize = 3;

/// Works in three lists of `columns` × [`BAND`] numbers at most.
pub fn remove(columns: usize, lift: f64, sinogram: &mut [f32]) {
    let angles = sinogram.len() / columns;
    let mut mean = vec![0.0f64; columns];
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for row in sinogram.chunks_exact(columns) {
        let mut sum = 0.0;
        for (mean, &value) in mean.iter_mut().zip(row) {
            *mean += f64::from(value);
            sum += f64::from(value);
        }
        (least, most) = (least.min(sum), most.max(sum));
    }
    mean.iter_mut().for_each(|m| *m /= angles as f64);
    let alpha = 1.0 / (2.0 * (most - least));
    let [q1, q2] = KERNELS.map(|h| correction(h, alpha, &mean));
    let product = |value: f32, x: usize| {
        let [a, b] = [&q1, &q2].map(|q| f64::from((f64::from(value) + q[x]) as f32));
        f64::from((a * b) as f32)
    };
    let mut lowest = f64::INFINITY;
    for row in sinogram.chunks_exact(columns) {
        for (x, &value) in row.iter().enumerate() {
            lowest = lowest.min(product(value, x));
        }
    }
    let offset = lift * lowest.abs();
    for row in sinogram.chunks_exact_mut(columns) {
        for (x, value) in row.iter_mut().enumerate() {
            *value = (product(*value, x) + offset).sqrt() as f32;
        }
    }
}

/// q for one kernel.
fn correction(h: &[f64], alpha: f64, mean: &[f64]) -> Vec<f64> {
    let n = mean.len();
    let mut q = vec![0.0; n];
    if n < h.len() || !alpha.is_finite() {
        return q;
    }
    // HᵀH by its upper diagonals, and HᵀH p.
    let mut matrix = vec![[0.0; BAND]; n];
    for first in 0..=n - h.len() {
        let difference: f64 = h.iter().zip(&mean[first..]).map(|(h, p)| h * p).sum();
        for (i, a) in h.iter().enumerate() {
            q[first + i] -= a * difference;
            for (j, b) in h.iter().enumerate().skip(i) {
                matrix[first + i][j - i] += a * b;
            }
        }
    }
    matrix.iter_mut().for_each(|row| row[0] += alpha);
    // U with HᵀH + α = UᵀU, row by row; then the two triangular systems.
    for i in 0..n {
        let pivot = matrix[i][0].sqrt();
        matrix[i].iter_mut().for_each(|v| *v /= pivot);
        q[i] /= pivot;
        for d in 1..BAND.min(n - i) {
            let factor = matrix[i][d];
            for e in d..BAND {
                matrix[i + d][e - d] -= factor * matrix[i][e];
            }
            q[i + d] -= factor * q[i];
        }
    }
    for i in (0..n).rev() {
        for d in 1..BAND.min(n - i) {
            q[i] -= matrix[i][d] * q[i + d];
        }
        q[i] /= matrix[i][0];
    }
    q
}
