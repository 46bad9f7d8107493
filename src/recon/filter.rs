//! Reconstruction filters: what each spatial frequency of a projection is multiplied by.
//!
//! Two conventions, both on x = frequency in cycles per detector pixel, 0 … ½ (Nyquist):
//!
//! **[`Filter::response`]**, for `gridrec` and `fbp`: ramp × window, on the P frequencies k/P of a padded row.
//! The ramp is not |x| sampled, which would remove the mean of the padded field and lower every grey value, but the
//! transform of the band-limited ramp's samples in space (Kak & Slaney 1988, eq. 3.61), wrapped to length P:
//!
//! ```text
//! r[0] = 1/4,  r[n] = −1/(πn)² for odd n,  r[n] = 0 for even n
//! R_k  = Σ_{|n| ≤ P/2} r[n] cos(2π k n / P)          so R_0 ≈ 2/(π² P), not 0
//! ```
//!
//! For P ≥ 2N the circular convolution with it *is* the linear convolution of N samples. The scale is such that
//! `image = Σ w_i q_i(s)` with Σ w = π returns attenuation per detector pixel.
//!
//! **[`Filter::compat_response`]**, for `gridrec-compat`: TomoPy's F(x), with its factor 2 and its quirks.
//!
//! | name | window W(x), this crate | parameters, default | TomoPy's F(x), default |
//! |---|---|---|---|
//! | `none` | no ramp either: response 1 (a plain back-projection) | | 1 |
//! | `ramlak` | 1 | | 2x |
//! | `shepp` | sin(πx)/(πx) | | 2x sin(πx)/(πx) |
//! | `cosine` | cos(πx) | | 2x cos(πx) |
//! | `hann` | ½(1 + cos(2πx/p₀)) for x ≤ p₀/2, else 0 | p₀ = 1 | 2x ½(1 + cos(2πx/p₀)), p₀ = ½ |
//! | `hamming` | 0.54 + 0.46 cos(2πx/p₀) for x ≤ p₀/2, else 0 | p₀ = 1 | 2x (0.54 + 0.46 cos(2πx/p₀)), p₀ = ½ |
//! | `parzen` | (1 − x/p₀)³ for x ≤ p₀, else 0 | p₀ = ½ | 2x (1 − x/p₀)³, p₀ = ½ |
//! | `butterworth` | 1/(1 + (x/p₀)^(2p₁)) | p₀ = ½, p₁ = 8 | 2x/(1 + (x/p₀)^(2p₁)), same |
//! | `custom` | the whole response (|x| would be `ramlak`), given at equal steps from 0 to Nyquist, interpolated linearly | the values, at least 2 | p\[j\] at x = j/M, at least M/2 values |
//!
//! TomoPy's default p₀ = ½ makes `hann` and `hamming` fall to their minimum at *half* of Nyquist and rise to full
//! strength again at Nyquist. Here p₀ = 1, the textbook window, and windows stay 0 beyond their first minimum.

use crate::error::{Error, Result, nearest};
use crate::num::elementary::{cos, pow, sin};
use std::f64::consts::PI;

/// A filter by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterName {
    /// No filter at all.
    None,
    /// The band-limited ramp (Ramachandran and Lakshminarayanan).
    Ramlak,
    /// Ramp × sinc (Shepp and Logan); the default.
    Shepp,
    /// Ramp × cosine.
    Cosine,
    /// Ramp × Hann window.
    Hann,
    /// Ramp × Hamming window.
    Hamming,
    /// Ramp × Parzen window (a cubic).
    Parzen,
    /// Ramp × Butterworth low-pass.
    Butterworth,
    /// A response given by the user.
    Custom,
}

impl FilterName {
    /// All of them.
    pub const ALL: [FilterName; 9] = [
        FilterName::None,
        FilterName::Ramlak,
        FilterName::Shepp,
        FilterName::Cosine,
        FilterName::Hann,
        FilterName::Hamming,
        FilterName::Parzen,
        FilterName::Butterworth,
        FilterName::Custom,
    ];

