//! Stripes of a sinogram, which reconstruction turns into rings: detector columns whose response is not what the flats
//! say.
//!
//! | method | what it does to S(θ, x) | for |
//! |---|---|---|
//! | `fw` ([`fourier_wavelet`]) | takes away what is constant along θ and narrow along x, by wavelets | the default of the APS |
//! | `vo` ([`sorting`]) | ranks of a column are smoothed along x; dead and large stripes are found first | all kinds at once |
//! | `sf` ([`Stripe::Smoothing`]) | subtracts mean_θ S less its running mean along x | weak, narrow stripes |
//! | `ti` ([`titarenko`]) | regularised inversion; lifts the grey values | comparison |
//!
//! All work on one sinogram `[angle][column]`, transmission or absorption, and see no other row. A sinogram with a
//! value that is not finite is left as it is: it would spoil all its columns.

pub mod fourier_wavelet;
mod sorting;
mod titarenko;
mod wavelet;

pub use fourier_wavelet::{Damping, Pad};
pub use wavelet::{Wavelet, mirrored};

use crate::error::{Error, Result, nearest};
use crate::json::Json;
use crate::num::lanes::{Isa, Lane};
use fourier_wavelet::FourierWavelet;
use sorting::Sorting;

/// A method with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Stripe {
    /// Fourier–wavelet.
    FourierWavelet {
        /// Levels; `None` is [`LEVELS`], fewer for small sinograms.
        level: Option<usize>,
        /// The wavelet.
        wavelet: Wavelet,
        /// σ of the damping, in cycles.
        sigma: f64,
        /// What is put before and after the angles.
        pad: Pad,
        /// Which frequency is damped.
        damping: Damping,
    },
    /// `S −= m − box(m)`, m = mean over θ, the box of `size` columns with the ends repeated (TomoPy's
    /// `remove_stripe_sf`).
    Smoothing {
        /// Width of the box.
        size: usize,
    },
    /// Titarenko's.
    Titarenko {
        /// How far the values are lifted.
        alpha: f64,
    },
    /// Vo's combination for all stripes.
    Vo {
        /// How far a large stripe stands out.
        snr: f64,
        /// Window that finds large stripes.
        large: usize,
        /// Window that removes small ones.
        small: usize,
    },
}

/// Levels of `fw`.
pub const LEVELS: usize = 7;
/// Extent of the smallest band of `fw`, unless levels are asked for.
const LEAST_COLUMNS: usize = 16;
/// Most levels of `fw` that an option may ask for.
const MOST_LEVELS: usize = 16;
/// Widest window in columns.
const WIDEST: usize = 1001;
/// Most angles that `vo` ranks.
const MOST_ANGLES: usize = 1 << 16;

