//! What `analyze` will read and write, from the shape of its labels and the parts that their classes play.
//!
//! ```text
//! of every scan      labels for a digest; the box S: once for its columns, twice for dendrites, once beside grey values,
//!                    every n-th slice for the view, once for each mesh; grey values for a digest, and three times their box
//! first, turn, last  S for the local thickness of dendrites and of what is deposited
//! after the turn     S twice: at the turn, and now
//! maps               `[z][x]` and `[y][x]` in f32: 4 bytes a column, and a header
//! ```
//!
//! Where the log turns is not known before: half of a series is its discharge. What the labels hold is not known either: every
//! part of the cell is taken to be there, views to be as restless as noise ([`VIEW`]), tables to be those of such parts
//! ([`TEXT`]). Surfaces and lists of dendrites are as long as there are faces and dendrites, and not counted; nor is it reckoned
//! that thickness is looked for in parts where it has more than --thickness-voxels.

use crate::analysis::labels::Region;
use crate::analysis::roles::Roles;
use crate::analysis::view;
use crate::cli::labels::classes;
use crate::cli::options::Settings;
use crate::cli::report::rows_across_x;
use crate::error::Result;
use crate::segment::orient::Axes;
use crate::volume::Dims;

/// Bytes of a map besides its values.
const HEADER: usize = 208;
/// Bytes of a view, at most: a third of those of its 360 x 460 pixels, which is what noise takes.
const VIEW: u64 = 165_000;
/// Bytes that a drawn map or section takes, of 100 pixels, about: a tenth of theirs.
const DRAWN: u64 = 30;
/// Bytes of results and tables for each scan, and for each part that a class plays in it, about; on a page three times, in its
/// diagrams, in its tables and in the words about both. Bytes of a page are four for three of a picture.
const TEXT: u64 = 9_000;

/// What an analysis reads and writes.
#[derive(Clone, Copy, Default)]
pub struct Made {
    /// Bytes that are read of labels and grey values.
    pub reads: u64,
    /// Bytes that are written.
    pub writes: u64,
    /// Bytes of it on a page.
    pub page: u64,
}

/// Of `count` scans whose labels have the shape `file`, of which `region` is looked at; with `grey` values or without.
///
/// # Errors
/// What the options are wrong in; what reading a table of classes says.
pub fn made(s: &Settings, file: Dims, region: &Region, count: usize, grey: bool) -> Result<Made> {
    let whole = s.parsed("axes", Axes::parse)?.volume(file)?;
    let d = region.within(whole)?;
    let (classes, _) = classes(s)?;
    let roles = Roles::of(&classes, s.text("roles")?)?;
    let turns = s.is_given("turn")? || s.is_given("log")?;
    let meshes = s.text("mesh")?.map_or(0, |names| names.split(',').count() as u64);
    let (n, grey) = (count as u64, u64::from(grey));
    let (after, keys) = if turns { (n.div_ceil(2) - 1, n.min(3)) } else { (0, n.min(2)) };
    let has = |parts: &[Option<u8>]| parts.iter().flatten().count() as u64;
    let all_of = |parts: &[Option<u8>]| u64::from(parts.iter().all(Option::is_some));
    let Roles { plating, deposited, dendrite, stripping, redeposited, pit } = roles;
    let (electrodes, grown) = (has(&[plating, stripping]), has(&[deposited, dendrite]));
    let text = TEXT * n * (1 + electrodes + grown + has(&[redeposited, pit]));
    // Whole rows are read: along x nothing is saved.
    let (all, slice) = (whole.voxels() as u64, (whole.nx * d.ny) as u64);
    let seen = slice * d.nz as u64;
    let hanging = 2 * has(&[dendrite]) * electrodes.min(1);
    let filled = 2 * after * all_of(&[pit, redeposited]);
    let reads = n * (all + (1 + hanging + grey + meshes) * seen) + (keys * grown + filled) * seen;
    let reads = reads + n * grey * 4 * (all + 3 * seen);
    if s.text("maps")? == Some("none") {
        return Ok(Made { reads, writes: text, page: 3 * text });
    }
    // Of electrodes there are edges instead, and background is no class of its own.
    let parts = roles.list().iter().map(|(_, of)| *of).collect::<Vec<_>>();
    let own = (0..classes.len() as u8).map(Some).filter(|c| ![plating, stripping].contains(c));
    let own = own.filter(|c| *c != Some(0) || parts.contains(c)).count() as u64;
    let both = all_of(&[plating, stripping]);
    let changes = 2 * after * grown.min(1) * all_of(&[redeposited, stripping]);
    let columns = n * (own + both + 2 * grey) + (n - 1) * (electrodes + both * u64::from(turns)) + filled + changes;
    let kinds = [(columns, [d.nz, d.nx]), (keys * electrodes + changes, [d.ny, d.nx])];
    let maps: u64 = kinds.iter().map(|(n, [rows, columns])| n * (4 * rows * columns + HEADER) as u64).sum();
    let drawn = |shape: [usize; 2]| rows_across_x(shape).1 as u64 * DRAWN / 100;
    let pictures = n * VIEW + keys * drawn([d.ny, d.nx]);
    let shown = pictures + kinds.iter().map(|(n, shape)| n * drawn(*shape)).sum::<u64>();
    let views = n * slice * d.nz.div_ceil(view::thinning(d)) as u64 + keys * slice;
    Ok(Made { reads: reads + views, writes: maps + pictures + text, page: 3 * text + shown * 4 / 3 })
}