    /// The name as `--filter` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            FilterName::None => "none",
            FilterName::Ramlak => "ramlak",
            FilterName::Shepp => "shepp",
            FilterName::Cosine => "cosine",
            FilterName::Hann => "hann",
            FilterName::Hamming => "hamming",
            FilterName::Parzen => "parzen",
            FilterName::Butterworth => "butterworth",
            FilterName::Custom => "custom",
        }
    }

    /// Names of the parameters that `--filter-par` takes.
    fn parameter_names(self) -> &'static [&'static str] {
        match self {
            FilterName::Hann | FilterName::Hamming | FilterName::Parzen => &["cutoff"],
            FilterName::Butterworth => &["cutoff", "order"],
            _ => &[],
        }
    }

    /// Default parameters of this crate.
    fn defaults(self) -> &'static [f64] {
        match self {
            FilterName::Hann | FilterName::Hamming => &[1.0],
            FilterName::Parzen => &[0.5],
            FilterName::Butterworth => &[0.5, 8.0],
            _ => &[],
        }
    }

    /// Default parameters of TomoPy: `filter_par=[0.5, 8]` whatever the filter.
    fn compat_defaults(self) -> &'static [f64] {
        const TOMOPY: [f64; 2] = [0.5, 8.0];
        &TOMOPY[..self.parameter_names().len()]
    }
}

/// A filter and its parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    name: FilterName,
    /// What the user gave; empty means the defaults of the convention. For `custom`, the response.
    given: Vec<f64>,
}

impl Default for Filter {
    /// `shepp`, as in TomoPy.
    fn default() -> Filter {
        Filter { name: FilterName::Shepp, given: Vec::new() }
    }
}

impl Filter {
    /// The filter called `name` with parameters `par` (none: the defaults).
    ///
    /// Usage errors: unknown name (the nearest one is suggested), wrong number of parameters, a parameter that is
    /// not a positive finite number (for `custom`: not finite).
    pub fn parse(name: &str, par: &[f64]) -> Result<Filter> {
        let known = FilterName::ALL.map(FilterName::as_str);
        let Some(filter) = FilterName::ALL.into_iter().find(|f| f.as_str() == name) else {
            // What other programs call it, before what is spelled most like it.
            let alias = match name.to_lowercase().as_str() {
                "hanning" => Some("hann"),
                "ramp" | "ram-lak" => Some("ramlak"),
                "shepp-logan" => Some("shepp"),
                _ => None,
            };
            let hint =
                alias.or_else(|| nearest(name, known)).map_or(String::new(), |n| format!("did you mean '{n}'? "));
            return Err(Error::usage(format!("unknown filter '{name}'"))
                .help(format!("{hint}known filters: {}", known.join(", "))));
        };
        if filter == FilterName::Custom {
            if par.len() < 2 {
                return Err(Error::usage("filter 'custom' needs its response: at least 2 values")
                    .help("give the response from frequency 0 to Nyquist with --filter-par v0,v1,..."));
            }
            if let Some(i) = par.iter().position(|v| !v.is_finite()) {
                return Err(
                    Error::usage(format!("value {i} of the custom filter is {}", par[i])).help("give finite numbers")
                );
            }
            return Ok(Filter { name: filter, given: par.to_vec() });
        }
        let names = filter.parameter_names();
        if !par.is_empty() && par.len() != names.len() {
            let wanted = match names {
                [] => "no parameters".to_string(),
                _ => format!("{} parameter(s): {}", names.len(), names.join(",")),
            };
            return Err(Error::usage(format!("filter '{name}' takes {wanted}; {} given", par.len()))
                .help("correct --filter-par, or leave it out for the defaults"));
        }
        if let Some(i) = par.iter().position(|&v| !(v.is_finite() && v > 0.0)) {
            return Err(Error::usage(format!("{} of filter '{name}' is {}", names[i], par[i]))
                .help("give a positive number; cutoffs are in cycles per pixel, Nyquist is 0.5"));
        }
        Ok(Filter { name: filter, given: par.to_vec() })
    }

