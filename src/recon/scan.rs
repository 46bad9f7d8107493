//! A whole scan: detector rows in, slices out, one slab after the other.
//!
//! While a slab is computed the next one is read. Slabs are a matter of memory only: a slice's bits depend on its own
//! row (and, for `gridrec-compat`, on the axis of its pair).

use super::engine::{Engine, Sinograms, Workspace};
use super::fbp::Fbp;
use super::field::Field;
use super::filter::Filter;
use super::geometry::{Angles, Axis, axis_pixel};
use super::prepare::Chain;
use super::{gridrec, gridrec_compat, passes};
use crate::error::{Error, Result, nearest};
use crate::num::lanes::{Isa, LANES};
use crate::units::Micrometre;
use crate::volume::Sink;
use std::ops::Range;

/// How slices are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// [`gridrec`] with this gridding error.
    Gridrec(f64),
    /// [`gridrec_compat`].
    GridrecCompat,
    /// [`super::fbp`].
    Fbp,
}

impl Algorithm {
    /// The algorithm of a name; `error` is the gridding error of `gridrec`.
    pub fn parse(name: &str, error: f64) -> Result<Algorithm> {
        const NAMES: [&str; 3] = ["gridrec", "gridrec-compat", "fbp"];
        match name {
            "gridrec" => Ok(Algorithm::Gridrec(error)),
            "gridrec-compat" => Ok(Algorithm::GridrecCompat),
            "fbp" => Ok(Algorithm::Fbp),
            _ => {
                let hint = nearest(name, NAMES).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
                Err(Error::usage(format!("unknown algorithm '{name}'"))
                    .help(format!("{hint}known: {}", NAMES.join(", "))))
            }
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Gridrec(_) => "gridrec",
            Algorithm::GridrecCompat => "gridrec-compat",
            Algorithm::Fbp => "fbp",
        }
    }
    /// Version of its bits: raised whenever they change.
    pub fn version(self) -> u32 {
        1
    }
}

/// What is to be reconstructed, and how.
#[derive(Clone, Debug)]
pub struct Job {
    /// One angle per projection.
    pub angles: Angles,
    /// The rotation axis.
    pub axis: Axis,
    /// The filter.
    pub filter: Filter,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Detector rows to reconstruct.
    pub rows: Range<usize>,
    /// Pixel size; values are cm⁻¹ if it is known and per pixel if not.
    pub pixel: Option<Micrometre>,
    /// Rows that are read and computed together: memory, not bits.
    pub slab: usize,
}

/// Told about slices while they are made.
pub trait Watch {
    /// The middle slice, before the volume begins.
    fn middle(&mut self, row: usize, image: &[f32]) -> Result<()>;
    /// `done` of `total` slices are handed to the sink.
    fn progress(&mut self, done: usize, total: usize);
}

/// A planned reconstruction: all that depends on the geometry alone, for every slice and every scan of that geometry.
pub struct Plan {
    field: Field,
    unit: f64,
    method: Method,
}

enum Method {
    Engine { engine: Box<Engine>, paired: bool },
    Fbp(Box<Fbp>),
}

impl Plan {
    /// Plans for the columns of `field`.
    ///
    /// # Errors
    /// Those of the algorithm.
    pub fn new(
        field: &Field,
        angles: &Angles,
        filter: &Filter,
        algorithm: Algorithm,
        pixel: Option<Micrometre>,
    ) -> Result<Plan> {
        // Per detector pixel → per centimetre.
        let unit = pixel.map_or(1.0, |p| 1.0 / p.centimetres());
        let columns = field.columns;
        let method = match algorithm {
            Algorithm::Gridrec(error) => {
                let mut engine = gridrec::plan(columns, angles, filter, error)?.engine;
                engine.scale(unit);
                engine.see(field);
                Method::Engine { engine: Box::new(engine), paired: false }
            }
            Algorithm::GridrecCompat => {
                let mut engine = gridrec_compat::plan(columns, angles, filter)?;
                engine.scale(unit);
                engine.see(field);
                Method::Engine { engine: Box::new(engine), paired: true }
            }
            Algorithm::Fbp => Method::Fbp(Box::new(Fbp::new(columns, angles, filter)?)),
        };
        Ok(Plan { field: field.clone(), unit, method })
    }

    /// Grid and padded length, where there are such.
    pub fn lengths(&self) -> Option<[usize; 2]> {
        match &self.method {
            Method::Engine { engine, .. } => Some([engine.grid(), engine.padded()]),
            Method::Fbp(_) => None,
        }
    }

    /// Buffers for [`slices`](Self::slices).
    pub fn workspace(&self) -> Option<Workspace> {
        match &self.method {
            Method::Engine { engine, .. } => Some(engine.workspace()),
            Method::Fbp(_) => None,
        }
    }

