//! L4. The scale of the loss, where feature maps keep 16 bits: gradients smaller than fp16 resolves (2⁻²⁴) would vanish.
//!
//! ```text
//! gradients of s·loss are computed, and divided by s before the optimizer sees them: exact, since s is a power of two
//! a gradient that is not finite     the step is skipped: nothing is changed but s ← s/2
//! 2000 steps without one            s ← 2·s
//! ```
//!
//! (Micikevicius et al. 2018; the numbers are PyTorch's, but that s is halved no further than 1: where even that does not
//! help, numbers are infinite by themselves.)

/// A step's scale, and what led to it; a training that goes on goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossScale {
    /// log₂ s.
    pub exponent: u32,
    /// Steps done with it.
    pub good: u32,
    /// Steps skipped since the training began.
    pub skipped: u32,
}

/// Steps after which the scale grows.
const PATIENCE: u32 = 2000;
/// The largest exponent: weights of classes and losses stay far from where f32 ends.
const LARGEST: u32 = 24;

impl Default for LossScale {
    fn default() -> LossScale {
        LossScale { exponent: 16, good: 0, skipped: 0 }
    }
}

impl LossScale {
    /// s.
    pub fn factor(&self) -> f32 {
        (1u32 << self.exponent) as f32
    }
    /// A step is done.
    pub fn done(&mut self) {
        self.good += 1;
        if self.good == PATIENCE {
            (self.exponent, self.good) = ((self.exponent + 1).min(LARGEST), 0);
        }
    }
    /// A step is skipped; false where a smaller scale cannot help.
    #[must_use]
    pub fn skip(&mut self) -> bool {
        let helps = self.exponent > 0;
        if helps {
            *self = LossScale { exponent: self.exponent - 1, good: 0, skipped: self.skipped + 1 };
        }
        helps
    }
    /// As text, for a checkpoint.
    pub fn text(&self) -> String {
        format!("{},{},{}", self.exponent, self.good, self.skipped)
    }
    /// From text.
    pub fn parse(text: &str) -> Option<LossScale> {
        let numbers: Option<Vec<u32>> = text.split(',').map(|v| v.parse().ok()).collect();
        let [exponent, good, skipped] = numbers?[..] else { return None };
        (exponent <= LARGEST && good < PATIENCE).then_some(LossScale { exponent, good, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_at_once_and_doubles_after_two_thousand_steps() {
        let mut scale = LossScale::default();
        assert_eq!(scale.factor(), 65536.0);
        (0..1999).for_each(|_| scale.done());
        assert!(scale.skip() && scale.factor() == 32768.0 && scale.skipped == 1);
        (0..1999).for_each(|_| scale.done());
        assert_eq!(scale.factor(), 32768.0);
        scale.done();
        assert_eq!((scale.factor(), scale.good), (65536.0, 0));
        assert_eq!(LossScale::parse(&scale.text()), Some(scale));
        (0..16).for_each(|_| assert!(scale.skip()));
        assert!(!scale.skip() && scale.factor() == 1.0 && scale.skipped == 17);
        (0..60_000).for_each(|_| scale.done());
        assert_eq!(scale.factor(), 16_777_216.0);
        for bad in ["", "1,2", "25,0,0", "1,2000,0", "1,2,x", "1,2,3,4"] {
            assert_eq!(LossScale::parse(bad), None, "{bad}");
        }
    }
}
