//! Sixteen f32 lanes with the same bits on every instruction set.
//!
//! [`F32x16`] is a vector of 16 independent f32 numbers with the few IEEE operations that round identically
//! everywhere: add, subtract, multiply and *fused* multiply-add. A [`Kernel`] is written once, generic over the
//! lane type, and entered through [`Isa::run`], which holds the only `#[target_feature]` functions: everything
//! below them is `#[inline(always)]`, or intrinsics would not inline.
//!
//! | instruction set | one `F32x16` is | fused multiply-add |
//! |---|---|---|
//! | `avx512` | one 512-bit register | `vfmadd` |
//! | `avx2` | two 256-bit registers | `vfmadd` |
//! | `neon` | four 128-bit registers | `fmla` |
//! | `scalar` | an array | `f32::mul_add`: correct, and slow where the target has no FMA |
//!
//! Lanes never meet: there is no horizontal operation here. What one lane computes does not depend on the others,
//! so a result is the same whichever lane, and in whatever company, it is computed in.
#![allow(unsafe_code)]

use crate::error::{Error, Result};

/// Number of lanes of [`F32x16`].
pub const LANES: usize = 16;

/// Sixteen f32 in memory, aligned to a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lane(pub [f32; LANES]);

impl Lane {
    /// All lanes zero.
    pub const ZERO: Lane = Lane([0.0; LANES]);
}

/// Sixteen complex numbers in memory: real parts, then imaginary parts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct ComplexLane {
    /// Real parts.
    pub re: Lane,
    /// Imaginary parts.
    pub im: Lane,
}

impl ComplexLane {
    /// All lanes zero.
    pub const ZERO: ComplexLane = ComplexLane { re: Lane::ZERO, im: Lane::ZERO };
}

/// A vector of 16 f32. Implemented by this module only.
pub trait F32x16: Copy + sealed::Sealed {
    /// Reads 16 lanes.
    fn load(from: &Lane) -> Self;
    /// Reads 16 numbers that need not be aligned.
    fn load_array(from: &[f32; LANES]) -> Self;
    /// Writes 16 lanes.
    fn store(self, to: &mut Lane);
    /// Writes 16 numbers that need not be aligned.
    fn store_array(self, to: &mut [f32; LANES]);
    /// The same number in every lane.
    fn splat(value: f32) -> Self;
    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self − b`.
    fn sub(self, b: Self) -> Self;
    /// `self · b`.
    fn mul(self, b: Self) -> Self;
    /// `self · b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `c − self · b`, rounded once.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// `−self`.
    fn neg(self) -> Self;
}

/// A complex number per lane, in registers.
#[derive(Clone, Copy)]
pub struct Complex<V> {
    /// Real part.
    pub re: V,
    /// Imaginary part.
    pub im: V,
}

impl<V: F32x16> Complex<V> {
    /// Reads 16 complex numbers.
    #[inline(always)]
    pub fn load(from: &ComplexLane) -> Self {
        Complex { re: V::load(&from.re), im: V::load(&from.im) }
    }
    /// Writes 16 complex numbers.
    #[inline(always)]
    pub fn store(self, to: &mut ComplexLane) {
        self.re.store(&mut to.re);
        self.im.store(&mut to.im);
    }
    /// `self + b`.
    #[inline(always)]
    pub fn add(self, b: Self) -> Self {
        Complex { re: self.re.add(b.re), im: self.im.add(b.im) }
    }
    /// `self − b`.
    #[inline(always)]
    pub fn sub(self, b: Self) -> Self {
        Complex { re: self.re.sub(b.re), im: self.im.sub(b.im) }
    }
    /// `self · w`: re = fma(−im, w.im, re·w.re), im = fma(im, w.re, re·w.im).
    #[inline(always)]
    pub fn mul(self, w: Self) -> Self {
        Complex { re: self.im.neg_mul_add(w.im, self.re.mul(w.re)), im: self.im.mul_add(w.re, self.re.mul(w.im)) }
    }
    /// `self · w` for one complex number `w` shared by all lanes.
    #[inline(always)]
    pub fn scale_by(self, w: [f32; 2]) -> Self {
        self.mul(Complex { re: V::splat(w[0]), im: V::splat(w[1]) })
    }
    /// The complex conjugate.
    #[inline(always)]
    pub fn conj(self) -> Self {
        Complex { re: self.re, im: self.im.neg() }
    }
}

