//! Pictures of a labelled volume: a view in three dimensions, and a section.
//!
//! ```text
//! view     parallel rays, from in front of the field and above the plating side; depth (y) goes down. Where a ray comes
//!          into another class it meets a face of it:   colour = Σ_i c_i a_i s_i Π_{j<i} (1 − a_j),   a the class's opacity,
//!          s = ambient + (1 − ambient) max(0, n · l),  n the gradient of what is the class in 3 x 3 x 3 voxels, l the light
//! section  the slice in the middle of z, each class in its colour
//! ```
//!
//! Both have a bar of lengths below. Volumes are looked at in every n-th voxel, so that none has more than [`MOST`] along an axis. For the eye: nothing is
//! measured on them. Colours are given by who asks; background has none.

use super::labels::Labels;
use crate::error::Result;
use crate::exchange::font;
use crate::os::check_interrupt;
use crate::volume::Dims;
use rayon::prelude::*;

/// Most voxels along an axis that a view looks at.
pub const MOST: usize = 192;
/// Width of a view, pixels.
const WIDTH: usize = 360;
/// A section of fewer voxels along x is enlarged.
const LEAST: usize = 240;
/// Part of the colour that needs no light.
const AMBIENT: f64 = 0.45;
/// Edge of the blocks of which it is known whether they hold one class only: what a ray steps over at once.
const BLOCK: usize = 8;
/// Steps along a ray per voxel.
const STEPS: f64 = 2.0;
/// What is left of the light when a ray ends.
const DARK: f64 = 0.02;
/// Cosine and sine of the turn about the depth, 30°, and of the look down, 20°.
const TURN: [f64; 2] = [0.866_025_403_784_438_6, 0.5];
const DOWN: [f64; 2] = [0.939_692_620_785_908_4, 0.342_020_143_325_668_7];

/// Colour of a class, and its opacity in a view; none is not shown.
pub type Paint = Option<([u8; 3], f64)>;

/// An RGB picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue of each pixel.
    pub rgb: Vec<u8>,
}

/// A length that is round and at most a third of `whole`; none of what has no extent.
pub fn round_length(whole: f64) -> Option<f64> {
    if !(1e-3..1e12).contains(&whole) {
        return None;
    }
    let mut length = 1.0;
    while 10.0 * length <= whole / 3.0 {
        length *= 10.0;
    }
    [5.0, 2.0, 1.0].into_iter().map(|m| m * length).find(|l| *l <= whole / 3.0).or(Some(length))
}

impl Picture {
    /// The picture with a bar of lengths below it, `whole` micrometres being its width.
    fn with_bar(mut self, whole: f64) -> Picture {
        let Some(length) = round_length(whole) else { return self };
        let (width, strip) = (self.width, 2 * font::HEIGHT);
        let mut below = vec![255u8; width * strip];
        let bar = (width as f64 * length / whole) as usize;
        for row in below.chunks_exact_mut(width).skip(strip / 2 - 1).take(3) {
            row[..bar.min(width)].fill(0);
        }
        font::draw(&mut below, width, (bar + 4, strip / 4), &format!("{length} µm"), 1, 0);
        self.rgb.extend(below.iter().flat_map(|grey| [*grey; 3]));
        self.height += strip;
        self
    }
}

/// The slice in the middle, row by row along x, depth down; every n-th voxel, at most [`MOST`] · 3 of them, or each as a
/// square of pixels where there are few.
///
/// # Errors
/// Those of reading.
pub fn section(labels: &Labels, paints: &[Paint]) -> Result<Picture> {
    let d = labels.grid().dims;
    let mut slice = Vec::new();
    labels.read(d.nz / 2..d.nz / 2 + 1, &mut slice)?;
    let n = d.nx.max(d.ny).div_ceil(3 * MOST).max(1);
    // Few voxels are large: there is room for what the bar says.
    let large = (LEAST / d.nx).max(1);
    let (width, height) = (d.nx.div_ceil(n) * large, d.ny.div_ceil(n) * large);
    let place = |i: usize| i / width / large * n * d.nx + i % width / large * n;
    let colour = |i: usize| paints[usize::from(slice[place(i)])].map_or([255; 3], |p| p.0);
    let picture = Picture { width, height, rgb: (0..width * height).flat_map(colour).collect() };
    Ok(picture.with_bar((width * n / large) as f64 * labels.grid().voxel[0]))
}

/// Every how many slices of a volume, rows and voxels of them one is looked at for its view.
pub fn thinning(d: Dims) -> usize {
    d.nx.max(d.ny).max(d.nz).div_ceil(MOST).max(1)
}

