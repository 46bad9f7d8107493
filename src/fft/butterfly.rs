//! DFTs of 2, 3, 4, 5 and 8 points on registers: `b[q] = Σ_p a[p] e^(∓2πi pq/r)`.
//!
//! `INVERSE` chooses the sign of the exponent: `−` forward, `+` inverse.

use crate::num::lanes::{Complex, F32x16};

/// A DFT of `R` points. A trait and not a function value, so that it inlines into the instruction set of its caller.
pub trait Butterfly<const R: usize> {
    /// `b[q] = Σ_p a[p] e^(∓2πi pq/R)`.
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; R]) -> [Complex<V>; R];
}

/// √½ = cos π/4.
const HALF_SQRT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// sin 2π/3 = √3/2.
const SIN_3: f32 = 0.866_025_403_784_438_6;
/// cos 2π/5 and sin 2π/5.
const COS_5: f32 = 0.309_016_994_374_947_45;
const SIN_5: f32 = 0.951_056_516_295_153_5;
/// cos 4π/5 and sin 4π/5.
const COS_25: f32 = -0.809_016_994_374_947_5;
const SIN_25: f32 = 0.587_785_252_292_473_1;

/// `−i·z` forward, `+i·z` inverse: multiplication by e^(∓iπ/2).
#[inline(always)]
fn quarter<V: F32x16, const INVERSE: bool>(z: Complex<V>) -> Complex<V> {
    if INVERSE { Complex { re: z.im.neg(), im: z.re } } else { Complex { re: z.im, im: z.re.neg() } }
}

/// Two points.
#[inline(always)]
fn dft2<V: F32x16>(a: [Complex<V>; 2]) -> [Complex<V>; 2] {
    [a[0].add(a[1]), a[0].sub(a[1])]
}

/// `x + (−i)(…)`-free form: adds `∓i·d` to `s` and subtracts it, without a separate negation.
#[inline(always)]
fn plus_minus_quarter<V: F32x16, const INVERSE: bool>(s: Complex<V>, d: Complex<V>) -> [Complex<V>; 2] {
    let minus_i = Complex { re: s.re.add(d.im), im: s.im.sub(d.re) };
    let plus_i = Complex { re: s.re.sub(d.im), im: s.im.add(d.re) };
    if INVERSE { [plus_i, minus_i] } else { [minus_i, plus_i] }
}

/// Three points: s = a1 + a2, d = a1 − a2, b1,2 = (a0 − s/2) ∓ i·(√3/2)·d.
#[inline(always)]
fn dft3<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 3]) -> [Complex<V>; 3] {
    let (s, d) = (a[1].add(a[2]), a[1].sub(a[2]));
    let (half, sin) = (V::splat(0.5), V::splat(SIN_3));
    let mean = Complex { re: s.re.neg_mul_add(half, a[0].re), im: s.im.neg_mul_add(half, a[0].im) };
    let [b1, b2] = plus_minus_quarter::<V, INVERSE>(mean, Complex { re: d.re.mul(sin), im: d.im.mul(sin) });
    [a[0].add(s), b1, b2]
}

/// Four points as 2 × 2.
#[inline(always)]
fn dft4<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 4]) -> [Complex<V>; 4] {
    let (s02, d02) = (a[0].add(a[2]), a[0].sub(a[2]));
    let (s13, d13) = (a[1].add(a[3]), a[1].sub(a[3]));
    let [b1, b3] = plus_minus_quarter::<V, INVERSE>(d02, d13);
    [s02.add(s13), b1, s02.sub(s13), b3]
}

