//! How far patches may be shifted, turned, stretched and disturbed, so that a network learns what stays the same; what
//! happens to one then is [`crate::kernels::augment`].
//!
//! `authors` is what the authors' code does: half-turn with 0.5; θ within ±0.05π, shears within ±0.25, shifts
//! within ±0.2 of the sides, scales 1 ± 0.25, independent. Everything else is off there, single-axis flips too, and on
//! only by name: `authors,noise=0.03,rings=0.02`.
//!
//! Numbers are f(seed, patch, epoch, what): any order of work, any number of threads gives the same patch.
//!
//! `loaders=W` is a defect of the authors' code, to measure what it costs: processes that load batches are copies of one
//! state, and start from it anew in every epoch. Batch b is loaded by process b mod W, so that numbers are f(seed,
//! ⌊b/W⌋, place in the batch, what): W batches are disturbed alike, in all epochs. Theirs: 4 ranks of 32, W = 128.
//!
//! Source: MONAI's RandFlip and RandAffine as the authors call them.

use crate::error::{Error, Result, nearest};
use crate::kernels::augment::{Affine, Drawn};
use crate::nn::fit::Turn;
use crate::num::philox::Stream;

const STREAM: u32 = 0x6175_6700;
/// Distance of the farthest centre of rings, in sides of the patch.
const FAR: f64 = 4.0;

/// How far each disturbance may go; 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Probability of the half-turn.
    pub half_turn: f64,
    /// Probability that rows are exchanged.
    pub flip_rows: f64,
    /// Probability that columns are exchanged.
    pub flip_columns: f64,
    /// θ within ± this, in units of π.
    pub rotate: f64,
    /// a and b within ± this.
    pub shear: f64,
    /// Shifts within ± this part of the sides.
    pub translate: f64,
    /// Scales within 1 ± this.
    pub scale: f64,
    /// Gain within 1 ± this.
    pub gain: f64,
    /// Offset within ± this.
    pub offset: f64,
    /// σ of the blur up to this.
    pub blur: f64,
    /// σ of the rings up to this.
    pub rings: f64,
    /// σ of the noise up to this.
    pub noise: f64,
    /// Loaders that draw the same numbers, as the authors' did; 0: every patch has its own.
    pub loaders: f64,
}

