//! L3. Which blocks of a body: those that hold its motion best, told from both volumes.
//!
//! A region is cut into tiles. Under the start, at the scale of the overview, tile k has the curvature M_k that both volumes
//! share and the scatter B_k of its slope ([`super::block`]): it knows the motion with the information
//! N_k = M_k B_k⁻¹ M_k about its own centre, and A_k N_k A_kᵀ about the body's, A_k = ((1, [c_k − c]×), (0, 1)). Tiles are
//! taken one after the other, each the one that makes det Σ A_k N_k A_kᵀ largest (D-optimal): those with edges in
//! directions that are still missing, and far from the others, because distance is what holds a rotation.
//!
//! One volume alone cannot tell: streaks and noise are steep, too, and would be preferred. They are not in both volumes, so
//! that M_k is small and B_k large where they are all there is. Tiles that are alike by chance, or where M_k is no curvature, share nothing. Those of
//! them that are steepest by themselves are the strangers: perhaps what changed, perhaps a body that moved otherwise.

use super::block::{are_alike, scatter};
use super::body::Region;
use super::gauss_newton::{curvature, is_shared, shared_curvature};
use super::level::{LEAST, Level, Piece};
use super::pass::{Want, pass};
use super::rigid::{Point, Rigid, carry, sub};
use crate::error::{Error, Result};
use crate::num::lanes::Isa;
use crate::num::linalg::{Matrix, cholesky, inverse, product, transpose};
use crate::os::check_interrupt;
use crate::volume::Dims;
use std::array::from_fn;
use std::ops::Range;

/// Tiles of at most `size` voxels along each axis, evenly placed, that cover a region.
pub fn tiles(region: &Region, size: usize) -> Vec<Region> {
    let along = |range: &Range<usize>| -> Vec<Range<usize>> {
        let (n, width) = (range.len().div_ceil(size).max(1), range.len().min(size));
        let place = |k: usize| range.start + if n > 1 { (range.len() - width) * k / (n - 1) } else { 0 };
        (0..n).map(|k| place(k)..place(k) + width).collect()
    };
    let [x, y, z] = [along(&region[0]), along(&region[1]), along(&region[2])];
    let n = x.len() * y.len() * z.len();
    let at = |k: usize| [x[k % x.len()].clone(), y[k / x.len() % y.len()].clone(), z[k / x.len() / y.len()].clone()];
    (0..n).map(at).collect()
}

/// A region of both volumes at the scale of the overview, and the motion there.
pub struct Overview {
    /// Voxels of the volume per voxel here, along each axis.
    pub scale: usize,
    /// The region.
    pub fixed: Piece,
    /// The moving volume, all of it.
    pub moving: Piece,
    /// From the one to the other, in voxels here.
    pub motion: Rigid,
}

/// What [`choose`] found.
pub struct Choice {
    /// Tiles that hold the motion best, at most as many as were asked for.
    pub tiles: Vec<Region>,
    /// Tiles that are steep and share nothing under the start, the steepest first.
    pub strangers: Vec<Region>,
}

/// A tile of the overview: what it knows, and how steep it is by itself.
struct Known {
    tile: Region,
    information: Option<Matrix<6>>,
    steepness: f64,
}

/// The best `count` of the tiles of a region.
///
/// # Errors
/// Data: no tile shares anything with the moving volume.
pub fn choose(isa: Isa, view: &Overview, region: &Region, size: usize, count: usize) -> Result<Choice> {
    let all = tiles(region, size);
    let centre = view.fixed.middle();
    let mut known = Vec::new();
    for tile in all {
        check_interrupt()?;
        // What has nothing to say is no error here: others may have.
        if let Ok((information, steepness)) = look(isa, view, region, &tile, &centre) {
            known.push(Known { tile, information, steepness });
        }
    }
    /// A stranger has at least this part of the steepness of the steepest.
    const STEEP: f64 = 0.1;
    let steepest = known.iter().fold(0.0, |most: f64, k| most.max(k.steepness));
    let mut strangers: Vec<&Known> =
        known.iter().filter(|k| k.information.is_none() && k.steepness > STEEP * steepest).collect();
    strangers.sort_by(|a, b| b.steepness.total_cmp(&a.steepness)); // stable
    let strangers = strangers.iter().map(|k| k.tile.clone()).collect();
    let mut left: Vec<(Region, Matrix<6>)> =
        known.into_iter().filter_map(|k| k.information.map(|n| (k.tile, n))).collect();
    // Rotations in units of the region; a thousandth of the identity so that the first tiles have a determinant at all.
    let arm =
        [view.fixed.dims.nx, view.fixed.dims.ny, view.fixed.dims.nz].iter().fold(0, |a, &b| a.max(b)) as f64 / 2.0;
    let unit = |i: usize| if i < 3 { 1.0 / arm } else { 1.0 };
    left.iter_mut().for_each(|(_, h)| *h = from_fn(|i| from_fn(|l| h[i][l] * unit(i) * unit(l))));
    let mean = left.iter().fold(0.0, |sum, (_, h)| sum + (0..6).fold(0.0, |s, i| s + h[i][i]));
    let ridge = 1e-3 * mean / (6.0 * left.len().max(1) as f64);
    let mut total: Matrix<6> = from_fn(|i| from_fn(|l| if i == l { ridge } else { 0.0 }));
    let mut chosen = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let with = |h: &Matrix<6>| -> Matrix<6> { from_fn(|i| from_fn(|l| total[i][l] + h[i][l])) };
        // The determinant is the square of this.
        let size = |h: &Matrix<6>| cholesky(&with(h)).map_or(0.0, |l| (0..6).fold(1.0, |p, i| p * l[i][i]));
        let sizes: Vec<f64> = left.iter().map(|(_, h)| size(h)).collect();
        let best = (0..sizes.len()).fold(0, |m, k| if sizes[k] > sizes[m] { k } else { m });
        total = with(&left[best].1);
        chosen.push(left.remove(best).0);
    }
    if chosen.is_empty() {
        return Err(Error::data(format!("no tile of the region {region:?} shows the same in both volumes"))
            .help("name another region, or give a start nearer to the motion"));
    }
    Ok(Choice { tiles: chosen, strangers })
}