impl Stripe {
    /// The names.
    pub const NAMES: [&'static str; 4] = ["fw", "vo", "sf", "ti"];

    /// A method by its name, with its defaults replaced by `parameters`, such as `level=7,wavelet=sym16`.
    ///
    /// # Errors
    /// Usage: unknown names, with the nearest one; values out of range.
    pub fn parse(name: &str, parameters: &str) -> Result<Stripe> {
        let mut stripe = match name {
            "fw" => Stripe::FourierWavelet {
                level: None,
                wavelet: Wavelet::parse("sym16")?,
                sigma: 1.0,
                pad: Pad::Edge,
                damping: Damping::Centred,
            },
            "sf" => Stripe::Smoothing { size: 5 },
            "ti" => Stripe::Titarenko { alpha: 1.5 },
            "vo" | "vo-all" => Stripe::Vo { snr: 3.0, large: 61, small: 21 },
            _ => {
                let hint = nearest(name, Stripe::NAMES).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
                return Err(Error::usage(format!("unknown stripe removal '{name}'"))
                    .help(format!("{hint}known: {}", Stripe::NAMES.join(", "))));
            }
        };
        for pair in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Error::usage(format!("'{pair}' is no parameter")).help("write NAME=VALUE,NAME=VALUE"));
            };
            stripe.set(key.trim(), value.trim())?;
        }
        Ok(stripe)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let wrong = |what: &str| Err(Error::usage(format!("{key}={value}: {what}")));
        let known: &[&str] = match (&mut *self, key) {
            (Stripe::FourierWavelet { level, .. }, "level") => {
                match value.parse().ok().filter(|l| (1..=MOST_LEVELS).contains(l)) {
                    Some(l) => *level = Some(l),
                    None => return wrong("levels are 1 to 16"),
                }
                return Ok(());
            }
            (Stripe::FourierWavelet { wavelet, .. }, "wavelet") => {
                *wavelet = Wavelet::parse(value)?;
                return Ok(());
            }
            (Stripe::FourierWavelet { pad, .. }, "pad") => {
                *pad = match value {
                    "edge" => Pad::Edge,
                    "zero" => Pad::Zero,
                    "none" => Pad::None,
                    _ => return wrong("edge, zero or none"),
                };
                return Ok(());
            }
            (Stripe::FourierWavelet { sigma: v, .. }, "sigma")
            | (Stripe::Titarenko { alpha: v }, "alpha")
            | (Stripe::Vo { snr: v, .. }, "snr") => {
                *v = match value.parse::<f64>().ok().filter(|v| *v > 0.0 && v.is_finite()) {
                    Some(number) => number,
                    None => return wrong("a positive number"),
                };
                return Ok(());
            }
            (Stripe::Smoothing { size: v }, "size")
            | (Stripe::Vo { large: v, .. }, "large")
            | (Stripe::Vo { small: v, .. }, "small") => {
                *v = match value.parse::<usize>().ok().filter(|w| w % 2 == 1 && *w <= WIDEST) {
                    Some(window) => window,
                    None => return wrong("an odd number of columns"),
                };
                return Ok(());
            }
            (Stripe::FourierWavelet { .. }, _) => &["level", "wavelet", "sigma", "pad"],
            (Stripe::Smoothing { .. }, _) => &["size"],
            (Stripe::Titarenko { .. }, _) => &["alpha"],
            (Stripe::Vo { .. }, _) => &["snr", "large", "small"],
        };
        let hint = nearest(key, known.iter().copied()).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
        Err(Error::usage(format!("stripe removal '{}' has no parameter '{key}'", self.name()))
            .help(format!("{hint}it has: {}", known.join(", "))))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Stripe::FourierWavelet { .. } => "fw",
            Stripe::Smoothing { .. } => "sf",
            Stripe::Titarenko { .. } => "ti",
            Stripe::Vo { .. } => "vo",
        }
    }

    /// Every value that decides the bits, for the manifest; `angles` and `columns` are those of the sinogram.
    pub fn params(&self, angles: usize, columns: usize) -> Json {
        let method = ("method", Json::from(self.name()));
        match self {
            Stripe::FourierWavelet { wavelet, sigma, pad, .. } => Json::obj([
                method,
                ("level", self.levels(angles, columns).into()),
                ("wavelet", wavelet.name().into()),
                ("sigma", (*sigma).into()),
                ("pad", format!("{pad:?}").to_lowercase().as_str().into()),
                ("version", 1u64.into()),
            ]),
            Stripe::Smoothing { size } => Json::obj([method, ("size", (*size).into()), ("version", 1u64.into())]),
            Stripe::Titarenko { alpha } => Json::obj([method, ("alpha", (*alpha).into()), ("version", 1u64.into())]),
            Stripe::Vo { snr, large, small } => Json::obj([
                method,
                ("snr", (*snr).into()),
                ("large", (*large).into()),
                ("small", (*small).into()),
                ("version", 1u64.into()),
            ]),
        }
    }

    /// Levels of `fw`: as asked, or [`LEVELS`] as long as a band has [`LEAST_COLUMNS`] columns and as many angles as that.
    fn levels(&self, angles: usize, columns: usize) -> usize {
        match self {
            Stripe::FourierWavelet { level: Some(level), .. } => *level,
            _ => LEVELS.min((angles.min(columns) / LEAST_COLUMNS).max(2).ilog2() as usize),
        }
    }
}

/// A method planned for sinograms of one size.
pub struct StripePlan {
    columns: usize,
    method: Method,
}