/// A field of the options by its name, with the most it may be.
type Field = (&'static str, fn(&mut Options) -> &mut f64, f64);
const FIELDS: [Field; 13] = [
    ("half-turn", |o| &mut o.half_turn, 1.0),
    ("flip-rows", |o| &mut o.flip_rows, 1.0),
    ("flip-columns", |o| &mut o.flip_columns, 1.0),
    ("rotate", |o| &mut o.rotate, 1.0),
    ("shear", |o| &mut o.shear, 0.9),
    ("translate", |o| &mut o.translate, 1.0),
    ("scale", |o| &mut o.scale, 0.9),
    ("gain", |o| &mut o.gain, 0.9),
    ("offset", |o| &mut o.offset, 1.0),
    ("blur", |o| &mut o.blur, 16.0),
    ("rings", |o| &mut o.rings, 1.0),
    ("noise", |o| &mut o.noise, 1.0),
    (LOADERS, |o| &mut o.loaders, 1024.0),
];
/// The field that is a number of things.
const LOADERS: &str = "loaders";

impl Options {
    /// What the authors' code does.
    pub fn authors() -> Options {
        Options { half_turn: 0.5, rotate: 0.05, shear: 0.25, translate: 0.2, scale: 0.25, ..Options::default() }
    }

    /// Parses `none`, `authors`, or either with `name=value` behind it, with commas.
    ///
    /// # Errors
    /// Usage: an unknown name, a value out of range.
    pub fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for (i, part) in text.split(',').map(str::trim).enumerate() {
            match part.split_once('=') {
                None if i == 0 && part == "none" => {}
                None if i == 0 && part == "authors" => options = Options::authors(),
                Some((name, value)) => {
                    let Some((_, field, most)) = FIELDS.iter().find(|(n, _, _)| *n == name.trim()) else {
                        return Err(unknown(name));
                    };
                    let whole = |v: &f64| v.fract() == 0.0 || name.trim() != LOADERS;
                    let v = value.trim().parse::<f64>().ok().filter(|v| (0.0..=*most).contains(v) && whole(v));
                    *field(&mut options) = v.ok_or_else(|| {
                        Error::usage(format!("'{part}': the value is out of range")).help(format!("0 to {most}"))
                    })?;
                }
                None => return Err(unknown(part)),
            }
        }
        Ok(options)
    }

    /// Every value, for manifests: parses to the same options.
    pub fn to_text(self) -> String {
        let mut copy = self;
        let parts: Vec<String> = FIELDS
            .iter()
            .filter_map(|(name, field, _)| {
                let v = *field(&mut copy);
                (v != 0.0).then(|| format!("{name}={v}"))
            })
            .collect();
        if parts.is_empty() { "none".into() } else { parts.join(",") }
    }

    /// What happens to a patch at a turn.
    pub fn draw(self, seed: u64, patch: u32, turn: Turn) -> Drawn {
        let [high, low] = match self.loaders as u32 {
            0 => [patch, turn.epoch],
            loaders => [turn.batch / loaders, turn.place],
        };
        let index = u64::from(high) << 32 | u64::from(low);
        let stream = Stream::new(seed, STREAM);
        // Block `what` of the index; u in [0, 1), ± in [−1, 1).
        let u = |what: u32| f64::from(stream.block(index, what)[0]) / 4_294_967_296.0;
        let either = |what: u32| 2.0 * u(what) - 1.0;
        let [.., a, b] = stream.block(index, 63);
        Drawn {
            half_turn: u(0) < self.half_turn,
            flip_rows: u(1) < self.flip_rows,
            flip_columns: u(2) < self.flip_columns,
            affine: Affine {
                rotate: self.rotate * either(3),
                shear: [self.shear * either(4), self.shear * either(5)],
                translate: [self.translate * either(6), self.translate * either(7)],
                scale: [1.0 + self.scale * either(8), 1.0 + self.scale * either(9)],
            },
            gain: 1.0 + self.gain * either(10),
            offset: self.offset * either(11),
            blur: self.blur * u(12),
            rings: self.rings * u(13),
            centre: [2.0 * u(14), FAR * u(15)],
            noise: self.noise * u(16),
            // Numbers of the pixels come from a seed that is drawn, too.
            pixels: u64::from(a) << 32 | u64::from(b),
            clipped: true,
        }
    }
}

