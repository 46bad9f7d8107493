//! The audit of a registration, for the eye: what moved in every scan and how well that is known, what is left at the
//! blocks, and whether edges go on from square to square when the fixed and the moving volume take turns.

use super::Registered;
use crate::cli::canvas::{BLACK, COLOURS, Canvas, GREY};
use crate::error::Result;
use crate::exchange::font;
use crate::exchange::window::{DEFAULT_PERCENTILES, Window, to_grey};
use crate::num::lanes::Isa;
use crate::register::body::Body;
use crate::register::interpolate::Interpolation;
use crate::register::resample::{Grid, Plan, resample};
use crate::register::{Rigid, rigid};
use crate::units::{Degree, Radian};
use crate::volume::{Collect, Dims, Source};
use std::fmt::Write as _;
use std::path::Path;

/// Size of a panel with one of the six numbers, and of the space around it.
const PANEL: [usize; 2] = [440, 150];
const SPACE: usize = 28;
/// Standard deviations that an error bar reaches to either side.
const BAR: f64 = 2.0;
/// Squares along the longer side of a checkerboard.
const SQUARES: usize = 10;
/// Longest side of a checkerboard in pixels.
const BOARD: usize = 512;
/// Pixels of an arrow of the largest residual.
const ARROW: f64 = 40.0;

/// The six numbers of a body's motion, about the middle of its region: name, unit, value, standard deviation.
pub fn six(body: &Body) -> [(&'static str, &'static str, f64, f64); 6] {
    let turn = body.motion.rotation_vector();
    let sigma = |i: usize| body.covariance[i][i].max(0.0).sqrt();
    let names = ["x", "y", "z", "turn x", "turn y", "turn z"];
    std::array::from_fn(|i| match i {
        0..3 => (names[i], "voxel", body.motion.translation[i], sigma(3 + i)),
        _ => (names[i], "deg", Degree::from(Radian(turn[i - 3])).0, Degree::from(Radian(sigma(i - 3))).0),
    })
}

/// The table of a series: a row for each scan and body.
pub fn table(bodies: &[&str], scans: &[Registered]) -> String {
    let mut text = String::from(
        "scan,body,x_voxel,x_sigma,y_voxel,y_sigma,z_voxel,z_sigma,turn_x_deg,turn_x_sigma,turn_y_deg,turn_y_sigma,\
         turn_z_deg,turn_z_sigma,corner_sigma_voxel,residual_rms_voxel,residual_max_voxel,strain,closure_voxel,blocks_used,blocks\n",
    );
    for Registered { name: scan, bodies: found, closure } in scans {
        for (name, (body, closure)) in bodies.iter().zip(found.iter().zip(closure)) {
            let _ = write!(text, "{},{}", quoted(scan), quoted(name));
            for (_, _, value, sigma) in six(body) {
                let _ = write!(text, ",{value:.6},{sigma:.6}");
            }
            let used = body.blocks.iter().filter(|b| b.used).count();
            let _ = writeln!(
                text,
                ",{:.6},{:.6},{:.6},{:.6},{},{used},{}",
                body.corner_sigma,
                body.residual[0],
                body.residual[1],
                body.strain,
                closure.map_or(String::new(), |v| format!("{v:.6}")),
                body.blocks.len()
            );
        }
    }
    text
}

/// A field of a table, in quotes where it holds what would end it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// The six numbers over the scans, with bars of two standard deviations, a colour for each body.
///
/// # Errors
/// What the disk says.
pub fn series(path: &Path, bodies: &[&str], scans: &[Registered], overwrite: bool) -> Result<()> {
    let [width, height] = PANEL;
    let mut canvas = Canvas::new(2 * (width + 2 * SPACE), 3 * (height + 2 * SPACE) + SPACE);
    for (k, name) in bodies.iter().enumerate() {
        canvas.text((SPACE + 150 * k, SPACE / 2), name, COLOURS[k % COLOURS.len()]);
    }
    for number in 0..6 {
        let left = (SPACE + number / 3 * (width + 2 * SPACE)) as f64;
        let top = (2 * SPACE + number % 3 * (height + 2 * SPACE)) as f64;
        let values: Vec<Vec<(f64, f64)>> = scans
            .iter()
            .map(|s| s.bodies.iter().map(|b| six(b)[number]).map(|(_, _, v, s)| (v, s)).collect())
            .collect();
        let ends = values
            .iter()
            .flatten()
            .fold((0f64, 0f64), |(low, high), (v, s)| (low.min(v - BAR * s), high.max(v + BAR * s)));
        let (low, span) = (ends.0, (ends.1 - ends.0).max(1e-6));
        let place = |scan: usize, v: f64| {
            let x = left + (scan as f64 + 0.5) / scans.len() as f64 * width as f64;
            [x, top + height as f64 * (1.0 - (v - low) / span)]
        };
        let (right, bottom) = (left + width as f64, top + height as f64);
        for (from, to) in [([left, top], [left, bottom]), ([left, bottom], [right, bottom])] {
            canvas.line(from, to, BLACK);
        }
        let zero = place(0, 0.0)[1];
        canvas.line([left, zero], [right, zero], GREY);
        if let Some((name, unit, ..)) = scans.first().and_then(|s| s.bodies.first()).map(|b| six(b)[number]) {
            let caption = format!("{name} {unit}: {low:.4} TO {:.4}", low + span);
            canvas.text((left as usize + 6, top as usize - 10), &caption, BLACK);
        }
        // Names of scans: as many as have space.
        let widest = scans.iter().map(|s| font::width(&s.name, 1) + 8).fold(1, usize::max);
        for scan in (0..scans.len()).step_by((widest * scans.len()).div_ceil(width)) {
            let name = &scans[scan].name;
            let x = place(scan, 0.0)[0] as usize;
            canvas.line([x as f64, bottom], [x as f64, bottom + 3.0], BLACK);
            canvas.text((x.saturating_sub(font::width(name, 1) / 2), bottom as usize + 6), name, BLACK);
        }
        for (scan, found) in values.iter().enumerate() {
            for (k, &(v, s)) in found.iter().enumerate() {
                let colour = COLOURS[k % COLOURS.len()];
                let [x, y] = place(scan, v);
                // Bodies beside one another, so that none hides another's bar.
                let x = x + 4.0 * (k as f64 - (found.len() as f64 - 1.0) / 2.0);
                canvas.line([x, place(scan, v - BAR * s)[1]], [x, place(scan, v + BAR * s)[1]], colour);
                canvas.square([x, y], 2, colour);
            }
        }
    }
    canvas.write(path, overwrite)
}

