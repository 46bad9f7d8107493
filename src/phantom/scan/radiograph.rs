//! The scan of some fields of view: fine rows, rays, free space, cameras, one projection after the other.
//!
//! ```text
//! for each chunk of angles          as many as their ∫µ (and ∫δ) of all fine rows fit into the memory given
//!   for some fine rows              cells from the object, line integrals of the chunk        all threads
//!   for each projection             surroundings, free space; of each field blur, counts, sink     all threads
//! ```
//!
//! The object is filled once per chunk. Fields that are taken one after another see one picture, each its rows of it, moved by what the
//! object has moved in between ([`Field::moved`]): what a parallel beam shows of it moves as it does. A projection's bits
//! do not depend on the chunk, nor on which are made, but on what other fields there are.

use super::detector::{Camera, Field, Frame};
use super::project::{FINE, Projector};
use super::wave::{Propagation, Waves};
use crate::error::{Error, Result};
use crate::num::lanes::{Isa, LANES, Lane};
use crate::os::check_interrupt;
use crate::units::Micrometre;
use crate::volume::Sink;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::PoisonError;

/// What is scanned: slices of `columns` × `columns` voxels inside the circle of radius `columns`/2 about the axis.
pub trait Object: Sync {
    /// Voxels along an edge of a slice.
    fn columns(&self) -> usize;
    /// Fine rows along z, two for each slice.
    fn fine_rows(&self) -> usize;
    /// Cells `[y][x]`, 2·columns × 2·columns, of up to 16 fine rows, row i in lane i: µ and, if asked for, δ, per voxel
    /// of path. The arrays come as they were left; lanes without a row are ignored.
    ///
    /// # Errors
    /// Its own.
    fn fill(&self, isa: Isa, fine_rows: Range<usize>, mu: &mut [Lane], delta: Option<&mut [Lane]>) -> Result<()>;
    /// ∫µ and ∫δ (voxels) outside the circle along the ray at `theta` (radians) and `s` (voxels from the axis).
    fn around(&self, theta: f64, s: f64) -> [f64; 2] {
        let _ = (theta, s);
        [0.0; 2]
    }
}

/// The fine rows, of `all` that the object has, and the fine columns, the axis in their middle, that some fields look at.
pub fn picture<'a>(fields: impl Iterator<Item = &'a Field>, all: usize) -> (Range<usize>, usize) {
    let each = fields.map(|field| (field.fine_rows(all), field.fine_columns()));
    each.reduce(|(a, m), (b, n)| (a.start.min(b.start)..a.end.max(b.end), m.max(n))).unwrap_or_default()
}

/// What scans of one size are worked on in, kept from one to the next: the pages of hundreds of megabytes are new once.
#[derive(Default)]
pub struct Work {
    projector: Option<Projector>,
    cells: Vec<Vec<Lane>>,
    lines: Vec<Lane>,
    integrals: Vec<f32>,
}

impl Work {
    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let lanes = self.lines.capacity() + self.cells.iter().map(Vec::capacity).sum::<usize>();
        let padded = |p: &Projector| p.padded.lock().unwrap_or_else(PoisonError::into_inner).capacity();
        let lanes = lanes + self.projector.as_ref().map_or(0, padded);
        (size_of::<Lane>() * lanes + size_of::<f32>() * self.integrals.capacity()) as u64
    }
}

/// A scan of some fields of view.
pub struct Scan<'a> {
    /// What is scanned.
    pub object: &'a dyn Object,
    /// By what, a camera for each field.
    pub cameras: &'a [Camera],
    /// Angles, radians, one per projection.
    pub theta: &'a [f64],
    /// Size of a voxel, and of a detector pixel.
    pub voxel: Micrometre,
    /// What lies between.
    pub propagation: Propagation,
}

