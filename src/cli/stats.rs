//! Minimum, maximum, mean and non-finite voxels of an array, read in blocks of bounded size.

use crate::cli::progress::Progress;
use crate::error::Result;
use crate::os::check_interrupt;
use crate::volume::Source;

/// Voxels read at a time: 4 MiB of f32, whatever the header says.
const BLOCK: usize = 1 << 20;

/// What a pass over all voxels finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Finite voxels.
    pub finite: u64,
    /// Not-a-number voxels.
    pub nan: u64,
    /// Infinite voxels of either sign.
    pub infinite: u64,
    /// Smallest finite value; +∞ when there is none.
    pub min: f32,
    /// Largest finite value; −∞ when there is none.
    pub max: f32,
    /// Sum of the finite values, in f64, in the order z, y, x: the same on every machine.
    sum: f64,
}

impl Stats {
    /// Reads all of `source`.
    pub fn of(source: &dyn Source, progress: &Progress<'_>) -> Result<Stats> {
        let mut stats = Stats { finite: 0, nan: 0, infinite: 0, min: f32::INFINITY, max: f32::NEG_INFINITY, sum: 0.0 };
        let dims = source.dims();
        let rows = (BLOCK / dims.nx).clamp(1, dims.ny);
        let mut block = Vec::new();
        for z in 0..dims.nz {
            for first in (0..dims.ny).step_by(rows) {
                let y = first..(first + rows).min(dims.ny);
                block.resize(y.len() * dims.nx, 0.0);
                source.read(z..z + 1, y, &mut block)?;
                stats.add(&block);
                check_interrupt()?;
            }
            let slices = z as u64 + 1;
            progress.update(slices, dims.nz as u64, slices * (dims.slice() * source.dtype().size()) as u64);
        }
        Ok(stats)
    }

    fn add(&mut self, values: &[f32]) {
        for &v in values {
            if v.is_finite() {
                self.finite += 1;
                self.min = self.min.min(v);
                self.max = self.max.max(v);
                self.sum += f64::from(v);
            } else if v.is_nan() {
                self.nan += 1;
            } else {
                self.infinite += 1;
            }
        }
    }

    /// Mean of the finite values; `None` when there is none.
    pub fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / self.finite as f64)
    }
}