/// N of a tile about `centre`, in units of the overview's voxels, if it shares anything; and Σ |∇f|² of it.
fn look(isa: Isa, view: &Overview, region: &Region, tile: &Region, centre: &Point) -> Result<(Option<Matrix<6>>, f64)> {
    /// Voxels around a tile's image.
    const MORE: f64 = 3.0;
    let s = view.scale;
    let fixed_dims = [view.fixed.dims.nx, view.fixed.dims.ny, view.fixed.dims.nz];
    let here: Region = from_fn(|i| {
        let from = (tile[i].start - region[i].start) / s;
        from..((tile[i].end - region[i].start) / s).max(from + LEAST).min(fixed_dims[i])
    });
    let fixed = view.fixed.crop(&here);
    let moving = view.moving.crop(&fixed.image(&view.motion, MORE, view.moving.dims));
    let levels = Level::pyramid(isa, &fixed, &moving, 1)?;
    let motion = view.motion.about(fixed.middle());
    let seen = pass(isa, &levels[0], &motion, &motion, Want::Everything);
    let h = curvature(&seen);
    let steepness = h[3][3] + h[4][4] + h[5][5];
    let information = (are_alike(&seen) && is_shared(&seen)).then(|| {
        let m = shared_curvature(&seen);
        let b = inverse(&scatter(&seen)?)?;
        let n = product(&product(&m, &b), &m);
        // ((1, [arm]×), (0, 1)) is the transpose of what carries a motion by arm.
        let a = transpose(&carry(&sub(&fixed.middle(), centre)));
        Some(product(&product(&a, &n), &transpose(&a)))
    });
    Ok((information.flatten(), steepness))
}

/// Means of s³ voxels of a region, x, then y, then z ascending in one f32 sum; what is left over is not used.
///
/// # Errors
/// What reading says.
pub fn binned(source: &dyn crate::volume::Source, region: &Region, s: usize) -> Result<Piece> {
    let [x, y, z] = region;
    if s == 1 {
        return Ok(Piece { first: [0; 3], ..Piece::read(source, region.clone())? });
    }
    let dims = Dims::new(z.len() / s, y.len() / s, x.len() / s)?;
    let mut values = vec![0f32; dims.voxels()];
    for (k, out) in values.chunks_exact_mut(dims.slice()).enumerate() {
        check_interrupt()?;
        let slab = Piece::read(source, [x.clone(), y.clone(), z.start + k * s..z.start + (k + 1) * s])?;
        for (i, &v) in slab.values.iter().enumerate() {
            let (x, y) = (i % slab.dims.nx / s, i / slab.dims.nx % slab.dims.ny / s);
            if x < dims.nx && y < dims.ny {
                out[y * dims.nx + x] += v;
            }
        }
        out.iter_mut().for_each(|v| *v /= (s * s * s) as f32);
    }
    Ok(Piece { first: [0; 3], dims, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_region_evenly() {
        let all = tiles(&[5..105, 0..300, 10..711], 300);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0], [5..105, 0..300, 10..310]);
        assert_eq!(all[2], [5..105, 0..300, 411..711]);
        assert_eq!(all[1][2], 210..510);
        assert_eq!(tiles(&[0..1700, 0..300, 0..2200], 300).len(), 6 * 8);
    }
}
