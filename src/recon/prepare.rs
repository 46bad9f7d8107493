//! The way from stored projections to what a pass wants of them, block by block.
//!
//! ```text
//! read  ─ zingers ─ flat field ─ background ─ stripes ─ −ln
//!         projection  pixel       row of one   row of all
//!         plane                   projection   projections
//! ```
//!
//! Stripes need all projections of a row, phase retrieval all rows of a projection: where a job wants both, or phase
//! retrieval alone, its passes write what lies between to disk ([`super::passes`]). A block is
//! `[projection][row][column]`; its values do not depend on how a scan is cut into blocks.

use super::background;
use super::normalize::{Input, InputKind};
use super::phase::Paganin;
use super::stripe::{Stripe, StripePlan};
use super::zinger::Zinger;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::lanes::Isa;
use rayon::prelude::*;
use std::ops::Range;

/// The count of absorption values that were not finite, in a manifest's results.
pub const NOT_FINITE: &str = "absorption_not_finite";
/// The count of zingers.
pub const ZINGERS: &str = "zingers";

/// What is done to the projections besides the flat field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// Stray photons.
    pub zinger: Option<Zinger>,
    /// Columns of air at either end of a row.
    pub air: Option<usize>,
    /// Stripes.
    pub stripe: Option<Stripe>,
    /// Phase retrieval.
    pub phase: Option<Paganin>,
}

impl Steps {
    /// Every value that decides the bits; `angles` × `columns` is the size of a sinogram.
    pub fn params(&self, angles: usize, columns: usize) -> Json {
        let zinger =
            |z: &Zinger| Json::obj([("size", z.size().into()), ("threshold", f64::from(z.threshold()).into())]);
        Json::obj([
            ("zinger", self.zinger.as_ref().map_or(Json::Null, zinger)),
            ("air_columns", self.air.map_or(Json::Null, Json::from)),
            ("stripe", self.stripe.as_ref().map_or(Json::Null, |s| s.params(angles, columns))),
            ("phase", self.phase.as_ref().map_or(Json::Null, Paganin::params)),
        ])
    }

    /// The steps without those that a block of some rows or of some projections cannot take.
    pub fn quick(&self) -> Steps {
        Steps { stripe: None, phase: None, ..self.clone() }
    }
}

/// What a chain ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// T, or whatever the projections hold that are no counts.
    Transmission,
    /// −ln T.
    Absorption,
}

/// What happened to the values of some rows: name and number in each row.
pub type Counts = Vec<(&'static str, Vec<u64>)>;

/// All that is done to a block.
pub struct Chain<'a> {
    input: Input<'a>,
    zinger: Option<Zinger>,
    air: Option<usize>,
    stripe: Option<StripePlan>,
    until: Until,
}

