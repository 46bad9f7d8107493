//! The options that say what is done to projections before reconstruction, and their application to an opened scan.

use crate::cli::options::{Opt, Settings, Takes};
use crate::cli::values::{self, Rows};
use crate::error::{Error, Result};
use crate::exchange::Scan;
use crate::recon::flat::Blend;
use crate::recon::geometry::{Angles, Axis};
use crate::recon::normalize::InputKind;
use crate::recon::phase::Paganin;
use crate::recon::prepare::Steps;
use crate::recon::select::{Binned, Columns, Joined, Views, binned_axis};
use crate::recon::stripe::Stripe;
use crate::recon::zinger::Zinger;
use crate::units::{KiloElectronVolt, Micrometre};
use crate::volume::Source;
use std::f64::consts::PI;
use std::ops::Range;
use std::path::PathBuf;

/// The options.
pub const PREPARE_OPTIONS: &[Opt] = &[
    Opt::new("flats-after", Takes::Value("FILE"), "Flat fields taken after the scan; --flats are those before it"),
    Opt::new(
        "flat-blend",
        Takes::Choice(&["auto", "mean", "linear", "nearest"]),
        "Flats of several times: averaged, interpolated by projection, or the nearest; auto interpolates where the times are known",
    )
    .default("auto"),
    Opt::new("exposure-ratio", Takes::Number("R"), "Exposure time of the flats over that of the projections")
        .default("1"),
    Opt::new("columns", Takes::Number("A:B"), "Detector columns A to B, B not included [default: all]"),
    Opt::new("bin", Takes::Number("N"), "Average N x N pixels; --rows count bins then").default("1"),
    Opt::new("blocked", Takes::Number("A:B[,C:D]"), "Leave out projections at these angles in degrees, modulo 180"),
    Opt::new("zinger", Takes::Number("T"), "Replace pixels brighter by T or more than the median around them"),
    Opt::new("zinger-size", Takes::Number("N"), "Side of that median's window, odd").default("3"),
    Opt::new("air", Takes::Number("N"), "Make the N first and last columns of every row 1, linear between"),
    Opt::new("stripe", Takes::Choice(&["none", "fw", "vo", "sf", "ti"]), "Remove stripes (rings)").default("none"),
    Opt::new("stripe-par", Takes::Value("NAME=VALUE,..."), "Parameters of --stripe, such as level=7,wavelet=sym16,sigma=1"),
    Opt::new("delta-beta", Takes::Number("R"), "Retrieve the phase (Paganin) of one material of this delta/beta; with the two below"),
    Opt::new("energy", Takes::Number("ENERGY"), "Photon energy with its unit, such as 27.5keV"),
    Opt::new("distance", Takes::Number("LENGTH"), "From sample to detector, with its unit, such as 6cm"),
    Opt::new(
        "padding",
        Takes::Choice(&["auto", "none", "edge"]),
        "Continue rows beyond the detector by their ends; auto does it where the sample is wider than the detector",
    )
    .default("auto"),
    Opt::new("half-acquisition", Takes::Switch, "A full turn with the axis near an edge: the two halves make one wide slice"),
];

/// What stands beyond the detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Edges where the sample is truncated.
    #[default]
    Auto,
    /// Air.
    None,
    /// The row's ends.
    Edge,
    /// As `Auto`, of a sample that is known to be wider: another field of view says so.
    Wide,
}

/// The resolved options.
#[derive(Clone, Debug)]
pub struct PrepareArgs {
    flats_after: Option<PathBuf>,
    /// `None` is automatic.
    blend: Option<Blend>,
    /// Exposure of flats over that of projections.
    pub exposure_ratio: f64,
    columns: Option<Rows>,
    /// Pixels of a bin's side.
    pub bin: usize,
    blocked: Vec<[f64; 2]>,
    /// Steps without phase retrieval, whose pixel size is not known yet.
    steps: Steps,
    phase: Option<(KiloElectronVolt, Micrometre, f64)>,
    /// What stands beyond the detector.
    pub padding: Padding,
    /// Whether two halves make one slice.
    pub half_acquisition: bool,
}

impl Default for PrepareArgs {
    fn default() -> PrepareArgs {
        PrepareArgs {
            flats_after: None,
            blend: None,
            exposure_ratio: 1.0,
            columns: None,
            bin: 1,
            blocked: Vec::new(),
            steps: Steps::default(),
            phase: None,
            padding: Padding::None,
            half_acquisition: false,
        }
    }
}