/// Every n-th voxel of a volume, with the lengths of its axes.
struct Thinned {
    dims: [usize; 3],
    /// Length of a thinned voxel along x, y, z.
    size: [f64; 3],
    classes: Vec<u8>,
    /// Blocks along each axis, and whether a block is of one class.
    blocks: [usize; 3],
    plain: Vec<bool>,
}

impl Thinned {
    fn of(labels: &Labels) -> Result<Thinned> {
        let (grid, d) = (labels.grid(), labels.grid().dims);
        let n = thinning(d);
        let dims = [d.nx, d.ny, d.nz].map(|l| l.div_ceil(n));
        let (mut classes, mut slice) = (Vec::with_capacity(dims.iter().product()), Vec::new());
        for z in (0..d.nz).step_by(n) {
            check_interrupt()?;
            labels.read(z..z + 1, &mut slice)?;
            for line in slice.chunks_exact(d.nx).step_by(n) {
                classes.extend(line.iter().step_by(n));
            }
        }
        let least = grid.voxel.iter().copied().fold(f64::MAX, f64::min);
        let blocks = dims.map(|n| n.div_ceil(BLOCK));
        let mut thinned = Thinned { dims, size: grid.voxel.map(|v| v / least), classes, blocks, plain: Vec::new() };
        let count = blocks.iter().product();
        thinned.plain = (0..count).into_par_iter().map(|k| thinned.is_plain(k)).collect();
        Ok(thinned)
    }
    /// Whether the voxels of a block are of one class.
    fn is_plain(&self, block: usize) -> bool {
        let ([nx, ny, _], [bx, by, _]) = (self.dims, self.blocks);
        let at = [block % bx, block / bx % by, block / bx / by];
        let [x, y, z] = [0, 1, 2].map(|a| at[a] * BLOCK..((at[a] + 1) * BLOCK).min(self.dims[a]));
        let first = self.classes[(z.start * ny + y.start) * nx + x.start];
        z.into_iter().all(|z| {
            y.clone().all(|y| self.classes[(z * ny + y) * nx..][x.clone()].iter().all(|&class| class == first))
        })
    }
    /// How far it is from a place in a voxel to the far faces of its block, along each axis; `None` where that holds several classes.
    fn to_faces(&self, place: [f64; 3], voxel: [i64; 3]) -> Option<[f64; 3]> {
        let block = voxel.map(|v| v as usize / BLOCK);
        let plain = self.plain[(block[2] * self.blocks[1] + block[1]) * self.blocks[0] + block[0]];
        plain.then(|| std::array::from_fn(|a| ((block[a] + 1) * BLOCK).min(self.dims[a]) as f64 - place[a]))
    }
    fn at(&self, p: [i64; 3]) -> Option<u8> {
        let inside = (0..3).all(|a| p[a] >= 0 && p[a] < self.dims[a] as i64);
        inside.then(|| self.classes[(p[2] as usize * self.dims[1] + p[1] as usize) * self.dims[0] + p[0] as usize])
    }
    /// Out of the class: minus the gradient of where it is, of length one.
    fn normal(&self, p: [i64; 3], class: u8) -> [f64; 3] {
        // Rows of three along x, those in the volume: how many more are of the class on the left than on the right, and how many at all.
        let ([nx, ny, nz], [x, y, z]) = (self.dims.map(|n| n as i64), p);
        let mut g = [0i64; 3];
        for (dz, dy) in (-1..=1).flat_map(|dz| (-1..=1).map(move |dy| (dz, dy))) {
            if !(0..nz).contains(&(z + dz)) || !(0..ny).contains(&(y + dy)) {
                continue;
            }
            let row = &self.classes[(((z + dz) * ny + y + dy) * nx) as usize..][..self.dims[0]];
            let is = |x: i64| i64::from(row.get(x as usize) == Some(&class));
            let [left, middle, right] = [is(x - 1), is(x), is(x + 1)];
            g[0] += left - right;
            g[1] -= dy * (left + middle + right);
            g[2] -= dz * (left + middle + right);
        }
        let g = g.map(|v| v as f64);
        let length = (g[0] * g[0] + g[1] * g[1] + g[2] * g[2]).sqrt();
        if length > 0.0 { g.map(|v| v / length) } else { [0.0, -1.0, 0.0] }
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// ⌊v⌋, for what fits; without a call where the processor has no instruction for it.
#[inline(always)]
fn floor(v: f64) -> i64 {
    let whole = v as i64;
    whole - i64::from(whole as f64 > v)
}

/// The view.
///
/// # Errors
/// Those of reading.
pub fn view(labels: &Labels, paints: &[Paint]) -> Result<Picture> {
    let (grid, d) = (labels.grid(), labels.grid().dims);
    let wide = TURN[0] * d.nx as f64 * grid.voxel[0] + TURN[1] * d.nz as f64 * grid.voxel[2];
    Ok(seen(&Thinned::of(labels)?, paints).with_bar(wide))
}

/// The view of a volume.
fn seen(volume: &Thinned, paints: &[Paint]) -> Picture {
    let ([ct, st], [cd, sd]) = (TURN, DOWN);
    // Of x, y, z: to the right, up, and away from the eye.
    let (right, up, away) = ([ct, 0.0, -st], [st * sd, -cd, ct * sd], [st * cd, sd, ct * cd]);
    let light = [-0.36, -0.8, -0.48];
    let extent: [f64; 3] = std::array::from_fn(|a| volume.dims[a] as f64 * volume.size[a]);
    let corners: Vec<[f64; 3]> =
        (0..8).map(|k| std::array::from_fn(|a| if k >> a & 1 == 1 { extent[a] } else { 0.0 })).collect();
    let range = |axis: [f64; 3]| {
        let along = corners.iter().map(|c| dot(*c, axis));
        along.fold([f64::MAX, f64::MIN], |[a, b], v| [a.min(v), b.max(v)])
    };
    let ([left, most], [bottom, top], [near, far]) = (range(right), range(up), range(away));
    let pixel = (most - left) / WIDTH as f64;
    let height = (((top - bottom) / pixel) as usize).clamp(1, 4 * WIDTH);
    let steps = ((far - near) * STEPS) as usize + 1;
    // Steps at which a ray may be in the box, one more on each side than there need be: outside there is nothing to see.
    let within = |start: [f64; 3]| {
        let (mut enter, mut leave) = (near, far);
        for a in 0..3 {
            let [first, second] = [0.0, extent[a]].map(|face| (face - start[a]) / away[a]);
            (enter, leave) = (enter.max(first.min(second)), leave.min(first.max(second)));
        }
        let step = |t: f64| (t - near) * STEPS;
        (step(enter) as usize).saturating_sub(1)..((step(leave) + 3.0) as usize).min(steps)
    };
    let cubes = volume.size == [1.0; 3];
    // Steps per voxel along each axis; rays go towards larger x, y and z.
    let ahead: [f64; 3] = std::array::from_fn(|a| STEPS * volume.size[a] / away[a]);
    let row = |row: usize| -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * WIDTH);
        for column in 0..WIDTH {
            let (u, v) = (left + (column as f64 + 0.5) * pixel, top - (row as f64 + 0.5) * pixel);
            let (mut colour, mut rest, mut before) = ([0.0f64; 3], 1.0f64, None);
            let start: [f64; 3] = std::array::from_fn(|a| right[a] * u + up[a] * v);
            let range = within(start);
            let mut next = range.start;
            while next < range.end {
                let k = next;
                let t = near + k as f64 / STEPS;
                let p: [f64; 3] = std::array::from_fn(|a| start[a] + away[a] * t);
                // Divided by one it is what it was, and sooner.
                let p = if cubes { p } else { std::array::from_fn(|a| p[a] / volume.size[a]) };
                let (place, p) = (p, p.map(floor));
                let class = volume.at(p);
                // To the last step that is surely within a block of one class, and one more.
                let clear = class.and_then(|_| volume.to_faces(place, p));
                let over = clear.map_or(0.0, |[x, y, z]| (x * ahead[0]).min(y * ahead[1]).min(z * ahead[2]));
                next += (over as usize).max(1);
                if class == before {
                    continue;
                }
                before = class;
                let Some((paint, opacity)) = class.and_then(|c| paints[usize::from(c)]) else { continue };
                let lit = dot(volume.normal(p, class.unwrap_or(0)), light).max(0.0);
                let shade = AMBIENT + (1.0 - AMBIENT) * lit;
                (0..3).for_each(|i| colour[i] += rest * opacity * shade * f64::from(paint[i]));
                rest *= 1.0 - opacity;
                if rest < DARK {
                    break;
                }
            }
            // On white.
            out.extend(colour.map(|c| (c + 255.0 * rest + 0.5).min(255.0) as u8));
        }
        out
    };
    let rows: Vec<Vec<u8>> = (0..height).into_par_iter().map(row).collect();
    Picture { width: WIDTH, height, rgb: rows.concat() }
}