enum Method {
    FourierWavelet(FourierWavelet),
    Smoothing(usize),
    Titarenko(f64),
    Vo(Sorting),
}

/// What one sinogram at a time is worked on in.
pub enum StripeWork {
    /// Of `fw`.
    Lanes(Vec<Lane>),
    /// Of `vo`.
    Sorting(Box<sorting::Work>),
    /// Of the others, which need little.
    None,
}

impl StripePlan {
    /// Plans for sinograms of `angles` × `columns`.
    ///
    /// # Errors
    /// Usage: more angles than `vo` can rank.
    pub fn new(stripe: &Stripe, angles: usize, columns: usize) -> Result<StripePlan> {
        let method = match stripe {
            Stripe::FourierWavelet { wavelet, sigma, pad, damping, .. } => {
                let levels = stripe.levels(angles, columns);
                Method::FourierWavelet(FourierWavelet::new(angles, columns, *wavelet, levels, *sigma, *pad, *damping))
            }
            Stripe::Smoothing { size } => Method::Smoothing(*size),
            Stripe::Titarenko { alpha } => Method::Titarenko(*alpha),
            Stripe::Vo { .. } if angles > MOST_ANGLES => {
                return Err(Error::usage(format!("--stripe vo ranks {MOST_ANGLES} projections at most, not {angles}"))
                    .help("use --stripe fw"));
            }
            Stripe::Vo { snr, large, small } => {
                Method::Vo(Sorting { angles, columns, snr: *snr, large: *large, small: *small })
            }
        };
        Ok(StripePlan { columns, method })
    }

    /// Buffers for one sinogram at a time.
    pub fn work(&self) -> StripeWork {
        match &self.method {
            Method::FourierWavelet(plan) => StripeWork::Lanes(vec![Lane::ZERO; plan.workspace_lanes()]),
            Method::Vo(plan) => StripeWork::Sorting(Box::new(plan.work())),
            _ => StripeWork::None,
        }
    }

    /// Bytes of the tables, and of one [`StripeWork`].
    pub fn bytes(&self) -> [usize; 2] {
        match &self.method {
            Method::FourierWavelet(plan) => [plan.bytes(), plan.workspace_lanes() * size_of::<Lane>()],
            Method::Vo(plan) => [0, plan.work_bytes()],
            _ => [0, 80 * self.columns],
        }
    }

    /// Removes the stripes of `sinogram`, `[angle][column]`, unless a value is not finite.
    ///
    /// # Panics
    /// If the sinogram has another size, or `work` belongs to another plan.
    pub fn run(&self, isa: Isa, work: &mut StripeWork, sinogram: &mut [f32]) {
        if sinogram.iter().any(|v| !v.is_finite()) {
            return;
        }
        match (&self.method, work) {
            (Method::FourierWavelet(plan), StripeWork::Lanes(lanes)) => plan.run(isa, lanes, sinogram),
            (Method::Vo(plan), StripeWork::Sorting(work)) => plan.run(isa, work, sinogram),
            (Method::Smoothing(size), _) => smooth(self.columns, *size, sinogram),
            (Method::Titarenko(alpha), _) => titarenko::remove(self.columns, *alpha, sinogram),
            _ => panic!("buffers of another stripe removal"),
        }
    }
}

/// [`Stripe::Smoothing`]; sums in f64.
fn smooth(columns: usize, size: usize, sinogram: &mut [f32]) {
    let angles = sinogram.len() / columns;
    let mut mean = vec![0.0f64; columns];
    for row in sinogram.chunks_exact(columns) {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
    }
    mean.iter_mut().for_each(|m| *m /= angles as f64);
    let half = size / 2;
    let at = |x: usize| mean[x.max(half).min(columns - 1 + half) - half];
    let stripe: Vec<f32> =
        (0..columns).map(|x| (mean[x] - (x..x + size).map(at).sum::<f64>() / size as f64) as f32).collect();
    for row in sinogram.chunks_exact_mut(columns) {
        row.iter_mut().zip(&stripe).for_each(|(v, s)| *v -= s);
    }
}

#[cfg(test)]
mod tests;
