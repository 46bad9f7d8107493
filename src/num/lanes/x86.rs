//! [`F32x16`] on x86-64: AVX-512, and AVX2 with FMA. Values of these types exist only below the two
//! `#[target_feature]` functions, which [`super::Isa::run`] enters after detection.

use super::{
    EXPONENT_BIAS, EXPONENT_BITS, F32x16, HalfKernel, Halves, Kernel, LANES, Lane, MANTISSA_WIDTH, SQRT_HALF_BITS,
    sealed,
};
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx2>()
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
    kernel.run::<Avx512>()
}

#[target_feature(enable = "avx512f,avx2,fma,avx512bf16")]
#[inline(never)]
pub(super) fn run_avx512_halves<K: HalfKernel>(kernel: K) {
    kernel.run::<Avx512>(Halves(std::marker::PhantomData));
}

/// Asks for every cache line of `items`.
#[inline(always)]
fn prefetch_lines<T>(items: &[T]) {
    const LINE: usize = 64;
    let bytes = size_of_val(items);
    let start = items.as_ptr().cast::<i8>();
    for offset in (0..bytes).step_by(LINE) {
        let line = start.wrapping_add(offset);
        // SAFETY: a prefetch reads nothing and cannot fault; sse is part of the x86-64 baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
}

/// One 512-bit register. Private to this file: it exists only below `run_avx512`.
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

impl sealed::Sealed for Avx512 {}

impl F32x16 for Avx512 {
    const REGISTERS: usize = 32;
    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Out {
        // SAFETY: a value of this type exists only where its instruction set is present (see `Isa::run`).
        unsafe { run_avx512(kernel) }
    }
    #[inline(always)]
    fn add_pairs(self, a: Self, b: Self, _: Halves<Self>) -> Self {
        // SAFETY: avx512f is present; both types are 64 bytes, of which every value is one of the other's.
        let [a, b] = [a, b].map(|v| unsafe { std::mem::transmute::<__m512, __m512bh>(v.0) });
        // SAFETY: avx512bf16 is present: the proof is only made in `run_avx512_halves`.
        Avx512(unsafe { _mm512_dpbf16_ps(self.0, a, b) })
    }
    #[inline(always)]
    fn load(from: &Lane) -> Self {
        Self::load_array(&from.0)
    }
    #[inline(always)]
    fn load_array(from: &[f32; LANES]) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`); the reference covers 16 readable f32.
        Avx512(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, to: &mut Lane) {
        self.store_array(&mut to.0);
    }
    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES]) {
        // SAFETY: avx512f is present (see `Isa::run`); the reference covers 16 writable f32.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        Avx512(unsafe { _mm512_fnmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`). 0 − x would turn +0 into +0; the sign bit is flipped instead.
        Avx512(unsafe {
            _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(self.0), _mm512_set1_epi32(i32::MIN)))
        })
    }
    #[inline(always)]
    fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        let less = unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0) };
        // SAFETY: as above.
        Avx512(unsafe { _mm512_mask_blend_ps(less, no.0, yes.0) })
    }
    #[inline(always)]
    fn split_binary(self) -> (Self, Self) {
        // SAFETY: avx512f is present (see `Isa::run`).
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let above = _mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF_BITS as i32));
            let k = _mm512_cvtepi32_ps(_mm512_srai_epi32::<MANTISSA_WIDTH>(above));
            let exponent = _mm512_and_si512(above, _mm512_set1_epi32(EXPONENT_BITS as i32));
            (Avx512(_mm512_castsi512_ps(_mm512_sub_epi32(bits, exponent))), Avx512(k))
        }
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        // SAFETY: avx512f is present (see `Isa::run`).
        unsafe {
            let field = _mm512_add_epi32(_mm512_cvttps_epi32(self.0), _mm512_set1_epi32(EXPONENT_BIAS));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<MANTISSA_WIDTH>(field)))
        }
    }
    #[inline(always)]
    fn prefetch<T>(items: &[T]) {
        prefetch_lines(items);
    }
    #[inline(always)]
    fn transpose(block: &mut [Lane; LANES]) {
        let mut a = [Self::splat(0.0).0; LANES];
        let mut b = a;
        for i in 0..LANES {
            a[i] = Self::load(&block[i]).0;
        }
        // Interleave neighbours, then pairs: 4 × 4 blocks are turned within the 128-bit quarters.
        for i in 0..8 {
            // SAFETY: avx512f is present (see `Isa::run`).
            b[2 * i] = unsafe { _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]) };
            // SAFETY: as above.
            b[2 * i + 1] = unsafe { _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]) };
        }
        for q in 0..4 {
            for half in 0..2 {
                let (low, high) = (b[4 * q + half], b[4 * q + half + 2]);
                // SAFETY: avx512f is present (see `Isa::run`).
                a[4 * q + 2 * half] = unsafe { _mm512_shuffle_ps::<0x44>(low, high) };
                // SAFETY: as above.
                a[4 * q + 2 * half + 1] = unsafe { _mm512_shuffle_ps::<0xee>(low, high) };
            }
        }
        // a[4q + r]: quarter c holds number 4c + r of rows 4q … 4q + 3. Gather the four q of each quarter.
        for r in 0..4 {
            // SAFETY: avx512f is present (see `Isa::run`).
            let low01 = unsafe { _mm512_shuffle_f32x4::<0x88>(a[r], a[4 + r]) };
            // SAFETY: as above.
            let high01 = unsafe { _mm512_shuffle_f32x4::<0xdd>(a[r], a[4 + r]) };
            // SAFETY: as above.
            let low23 = unsafe { _mm512_shuffle_f32x4::<0x88>(a[8 + r], a[12 + r]) };
            // SAFETY: as above.
            let high23 = unsafe { _mm512_shuffle_f32x4::<0xdd>(a[8 + r], a[12 + r]) };
            // SAFETY: as above.
            b[r] = unsafe { _mm512_shuffle_f32x4::<0x88>(low01, low23) };
            // SAFETY: as above.
            b[4 + r] = unsafe { _mm512_shuffle_f32x4::<0x88>(high01, high23) };
            // SAFETY: as above.
            b[8 + r] = unsafe { _mm512_shuffle_f32x4::<0xdd>(low01, low23) };
            // SAFETY: as above.
            b[12 + r] = unsafe { _mm512_shuffle_f32x4::<0xdd>(high01, high23) };
        }
        for i in 0..LANES {
            Avx512(b[i]).store(&mut block[i]);
        }
    }
}