impl Scan<'_> {
    /// Writes the projections that each field's sink, if it has one, still wants (slices of the detector's size), holding line integrals and lines of at most
    /// `memory` bytes (at least one projection) besides the cells of [`Projector::grids`] and, on each thread, [`Waves::bytes`].
    /// `progress` is told projections done, and of how many.
    ///
    /// # Errors
    /// Usage: angles that are not as many as the cameras' projections, what [`Waves::new`] refuses; those of object and
    /// sinks; [`crate::error::Fault::Again`] when interrupted.
    ///
    /// # Panics
    /// If there are not as many sinks as cameras.
    pub fn projections(
        &self,
        isa: Isa,
        memory: usize,
        work: &mut Work,
        sinks: &mut [Option<&mut dyn Sink>],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<()> {
        let (object, all, total) = (self.object, self.object.fine_rows(), self.theta.len());
        assert_eq!(sinks.len(), self.cameras.len(), "a place for every field");
        if let Some(camera) = self.cameras.iter().find(|camera| camera.projections() != total) {
            return Err(Error::usage(format!("{total} angles for {} projections", camera.projections())));
        }
        if self.cameras.is_empty() {
            return Ok(());
        }
        let (rows, width) = picture(self.cameras.iter().map(Camera::field), all);
        let kept = work.projector.take().filter(|p| p.side() == FINE * object.columns());
        let projector = kept.map_or_else(|| Projector::new(object.columns(), width), |p| p.with_columns(width));
        let waves = Waves::new(rows.len(), width, self.voxel, &self.propagation)?;
        let quantities = 1 + usize::from(waves.refracts());
        let picture = rows.len() * width;
        let batch = rayon::current_num_threads();
        // Grids, lines and integrals are all written anew.
        let groups = projector.grids() / quantities;
        let lines = size_of::<Lane>() * groups * quantities * width;
        let chunk = (memory / (size_of::<f32>() * quantities * picture + lines)).max(1);
        work.cells.resize(groups * quantities, Vec::new());
        work.cells.iter_mut().for_each(|grid| grid.resize(projector.side() * projector.side(), Lane::ZERO));
        let wanted: Vec<usize> = sinks.iter().map(|sink| sink.as_ref().map_or(total, |s| s.next_slice())).collect();
        let mut first = wanted.iter().fold(total, |first, &of| first.min(of));
        while first < total {
            let theta = &self.theta[first..(first + chunk).min(total)];
            work.integrals.resize(theta.len() * quantities * picture, 0.0);
            work.lines.resize(theta.len() * work.cells.len() * width, Lane::ZERO);
            self.integrate(isa, &projector, theta, (&rows, width), work)?;
            for (group, pictures) in work.integrals.chunks(batch * quantities * picture).enumerate() {
                check_interrupt()?;
                let before = first + group * batch;
                let frames: Vec<Vec<Option<Vec<f32>>>> = pictures
                    .par_chunks(quantities * picture)
                    .enumerate()
                    .map(|(i, pictures)| {
                        let (mu, delta) = pictures.split_at(picture);
                        let mut intensity = vec![0.0; picture];
                        waves.run(isa, mu, delta, &mut intensity);
                        let theta = theta[before - first + i];
                        let seen = self.cameras.iter().zip(&wanted).map(|(camera, &from)| {
                            let own = camera.field().fine_rows(all);
                            let part = &intensity[(own.start - rows.start) * width..(own.end - rows.start) * width];
                            (from <= before + i).then(|| {
                                let seen = camera.look(isa, part, width, own.start, before + i, theta);
                                camera.counts(isa, Frame::Projection(before + i), &seen)
                            })
                        });
                        seen.collect()
                    })
                    .collect();
                for (i, frames) in frames.iter().enumerate() {
                    for (sink, frame) in sinks.iter_mut().zip(frames) {
                        if let (Some(sink), Some(frame)) = (sink, frame) {
                            sink.write(frame)?;
                        }
                    }
                    progress((before + i + 1) as u64, total as u64);
                }
            }
            first += theta.len();
        }
        work.projector = Some(projector);
        Ok(())
    }

    /// Line integrals `[angle][quantity][fine row][fine column]`.
    fn integrate(
        &self,
        isa: Isa,
        projector: &Projector,
        theta: &[f64],
        (rows, width): (&Range<usize>, usize),
        Work { cells, lines, integrals, .. }: &mut Work,
    ) -> Result<()> {
        let picture = rows.len() * width;
        let quantities = integrals.len() / (theta.len() * picture);
        let around: Vec<[f64; 2]> = (0..theta.len() * width)
            .into_par_iter()
            .map(|i| self.object.around(theta[i / width], projector.s(i % width)))
            .collect();
        let groups: Vec<Range<usize>> =
            rows.clone().step_by(LANES).map(|first| first..(first + LANES).min(rows.end)).collect();
        for groups in groups.chunks(cells.len() / quantities) {
            check_interrupt()?;
            for (rows, cells) in groups.iter().zip(cells.chunks_mut(quantities)) {
                let (mu, delta) = cells.split_at_mut(1);
                self.object.fill(isa, rows.clone(), &mut mu[0], delta.first_mut().map(|d| &mut d[..]))?;
            }
            let grids: Vec<&[Lane]> = cells[..groups.len() * quantities].iter().map(|c| &c[..]).collect();
            let lines = &mut lines[..theta.len() * grids.len() * width];
            projector.project(isa, &grids, theta, lines);
            integrals
                .par_chunks_mut(quantities * picture)
                .zip(lines.par_chunks(grids.len() * width))
                .zip(around.par_chunks(width))
                .for_each(|((pictures, lines), around)| {
                    for (g, lines) in lines.chunks(width).enumerate() {
                        let quantity = g % quantities;
                        for (lane, row) in groups[g / quantities].clone().enumerate() {
                            let out = &mut pictures[quantity * picture + (row - rows.start) * width..][..width];
                            for ((out, line), outside) in out.iter_mut().zip(lines).zip(around) {
                                *out = line.0[lane] + outside[quantity] as f32;
                            }
                        }
                    }
                });
        }
        Ok(())
    }
}

