//! L2. From averaged logits to a class and how sure it is.
//!
//! ```text
//! m = max_k l_k,  e_k = e^(l_k − m),  s = Σ e_k,  p_k = e_k/s         k ascending, f32
//! class        the first k of the greatest logit
//! confidence   1/s                                    the class's p
//! margin       (1 − e_second)/s                       its p less the next one's
//! entropy      (ln s − Σ e_k·(l_k − m)/s) / ln K      0 sure … 1 all alike
//! ```
//!
//! Of T passes with dropout (Gal, Ghahramani, ICML 2016; BatchNorm keeps its running statistics), t ascending:
//!
//! ```text
//! p̄_k = Σ_t p_k,t / T         class, confidence, margin and entropy are those of p̄
//! mutual       entropy(p̄) − Σ_t entropy(p_t)/T       what the passes differ about; the rest is in the image
//! ```
//!
//! The maps are stored as u8 on one scale for all volumes: value = q/255, q = ⌊255·v + ½⌋. So they are told ([`tell`]), and
//! a class as its number, 255 where a logit is not finite.
//!
//! Source: Shannon; margin as in Scheffer, Decomain, Wrobel, IDA 2001.

use crate::num::elementary::{exp_f32, ln_f32};

/// What is told as the class where a logit is not finite: fewer classes are told apart.
pub const NOT_FINITE: u8 = u8::MAX;
/// Steps of a stored map.
const STEPS: f32 = 255.0;
/// What a step is worth: the slope of the stored map.
pub const SLOPE: f64 = 1.0 / 255.0;

/// What is told of a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pixel {
    /// Its class.
    pub class: u8,
    /// Its p.
    pub confidence: f32,
    /// Its p less the next one's.
    pub margin: f32,
    /// 0 … 1.
    pub entropy: f32,
    /// 0 … 1; 0 of one pass.
    pub mutual: f32,
}

/// What is told of each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Its class.
    Class,
    /// Of its class.
    Confidence,
    /// To the next class.
    Margin,
    /// Of all classes.
    Entropy,
    /// Mutual information of class and dropout.
    Mutual,
}

impl Map {
    /// Its name in files; the class has none.
    pub fn name(self) -> &'static str {
        ["class", "confidence", "margin", "entropy", "mutual"][self as usize]
    }
    /// As it is told.
    fn code(self, p: Pixel) -> u8 {
        match self {
            Map::Class => p.class,
            Map::Confidence => code(p.confidence),
            Map::Margin => code(p.margin),
            Map::Entropy => code(p.entropy),
            Map::Mutual => code(p.mutual),
        }
    }
    /// The value that a code stands for.
    pub fn value(self, code: u8) -> f32 {
        if self == Map::Class { f32::from(code) } else { (f64::from(code) * SLOPE) as f32 }
    }
}

/// Tells of a pixel by its logits `[pass][class]`: its class, [`NOT_FINITE`] and nothing else where one is not finite, then each
/// of `maps`. Where the class of one pass is all, nothing else is computed.
pub fn tell(logits: &[f32], passes: usize, maps: &[Map], codes: &mut [u8]) {
    let told = match maps.is_empty() && passes <= 1 {
        true => class(logits).map(|class| Pixel { class, confidence: 0.0, margin: 0.0, entropy: 0.0, mutual: 0.0 }),
        false => pixel_of_passes(logits, passes),
    };
    codes[0] = told.map_or(NOT_FINITE, |p| p.class);
    codes[1..].iter_mut().zip(maps).for_each(|(to, map)| *to = told.map_or(0, |p| map.code(p)));
}

/// Of `passes` times the logits of a pixel; none where one is not finite.
fn pixel_of_passes(logits: &[f32], passes: usize) -> Option<Pixel> {
    if passes <= 1 {
        return pixel(logits);
    }
    let classes = logits.len() / passes;
    let (mut mean, mut within) = (vec![0f32; classes], 0f32);
    for logits in logits.chunks_exact(classes) {
        let p = pixel(logits)?;
        within += p.entropy;
        let most = logits[usize::from(p.class)];
        // 1/s is the confidence.
        mean.iter_mut().zip(logits).for_each(|(sum, l)| *sum += exp_f32(l - most) * p.confidence);
    }
    let n = passes as f32;
    mean.iter_mut().for_each(|p| *p /= n);
    let mut class = 0;
    let mut second = 0f32;
    for k in 1..classes {
        if mean[class] < mean[k] {
            (second, class) = (mean[class], k);
        } else {
            second = second.max(mean[k]);
        }
    }
    let of = |p: f32| if p > 0.0 { p * ln_f32(p) } else { 0.0 };
    let sum = mean.iter().fold(0.0, |sum, &p| sum + of(p));
    let entropy = if classes > 1 { (-sum / ln_f32(classes as f32)).clamp(0.0, 1.0) } else { 0.0 };
    Some(Pixel {
        class: class as u8,
        confidence: mean[class],
        margin: mean[class] - second,
        entropy,
        mutual: (entropy - within / n).clamp(0.0, 1.0),
    })
}

/// The first class of the greatest logit; none where one is not finite.
fn class(logits: &[f32]) -> Option<u8> {
    let (mut class, mut finite) = (0, true);
    for (k, l) in logits.iter().enumerate() {
        finite &= l.is_finite();
        if logits[class] < *l {
            class = k;
        }
    }
    finite.then_some(class as u8)
}