/// What became of a scan.
pub struct Prepared {
    /// Every step.
    pub steps: Steps,
    /// How flats are used.
    pub blend: Blend,
    /// For each flat how many of the projections in use were taken before it.
    pub positions: Option<Vec<f64>>,
    /// The columns in use.
    pub columns: Range<usize>,
    /// The projections in use.
    pub views: Vec<usize>,
}

impl Prepared {
    /// An axis on the columns in use as a pixel index of the stored detector.
    pub fn stored_axis(&self, axis: f64, bin: usize) -> f64 {
        axis * bin as f64 + (bin as f64 - 1.0) / 2.0 + self.columns.start as f64
    }
    /// The reverse.
    pub fn used_axis(&self, axis: f64, bin: usize) -> f64 {
        binned_axis(axis - self.columns.start as f64, bin)
    }
}

/// From here on a scan is a full turn, degrees: its last step may be missing.
const FULL_TURN: f64 = 345.0;

impl PrepareArgs {
    /// Parses [`PREPARE_OPTIONS`].
    pub fn from_settings(settings: &Settings) -> Result<PrepareArgs> {
        let zinger = match settings.parse("zinger", values::positive)? {
            Some(threshold) => {
                let size = settings.parsed("zinger-size", values::count)?;
                Some(Zinger::new(size, threshold).map_err(|e| settings.blame("zinger-size", e))?)
            }
            None => None,
        };
        let parameters = settings.text("stripe-par")?.unwrap_or_default();
        let stripe = match settings.text("stripe")? {
            Some("none") | None if !parameters.is_empty() => {
                return Err(Error::usage("--stripe-par without --stripe").help("add --stripe fw, vo, sf or ti"));
            }
            Some("none") | None => None,
            Some(name) => Some(Stripe::parse(name, parameters).map_err(|e| settings.blame("stripe-par", e))?),
        };
        let phase = match (
            settings.parse("delta-beta", values::positive)?,
            settings.parse("energy", values::energy)?,
            settings.parse("distance", values::length)?,
        ) {
            (None, None, None) => None,
            (Some(delta_beta), Some(energy), Some(distance)) => Some((energy, distance, delta_beta)),
            _ => {
                return Err(Error::usage("phase retrieval needs --delta-beta, --energy and --distance")
                    .help("for example --energy 27.5keV --distance 6cm --delta-beta 500, and --pixel 1.33um"));
            }
        };
        let args = PrepareArgs {
            flats_after: settings.path("flats-after")?,
            blend: match settings.text("flat-blend")? {
                Some("auto") | None => None,
                Some(name) => Some(Blend::parse(name)?),
            },
            exposure_ratio: settings.parsed("exposure-ratio", values::positive)?,
            columns: settings.parse("columns", Rows::parse)?,
            bin: settings.parsed("bin", values::count)?,
            blocked: settings.parse("blocked", values::ranges)?.unwrap_or_default(),
            steps: Steps { zinger, air: settings.parse("air", values::count)?, stripe, phase: None },
            phase,
            padding: match settings.text("padding")? {
                Some("none") => Padding::None,
                Some("edge") => Padding::Edge,
                _ => Padding::Auto,
            },
            half_acquisition: settings.is_on("half-acquisition")?,
        };
        if args.half_acquisition && args.padding == Padding::Edge {
            return Err(Error::usage(
                "--half-acquisition makes one wide slice, which --padding edge does not continue",
            )
            .help("give one of them"));
        }
        Ok(args)
    }