#[cfg(test)]
mod tests {
    use super::super::labels::tests::cell;
    use super::*;

    #[test]
    fn a_block_is_seen_where_it_is_and_through_what_is_clear() {
        // 20³, a cube of class 1 in the middle, within class 2.
        let n = 20;
        let inside = |i: usize| [i % n, i / n % n, i / n / n].iter().all(|v| (7..13).contains(v));
        let labels: Vec<u8> = (0..n * n * n).map(|i| if inside(i) { 1 } else { 2 }).collect();
        let mut paints: Vec<Paint> = vec![None; 7];
        paints[1] = Some(([200, 0, 0], 1.0));
        let alone = view(&cell((n, n, n), &labels), &paints).unwrap();
        let middle = |p: &Picture| p.rgb[3 * (p.height / 2 * p.width + p.width / 2)..][..3].to_vec();
        let seen = middle(&alone);
        assert!(seen[0] >= 90 && seen[1] == 0 && seen[2] == 0, "{seen:?}");
        assert_eq!(alone.rgb[..3], [255; 3], "the corner is white");
        // Red is what the cube shows of itself: 6³ of 20³ from the side is about a tenth of the picture.
        let red = alone.rgb.chunks_exact(3).filter(|c| c[1] == 0).count() as f64 / (alone.rgb.len() / 3) as f64;
        assert!((0.05..0.15).contains(&red), "{red}");
        paints[2] = Some(([0, 0, 200], 0.25));
        let through = middle(&view(&cell((n, n, n), &labels), &paints).unwrap());
        assert!(through[0] > 50 && through[2] > 10 && through[0] < seen[0], "{through:?}");
        paints[2] = Some(([0, 0, 200], 1.0));
        assert_eq!(middle(&view(&cell((n, n, n), &labels), &paints).unwrap())[0], 0, "behind what is not");
        let cut = section(&cell((n, n, n), &labels), &paints).unwrap();
        // Twelve pixels a voxel, and the bar: 5 of 20 µm.
        let side = 12 * n;
        assert_eq!(
            (cut.width, cut.height, &cut.rgb[3 * (side / 2 * side + side / 2)..][..3]),
            (side, side + 14, &[200, 0, 0][..])
        );
        let bar = cut.rgb[3 * (side + 7) * side..].chunks_exact(3).take_while(|p| **p == [0; 3]).count();
        assert_eq!((bar, round_length(6.0), round_length(1e3)), (side / 4, Some(2.0), Some(200.0)));
    }