    /// Which filter.
    pub fn name(&self) -> FilterName {
        self.name
    }

    /// The parameters in force for [`Filter::response`], for the manifest.
    pub fn parameters(&self) -> &[f64] {
        if self.given.is_empty() { self.name.defaults() } else { &self.given }
    }

    /// The parameters in force for [`Filter::compat_response`], for the manifest.
    pub fn compat_parameters(&self) -> &[f64] {
        if self.given.is_empty() { self.name.compat_defaults() } else { &self.given }
    }

    /// The response at k/P, k = 0 … ⌊P/2⌋, for rows padded to `padded` = P samples; see the [module](self).
    /// It is real and even, so R_{P−k} = R_k.
    pub fn response(&self, padded: usize) -> Vec<f64> {
        let at = |k: usize| k as f64 / padded as f64;
        match self.name {
            FilterName::None => vec![1.0; padded / 2 + 1],
            FilterName::Custom => (0..=padded / 2).map(|k| self.custom_at(at(k))).collect(),
            _ => ramp(padded).iter().enumerate().map(|(k, r)| r * self.window(at(k))).collect(),
        }
    }

    /// TomoPy's F(j/M), j = 0 … M/2 − 1, for rows padded to `padded` = M samples.
    ///
    /// Usage error: a `custom` response with fewer than M/2 values.
    pub fn compat_response(&self, padded: usize) -> Result<Vec<f64>> {
        let half = padded / 2;
        let par = self.compat_parameters();
        if self.name == FilterName::Custom {
            let head = par.get(..half).ok_or_else(|| {
                Error::usage(format!("the custom filter has {} values", par.len()))
                    .help(format!("gridrec-compat needs at least {half}, one per frequency j/{padded}"))
            })?;
            return Ok(head.to_vec());
        }
        let f = |x: f64| match self.name {
            FilterName::None | FilterName::Custom => 1.0,
            FilterName::Ramlak => 2.0 * x,
            FilterName::Shepp => 2.0 * x * sinc(x),
            FilterName::Cosine => 2.0 * x * cos(PI * x),
            FilterName::Hann => 2.0 * x * 0.5 * (1.0 + cos(2.0 * PI * x / par[0])),
            FilterName::Hamming => 2.0 * x * (0.54 + 0.46 * cos(2.0 * PI * x / par[0])),
            FilterName::Parzen => 2.0 * x * cube(1.0 - x / par[0]),
            FilterName::Butterworth => 2.0 * x / (1.0 + pow(x / par[0], 2.0 * par[1])),
        };
        Ok((0..half).map(|j| f(j as f64 / padded as f64)).collect())
    }

    /// W(x) of the table in the [module](self).
    pub(super) fn window(&self, x: f64) -> f64 {
        let par = self.parameters();
        match self.name {
            FilterName::None | FilterName::Ramlak | FilterName::Custom => 1.0,
            FilterName::Shepp => sinc(x),
            FilterName::Cosine => cos(PI * x),
            FilterName::Hann | FilterName::Hamming | FilterName::Parzen if x > self.window_end() => 0.0,
            FilterName::Hann => 0.5 * (1.0 + cos(2.0 * PI * x / par[0])),
            FilterName::Hamming => 0.54 + 0.46 * cos(2.0 * PI * x / par[0]),
            FilterName::Parzen => cube(1.0 - x / par[0]),
            FilterName::Butterworth => 1.0 / (1.0 + pow(x / par[0], 2.0 * par[1])),
        }
    }

    /// The frequency beyond which a window with an end is 0.
    fn window_end(&self) -> f64 {
        match self.name {
            FilterName::Parzen => self.parameters()[0],
            _ => self.parameters()[0] / 2.0,
        }
    }