impl<'a> Chain<'a> {
    /// A chain over `input` with the steps but phase retrieval, which is a pass of its own.
    ///
    /// # Errors
    /// Usage: steps that do not fit the input.
    pub fn new(input: Input<'a>, steps: &Steps, until: Until) -> Result<Chain<'a>> {
        let dims = input.source().dims();
        if let Some(air) = steps.air.filter(|&air| 2 * air > dims.nx) {
            return Err(Error::usage(format!("{air} columns of air on either side of {} columns", dims.nx))
                .help("give --air the number of columns that are air in every projection"));
        }
        if steps.air.is_some() && input.kind() == InputKind::Absorption {
            return Err(
                Error::usage("--air divides transmissions, and the projections are absorption").help("leave it out")
            );
        }
        let stripe = steps.stripe.as_ref().map(|s| StripePlan::new(s, dims.nz, dims.nx)).transpose()?;
        Ok(Chain { input, zinger: steps.zinger, air: steps.air, stripe, until })
    }

    /// Projections and columns.
    pub fn size(&self) -> [usize; 2] {
        let dims = self.input.source().dims();
        [dims.nz, dims.nx]
    }

    /// The rows that are read for `rows`.
    fn span(&self, rows: &Range<usize>) -> Range<usize> {
        let halo = self.zinger.map_or(0, |z| z.halo());
        rows.start.saturating_sub(halo)..(rows.end + halo).min(self.input.source().dims().ny)
    }

    /// Numbers that a block of `projections` × `rows` needs while it is worked on.
    pub fn length(&self, projections: usize, rows: usize) -> usize {
        let halo = self.zinger.map_or(0, |z| 2 * z.halo());
        projections * (rows + halo).min(self.input.source().dims().ny) * self.size()[1]
    }

    /// Bytes besides the blocks: the flat field, and the stripes' tables and work for `threads` threads.
    pub fn bytes(&self, threads: usize) -> usize {
        let [angles, columns] = self.size();
        let stripe = self.stripe.as_ref().map_or(0, |plan| {
            let [tables, work] = plan.bytes();
            tables + threads * (work + 4 * angles * columns)
        });
        self.input.bytes() + stripe
    }

    /// Bytes that reading a block takes from the disk.
    pub fn cost(&self, which: Range<usize>, rows: Range<usize>) -> u64 {
        self.input.source().cost(which, self.span(&rows))
    }

    /// Reads what [`finish`](Self::finish) needs for a block.
    pub fn read(&self, which: Range<usize>, rows: Range<usize>, block: &mut [f32]) -> Result<()> {
        let span = self.span(&rows);
        let length = which.len() * span.len() * self.size()[1];
        self.input.source().read(which, span, &mut block[..length])
    }

    /// Works on a block that was read; its values are the first projections × rows × columns of `block` then.
    /// Stripes are removed where the block holds all projections.
    ///
    /// # Errors
    /// Values that are not finite ([`Input::accept`]), rows without air.
    pub fn finish(&self, isa: Isa, which: Range<usize>, rows: Range<usize>, block: &mut [f32]) -> Result<Counts> {
        let [angles, columns] = self.size();
        let span = self.span(&rows);
        let mut counts = Vec::new();
        if let Some(zinger) = &self.zinger {
            let inner = rows.start - span.start..rows.end - span.start;
            let block = &mut block[..which.len() * span.len() * columns];
            counts.push((ZINGERS, zinger.clean(block, span.len(), columns, inner.clone())));
            let (height, skip) = (rows.len() * columns, inner.start * columns);
            for i in 0..which.len() {
                let from = i * span.len() * columns + skip;
                block.copy_within(from..from + height, i * height);
            }
        }
        let block = &mut block[..which.len() * rows.len() * columns];
        self.input.flat_field(which.clone(), rows.clone(), block);
        let mut spoiled = vec![0; rows.len()];
        if self.air.is_some() || self.stripe.is_some() || self.until == Until::Transmission {
            // These steps would spread what is not finite.
            spoiled = self.input.accept(which.clone(), rows.clone(), block, self.input.air())?;
        }
        if let Some(air) = self.air {
            let without = background::normalize(block, columns, air);
            if without > 0 {
                return Err(Error::data(format!(
                    "{without} rows of projections have no air in their first or last {air} columns"
                ))
                .help("choose fewer columns with --air, or leave it out"));
            }
        }
        if let Some(plan) = self.stripe.as_ref().filter(|_| which.len() == angles) {
            remove_stripes(isa, plan, block, rows.len(), columns);
        }
        if self.until == Until::Absorption {
            let after = self.input.to_absorption(isa, which, rows, block)?;
            // With `keep` they are the same values, seen twice.
            spoiled.iter_mut().zip(after).for_each(|(a, b)| *a = if self.input.keeps() { b } else { *a + b });
        }
        counts.push((NOT_FINITE, spoiled));
        Ok(counts)
    }
}

/// Removes the stripes of every row of a block of all projections.
fn remove_stripes(isa: Isa, plan: &StripePlan, block: &mut [f32], rows: usize, columns: usize) {
    let angles = block.len() / (rows * columns);
    let mut by_row: Vec<Vec<&mut [f32]>> = (0..rows).map(|_| Vec::with_capacity(angles)).collect();
    for (i, line) in block.chunks_exact_mut(columns).enumerate() {
        by_row[i % rows].push(line);
    }
    // One task per thread, so that there are as many buffers as threads.
    let share = rows.div_ceil(rayon::current_num_threads().max(1));
    by_row.par_chunks_mut(share).for_each(|rows| {
        let (mut work, mut sinogram) = (plan.work(), vec![0.0f32; angles * columns]);
        for lines in rows {
            for (line, values) in lines.iter().zip(sinogram.chunks_exact_mut(columns)) {
                values.copy_from_slice(line);
            }
            plan.run(isa, &mut work, &mut sinogram);
            for (line, values) in lines.iter_mut().zip(sinogram.chunks_exact(columns)) {
                line.copy_from_slice(values);
            }
        }
    });
}