/// One scan: the middle slice of fixed and moving volume taking turns in squares, before and after the motion of the first
/// body; and what is left at each block in that plane, as arrows.
///
/// # Errors
/// What reading and the disk say.
pub fn scan(
    path: &Path,
    isa: Isa,
    [fixed, moving]: [&dyn Source; 2],
    bodies: &[&str],
    found: &[Body],
    overwrite: bool,
) -> Result<()> {
    let Dims { nz, ny, nx } = fixed.dims();
    let middle = nz / 2;
    let mut own = vec![0f32; nx * ny];
    fixed.read(middle..middle + 1, 0..ny, &mut own)?;
    let grid = Grid { first: [0, 0, middle], dims: Dims { nz: 1, ny, nx } };
    let window = Window::of_percentiles(&own, DEFAULT_PERCENTILES.0, DEFAULT_PERCENTILES.1)?;
    let motions = [Rigid::identity([0.0; 3]), found.first().map_or(Rigid::identity([0.0; 3]), |b| b.motion)];
    let factor = (BOARD / nx.max(ny)).max(1);
    let (width, height) = (nx * factor, ny * factor);
    let mut canvas = Canvas::new(2 * width + 3 * SPACE, height + 2 * SPACE);
    let side = nx.max(ny).div_ceil(SQUARES);
    for (k, motion) in motions.into_iter().enumerate() {
        let plan = Plan { motion, grid, how: Interpolation::Linear, memory: u64::MAX / 4 };
        let (mut seen, mut mask) = (Collect::new(grid.dims), Collect::new(grid.dims));
        resample(isa, moving, &plan, &mut seen, Some(&mut mask), &mut |_, _| ())?;
        let board: Vec<f32> = (0..nx * ny)
            .map(|i| {
                let is_own = (i % nx / side + i / nx / side).is_multiple_of(2);
                if is_own || mask.values[i] == 0.0 { own[i] } else { seen.values[i] }
            })
            .collect();
        let left = SPACE + k * (width + SPACE);
        let caption = ["BEFORE", "AFTER"][k];
        canvas.text((left, SPACE / 2), caption, BLACK);
        if let Some(window) = window {
            canvas.image((left, SPACE), to_grey(&board, nx, ny, window)?.grey(), nx, factor);
        }
    }
    let used = |b: &&crate::register::body::Report| b.used;
    let longest = found.iter().flat_map(|b| &b.blocks).filter(used).map(|b| rigid::length(&b.residual));
    let longest = longest.fold(0.0, f64::max);
    let (left, scale) = ((2 * SPACE + width) as f64, ARROW / longest.max(1e-9));
    for (k, body) in found.iter().enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        for block in body.blocks.iter().filter(used) {
            let at = |axis: usize| (block.tile[axis].start + block.tile[axis].end) as f64 / 2.0 * factor as f64;
            let from = [left + at(0), SPACE as f64 + at(1)];
            canvas.square(from, 2, colour);
            canvas.line(from, [from[0] + scale * block.residual[0], from[1] + scale * block.residual[1]], colour);
        }
    }
    let names = bodies.join(" ");
    canvas.text((SPACE, height + SPACE + 8), &format!("{names}: LONGEST ARROW {longest:.4} VOXEL"), BLACK);
    canvas.write(path, overwrite)
}