/// Five points: s_p = a_p + a_(5−p), d_p = a_p − a_(5−p), real and imaginary rotations apart.
#[inline(always)]
fn dft5<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 5]) -> [Complex<V>; 5] {
    let (s1, d1) = (a[1].add(a[4]), a[1].sub(a[4]));
    let (s2, d2) = (a[2].add(a[3]), a[2].sub(a[3]));
    let (c1, c2, t1, t2) = (V::splat(COS_5), V::splat(COS_25), V::splat(SIN_5), V::splat(SIN_25));
    let m1 = Complex {
        re: s2.re.mul_add(c2, s1.re.mul_add(c1, a[0].re)),
        im: s2.im.mul_add(c2, s1.im.mul_add(c1, a[0].im)),
    };
    let m2 = Complex {
        re: s2.re.mul_add(c1, s1.re.mul_add(c2, a[0].re)),
        im: s2.im.mul_add(c1, s1.im.mul_add(c2, a[0].im)),
    };
    let r1 = Complex { re: d2.re.mul_add(t2, d1.re.mul(t1)), im: d2.im.mul_add(t2, d1.im.mul(t1)) };
    let r2 = Complex { re: d2.re.neg_mul_add(t1, d1.re.mul(t2)), im: d2.im.neg_mul_add(t1, d1.im.mul(t2)) };
    let [b1, b4] = plus_minus_quarter::<V, INVERSE>(m1, r1);
    let [b2, b3] = plus_minus_quarter::<V, INVERSE>(m2, r2);
    [a[0].add(s1).add(s2), b1, b2, b3, b4]
}

/// Eight points: one radix-2 step, then 4 points for the even and 4 for the odd outputs.
#[inline(always)]
fn dft8<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 8]) -> [Complex<V>; 8] {
    let [e0, e2, e4, e6] = dft4::<V, INVERSE>([a[0].add(a[4]), a[1].add(a[5]), a[2].add(a[6]), a[3].add(a[7])]);
    let d1 = a[1].sub(a[5]);
    let d3 = a[3].sub(a[7]);
    let h = V::splat(HALF_SQRT);
    // d1·e^(∓iπ/4) and d3·e^(∓3iπ/4).
    let (r1, r3) = if INVERSE {
        (
            Complex { re: d1.re.sub(d1.im).mul(h), im: d1.im.add(d1.re).mul(h) },
            Complex { re: d3.re.add(d3.im).neg().mul(h), im: d3.re.sub(d3.im).mul(h) },
        )
    } else {
        (
            Complex { re: d1.re.add(d1.im).mul(h), im: d1.im.sub(d1.re).mul(h) },
            Complex { re: d3.im.sub(d3.re).mul(h), im: d3.re.add(d3.im).neg().mul(h) },
        )
    };
    let [o1, o3, o5, o7] = dft4::<V, INVERSE>([a[0].sub(a[4]), r1, quarter::<V, INVERSE>(a[2].sub(a[6])), r3]);
    [e0, o1, e2, o3, e4, o5, e6, o7]
}

/// Radix 2.
pub struct Radix2;

impl Butterfly<2> for Radix2 {
    #[inline(always)]
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 2]) -> [Complex<V>; 2] {
        dft2::<V>(a)
    }
}

/// Radix 3.
pub struct Radix3;

impl Butterfly<3> for Radix3 {
    #[inline(always)]
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 3]) -> [Complex<V>; 3] {
        dft3::<V, INVERSE>(a)
    }
}

/// Radix 4.
pub struct Radix4;

impl Butterfly<4> for Radix4 {
    #[inline(always)]
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 4]) -> [Complex<V>; 4] {
        dft4::<V, INVERSE>(a)
    }
}

/// Radix 5.
pub struct Radix5;

impl Butterfly<5> for Radix5 {
    #[inline(always)]
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 5]) -> [Complex<V>; 5] {
        dft5::<V, INVERSE>(a)
    }
}

/// Radix 8.
pub struct Radix8;

impl Butterfly<8> for Radix8 {
    #[inline(always)]
    fn dft<V: F32x16, const INVERSE: bool>(a: [Complex<V>; 8]) -> [Complex<V>; 8] {
        dft8::<V, INVERSE>(a)
    }
}
