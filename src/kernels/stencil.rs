//! L2. Which input pixels an output pixel sees, for every convolution of the network: one sum for all of them.
//!
//! ```text
//! y[m·o + a] = b + Σ_taps Σ_ci w[tap] · x[s·o + offset(tap)]        o, a, offset are (row, column); taps and ci ascend
//! ```
//!
//! | operation | s | m | taps (row; the same for columns) |
//! |---|---|---|---|
//! | convolution k×k, stride s, padding (k−1)/2 | s | 1 | k at −(k−1)/2 + k |
//! | its gradient by x, stride 1 | 1 | 1 | k at −(k−1)/2 + k, weights from the last to the first |
//! | its gradient by x, stride 2, k = 3; transposed convolution (padding 1, output padding 1) | 1 | 2 | a = 0: weight 1 at 0; a = 1: weight 0 at +1, weight 2 at 0 |
//! | transposed convolution 2×2, stride 2 | 1 | 2 | weight a at 0 |
//! | gradient of a transposed convolution by x | 2 | 1 | those of the convolution |
//!
//! Offsets are written from the corner of the border ([`super::maps`]), so none is negative.

use super::maps::BORDER;

/// A weight and the input pixel that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Index kh·k + kw of the weight.
    pub weight: usize,
    /// Row and column of the input pixel, from the corner of the border, where s·o = 0.
    pub offset: [usize; 2],
}

/// The taps of the output pixels m·o + a.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stencil {
    /// In the order of the sum.
    pub taps: Vec<Tap>,
    /// s.
    pub stride: usize,
    /// m.
    pub step: usize,
    /// a.
    pub phase: [usize; 2],
}

/// A convolution's geometry: kernel k×k, stride, and whether it is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// k: 1 or 3, or 2 where it is transposed.
    pub k: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// From coarse to fine; the stride is 2 then.
    pub transposed: bool,
}

impl Window {
    /// A convolution, padded by (k−1)/2.
    pub const fn convolution(k: usize, stride: usize) -> Window {
        Window { k, stride, transposed: false }
    }
    /// A transposed convolution of stride 2 that doubles rows and columns.
    pub const fn transposed(k: usize) -> Window {
        Window { k, stride: 2, transposed: true }
    }
    /// Rows or columns of the output.
    pub const fn output(self, input: usize) -> usize {
        if self.transposed { input * self.stride } else { input.div_ceil(self.stride) }
    }
    /// How y is made of x.
    pub fn forward(self) -> Vec<Stencil> {
        if self.transposed { self.scatter() } else { self.gather(false) }
    }
    /// How the gradient by x is made of the gradient by y.
    pub fn backward(self) -> Vec<Stencil> {
        match (self.transposed, self.stride) {
            (true, _) => self.gather(false),
            (false, 1) => self.gather(true),
            (false, _) => self.scatter(),
        }
    }
    /// The taps that join fine and coarse pixel: fine = s·coarse + offset, offset from the border's corner.
    pub fn gather(self, reversed: bool) -> Vec<Stencil> {
        let k = self.k;
        // A 2×2 window of stride 2 needs no padding.
        let first = BORDER - (k - 1) / 2;
        let weight = |kh: usize, kw: usize| if reversed { k * k - 1 - (kh * k + kw) } else { kh * k + kw };
        let taps = (0..k * k).map(|t| Tap { weight: weight(t / k, t % k), offset: [first + t / k, first + t % k] });
        vec![Stencil { taps: taps.collect(), stride: self.stride, step: 1, phase: [0, 0] }]
    }
    fn scatter(self) -> Vec<Stencil> {
        let (k, padding) = (self.k, (self.k - 1) / 2);
        // fine = 2·coarse + kh − padding: (kh, coarse) of fine pixel 2·o + a, coarse written as offset from o.
        let along = |a: usize| -> Vec<(usize, usize)> {
            let fits = |&kh: &usize| (a + padding + 2 - kh).is_multiple_of(2) && a + padding + 2 * BORDER >= kh;
            (0..k).filter(fits).map(|kh| (kh, (a + padding + 2 * BORDER - kh) / 2)).collect()
        };
        let stencil = |phase: [usize; 2]| Stencil {
            taps: along(phase[0])
                .iter()
                .flat_map(|&(kh, row)| {
                    along(phase[1])
                        .into_iter()
                        .map(move |(kw, column)| Tap { weight: kh * k + kw, offset: [row, column] })
                })
                .collect(),
            stride: 1,
            step: 2,
            phase,
        };
        [[0, 0], [0, 1], [1, 0], [1, 1]].map(stencil).to_vec()
    }
}
