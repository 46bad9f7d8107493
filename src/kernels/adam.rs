//! L2. Adam (Kingma, Ba 2015), as PyTorch computes it: no weight decay, no AMSGrad.
//!
//! ```text
//! m ← m + (1 − β₁)(g − m)
//! v ← β₂ v + (1 − β₂) g²
//! p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)            t = 1 at the first step
//! ```
//!
//! Every number by itself, no sums. Cost: reads four numbers per parameter and writes three.

use crate::num::elementary::pow;
use crate::num::lanes::{F32x16, Isa, Kernel, LANES, Lane};
use rayon::prelude::*;

/// β₁.
pub const BETA1: f64 = 0.9;
/// β₂.
pub const BETA2: f64 = 0.999;
/// ε.
pub const EPSILON: f32 = 1e-8;
/// Lanes of a task.
const TASK: usize = 4096;

/// The constants of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// lr/(1 − β₁ᵗ).
    pub(super) step: f32,
    /// √(1 − β₂ᵗ).
    pub(super) root: f32,
}

impl Adam {
    /// Step `t`, from 1, with learning rate `lr`.
    pub fn new(lr: f64, t: u32) -> Adam {
        let t = f64::from(t);
        Adam { step: (lr / (1.0 - pow(BETA1, t))) as f32, root: (1.0 - pow(BETA2, t)).sqrt() as f32 }
    }

    /// The definition: p, m, v after the step.
    #[inline(always)]
    pub fn update(self, p: f32, g: f32, m: f32, v: f32) -> (f32, f32, f32) {
        let m = (1.0 - BETA1) as f32 * (g - m) + m;
        let v = ((1.0 - BETA2) as f32 * g) * g + BETA2 as f32 * v;
        (p - self.step * (m / (v.sqrt() / self.root + EPSILON)), m, v)
    }

    /// All parameters of a tensor by the definition.
    #[inline(always)]
    pub fn reference(self, p: &mut [Lane], g: &[Lane], m: &mut [Lane], v: &mut [Lane]) {
        for i in 0..p.len() {
            for l in 0..LANES {
                (p[i].0[l], m[i].0[l], v[i].0[l]) = self.update(p[i].0[l], g[i].0[l], m[i].0[l], v[i].0[l]);
            }
        }
    }

    /// The same on lanes and threads.
    pub fn run(self, isa: Isa, p: &mut [Lane], g: &[Lane], m: &mut [Lane], v: &mut [Lane]) {
        let state = m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK));
        p.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).zip(state).for_each(|((p, g), (m, v))| {
            isa.run(Update { adam: self, p, g, m, v });
        });
    }
}

struct Update<'a> {
    adam: Adam,
    p: &'a mut [Lane],
    g: &'a [Lane],
    m: &'a mut [Lane],
    v: &'a mut [Lane],
}

impl Kernel for Update<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        // The compiler makes vectors of this loop: square roots and quotients are rounded alike everywhere.
        self.adam.reference(self.p, self.g, self.m, self.v);
    }
}
