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
/// Bytes of results and tables for each scan, and for each part that a class plays in it, about.
const TEXT: u64 = 9_000;

/// What an analysis reads and writes.
#[derive(Clone, Copy, Default)]
pub struct Made {
    /// Bytes that are read of labels and grey values.
    pub reads: u64,
    /// Bytes of maps.
    pub maps: u64,
    /// Bytes of pictures.
    pub pictures: u64,
    /// Bytes of maps that are drawn on a page.
    pub drawn: u64,
    /// Bytes of results and tables.
    pub text: u64,
}

impl Made {
    /// All bytes that are written.
    pub fn writes(&self) -> u64 {
        self.maps + self.pictures + self.text
    }
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
    let (with_maps, meshes) = (s.text("maps")? != Some("none"), s.text("mesh")?.map_or(0, |m| m.split(',').count()));
    let (n, after, grey) = (count as u64, if turns { (count as u64).div_ceil(2) - 1 } else { 0 }, u64::from(grey));
    let keys = n.min(2 + u64::from(turns));
    let has = |parts: &[Option<u8>]| parts.iter().flatten().count() as u64;
    let one = |is: bool| u64::from(is);
    let (plating, stripping, pit) = (roles.plating, roles.stripping, roles.pit.is_some());
    let electrodes = has(&[plating, stripping]);
    // Whole rows are read: along x nothing is saved.
    let all = whole.voxels() as u64;
    let seen = (whole.nx * d.ny * d.nz) as u64;
    let view = if with_maps { seen / d.nz as u64 * d.nz.div_ceil(view::thinning(d)) as u64 } else { 0 };
    let hanging = 2 * one(roles.dendrite.is_some() && electrodes > 0);
    let filled = one(pit && roles.redeposited.is_some());
    let boxes =
        n * (1 + hanging + grey + meshes as u64) + keys * has(&[roles.dendrite, roles.deposited]) + 2 * after * filled;
    let reads = n * (all + view) + boxes * seen + n * grey * (4 * all + 3 * 4 * seen);
    let text = TEXT * n * (1 + roles.list().iter().filter(|(_, class)| class.is_some()).count() as u64);
    if !with_maps {
        return Ok(Made { reads, text, ..Made::default() });
    }
    // Of electrodes there are edges instead, and background is no class of its own.
    let played = |class: u8| roles.list().iter().any(|(_, of)| *of == Some(class));
    let own = (0..classes.len() as u8).filter(|&c| ![plating, stripping].contains(&Some(c)) && (c > 0 || played(c)));
    let sides = one(turns && electrodes == 2);
    let grown = one(has(&[roles.deposited, roles.dendrite]) > 0 && roles.redeposited.is_some() && stripping.is_some());
    let columns = n * (own.count() as u64 + one(electrodes == 2) + 2 * grey)
        + (n - 1) * (electrodes + sides)
        + 2 * after * (filled + grown);
    let across = keys * electrodes + 2 * after * grown;
    let kinds = [(columns, [d.nz, d.nx]), (across, [d.ny, d.nx])];
    let sum = |of: &dyn Fn([usize; 2]) -> u64| kinds.iter().map(|(n, shape)| n * of(*shape)).sum();
    let pixels = |shape| rows_across_x(shape).1 as u64;
    Ok(Made {
        reads: reads + keys * seen / d.nz as u64,
        maps: sum(&|[rows, columns]| (4 * rows * columns + HEADER) as u64),
        drawn: sum(&|shape| pixels(shape) * DRAWN / 100),
        pictures: n * VIEW + keys * pixels([d.ny, d.nx]) * DRAWN / 100,
        text,
    })
}