/// Fine rows of an object of `slices` slices.
pub fn fine_rows(slices: usize) -> usize {
    FINE * slices
}

#[cfg(test)]
mod tests {
    use super::super::super::discs::{self, Disc, Sampling};
    use super::super::detector::{Field, Settings};
    use super::*;
    use crate::units::KiloElectronVolt;
    use crate::volume::{Collect, Dims};
    use std::f64::consts::PI;

    /// Discs, sampled by area; fine row r of them is 1 + `change` · r times as dense.
    struct Discs {
        n: usize,
        discs: Vec<Disc>,
        cells: Vec<f32>,
        change: f32,
    }

    impl Discs {
        fn new(n: usize, discs: Vec<Disc>) -> Discs {
            // Among 2n × 2n pixels of half the size the axis lies half a cell off ours, both ways.
            let finer = |d: &Disc| Disc { x: 2.0 * d.x + 0.5, y: 2.0 * d.y + 0.5, radius: 2.0 * d.radius, mu: d.mu };
            let cells = discs::truth(&discs.iter().map(finer).collect::<Vec<_>>(), 2 * n, 8);
            Discs { n, discs, cells, change: 0.0 }
        }
    }

    impl Object for Discs {
        fn columns(&self) -> usize {
            self.n
        }
        fn fine_rows(&self) -> usize {
            fine_rows(20)
        }
        fn fill(&self, _: Isa, rows: Range<usize>, mu: &mut [Lane], delta: Option<&mut [Lane]>) -> Result<()> {
            let dense: [f32; LANES] = std::array::from_fn(|lane| 1.0 + self.change * (rows.start + lane) as f32);
            mu.iter_mut().zip(&self.cells).for_each(|(lane, &v)| *lane = Lane(dense.map(|d| d * v)));
            if let Some(delta) = delta {
                delta.iter_mut().zip(&self.cells).for_each(|(lane, &v)| *lane = Lane(dense.map(|d| 1e-4 * d * v)));
            }
            Ok(())
        }
        fn around(&self, theta: f64, _: f64) -> [f64; 2] {
            [0.1 + 0.01 * theta, 0.0]
        }
    }

    /// What each camera sees, those before `skip` left out.
    fn scan(
        object: &Discs,
        cameras: &[Camera],
        theta: &[f64],
        what: Propagation,
        memory: usize,
        skip: &[usize],
    ) -> Vec<Vec<f32>> {
        let mut sinks = Vec::new();
        for (camera, skip) in cameras.iter().zip(skip) {
            let field = camera.field();
            let mut sink = Collect::new(Dims::new(theta.len(), field.rows, field.columns).unwrap());
            sink.values = vec![0.0; skip * field.rows * field.columns];
            sinks.push(sink);
        }
        let mut each: Vec<Option<&mut dyn Sink>> = sinks.iter_mut().map(|s| Some(s as &mut dyn Sink)).collect();
        let scan = Scan { object, cameras, theta, voxel: Micrometre(1.33), propagation: what };
        scan.projections(Isa::detect(), memory, &mut Work::default(), &mut each, &|_, _| ()).unwrap();
        sinks.into_iter().map(|sink| sink.values).collect()
    }

    /// −ln of projections without structure is the closed form for the same axis as `recon --center`.
    #[test]
    fn discs_are_seen_where_and_as_dark_as_they_are() {
        let n = 64;
        let object = Discs::new(
            n,
            vec![Disc { x: 9.0, y: -4.0, radius: 12.0, mu: 0.03 }, Disc { x: -14.0, y: 6.0, radius: 7.0, mu: 0.02 }],
        );
        let theta: Vec<f64> = (0..12).map(|i| f64::from(i) * PI / 12.0).collect();
        let (rows, columns, center) = (5, 70, 38.25);
        let camera =
            Camera::new(&Settings::plain(1e9), &Field::new(rows, columns, center), theta.len(), [1, 0, 0]).unwrap();
        let got = scan(&object, &[camera], &theta, Propagation::Contact, 1 << 24, &[0]).remove(0);
        let want = discs::sinogram(&object.discs, &theta, columns, center, Sampling::Pixel);
        let (mut error, mut norm) = (0.0, 0.0);
        for (i, want) in want.iter().enumerate() {
            let (angle, column) = (i / columns, i % columns);
            let outside = 0.1 + 0.01 * theta[angle];
            let counts = got[(angle * rows + 2) * columns + column];
            let seen = -((f64::from(counts) - 100.0) / 39_900.0).ln() - outside;
            error += (seen - want).powi(2);
            norm += want * want;
        }
        // A bilinear pixel is a third of a pixel wider than it should be: seen at the rims only.
        assert!((error / norm).sqrt() < 0.01, "{}", (error / norm).sqrt());
    }