fn unknown(name: &str) -> Error {
    let names = || FIELDS.iter().map(|f| f.0).chain(["none", "authors"]);
    let near = nearest(name, names()).map_or(String::new(), |n| format!("did you mean '{n}'? "));
    Error::usage(format!("unknown augmentation '{name}'")).help(format!(
        "{near}write none or authors, then name=value with commas; names: {}",
        names().collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::UNLABELLED;
    use super::*;
    use crate::exchange::npy::read_array;
    use std::path::Path;

    fn patch(h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        (
            (0..h * w).map(|i| ((i * 7919 % 1009) as f64 / 1009.0) as f32).collect(),
            (0..h * w).map(|i| (i / 5 % 4) as u8).collect(),
        )
    }

    fn applied(drawn: Drawn, h: usize, w: usize) -> (Vec<f32>, Vec<u8>) {
        let (mut image, labels) = patch(h, w);
        drawn.image(h, w, &mut image);
        (image, drawn.labels(h, w, UNLABELLED, &labels))
    }

    #[test]
    fn nothing_changes_nothing_and_names_are_known() {
        assert_eq!(applied(Options::default().draw(1, 2, at(3)), 9, 12), patch(9, 12));
        assert_eq!(Options::parse("none").unwrap(), Options::default());
        let options = Options::parse("authors,noise=0.03, flip-rows=0.5").unwrap();
        assert_eq!(options, Options { noise: 0.03, flip_rows: 0.5, ..Options::authors() });
        assert_eq!(Options::parse(&options.to_text()).unwrap(), options);
        assert_eq!(Options::parse(&Options::default().to_text()).unwrap(), Options::default());
        for (text, says) in [
            ("nosie=1", "did you mean 'noise'"),
            ("noise=2", "0 to 1"),
            ("autors", "authors"),
            ("noise=nan", "range"),
            ("loaders=1.5", "0 to 1024"),
        ] {
            assert!(Options::parse(text).unwrap_err().to_string().contains(says), "{text}");
        }
    }

    /// An epoch's first batch.
    fn at(epoch: u32) -> Turn {
        Turn { epoch, ..Turn::default() }
    }

    /// Three loaders: batches 0, 1, 2 alike and 3 not, in every epoch, whatever the patch.
    #[test]
    fn the_authors_loaders_disturb_their_batches_alike() {
        let options = Options::parse("authors,loaders=3").unwrap();
        let draw = |patch, epoch, batch, place| options.draw(7, patch, Turn { epoch, batch, place });
        let one = draw(4, 0, 0, 5);
        for (patch, epoch, batch) in [(4, 0, 1), (9, 0, 2), (4, 6, 0)] {
            assert_eq!(draw(patch, epoch, batch, 5), one);
        }
        assert_ne!(draw(4, 0, 3, 5), one);
        assert_ne!(draw(4, 0, 0, 6), one);
    }

    /// Rotation 0.12 rad, shears 0.2 and −0.1, shifts of 2.5 and −3.25 pixels, scales 1.2 and 0.85: testdata/segment/make.py.
    #[test]
    fn the_affine_map_is_monais() {
        let (h, w) = (21, 26);
        let affine = Affine {
            rotate: 0.12 / std::f64::consts::PI,
            shear: [0.2, -0.1],
            translate: [2.5 / h as f64, -3.25 / w as f64],
            scale: [1.2, 0.85],
        };
        let (image, labels) = applied(Drawn { affine, ..Drawn::NOTHING }, h, w);
        let golden = |name: &str| {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/segment").join(format!("affine.{name}.npy"));
            read_array(&path).unwrap().1
        };
        let worst = image.iter().zip(golden("image")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        // MONAI's labels are one more, so that its padding, 0, is unlabelled.
        let want: Vec<u8> = golden("labels").iter().map(|&v| if v == 0.0 { UNLABELLED } else { v as u8 - 1 }).collect();
        assert_eq!(labels, want);
        assert!(labels.contains(&UNLABELLED) && labels.iter().any(|&l| l != UNLABELLED));
    }

    #[test]
    fn draws_stay_in_range_and_depend_on_seed_patch_and_epoch_alone() {
        let options =
            Options::parse("authors,gain=0.2,offset=0.1,blur=2,rings=0.02,noise=0.05,flip-rows=0.25").unwrap();
        let (mut half, mut rows, n) = (0, 0, 4000);
        for patch in 0..n {
            let d = options.draw(7, patch, at(3));
            assert!(d.affine.rotate.abs() <= 0.05 && d.affine.shear.iter().all(|v| v.abs() <= 0.25));
            assert!(
                d.affine.translate.iter().all(|v| v.abs() <= 0.2)
                    && d.affine.scale.iter().all(|v| (v - 1.0).abs() <= 0.25)
            );
            assert!((d.gain - 1.0).abs() <= 0.2 && d.offset.abs() <= 0.1 && (0.0..=2.0).contains(&d.blur));
            (half, rows) = (half + i32::from(d.half_turn), rows + i32::from(d.flip_rows));
        }
        // Five standard deviations of n coins.
        assert!((half - 2000).abs() < 160 && (rows - 1000).abs() < 140, "{half} {rows}");
        let one = options.draw(7, 11, at(3));
        assert_eq!(options.draw(7, 11, at(3)), one);
        for other in [
            options.draw(8, 11, at(3)),
            options.draw(7, 12, at(3)),
            options.draw(7, 11, at(4)),
            options.draw(7, 3, at(11)),
        ] {
            assert_ne!(other, one);
            assert_ne!(other.pixels, one.pixels);
        }
        let (a, b) = (applied(one, 16, 20), applied(options.draw(7, 11, at(3)), 16, 20));
        assert_eq!(a, b);
        assert_ne!(a, applied(options.draw(7, 11, at(4)), 16, 20));
    }
}