    /// The columns.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Bytes of tables, and of one workspace for `threads` threads.
    pub fn bytes(&self, threads: usize) -> [usize; 2] {
        match &self.method {
            Method::Engine { engine, .. } => engine.bytes(threads),
            Method::Fbp(fbp) => fbp.bytes(),
        }
    }

    /// Reconstructs detector rows `first_row …` from `block` (`[angle][row][column]`, `rows` rows) into `images`.
    pub fn slices(
        &self,
        isa: Isa,
        workspace: &mut Option<Workspace>,
        axis: &Axis,
        first_row: usize,
        rows: usize,
        block: &[f32],
        images: &mut [f32],
    ) {
        let (measured, n) = (self.field.measured, self.field.image);
        let row_length = rows * measured;
        match &self.method {
            Method::Engine { engine, paired } => {
                let workspace = workspace.get_or_insert_with(|| engine.workspace());
                for (group, images) in images.chunks_mut(LANES * n * n).enumerate() {
                    let (start, slices) = (group * LANES, images.len() / (n * n));
                    // In compat mode a pair (2k, 2k+1) has the axis of 2k.
                    let centers: Vec<f64> = (first_row + start..first_row + start + slices)
                        .map(|row| axis.at(if *paired { row - row % 2 } else { row }))
                        .collect();
                    let sinograms = Sinograms {
                        data: &block[start * measured..],
                        angle_stride: row_length,
                        slice_stride: measured,
                        slices,
                    };
                    engine.run(isa, workspace, sinograms, &centers, images);
                }
            }
            Method::Fbp(fbp) => {
                for (slice, image) in images.chunks_exact_mut(n * n).enumerate() {
                    let row = |angle: usize| &block[angle * row_length + slice * measured..][..measured];
                    fbp_slice(fbp, &self.field, row, axis.at(first_row + slice), image);
                    let unit = self.unit as f32;
                    image.iter_mut().for_each(|v| *v *= unit);
                }
            }
        }
    }
}

/// One slice by [`Fbp`]: the rows are widened one by one and the image is cut, which nobody is in a hurry for.
fn fbp_slice<'a>(fbp: &Fbp, field: &Field, row: impl Fn(usize) -> &'a [f32], axis: f64, image: &mut [f32]) {
    let (columns, n) = (field.columns, field.image);
    let mut wide = vec![0.0f32; fbp.angles() * columns];
    for (angle, wide) in wide.chunks_exact_mut(columns).enumerate() {
        field.copy(row(angle), 0, wide);
    }
    let mut whole = vec![0.0f32; columns * columns];
    fbp.run(&wide, columns, field.axis(axis), &mut whole);
    let [full, cut] = [columns, n].map(axis_pixel);
    for (r, line) in image.chunks_exact_mut(n).enumerate() {
        line.copy_from_slice(&whole[(r + full.0 - cut.0) * columns + full.1 - cut.1..][..n]);
    }
}

/// Reconstructs a scan into `sink`, from the slice on that it wants next.
///
/// # Errors
/// Those of the chain and the sink; [`crate::error::Fault::Again`] when interrupted.
pub fn reconstruct(
    chain: &Chain,
    job: &Job,
    plan: &Plan,
    isa: Isa,
    sink: &mut dyn Sink,
    watch: &mut dyn Watch,
) -> Result<()> {
    let (n, all, total) = (plan.field.image, 0..job.angles.len(), job.rows.len());
    let mut workspace = plan.workspace();
    let slab = job.slab.clamp(1, total);
    let mut images = vec![0.0f32; slab * n * n];

    let middle = job.rows.start + total / 2;
    let one = middle..middle + 1;
    let mut block = vec![0.0f32; chain.length(all.len(), 1)];
    chain.read(all.clone(), one.clone(), &mut block)?;
    chain.finish(isa, all.clone(), one, &mut block)?;
    plan.slices(isa, &mut workspace, &job.axis, middle, 1, &block, &mut images[..n * n]);
    drop(block);
    watch.middle(middle, &images[..n * n])?;

    let rows = |slices: Range<usize>| job.rows.start + slices.start..job.rows.start + slices.end;
    let read = |slices: Range<usize>, block: &mut [f32]| chain.read(all.clone(), rows(slices), block);
    passes::blocks(sink.next_slice(), total, slab, chain.length(all.len(), slab), read, |slices, block| {
        let counts = chain.finish(isa, all.clone(), rows(slices.clone()), block)?;
        passes::count(sink, slices.start, &counts)?;
        let images = &mut images[..slices.len() * n * n];
        plan.slices(isa, &mut workspace, &job.axis, rows(slices.clone()).start, slices.len(), block, images);
        sink.write(images)?;
        watch.progress(slices.end, total);
        Ok(())
    })
}