    const WAVES: Propagation =
        Propagation::Fresnel { energy: KiloElectronVolt(27.5), distance: Micrometre(6e4), bandwidth: 0.01 };

    /// One above the other, each with its axis, the upper one after the sample has moved.
    fn two_fields() -> [Camera; 2] {
        let lower = Field { tilt: 1e-3, axis_drift: 0.5, ..Field::new(9, 24, 13.0) };
        let upper = Field { first_row: 7.0, moved: [0.4, -0.3, 0.2], ..Field::new(9, 24, 11.0) };
        [lower, upper].map(|field| Camera::new(&Settings::default(), &field, 7, [1, 0, 0]).unwrap())
    }

    #[test]
    fn any_projection_alone_has_the_bits_of_the_series() {
        let object = Discs { change: 0.02, ..Discs::new(20, vec![Disc { x: 1.0, y: -2.0, radius: 6.0, mu: 0.03 }]) };
        let theta: Vec<f64> = (0..7).map(|i| f64::from(i) * 0.4).collect();
        let cameras = two_fields();
        let run = |memory, skip| scan(&object, &cameras, &theta, WAVES, memory, skip);
        let all = run(1 << 24, &[0, 0]);
        assert!(all.iter().all(|values| values.len() == 7 * 9 * 24));
        let (one, late) = (run(0, &[0, 0]), run(0, &[5, 3]));
        assert_eq!(one, all);
        for ((late, all), skip) in late.iter().zip(&all).zip([5, 3]) {
            assert_eq!(late[skip * 9 * 24..], all[skip * 9 * 24..]);
        }
        // A field that is whole is not written again, and the other's bits are the same.
        let mut sink = Collect::new(Dims::new(7, 9, 24).unwrap());
        let scan =
            Scan { object: &object, cameras: &cameras, theta: &theta, voxel: Micrometre(1.33), propagation: WAVES };
        // Memory of another scan, of a larger object and without free space, shows nowhere.
        let mut work = Work::default();
        let larger = Discs::new(26, vec![Disc { x: 0.0, y: 0.0, radius: 11.0, mu: 0.05 }]);
        let other = Scan { object: &larger, cameras: &cameras[..1], propagation: Propagation::Contact, ..scan };
        let mut seen = Collect::new(Dims::new(7, 9, 24).unwrap());
        other.projections(Isa::detect(), 1 << 24, &mut work, &mut [Some(&mut seen)], &|_, _| ()).unwrap();
        assert!(work.bytes() > (64 * 52 * 52) as u64);
        scan.projections(Isa::detect(), 0, &mut work, &mut [None, Some(&mut sink)], &|_, _| ()).unwrap();
        assert_eq!(sink.values, all[1]);
    }

    /// What moves by whole pixels is seen by as much elsewhere, and along the beam it is not seen at all.
    #[test]
    fn what_has_moved_is_seen_where_it_is() {
        let object = Discs { change: 0.02, ..Discs::new(20, vec![Disc { x: 1.0, y: -2.0, radius: 6.0, mu: 0.03 }]) };
        let at = |first_row: f64, center: f64, moved| Field { first_row, moved, ..Field::new(6, 24, center) };
        // At angle 0 the detector's columns run along X.
        let fields = [at(3.0, 12.0, [0.0; 3]), at(5.0, 12.0, [0.0, 0.7, 2.0]), at(3.0, 9.0, [-2.0, 0.0, 0.0])];
        let plain = Settings { quanta: 1e9, read_noise: 0.0, ..Settings::plain(1e9) };
        let cameras = fields.map(|field| Camera::new(&plain, &field, 1, [1, 0, 0]).unwrap());
        let seen = scan(&object, &cameras, &[0.0], WAVES, 0, &[0, 0, 0]);
        // Photons are another number in each: a few counts of 40,000.
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 12.0);
        assert!(near(&seen[0], &seen[1]));
        let spread = seen[0].iter().fold(0.0f32, |most, v| most.max((v - seen[0][0]).abs()));
        assert!(spread > 2000.0, "{spread}: the disc is seen");
        // The axis is three columns to the left, and the sample two more.
        assert!(seen[0].chunks(24).zip(seen[2].chunks(24)).all(|(a, b)| near(&a[5..], b)));
    }
}