/// Of the logits of a pixel; none where one is not finite.
pub fn pixel(logits: &[f32]) -> Option<Pixel> {
    let class = usize::from(class(logits)?);
    let m = logits[class];
    let (mut s, mut weighted, mut second) = (0f32, 0f32, 0f32);
    for (k, &l) in logits.iter().enumerate() {
        let e = exp_f32(l - m);
        s += e;
        // e·(l − m) goes to 0 with e; l − m itself may be far out.
        weighted += if e > 0.0 { e * (l - m) } else { 0.0 };
        second = if k != class && e > second { e } else { second };
    }
    let entropy = if logits.len() > 1 { (ln_f32(s) - weighted / s) / ln_f32(logits.len() as f32) } else { 0.0 };
    Some(Pixel {
        class: class as u8,
        confidence: 1.0 / s,
        margin: (1.0 - second) / s,
        entropy: entropy.clamp(0.0, 1.0),
        mutual: 0.0,
    })
}

/// q of a value of 0 … 1.
fn code(v: f32) -> u8 {
    (STEPS * v + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_that_agree_have_no_mutual_information_and_those_that_do_not_have_all() {
        let logits = [2.0, -1.0, 0.5];
        let (one, same) = (pixel(&logits).unwrap(), pixel_of_passes(&logits.repeat(7), 7).unwrap());
        assert!(same.class == one.class && (same.entropy - one.entropy).abs() < 1e-6 && same.mutual < 1e-6);
        assert!((same.confidence - one.confidence).abs() < 1e-6 && (same.margin - one.margin).abs() < 1e-6);
        // Each pass is sure, of another class.
        let sure = pixel_of_passes(&[50.0, 0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 50.0], 3).unwrap();
        assert!(sure.entropy > 0.999 && sure.mutual > 0.999 && sure.margin.abs() < 1e-6 && sure.class == 0);
        // Every pass is unsure in the same way: entropy, and nothing mutual. By hand: p = 1/4, 3/4.
        let unsure = pixel_of_passes(&[0.0, 3f32.ln(), 0.0, 3f32.ln()], 2).unwrap();
        assert!((unsure.entropy - 0.811_278_1).abs() < 1e-5 && unsure.mutual < 1e-6 && unsure.class == 1);
        assert!(pixel_of_passes(&[0.0, f32::NAN, 0.0, 1.0], 2).is_none());
        assert_eq!(pixel_of_passes(&logits, 1), pixel(&logits));
    }

    #[test]
    fn pixels_are_those_of_f64() {
        for logits in [vec![0.5f32, 2.0, -1.0, 2.0], vec![0.0; 5], vec![3.0], vec![-90.0, 90.0], vec![1.0, 1.5, 1.25]] {
            let got = pixel(&logits).unwrap();
            let l: Vec<f64> = logits.iter().map(|&v| f64::from(v)).collect();
            let m = l.iter().copied().fold(f64::MIN, f64::max);
            let s: f64 = l.iter().map(|v| (v - m).exp()).sum();
            let mut p: Vec<f64> = l.iter().map(|v| (v - m).exp() / s).collect();
            assert_eq!(usize::from(got.class), l.iter().position(|&v| v == m).unwrap());
            let h: f64 = p.iter().map(|&p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
            let h = if p.len() > 1 { h / (p.len() as f64).ln() } else { 0.0 };
            p.sort_by(|a, b| b.total_cmp(a));
            let margin = p[0] - p.get(1).copied().unwrap_or(0.0);
            for (got, want) in [(got.confidence, p[0]), (got.margin, margin), (got.entropy, h)] {
                assert!((f64::from(got) - want).abs() < 1e-6, "{logits:?}: {got} {want}");
            }
        }
        assert_eq!(pixel(&[0.0, f32::NAN]), None);
        assert_eq!(pixel(&[f32::NEG_INFINITY, 0.0]), None);
    }

    #[test]
    fn the_scale_is_even_and_closed() {
        assert_eq!([0.0, 1.0, 0.5, 0.001].map(code), [0, 255, 128, 0]);
        for q in 0..=255u8 {
            assert_eq!(code(Map::Margin.value(q)), q);
        }
        assert_eq!((Map::Class.value(7), Map::Entropy.value(255)), (7.0, 1.0));
    }

    #[test]
    fn what_is_told_is_the_class_and_the_maps_that_are_asked_for() {
        let (logits, maps) = ([1.0, 3.0, 2.5], [Map::Entropy, Map::Confidence]);
        let (p, mut codes) = (pixel(&logits).unwrap(), [9; 3]);
        tell(&logits, 1, &maps, &mut codes);
        assert_eq!(codes, [1, code(p.entropy), code(p.confidence)]);
        tell(&logits, 1, &[], &mut codes[..1]);
        assert_eq!(codes[0], 1);
        tell(&[0.0, f32::NAN, 0.0], 1, &maps, &mut codes);
        assert_eq!(codes, [NOT_FINITE, 0, 0]);
        tell(&logits.repeat(2), 2, &[Map::Mutual, Map::Margin], &mut codes);
        assert_eq!((codes[0], codes[1]), (1, 0));
    }
}