    /// The custom response at x, between its values by a straight line; the last value is at x = ½.
    fn custom_at(&self, x: f64) -> f64 {
        let last = self.given.len() - 1;
        let position = 2.0 * x * last as f64;
        let i = (position as usize).min(last - 1);
        let t = position - i as f64;
        self.given[i] * (1.0 - t) + self.given[i + 1] * t
    }
}

/// R_k of the [module](self), k = 0 … ⌊P/2⌋.
///
/// The sum over odd n is taken as it stands, n ascending, with cosines from one table of length P:
/// P²/8 multiply-adds, 10 ms at P = 8192, once per geometry. It needs no transform and no argument.
fn ramp(padded: usize) -> Vec<f64> {
    let p = padded;
    let cosine: Vec<f64> = (0..p).map(|i| cos(2.0 * PI * i as f64 / p as f64)).collect();
    // Twice r[n]: n and −n together. For even P, n = P/2 is its own mirror and counts once.
    let kernel: Vec<(usize, f64)> = (1..=p / 2)
        .step_by(2)
        .map(|n| (n, if 2 * n == p { -1.0 } else { -2.0 } / (PI * n as f64 * PI * n as f64)))
        .collect();
    (0..=p / 2)
        .map(|k| {
            let (mut sum, mut phase) = (0.25, k % p);
            for &(_, r) in &kernel {
                sum += r * cosine[phase];
                phase = (phase + 2 * k) % p;
            }
            sum
        })
        .collect()
}

/// sin(πx)/(πx).
fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { sin(PI * x) / (PI * x) }
}

