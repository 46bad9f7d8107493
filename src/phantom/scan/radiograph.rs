//! The scan of one field of view: fine rows, rays, free space, camera, one projection after the other.
//!
//! ```text
//! for each chunk of angles          as many as their ∫µ (and ∫δ) of all fine rows fit into the memory given
//!   for some fine rows              cells from the object, line integrals of the chunk        all threads
//!   for each projection             surroundings, free space, blur, counts, sink              all threads
//! ```
//!
//! The object is filled once per chunk. A projection's bits do not depend on the chunk, nor on which are made.

use super::detector::{Camera, Frame};
use super::project::{FINE, Projector};
use super::wave::{Propagation, Waves};
use crate::error::{Error, Result};
use crate::num::lanes::{Isa, LANES, Lane};
use crate::os::check_interrupt;
use crate::units::Micrometre;
use crate::volume::Sink;
use rayon::prelude::*;
use std::ops::Range;

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

/// A scan of one field of view.
pub struct Scan<'a> {
    /// What is scanned.
    pub object: &'a dyn Object,
    /// By what.
    pub camera: &'a Camera,
    /// Angles, radians, one per projection.
    pub theta: &'a [f64],
    /// Size of a voxel, and of a detector pixel.
    pub voxel: Micrometre,
    /// What lies between.
    pub propagation: Propagation,
}

