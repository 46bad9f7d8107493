//! L4. Every choice of the architecture.
//!
//! | choice | variant `monai`: the authors' code (MONAI's `UNet`) | variant `paper`: the text |
//! |---|---|---|
//! | way down | 3×3 convolution of stride 2 in the unit, and in its shortcut | max-pooling 2×2 between units |
//! | way up | transposed convolution 3×3, stride 2 | transposed convolution 2×2, stride 2 |
//! | between convolutions | norm, dropout, activation | activation, dropout, norm |
//! | first level | half resolution | full resolution |
//! | decoder | up, one convolution | up, concatenation, unit of two convolutions |
//! | head | a level like the others with K channels, its last convolution bare | 1×1 convolution |
//!
//! The text leaves open what a table here fixes; `paper` is one reading of it.

use crate::error::{Error, Result, nearest};
use crate::num::lanes::LANES;

/// How rows and columns are halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// By the unit's first convolution and its shortcut.
    Strided,
    /// By max-pooling before the unit.
    MaxPool,
}

/// How rows and columns are doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// Transposed convolution 3×3 of the concatenation, then norm, dropout, activation.
    Transposed3,
    /// Transposed convolution 2×2 of what comes from below, then concatenation.
    Transposed2,
}

/// What stands between two convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Norm, dropout, activation.
    NormDropoutActivation,
    /// Activation, dropout, norm.
    ActivationDropoutNorm,
}

/// The last layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Transposed convolution to K channels with norm and activation, then a 3×3 convolution added to its input.
    Residual,
    /// 1×1 convolution of the finest level.
    Pointwise,
}

/// The architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of each level, the deepest last.
    pub channels: Vec<usize>,
    /// K, classes to tell apart.
    pub classes: usize,
    /// Channels of the image: 1, or as many as there are slices beside one another.
    pub inputs: usize,
    /// Way down.
    pub down: Down,
    /// Way up.
    pub up: Up,
    /// Between convolutions.
    pub order: Order,
    /// Head.
    pub head: Head,
    /// Convolutions of a unit on the way down.
    pub encoder_blocks: usize,
    /// Convolutions of a unit on the way up, without the transposed one.
    pub decoder_blocks: usize,
}

/// Channels of the paper's network.
pub const CHANNELS: [usize; 7] = [32, 64, 128, 256, 512, 512, 512];
/// Most channels of a level and most levels: limits below which nothing overflows.
const MOST_CHANNELS: usize = 8192;
const MOST_LEVELS: usize = 12;
const MOST_INPUTS: usize = 64;

impl Config {
    /// Names of the variants.
    pub const VARIANTS: [&'static str; 2] = ["monai", "paper"];

    /// The authors' code.
    pub fn monai(channels: &[usize], classes: usize) -> Config {
        Config {
            channels: channels.to_vec(),
            classes,
            inputs: 1,
            down: Down::Strided,
            up: Up::Transposed3,
            order: Order::NormDropoutActivation,
            head: Head::Residual,
            encoder_blocks: 2,
            decoder_blocks: 1,
        }
    }
    /// The text.
    pub fn paper(channels: &[usize], classes: usize) -> Config {
        Config {
            down: Down::MaxPool,
            up: Up::Transposed2,
            order: Order::ActivationDropoutNorm,
            head: Head::Pointwise,
            decoder_blocks: 2,
            ..Config::monai(channels, classes)
        }
    }
    /// The variant of a name.
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) where there is none, or channels or classes are out of range.
    pub fn variant(name: &str, channels: &[usize], classes: usize) -> Result<Config> {
        let config = match name {
            "monai" => Config::monai(channels, classes),
            "paper" => Config::paper(channels, classes),
            _ => {
                let near = nearest(name, Self::VARIANTS).unwrap_or("monai");
                return Err(Error::usage(format!("unknown variant '{name}'"))
                    .help(format!("did you mean '{near}'? known: {}", Self::VARIANTS.join(", "))));
            }
        };
        config.check()?;
        Ok(config)
    }
    /// The same for images of so many channels.
    #[must_use]
    pub fn with_inputs(self, inputs: usize) -> Config {
        Config { inputs, ..self }
    }
    /// The variant's name; none for a mixture.
    pub fn name(&self) -> Option<&'static str> {
        let of =
            |name| Self::variant(name, &self.channels, self.classes).is_ok_and(|c| c.with_inputs(self.inputs) == *self);
        Self::VARIANTS.into_iter().find(|name| of(name))
    }
    /// Whether channels and classes are in range.
    ///
    /// # Errors
    /// [`Fault::Usage`](crate::error::Fault::Usage) where they are not.
    pub fn check(&self) -> Result<()> {
        let (levels, range) = (self.channels.len(), 1..=MOST_CHANNELS);
        if !(2..=MOST_LEVELS).contains(&levels) || !self.channels.iter().all(|c| range.contains(c)) {
            return Err(Error::usage(format!("channels {:?}", self.channels))
                .help(format!("give 2 to {MOST_LEVELS} levels of 1 to {MOST_CHANNELS} channels")));
        }
        let built = [Config::monai(&self.channels, self.classes), Config::paper(&self.channels, self.classes)];
        if !built.contains(&self.clone().with_inputs(1)) {
            return Err(Error::usage("an architecture between the variants").help("there are monai and paper"));
        }
        if !(1..=MOST_INPUTS).contains(&self.inputs) {
            return Err(Error::usage(format!("images of {} channels", self.inputs))
                .help(format!("a network takes 1 to {MOST_INPUTS}")));
        }
        if !range.contains(&self.classes) {
            return Err(Error::usage(format!("{} classes", self.classes))
                .help(format!("a network tells 1 to {MOST_CHANNELS} classes apart")));
        }
        Ok(())
    }
    /// No fewer numbers than the network's filters have, channels as they lie in memory.
    pub fn numbers_at_most(&self) -> u64 {
        let lanes = |c: usize| c.next_multiple_of(LANES) as u64;
        let (finest, classes) = (lanes(self.channels[0]), lanes(self.classes));
        let mut sum = 9 * (finest * finest + classes * (classes + 2 * finest));
        for pair in self.channels.windows(2) {
            let [fine, coarse] = [lanes(pair[0]), lanes(pair[1])];
            let (encoder, decoder) = (self.encoder_blocks as u64, self.decoder_blocks as u64);
            // The first convolution of a unit and its shortcut, and what follows; the way up joins two values.
            sum += 9 * coarse * (2 * fine + encoder * coarse) + 9 * fine * (coarse + fine * (2 + decoder));
        }
        sum
    }
    /// Rows and columns of an image are multiples of this: each level below the finest halves them.
    pub fn multiple(&self) -> usize {
        1 << (self.channels.len() - 1)
    }
    /// Refuses images that cannot be halved often enough.
    ///
    /// # Errors
    /// [`Fault::Data`](crate::error::Fault::Data) names the nearest sizes.
    pub fn check_size(&self, h: usize, w: usize) -> Result<()> {
        let m = self.multiple();
        if h > 0 && w > 0 && h.is_multiple_of(m) && w.is_multiple_of(m) {
            return Ok(());
        }
        let near = |v: usize| {
            let below = v / m * m;
            if below == 0 {
                m.to_string()
            } else if below == v {
                v.to_string()
            } else {
                format!("{below} or {}", below + m)
            }
        };
        Err(Error::data(format!("an image of {h} x {w}: rows and columns must be multiples of {m}")).help(format!(
            "crop or pad it to {} rows and {} columns",
            near(h),
            near(w)
        )))
    }
}