/// `split_binary` of one register.
#[inline(always)]
fn split_half(x: __m256) -> (__m256, __m256) {
    // SAFETY: avx2 is present (see `Isa::run`).
    unsafe {
        let bits = _mm256_castps_si256(x);
        let above = _mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF_BITS as i32));
        let k = _mm256_cvtepi32_ps(_mm256_srai_epi32::<{ MANTISSA_WIDTH as i32 }>(above));
        let exponent = _mm256_and_si256(above, _mm256_set1_epi32(EXPONENT_BITS as i32));
        (_mm256_castsi256_ps(_mm256_sub_epi32(bits, exponent)), k)
    }
}

/// Both halves of an [`Avx2`] by one expression. A macro, because a closure is compiled without the instruction set and
/// would call each intrinsic as a function.
macro_rules! each_half {
    ($i:ident => $half:expr) => {{
        let low = {
            let $i = 0;
            $half
        };
        let high = {
            let $i = 1;
            $half
        };
        Avx2([low, high])
    }};
}

/// Two 256-bit registers. Private to this file: it exists only below `run_avx2`.
#[derive(Clone, Copy)]
pub struct Avx2([__m256; 2]);

impl sealed::Sealed for Avx2 {}

impl F32x16 for Avx2 {
    #[inline(always)]
    fn call<K: Kernel>(kernel: K) -> K::Out {
        // SAFETY: a value of this type exists only where its instruction set is present (see `Isa::run`).
        unsafe { run_avx2(kernel) }
    }
    #[inline(always)]
    fn load(from: &Lane) -> Self {
        Self::load_array(&from.0)
    }
    #[inline(always)]
    fn load_array(from: &[f32; LANES]) -> Self {
        // SAFETY: avx is present (see `Isa::run`); the first half of the array is readable.
        let low = unsafe { _mm256_loadu_ps(from[..8].as_ptr()) };
        // SAFETY: as above, for the second half.
        let high = unsafe { _mm256_loadu_ps(from[8..].as_ptr()) };
        Avx2([low, high])
    }
    #[inline(always)]
    fn store(self, to: &mut Lane) {
        self.store_array(&mut to.0);
    }
    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES]) {
        // SAFETY: avx is present (see `Isa::run`); the first half of the array is writable.
        unsafe { _mm256_storeu_ps(to[..8].as_mut_ptr(), self.0[0]) };
        // SAFETY: as above, for the second half.
        unsafe { _mm256_storeu_ps(to[8..].as_mut_ptr(), self.0[1]) };
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        Avx2([unsafe { _mm256_set1_ps(value) }; 2])
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_add_ps(self.0[i], b.0[i]) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_sub_ps(self.0[i], b.0[i]) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_mul_ps(self.0[i], b.0[i]) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_div_ps(self.0[i], b.0[i]) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: fma is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_fmadd_ps(self.0[i], b.0[i], c.0[i]) })
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: fma is present (see `Isa::run`).
        each_half!(i => unsafe { _mm256_fnmadd_ps(self.0[i], b.0[i], c.0[i]) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        let sign = unsafe { _mm256_set1_ps(-0.0) };
        // SAFETY: as above.
        each_half!(i => unsafe { _mm256_xor_ps(self.0[i], sign) })
    }
    #[inline(always)]
    fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        // SAFETY: avx is present (see `Isa::run`).
        let less = each_half!(i => unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[i], b.0[i]) });
        // SAFETY: as above.
        each_half!(i => unsafe { _mm256_blendv_ps(no.0[i], yes.0[i], less.0[i]) })
    }
    #[inline(always)]
    fn split_binary(self) -> (Self, Self) {
        let (low, high) = (split_half(self.0[0]), split_half(self.0[1]));
        (Avx2([low.0, high.0]), Avx2([low.1, high.1]))
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        // SAFETY: avx2 is present (see `Isa::run`).
        each_half!(i => unsafe {
            let field = _mm256_add_epi32(_mm256_cvttps_epi32(self.0[i]), _mm256_set1_epi32(EXPONENT_BIAS));
            _mm256_castsi256_ps(_mm256_slli_epi32::<{ MANTISSA_WIDTH as i32 }>(field))
        })
    }
    #[inline(always)]
    fn prefetch<T>(items: &[T]) {
        prefetch_lines(items);
    }
}