/// A computation written once for every instruction set.
pub trait Kernel {
    /// What it returns.
    type Out;
    /// The computation; mark it, and all it calls on lanes, `#[inline(always)]`.
    fn run<V: F32x16>(self) -> Self::Out;
}

/// An instruction set that this machine has: a value of this type is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// Names accepted by [`Isa::parse`].
    pub const NAMES: [&'static str; 5] = ["auto", "scalar", "avx2", "avx512", "neon"];

    /// The array implementation, present everywhere.
    pub fn scalar() -> Isa {
        Isa(Set::Scalar)
    }

    /// The widest set of this machine.
    pub fn detect() -> Isa {
        *Self::available().last().unwrap_or(&Isa(Set::Scalar))
    }

    /// All sets of this machine, narrowest first.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut sets = vec![Isa(Set::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Isa(Set::Avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
            {
                sets.push(Isa(Set::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Isa(Set::Neon));
        sets
    }

    /// The set of a name; an error if the name is unknown or this machine lacks the set.
    pub fn parse(name: &str) -> Result<Isa> {
        if name == "auto" {
            return Ok(Self::detect());
        }
        if !Self::NAMES.contains(&name) {
            let hint = crate::error::nearest(name, Self::NAMES).unwrap_or("auto");
            return Err(Error::usage(format!("unknown instruction set '{name}'"))
                .help(format!("did you mean '{hint}'? known: {}", Self::NAMES.join(", "))));
        }
        Self::available().into_iter().find(|isa| isa.name() == name).ok_or_else(|| {
            let have: Vec<_> = Self::available().iter().map(|isa| isa.name()).collect();
            Error::device(format!("this machine has no {name}")).help(format!("it has: {}", have.join(", ")))
        })
    }

    /// The set's name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
        }
    }

    /// Runs a kernel on this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self.0 {
            Set::Scalar => kernel.run::<Array>(),
            // SAFETY: an `Isa` of this set is only made by `available`, which detected avx2 and fma.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: an `Isa` of this set is only made by `available`, which detected avx512f, avx2 and fma.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::run_avx512(kernel) },
            #[cfg(target_arch = "aarch64")]
            Set::Neon => kernel.run::<arm::Neon>(),
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The definition: an array, one lane after the other.
#[derive(Clone, Copy)]
struct Array([f32; LANES]);

impl sealed::Sealed for Array {}

