//! L6. Analysis: from labelled scans of one grid to numbers and maps, each with its definition, unit and interval.
//!
//! | file | what |
//! |---|---|
//! | [`labels`] | a labelled volume: classes of a box, depth along y from the plating side |
//! | [`columns`] | one pass: voxels of each class, per column, first and last, faces |
//! | [`roles`] | which class plays which part of a cell |
//! | [`map`] | maps, projections, tiles and what they say of a mean |
//! | [`faraday`], [`log`] | what a charge moves; what the potentiostat wrote |
//! | [`fit`] | lines, decays, knees |
//! | [`between`] | two scans: voids, fill, decrease, increase |
//! | [`surface`] | gaps, displacement, roughness, local current density |
//! | [`coloc`] | whether two maps go together |
//! | [`components`] | connected components of what does not fit into memory |
//! | [`dendrites`] | how dendrites hang on an electrode; each one, followed |
//! | [`thickness`] | local thickness |
//! | [`view`], [`mesh`] | pictures in three dimensions and sections; closed surfaces |
//! | [`impedance`] | spectra of an impedance, as the potentiostat wrote them |
//! | [`solid`] | solid fraction of porous layers, by grey values |
//! | [`evaluated`] | what a segmentation does to each number, measured where the truth is known |
//! | [`confusion`] | volumes with a segmentation's confusion undone |
//! | [`quantity`] | definitions, results, tables |
//! | [`whole`], `scan`, `series` | all of it: in which order, of one scan, over the series |
//! | `sampling` | what another field may show |
//!
//! Counts are whole numbers, sums of floats have the order of [`num::sum`](crate::num::sum), draws are seeded: results are
//! the same bits for any number of threads and any height of slabs. Nothing here knows a file's name or the time.

pub mod between;
pub mod coloc;
pub mod columns;
pub mod components;
pub mod confusion;
pub mod dendrites;
pub mod evaluated;
pub mod faraday;
pub mod fit;
pub mod impedance;
pub mod labels;
pub mod log;
pub mod map;
pub mod mesh;
pub mod quantity;
pub mod roles;
mod sampling;
mod scan;
mod series;
pub mod solid;
pub mod surface;
pub mod thickness;
pub mod view;
pub mod whole;
