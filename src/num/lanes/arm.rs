//! [`F32x16`] on aarch64: NEON, which is part of the baseline.

use super::{EXPONENT_BIAS, EXPONENT_BITS, F32x16, Kernel, LANES, Lane, MANTISSA_WIDTH, SQRT_HALF_BITS, sealed};
use std::arch::aarch64::*;

/// Four 128-bit registers; NEON is part of the aarch64 baseline.
#[derive(Clone, Copy)]
pub struct Neon([float32x4_t; 4]);

impl sealed::Sealed for Neon {}

impl F32x16 for Neon {
    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Out {
        #[inline(never)]
        fn out_of_line<K: Kernel>(kernel: K) -> K::Out {
            kernel.run::<Neon>()
        }
        out_of_line(kernel)
    }
    #[inline(always)]
    fn load(from: &Lane) -> Self {
        Self::load_array(&from.0)
    }
    #[inline(always)]
    fn load_array(from: &[f32; LANES]) -> Self {
        // SAFETY: NEON is in the baseline; each quarter of the array is readable.
        Neon(std::array::from_fn(|i| unsafe { vld1q_f32(from[4 * i..4 * i + 4].as_ptr()) }))
    }
    #[inline(always)]
    fn store(self, to: &mut Lane) {
        self.store_array(&mut to.0);
    }
    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES]) {
        for i in 0..4 {
            // SAFETY: NEON is in the baseline; each quarter of the array is writable.
            unsafe { vst1q_f32(to[4 * i..4 * i + 4].as_mut_ptr(), self.0[i]) }
        }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon([unsafe { vdupq_n_f32(value) }; 4])
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(std::array::from_fn(|i| unsafe { vaddq_f32(self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(std::array::from_fn(|i| unsafe { vsubq_f32(self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(std::array::from_fn(|i| unsafe { vmulq_f32(self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(std::array::from_fn(|i| unsafe { vdivq_f32(self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: NEON is in the baseline; `vfmaq` is fused.
        Neon(std::array::from_fn(|i| unsafe { vfmaq_f32(c.0[i], self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: NEON is in the baseline; `vfmsq` is fused.
        Neon(std::array::from_fn(|i| unsafe { vfmsq_f32(c.0[i], self.0[i], b.0[i]) }))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(std::array::from_fn(|i| unsafe { vnegq_f32(self.0[i]) }))
    }
    #[inline(always)]
    fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        Neon(std::array::from_fn(|i| {
            // SAFETY: NEON is in the baseline.
            let less = unsafe { vcltq_f32(self.0[i], b.0[i]) };
            // SAFETY: as above.
            unsafe { vbslq_f32(less, yes.0[i], no.0[i]) }
        }))
    }
    #[inline(always)]
    fn split_binary(self) -> (Self, Self) {
        let quarter = |x: float32x4_t| -> (float32x4_t, float32x4_t) {
            // SAFETY: NEON is in the baseline.
            unsafe {
                let bits = vreinterpretq_u32_f32(x);
                let above = vsubq_u32(bits, vdupq_n_u32(SQRT_HALF_BITS));
                let k = vcvtq_f32_s32(vshrq_n_s32::<{ MANTISSA_WIDTH as i32 }>(vreinterpretq_s32_u32(above)));
                let exponent = vandq_u32(above, vdupq_n_u32(EXPONENT_BITS));
                (vreinterpretq_f32_u32(vsubq_u32(bits, exponent)), k)
            }
        };
        let pairs = self.0.map(quarter);
        (Neon(pairs.map(|p| p.0)), Neon(pairs.map(|p| p.1)))
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        // SAFETY: NEON is in the baseline.
        Neon(self.0.map(|k| unsafe {
            let field = vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(EXPONENT_BIAS));
            vreinterpretq_f32_s32(vshlq_n_s32::<{ MANTISSA_WIDTH as i32 }>(field))
        }))
    }
}