    /// Refuses what would run on these projections and do something else than its name says.
    pub fn check_kind(&self, kind: InputKind) -> Result<()> {
        let absorption = kind == InputKind::Absorption;
        let wrong = [
            (absorption && self.steps.zinger.is_some(), "--zinger looks for bright pixels"),
            (absorption && self.phase.is_some(), "--delta-beta retrieves the phase from intensities"),
            (kind != InputKind::Counts && self.exposure_ratio != 1.0, "--exposure-ratio scales flats"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(Error::usage(format!("{what}, and the projections are {}", kind.name()))
                .help("leave it out, or check --input")),
            None => Ok(()),
        }
    }

    /// The file of the flats after the scan.
    pub fn flats_after(&self) -> Option<&PathBuf> {
        self.flats_after.as_ref()
    }

    /// Joins the flats `after` the scan to those before it, and tells their positions among `projections`.
    pub fn join_flats(
        before: Box<dyn Source>,
        after: Box<dyn Source>,
        projections: usize,
    ) -> Result<(Box<dyn Source>, Vec<f64>)> {
        let mut positions = vec![0.0; before.dims().nz];
        positions.resize(before.dims().nz + after.dims().nz, projections as f64);
        Ok((Box::new(Joined::new(vec![before, after])?), positions))
    }

    /// Selects views, columns and bins of a scan, its flats and its darks. `positions` are those of the flats among all
    /// projections, `pixel` the size of a pixel before binning; angles, axis and pixel follow.
    pub fn apply(
        &self,
        scan: &mut Scan,
        angles: &mut Angles,
        axis: Option<Axis>,
        positions: Option<Vec<f64>>,
        pixel: &mut Option<Micrometre>,
    ) -> Result<(Prepared, Option<Axis>)> {
        let dims = scan.projections.dims();
        let degrees: Vec<f64> = angles.radians().iter().map(|a| a * 180.0 / PI).collect();
        let span = degrees.iter().fold(f64::MIN, |a, &b| a.max(b)) - degrees.iter().fold(f64::MAX, |a, &b| a.min(b));
        if self.half_acquisition && span < FULL_TURN {
            return Err(Error::usage(format!(
                "--half-acquisition: the angles span {span:.1} degrees, not a full turn"
            ))
            .help("leave it out: only a full turn sees the other half of the sample"));
        }
        let is_blocked = |angle: f64| {
            self.blocked.iter().any(|&[from, to]| (angle - from).rem_euclid(180.0) <= (to - from).min(180.0))
        };
        let views: Vec<usize> = (0..dims.nz).filter(|&i| !is_blocked(degrees[i])).collect();
        let columns = match self.columns {
            Some(range) => range.within(dims.nx).map_err(|e| {
                Error::usage(format!("--columns: {}", e.what().replace("rows", "columns")))
                    .help(format!("the detector has the columns 0:{}", dims.nx))
            })?,
            None => 0..dims.nx,
        };
        let (bin, crop) = (self.bin, columns.clone());
        let narrowed = |source: Box<dyn Source>| -> Result<Box<dyn Source>> {
            let source = if crop.len() < dims.nx { Box::new(Columns::new(source, crop.clone())?) } else { source };
            Ok(if bin > 1 { Box::new(Binned::new(source, bin)?) } else { source })
        };
        let nothing: Box<dyn Source> = Box::new(Joined::empty());
        let mut projections = std::mem::replace(&mut scan.projections, nothing);
        if views.len() < dims.nz {
            if views.len() < 2 {
                return Err(Error::usage(format!("--blocked leaves {} of {} projections", views.len(), dims.nz))
                    .help("block less: angles are in degrees"));
            }
            projections = Box::new(Views::new(projections, &views)?);
            let kept: Vec<f64> = views.iter().map(|&i| angles.radians()[i]).collect();
            *angles = Angles::new(&kept, Some(crate::units::AngleUnit::Radian))?;
        }
        scan.projections = narrowed(projections)?;
        scan.flats = scan.flats.take().map(&narrowed).transpose()?;
        scan.darks = scan.darks.take().map(&narrowed).transpose()?;

        let axis_of = |c: f64| binned_axis(c - columns.start as f64, bin);
        let axis = axis.map(|axis| match axis {
            Axis::Fixed(c) => Axis::Fixed(axis_of(c)),
            Axis::PerRow(rows) => {
                Axis::PerRow(rows.chunks_exact(bin).map(|c| axis_of(c.iter().sum::<f64>() / bin as f64)).collect())
            }
        });
        *pixel = pixel.map(|p| Micrometre(p.0 * bin as f64));
        let mut steps = self.steps.clone();
        if let Some((energy, distance, delta_beta)) = self.phase {
            let Some(pixel) = *pixel else {
                return Err(Error::usage("phase retrieval needs the pixel size").help("give --pixel, such as 1.33um"));
            };
            steps.phase = Some(Paganin { energy, distance, delta_beta, pixel });
        }
        let positions = positions
            .map(|all| all.iter().map(|&p| views.iter().filter(|&&v| (v as f64) < p).count() as f64).collect());
        let known = if positions.is_some() { Blend::Linear } else { Blend::Mean };
        if self.blend.is_some_and(|b| b != Blend::Mean) && positions.is_none() {
            return Err(Error::usage("--flat-blend: it is not known when the flats were taken")
                .help("give --flats FILE --flats-after FILE, or leave --flat-blend out"));
        }
        Ok((Prepared { steps, blend: self.blend.unwrap_or(known), positions, columns, views }, axis))
    }
}