    #[test]
    fn what_is_stepped_over_does_not_show() {
        // Balls in layers: blocks of one class, blocks of several, and some that end with the volume.
        let (nz, ny, nx) = (37, 50, 61);
        let class = |i: usize| {
            let [x, y, z] = [i % nx, i / nx % ny, i / nx / ny].map(|v| v as f64);
            let ball = |c: [f64; 3], r: f64| (x - c[0]).powi(2) + (y - c[1]).powi(2) + (z - c[2]).powi(2) < r * r;
            match () {
                () if ball([20.0, 22.0, 12.0], 9.5) => 1,
                () if ball([44.0, 25.0, 20.0], 14.0) => 2,
                () => [0u8, 3, 4][(y > 12.0) as usize + (y > 38.0) as usize],
            }
        };
        let labels: Vec<u8> = (0..nx * ny * nz).map(class).collect();
        let mut paints: Vec<Paint> = (0..7).map(|k| Some(([40 * k, 20, 99], 0.3))).collect();
        paints[0] = None;
        for size in [[1.0; 3], [1.0, 1.7, 2.3]] {
            let mut volume = Thinned::of(&cell((nz, ny, nx), &labels)).unwrap();
            volume.size = size;
            let over = seen(&volume, &paints);
            let plain = volume.plain.iter().filter(|plain| **plain).count();
            assert!((40..volume.plain.len() - 40).contains(&plain), "{plain} of {}", volume.plain.len());
            volume.plain.fill(false);
            assert!(seen(&volume, &paints) == over, "{size:?}");
        }
    }

    #[test]
    fn threads_do_not_show() {
        let labels: Vec<u8> = (0..30 * 20 * 40u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 28) as u8 % 7).collect();
        let paints: Vec<Paint> = (0..7).map(|k| Some(([40 * k, 20, 99], 0.4))).collect();
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| view(&cell((30, 20, 40), &labels), &paints).unwrap())
        };
        assert_eq!(of(1), of(3));
    }
}
