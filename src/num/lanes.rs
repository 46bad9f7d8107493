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
//! Two rules keep a kernel fast: every function on its way to the lanes is `#[inline(always)]`, and none of them is a
//! closure or a function passed as a value, because those are compiled without the caller's instruction set.
//!
//! Lanes never meet: there is no horizontal operation here, but for [`F32x16::transpose`], which moves bits only. What one lane computes does not depend on the others,
//! so a result is the same whichever lane, and in whatever company, it is computed in.
#![allow(unsafe_code)]
// An operator would hide where a rounding happens; methods show it.
#![allow(clippy::should_implement_trait)]
// Register intrinsics of one block share one precondition: the instruction set is present.
#![allow(clippy::multiple_unsafe_ops_per_block)]

use crate::error::{Error, Result};

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Number of lanes of [`F32x16`].
pub const LANES: usize = 16;
/// 0, 1, … 15.
pub const IOTA: [f32; LANES] = {
    let mut lanes = [0.0; LANES];
    let mut i = 0;
    while i < LANES {
        lanes[i] = i as f32;
        i += 1;
    }
    lanes
};
/// 1.5 · 2²³: added to |x| < 2²² it rounds to the nearest whole number, ties to even, which the last bits of the sum are;
/// taken away again it leaves that number.
pub const ROUNDER: f32 = 12_582_912.0;

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
    /// How many of them the registers hold: how large a tile of accumulators may be. Decides speed, never a bit.
    const REGISTERS: usize = 8;
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
    /// `self / b`.
    fn div(self, b: Self) -> Self;
    /// `self · b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `c − self · b`, rounded once.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// `−self`.
    fn neg(self) -> Self;
    /// Per lane `self < b ? yes : no`; a comparison with NaN is false, and the chosen number keeps its bits.
    fn select_less(self, b: Self, yes: Self, no: Self) -> Self;
    /// `(m, k)` with `self = m · 2^k`, m in [√½, √2) and k integral: [`split_binary`] per lane.
    fn split_binary(self) -> (Self, Self);
    /// `2^self` for integral lanes in −126..=127, and some number for others: [`exp2_integral`] per lane.
    fn exp2_integral(self) -> Self;
    /// Runs another kernel on this instruction set as a function call, not inlined: what many kernels share is compiled
    /// once.
    fn call<K: Kernel>(kernel: K) -> K::Out;
    /// self + a₀·b₀ + a₁·b₁ in every lane, whose 32 bits are two bf16 (a₀ the low half): the rounding of the sums is the
    /// machine's own. Outside what is identical to the bit.
    #[inline(always)]
    fn add_pairs(self, a: Self, b: Self, _: Halves<Self>) -> Self {
        let (mut sum, mut x, mut y) = (Lane::ZERO, Lane::ZERO, Lane::ZERO);
        self.store(&mut sum);
        a.store(&mut x);
        b.store(&mut y);
        let half =
            |v: f32, high: bool| f32::from_bits(if high { v.to_bits() & 0xffff_0000 } else { v.to_bits() << 16 });
        let of = |l: usize, high: bool, sum: f32| half(x.0[l], high).mul_add(half(y.0[l], high), sum);
        Self::load(&Lane(std::array::from_fn(|l| of(l, false, of(l, true, sum.0[l])))))
    }
    /// Hints that `items` will be read soon. Changes nothing but time; the hint is dropped where there is none.
    #[inline(always)]
    fn prefetch<T>(items: &[T]) {
        let _ = items;
    }
    /// Turns 16 lanes × 16 numbers about the diagonal: number j of lane i becomes number i of lane j. Moves bits only.
    #[inline(always)]
    fn transpose(block: &mut [Lane; LANES]) {
        for i in 0..LANES {
            for j in i + 1..LANES {
                (block[i].0[j], block[j].0[i]) = (block[j].0[i], block[i].0[j]);
            }
        }
    }
}

/// Bits of √½ rounded down: the least mantissa that [`split_binary`] returns.
const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
/// Sign and exponent of an f32.
const EXPONENT_BITS: u32 = 0xff80_0000;
/// Explicit bits of an f32 mantissa.
const MANTISSA_WIDTH: u32 = 23;
/// Exponent field of 1.0.
const EXPONENT_BIAS: i32 = 127;

/// `(m, k)` with `x = m · 2^k`, m in [√½, √2), for positive normal x; other bits go through the same integer steps.
#[inline(always)]
pub fn split_binary(x: f32) -> (f32, f32) {
    let above = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let k = above as i32 >> MANTISSA_WIDTH;
    (f32::from_bits(x.to_bits().wrapping_sub(above & EXPONENT_BITS)), k as f32)
}

