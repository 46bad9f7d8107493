//! `register --orient auto`: the faces of the fixed volume, as `orient` finds them, one within each body.

use super::Named;
use crate::cli::{Context, orient};
use crate::error::{Fault, Result};
use crate::exchange;
use crate::recon::select::Columns;
use crate::register::Rigid;
use crate::register::orient::{Face, angles, common, face, level};
use std::path::Path;

/// The file in the folder of the results, which `resample --transform` takes.
pub const FILE: &str = "fixed.level.transform.json";

/// The rotation that levels the fixed volume, and the text that says so; `None`, with a warning that tells why, if no body
/// has a face.
///
/// # Errors
/// What reading says.
pub fn find<'a>(
    context: &Context,
    fixed: &Path,
    bodies: impl Iterator<Item = &'a Named>,
) -> Result<Option<(Rigid, String)>> {
    let (mut faces, mut without): (Vec<Face>, Vec<String>) = (Vec::new(), Vec::new());
    for body in bodies {
        let [x, y, _] = &body.region;
        let seen = Columns::new(exchange::open_stack(fixed, context.io)?, x.clone())?;
        match face(&seen, y.clone()) {
            Ok(found) => faces.push(found),
            Err(e) if !matches!(e.fault(), Fault::Data | Fault::Usage) => return Err(e),
            Err(e) => without.push(format!("{}: {}", body.name, e.what())),
        }
    }
    let Some(slopes) = common(&faces) else {
        context.talk.warn(format!("volumes are not levelled, no electrode has a face: {}", without.join("; ")));
        return Ok(None);
    };
    for what in without {
        context.talk.warn(format!("levelled without {what}"));
    }
    let leans = angles(slopes);
    let source = exchange::open_stack(fixed, context.io)?;
    let [xy, yz] = leans.map(|lean| lean.0);
    context.out.line(format!(
        "{}  levelled by {} face(s): turn {xy:.4} deg in x-y, then {yz:.4} deg in y-z",
        fixed.display(),
        faces.len()
    ))?;
    Ok(Some((level(source.dims(), leans), orient::text(source.as_ref(), leans, &faces)?)))
}
