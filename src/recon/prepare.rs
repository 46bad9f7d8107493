//! The way from stored projections to what a pass wants of them, block by block.
//!
//! ```text
//! read  ─ zingers ─ flat field ─ background ─ stripes ─ −ln
//!         projection  pixel       row of one   row of all
//!         plane                   projection   projections
//! ```
//!
//! Stripes need all projections of a row, phase retrieval all rows of a projection: where a job wants both, or phase
//! retrieval alone, its passes write what lies between to disk ([`super::scan`]). A block is `[projection][row][column]`;
//! its values do not depend on how a scan is cut into blocks.

use super::normalize::Input;
use crate::error::Result;
use crate::num::lanes::Isa;
use std::ops::Range;

/// The count of absorption values that were not finite, in a manifest's results.
pub const NOT_FINITE: &str = "absorption_not_finite";

/// What a chain ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// T, or whatever the projections hold that are no counts.
    Transmission,
    /// −ln T.
    Absorption,
}

/// What happened to the values of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Name and number in each row.
    pub by_row: Vec<(&'static str, Vec<u64>)>,
}

/// All that is done to a block.
pub struct Chain<'a> {
    input: Input<'a>,
    until: Until,
}

impl<'a> Chain<'a> {
    /// A chain over `input`.
    pub fn new(input: Input<'a>, until: Until) -> Chain<'a> {
        Chain { input, until }
    }

    /// Projections and columns.
    pub fn size(&self) -> [usize; 2] {
        let dims = self.input.source().dims();
        [dims.nz, dims.nx]
    }

    /// Numbers that a block of `projections` × `rows` needs while it is worked on.
    pub fn length(&self, projections: usize, rows: usize) -> usize {
        projections * rows * self.size()[1]
    }

    /// Reads what [`finish`](Self::finish) needs for a block.
    pub fn read(&self, which: Range<usize>, rows: Range<usize>, block: &mut [f32]) -> Result<()> {
        let length = which.len() * rows.len() * self.size()[1];
        self.input.read(which, rows, &mut block[..length])
    }

    /// Works on a block that was read; its values are the first projections × rows × columns of `block` then.
    ///
    /// # Errors
    /// Those of [`Input::to_absorption`].
    pub fn finish(&self, isa: Isa, which: Range<usize>, rows: Range<usize>, block: &mut [f32]) -> Result<Counts> {
        let block = &mut block[..which.len() * rows.len() * self.size()[1]];
        self.input.flat_field(which.clone(), rows.clone(), block);
        let spoiled = match self.until {
            Until::Transmission => self.input.accept(which, rows, block, 1.0)?,
            Until::Absorption => self.input.to_absorption(isa, which, rows, block)?,
        };
        Ok(Counts { by_row: vec![(NOT_FINITE, spoiled)] })
    }
}
