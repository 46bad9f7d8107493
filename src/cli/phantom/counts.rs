//! What is counted in the voxels of a step, beside what its timetable says.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::open_regular;
use crate::phantom::cell::VOXEL;
use crate::phantom::matter::LABELS;
use crate::volume::Dims;
use crate::volume::reader::with_suffix;
use std::io::Read as _;
use std::path::Path;

/// Voxels of each class, and columns along y in which it occurs.
pub struct Counted {
    voxels: [u64; LABELS.len()],
    columns: [u64; LABELS.len()],
    of: u64,
}

impl Counted {
    /// Counts a finished volume of classes.
    ///
    /// # Errors
    /// What the disk says; a value that is no class.
    pub fn read(base: &Path, dims: Dims) -> Result<Counted> {
        let path = with_suffix(base, ".raw");
        let mut file = open_regular(&path)?;
        let mut slice = vec![0u8; dims.slice()];
        let mut seen = vec![0u8; dims.nx];
        let mut counted =
            Counted { voxels: [0; LABELS.len()], columns: [0; LABELS.len()], of: (dims.nx * dims.nz) as u64 };
        for _ in 0..dims.nz {
            file.read_exact(&mut slice).map_err(|e| Error::reading(&path, &e))?;
            seen.fill(0);
            for row in slice.chunks_exact(dims.nx) {
                for (&class, seen) in row.iter().zip(&mut seen) {
                    let Some(n) = counted.voxels.get_mut(usize::from(class)) else {
                        return Err(Error::data(format!("holds the value {class}, which is no class")).at(&path));
                    };
                    *n += 1;
                    *seen |= 1 << class;
                }
            }
            for seen in &seen {
                counted.columns.iter_mut().enumerate().for_each(|(class, n)| *n += u64::from(seen >> class & 1));
            }
        }
        Ok(counted)
    }

    /// Voxels by the name of the class.
    pub fn voxels(&self) -> Json {
        Json::obj(LABELS.iter().zip(self.voxels).map(|(label, n)| (label.name(), Json::from(n))))
    }

    /// Voxels, thickness (mean over the field) and part of the field, by the name of the class.
    pub fn to_json(&self) -> Json {
        let of = self.of as f64;
        Json::obj(LABELS.iter().zip(self.voxels.iter().zip(self.columns)).map(|(label, (&voxels, columns))| {
            let members = [
                ("voxels", voxels.into()),
                ("thickness_um", (voxels as f64 * VOXEL / of).into()),
                ("area", (columns as f64 / of).into()),
            ];
            (label.name(), Json::obj(members))
        }))
    }
}