impl Array {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Array(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl F32x16 for Array {
    #[inline(always)]
    fn load(from: &Lane) -> Self {
        Array(from.0)
    }
    #[inline(always)]
    fn load_array(from: &[f32; LANES]) -> Self {
        Array(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut Lane) {
        to.0 = self.0;
    }
    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Array([value; LANES])
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Array(std::array::from_fn(|i| self.0[i].mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        Array(std::array::from_fn(|i| (-self.0[i]).mul_add(b.0[i], c.0[i])))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Array(self.0.map(|x| -x))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{F32x16, Kernel, LANES, Lane, sealed};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Out {
        kernel.run::<Avx2>()
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Out {
        kernel.run::<Avx512>()
    }

    /// One 512-bit register. Private to this file: it exists only below `run_avx512`.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    impl sealed::Sealed for Avx512 {}

    impl F32x16 for Avx512 {
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
    }

    /// Two 256-bit registers. Private to this file: it exists only below `run_avx2`.
    #[derive(Clone, Copy)]
    pub struct Avx2([__m256; 2]);

    impl sealed::Sealed for Avx2 {}

    impl F32x16 for Avx2 {
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
            Avx2(std::array::from_fn(|i| unsafe { _mm256_add_ps(self.0[i], b.0[i]) }))
        }
        #[inline(always)]
        fn sub(self, b: Self) -> Self {
            // SAFETY: avx is present (see `Isa::run`).
            Avx2(std::array::from_fn(|i| unsafe { _mm256_sub_ps(self.0[i], b.0[i]) }))
        }
        #[inline(always)]
        fn mul(self, b: Self) -> Self {
            // SAFETY: avx is present (see `Isa::run`).
            Avx2(std::array::from_fn(|i| unsafe { _mm256_mul_ps(self.0[i], b.0[i]) }))
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: fma is present (see `Isa::run`).
            Avx2(std::array::from_fn(|i| unsafe { _mm256_fmadd_ps(self.0[i], b.0[i], c.0[i]) }))
        }
        #[inline(always)]
        fn neg_mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: fma is present (see `Isa::run`).
            Avx2(std::array::from_fn(|i| unsafe { _mm256_fnmadd_ps(self.0[i], b.0[i], c.0[i]) }))
        }
        #[inline(always)]
        fn neg(self) -> Self {
            // SAFETY: avx is present (see `Isa::run`).
            let sign = unsafe { _mm256_set1_ps(-0.0) };
            // SAFETY: as above.
            Avx2(std::array::from_fn(|i| unsafe { _mm256_xor_ps(self.0[i], sign) }))
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{F32x16, LANES, Lane, sealed};
    use std::arch::aarch64::*;

    /// Four 128-bit registers; NEON is part of the aarch64 baseline.
    #[derive(Clone, Copy)]
    pub struct Neon([float32x4_t; 4]);

    impl sealed::Sealed for Neon {}

    impl F32x16 for Neon {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation once, on awkward numbers.
    struct AllOperations {
        a: Lane,
        b: Lane,
        c: Lane,
    }

    impl Kernel for AllOperations {
        type Out = Vec<u32>;
        #[inline(always)]
        fn run<V: F32x16>(self) -> Vec<u32> {
            let (a, b, c) = (V::load(&self.a), V::load_array(&self.b.0), V::load(&self.c));
            let all = [
                a.add(b),
                a.sub(b),
                a.mul(b),
                a.mul_add(b, c),
                a.neg_mul_add(b, c),
                a.neg(),
                V::splat(0.0).neg(),
                V::splat(f32::from_bits(3)).mul(V::splat(0.5)),
            ];
            let mut bits = Vec::new();
            for v in all {
                let mut out = Lane::ZERO;
                v.store(&mut out);
                bits.extend(out.0.map(f32::to_bits));
            }
            bits
        }
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_array() {
        let number = |i: u32| f32::from_bits(0x3f80_0000 ^ i.wrapping_mul(0x9e37_79b9) & 0x8fff_ffff);
        for seed in 0..200u32 {
            let lane = |k: u32| Lane(std::array::from_fn(|i| number(seed * 48 + 16 * k + i as u32 + 1)));
            let run = |isa: Isa| isa.run(AllOperations { a: lane(0), b: lane(1), c: lane(2) });
            let expected = run(Isa::scalar());
            for isa in Isa::available() {
                assert_eq!(run(isa), expected, "{} differs from scalar, seed {seed}", isa.name());
            }
        }
    }

    #[test]
    fn multiply_add_is_fused_and_subnormals_survive() {
        // (1 + ε)² − (1 + 2ε) is ε² when fused and 0 when rounded twice.
        let e = f32::EPSILON;
        let lane = |x: f32| Lane([x; LANES]);
        for isa in Isa::available() {
            let bits = isa.run(AllOperations { a: lane(1.0 + e), b: lane(1.0 + e), c: lane(-(1.0 + 2.0 * e)) });
            assert_eq!(f32::from_bits(bits[3 * LANES]), e * e, "{}", isa.name());
            assert_eq!(bits[7 * LANES], 2, "{} flushes subnormals", isa.name());
        }
    }

    #[test]
    fn names_are_checked() {
        assert!(Isa::parse("auto").is_ok());
        assert_eq!(Isa::parse("avx3").unwrap_err().fault().exit_code(), 2);
        assert!(Isa::parse("avx51").unwrap_err().to_string().contains("avx512"));
    }
}