fn cube(x: f64) -> f64 {
    x * x * x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn the_ramp_is_the_transform_of_its_samples() {
        for p in [1usize, 2, 9, 10, 12, 64, 75] {
            // The definition: r on −P/2 … P/2, wrapped, transformed with no use of symmetry.
            let mut r = vec![0.0; p];
            r[0] = 0.25;
            for n in (1..=p / 2).step_by(2) {
                let value = -1.0 / (PI * n as f64).powi(2);
                r[n] = value;
                r[p - n] = value;
            }
            for (k, got) in ramp(p).into_iter().enumerate() {
                let want: f64 = (0..p).map(|n| r[n] * cos(2.0 * PI * (k * n) as f64 / p as f64)).sum();
                assert!((got - want).abs() < 1e-14, "P {p} k {k}: {got} {want}");
            }
        }
    }

    #[test]
    fn the_ramp_is_close_to_the_frequency_but_not_zero_at_zero() {
        let p = 1000;
        let r = ramp(p);
        // What wrapping leaves out at 0 is the tail of Σ 2/(πn)² over odd n > P/2, which is 2/(π² P).
        assert!((r[0] * PI * PI * p as f64 / 2.0 - 1.0).abs() < 1e-3, "{}", r[0]);
        for k in 1..=p / 2 {
            assert!((r[k] - k as f64 / p as f64).abs() < r[0] * (1.0 + 1e-9), "k {k}");
        }
    }

    #[test]
    fn windows_have_their_textbook_values() {
        let p = 400;
        let w = |name: &str, par: &[f64]| -> Vec<f64> {
            let filter = Filter::parse(name, par).unwrap();
            filter.response(p).iter().zip(ramp(p)).map(|(f, r)| f / r).collect()
        };
        // At 0, ¼ and ½ cycles per pixel.
        let s = 2.0f64.sqrt() / 2.0;
        for (name, want) in [
            ("ramlak", [1.0, 1.0, 1.0]),
            ("shepp", [1.0, s * 4.0 / PI, 2.0 / PI]),
            ("cosine", [1.0, s, 0.0]),
            ("hann", [1.0, 0.5, 0.0]),
            ("hamming", [1.0, 0.54, 0.08]),
            ("parzen", [1.0, 0.125, 0.0]),
            ("butterworth", [1.0, 1.0 / (1.0 + 0.5f64.powi(16)), 0.5]),
        ] {
            let got = w(name, &[]);
            for (k, want) in [0, p / 4, p / 2].into_iter().zip(want) {
                assert!((got[k] - want).abs() < 1e-12, "{name} at {k}: {} {want}", got[k]);
            }
        }
        // A window ends at its first minimum and stays there.
        for name in ["hann", "hamming"] {
            let half = w(name, &[0.5]);
            assert!(half[p / 4 - 1] > 0.0 && half[p / 4 + 1..].iter().all(|&v| v == 0.0), "{name}");
        }
        assert!(w("parzen", &[0.25])[p / 4 + 1..].iter().all(|&v| v == 0.0));
        assert_eq!(Filter::parse("none", &[]).unwrap().response(6), [1.0; 4]);
    }

    #[test]
    fn custom_is_interpolated_from_zero_to_nyquist() {
        // A straight line from 0 to ½ is |x| itself, whatever the number of values.
        for n in [2, 3, 7] {
            let line: Vec<f64> = (0..n).map(|i| 0.5 * i as f64 / (n - 1) as f64).collect();
            for (k, v) in Filter::parse("custom", &line).unwrap().response(30).into_iter().enumerate() {
                assert!((v - k as f64 / 30.0).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn compat_is_tomopys_formula_with_its_default_parameters() {
        let f = |name: &str, par: &[f64]| Filter::parse(name, par).unwrap().compat_response(64).unwrap();
        let x = |j: usize| j as f64 / 64.0;
        assert_eq!(f("none", &[]), [1.0; 32]);
        assert_eq!(f("ramlak", &[])[31], 2.0 * x(31));
        // The trap: the window of the default Hann is 0 at half of Nyquist and back at 1 near Nyquist.
        assert!(f("hann", &[])[16].abs() < 1e-15);
        assert!(f("hann", &[])[31] / (2.0 * x(31)) > 0.99);
        assert!((f("hamming", &[])[16] - 0.08 * 2.0 * x(16)).abs() < 1e-15);
        assert!((f("parzen", &[])[16] - 0.125 * 2.0 * x(16)).abs() < 1e-15);
        assert!((f("butterworth", &[])[16] - 2.0 * x(16) / (1.0 + 0.5f64.powi(16))).abs() < 1e-15);
        assert_eq!(f("shepp", &[])[0], 0.0);
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(f("custom", &values)[..], values[..32]);
        let short = Filter::parse("custom", &values[..31]).unwrap();
        assert_eq!(short.compat_response(64).unwrap_err().fault(), Fault::Usage);
    }

    #[test]
    fn wrong_names_and_parameters_are_refused() {
        let error = |name, par: &[f64]| {
            let e = Filter::parse(name, par).unwrap_err();
            assert_eq!(e.fault(), Fault::Usage);
            e.to_string()
        };
        assert!(error("ram-lak", &[]).contains("'ramlak'"));
        assert!(error("Shepp", &[]).contains("did you mean 'shepp'"));
        assert!(error("zzzzzzzzzzz", &[]).contains("known filters: none, ramlak"));
        assert!(error("shepp", &[0.5]).contains("takes no parameters"));
        assert!(error("hann", &[0.5, 8.0]).contains("1 parameter"));
        assert!(error("butterworth", &[0.5]).contains("cutoff,order"));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(error("parzen", &[bad]).contains("cutoff"));
        }
        assert!(error("custom", &[1.0]).contains("at least 2"));
        assert!(error("custom", &[1.0, f64::NAN]).contains("value 1"));
        assert_eq!(Filter::parse("butterworth", &[]).unwrap().parameters(), [0.5, 8.0]);
        assert_eq!(Filter::parse("hann", &[]).unwrap().parameters(), [1.0]);
        assert_eq!(Filter::parse("hann", &[]).unwrap().compat_parameters(), [0.5]);
        assert_eq!(Filter::default(), Filter::parse("shepp", &[]).unwrap());
    }
}