impl Scan<'_> {
    /// Writes the projections that `sink` still wants (slices of the detector's size), holding line integrals of at most
    /// `memory` bytes (at least one projection) besides the cells of [`Projector::grids`], their lines and, on each thread, [`Waves::bytes`].
    /// `progress` is told projections done, of how many, and bytes written.
    ///
    /// # Errors
    /// Usage: angles that are not as many as the camera's projections, what [`Waves::new`] refuses; those of object and
    /// sink; [`crate::error::Fault::Again`] when interrupted.
    pub fn projections(
        &self,
        isa: Isa,
        memory: usize,
        sink: &mut dyn Sink,
        progress: &(dyn Fn(u64, u64, u64) + Sync),
    ) -> Result<()> {
        let (object, camera, field) = (self.object, self.camera, self.camera.field());
        if self.theta.len() != camera.projections() {
            return Err(Error::usage(format!("{} angles for {} projections", self.theta.len(), camera.projections())));
        }
        let (width, rows) = (field.fine_columns(), field.fine_rows(object.fine_rows()));
        let projector = Projector::new(object.columns(), width);
        let waves = Waves::new(rows.len(), width, self.voxel, &self.propagation)?;
        let quantities = 1 + usize::from(waves.refracts());
        let picture = rows.len() * width;
        let chunk = (memory / (4 * quantities * picture)).max(1);
        let batch = rayon::current_num_threads();
        let groups = projector.grids() / quantities;
        let mut cells = vec![vec![Lane::ZERO; projector.side() * projector.side()]; groups * quantities];
        let mut first = sink.next_slice();
        let total = self.theta.len();
        while first < total {
            let theta = &self.theta[first..(first + chunk).min(total)];
            let mut integrals = vec![0.0f32; theta.len() * quantities * picture];
            self.integrate(isa, &projector, theta, &rows, &mut cells, &mut integrals)?;
            for (group, pictures) in integrals.chunks(batch * quantities * picture).enumerate() {
                check_interrupt()?;
                let frames: Vec<Vec<f32>> = pictures
                    .par_chunks(quantities * picture)
                    .enumerate()
                    .map(|(i, pictures)| {
                        let i = group * batch + i;
                        let (mu, delta) = pictures.split_at(picture);
                        let mut intensity = vec![0.0; picture];
                        waves.run(isa, mu, delta, &mut intensity);
                        let seen = camera.look(isa, &mut intensity, rows.start, first + i, theta[i]);
                        camera.counts(isa, Frame::Projection(first + i), &seen)
                    })
                    .collect();
                for frame in &frames {
                    sink.write(frame)?;
                    let done = sink.next_slice() as u64;
                    progress(done, total as u64, done * (frame.len() * std::mem::size_of::<u16>()) as u64);
                }
            }
            first += theta.len();
        }
        Ok(())
    }

    /// Line integrals `[angle][quantity][fine row][fine column]`.
    fn integrate(
        &self,
        isa: Isa,
        projector: &Projector,
        theta: &[f64],
        rows: &Range<usize>,
        cells: &mut [Vec<Lane>],
        integrals: &mut [f32],
    ) -> Result<()> {
        let (width, picture) = (self.camera.field().fine_columns(), rows.len() * self.camera.field().fine_columns());
        let quantities = integrals.len() / (theta.len() * picture);
        let mut lines = vec![Lane::ZERO; theta.len() * cells.len() * width];
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

/// Bytes of one projection's line integrals: what [`Scan::projections`] needs at the least.
pub fn projection_bytes(camera: &Camera, fine_rows: usize, refracts: bool) -> usize {
    let field = camera.field();
    4 * (1 + usize::from(refracts)) * field.fine_columns() * field.fine_rows(fine_rows).len()
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

    /// Discs, the same in every row, sampled by area.
    struct Discs {
        n: usize,
        discs: Vec<Disc>,
        cells: Vec<f32>,
    }

    impl Discs {
        fn new(n: usize, discs: Vec<Disc>) -> Discs {
            // Among 2n × 2n pixels of half the size the axis lies half a cell off ours, both ways.
            let finer = |d: &Disc| Disc { x: 2.0 * d.x + 0.5, y: 2.0 * d.y + 0.5, radius: 2.0 * d.radius, mu: d.mu };
            let cells = discs::truth(&discs.iter().map(finer).collect::<Vec<_>>(), 2 * n, 8);
            Discs { n, discs, cells }
        }
    }

    impl Object for Discs {
        fn columns(&self) -> usize {
            self.n
        }
        fn fine_rows(&self) -> usize {
            fine_rows(20)
        }
        fn fill(&self, _: Isa, _: Range<usize>, mu: &mut [Lane], delta: Option<&mut [Lane]>) -> Result<()> {
            mu.iter_mut().zip(&self.cells).for_each(|(lane, &v)| *lane = Lane([v; LANES]));
            if let Some(delta) = delta {
                delta.iter_mut().zip(&self.cells).for_each(|(lane, &v)| *lane = Lane([1e-4 * v; LANES]));
            }
            Ok(())
        }
        fn around(&self, theta: f64, _: f64) -> [f64; 2] {
            [0.1 + 0.01 * theta, 0.0]
        }
    }

    fn scan(object: &Discs, camera: &Camera, theta: &[f64], what: Propagation, memory: usize, skip: usize) -> Vec<f32> {
        let field = camera.field();
        let mut sink = Collect::new(Dims::new(theta.len(), field.rows, field.columns).unwrap());
        sink.values = vec![0.0; skip * field.rows * field.columns];
        let scan = Scan { object, camera, theta, voxel: Micrometre(1.33), propagation: what };
        scan.projections(Isa::detect(), memory, &mut sink, &|_, _, _| ()).unwrap();
        sink.values
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
        let got = scan(&object, &camera, &theta, Propagation::Contact, 1 << 24, 0);
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

    #[test]
    fn any_projection_alone_has_the_bits_of_the_series() {
        let object = Discs::new(20, vec![Disc { x: 1.0, y: -2.0, radius: 6.0, mu: 0.03 }]);
        let theta: Vec<f64> = (0..7).map(|i| f64::from(i) * 0.4).collect();
        let field = Field { tilt: 1e-3, axis_drift: 0.5, ..Field::new(9, 24, 13.0) };
        let camera = Camera::new(&Settings::default(), &field, theta.len(), [1, 0, 0]).unwrap();
        let what = Propagation::Fresnel { energy: KiloElectronVolt(27.5), distance: Micrometre(6e4), bandwidth: 0.01 };
        let all = scan(&object, &camera, &theta, what, 1 << 24, 0);
        assert_eq!(all.len(), 7 * 9 * 24);
        let (one, late) = (scan(&object, &camera, &theta, what, 0, 0), scan(&object, &camera, &theta, what, 0, 5));
        assert_eq!(one, all);
        assert_eq!(late[5 * 9 * 24..], all[5 * 9 * 24..]);
    }
}