/// `2^k` for integral k in −126..=127.
#[inline(always)]
pub fn exp2_integral(k: f32) -> f32 {
    f32::from_bits(((k as i32).wrapping_add(EXPONENT_BIAS) as u32) << MANTISSA_WIDTH)
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

/// The proof, for a kernel on V, that this machine has what [`F32x16::add_pairs`] needs there.
#[derive(Clone, Copy)]
pub struct Halves<V>(std::marker::PhantomData<V>);

/// A computation that also multiplies pairs of bf16: [`Isa::run_halves`].
pub trait HalfKernel {
    /// The computation, as [`Kernel::run`].
    fn run<V: F32x16>(self, proof: Halves<V>);
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

impl Isa {
    /// Whether pairs of bf16 are multiplied by the machine, and not by a definition that is slow.
    pub fn has_halves(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Set::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Runs a kernel that multiplies pairs of bf16.
    #[inline]
    pub fn run_halves<K: HalfKernel>(self, kernel: K) {
        #[cfg(target_arch = "x86_64")]
        if self.has_halves() {
            // SAFETY: avx512f, avx2, fma and avx512bf16 were detected.
            return unsafe { x86::run_avx512_halves(kernel) };
        }
        kernel.run::<Array>(Halves(std::marker::PhantomData));
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
    fn call<K: Kernel>(kernel: K) -> K::Out {
        #[inline(never)]
        fn out_of_line<K: Kernel>(kernel: K) -> K::Out {
            kernel.run::<Array>()
        }
        out_of_line(kernel)
    }
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
    fn div(self, b: Self) -> Self {
        self.zip(b, |x, y| x / y)
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
    #[inline(always)]
    fn select_less(self, b: Self, yes: Self, no: Self) -> Self {
        Array(std::array::from_fn(|i| if self.0[i] < b.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    fn split_binary(self) -> (Self, Self) {
        let pairs = self.0.map(split_binary);
        (Array(pairs.map(|p| p.0)), Array(pairs.map(|p| p.1)))
    }
    #[inline(always)]
    fn exp2_integral(self) -> Self {
        Array(self.0.map(exp2_integral))
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
                a.select_less(b, c, b.neg()),
                V::splat(f32::NAN).select_less(a, b, c),
                a.select_less(V::splat(f32::NAN), b, c),
                V::splat(-0.0).select_less(V::splat(0.0), b, c),
                a.split_binary().0,
                a.split_binary().1,
                a.split_binary().1.exp2_integral(),
                V::splat(-126.0).exp2_integral(),
                V::splat(127.0).exp2_integral(),
                a.div(b),
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
    fn numbers_are_split_at_the_root_of_one_half() {
        let root_half = f32::from_bits(SQRT_HALF_BITS);
        for x in [1.0, 0.75, root_half, f32::MAX, f32::MIN_POSITIVE, 3.0e-20, std::f32::consts::SQRT_2, 1.5] {
            let (m, k) = split_binary(x);
            assert!((root_half..2.0 * root_half).contains(&m), "{x}: {m}");
            assert_eq!(f64::from(m) * 2f64.powi(k as i32), f64::from(x));
        }
        assert_eq!((exp2_integral(-126.0), exp2_integral(0.0)), (f32::MIN_POSITIVE, 1.0));
    }

    #[test]
    fn names_are_checked() {
        assert!(Isa::parse("auto").is_ok());
        assert_eq!(Isa::parse("avx3").unwrap_err().fault().exit_code(), 2);
        assert!(Isa::parse("avx51").unwrap_err().to_string().contains("avx512"));
    }

    struct Transpose<'a>(&'a mut [Lane; LANES]);

    impl Kernel for Transpose<'_> {
        type Out = ();
        #[inline(always)]
        fn run<V: F32x16>(self) {
            V::transpose(self.0);
        }
    }

    #[test]
    fn transposing_turns_about_the_diagonal() {
        for isa in Isa::available() {
            let mut block: [Lane; LANES] = std::array::from_fn(|i| Lane(std::array::from_fn(|j| (100 * i + j) as f32)));
            isa.run(Transpose(&mut block));
            for i in 0..LANES {
                for j in 0..LANES {
                    assert_eq!(block[i].0[j], (100 * j + i) as f32, "{} {i} {j}", isa.name());
                }
            }
        }
    }
}
