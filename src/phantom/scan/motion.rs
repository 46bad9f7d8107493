//! How the cell lies in a scan: one rigid motion per electrode, a smooth change from one to the other between them,
//! and a smooth warp over all.
//!
//! Points p = (x, y, z) are voxel-centre indices, lengths are voxels, c is the middle of the volume. Body b lies at
//!
//! ```text
//! p_scan = R_b (p_cell − c) + c + t_b                       R_b = R_rel R_random R_tilt,  t_b = t_rel + t_common
//! ```
//!
//! with R_rel = 1 and t_rel = 0 for the stripping side. What looks at the scan asks the other way round:
//!
//! ```text
//! p_cell = B_S(p) + W(p) + g (B_P(p) − B_S(p))              p = p_scan,  B_b(p) = R_bᵀ (p − c − t_b) + c
//! W(p)   = Σ_w a_w cos(k_w·p + φ_w)                         wavelengths of one to two times the longest extent
//! g      = 1 − u² (3 − 2u),  u = (y* − y₀) / (y₁ − y₀) within 0 … 1,  y* = y of B_S + W + ½ (B_P − B_S)
//! ```
//!
//! y₀ lies above the end of the plating body by half of what the bodies differ in y, y₁ below the begin of the
//! stripping body by as much, so that y_cell ≤ `plating_until` moves with P alone and y_cell ≥ `stripping_from` with S
//! alone, to the last bit but for W. The map forward, from the cell to the scan, has no closed form; it is the limit of
//! p ← p + (p_cell − to_cell(p)), which contracts because W and g change slowly (checked when a pose is drawn).
//!
//! The numbers of a step are a function of (seed, step), those of the series of the seed: no step needs another.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::num::elementary::cos;
use crate::num::linalg::{Matrix, apply, dot, product, transpose};
use crate::num::philox::Stream;
use crate::num::rigid::{Rigid, rotation};
use crate::phantom::specimen::Marker;
use crate::volume::Dims;
use std::array::from_fn;
use std::f64::consts::PI;

/// Stream of the motions: index = step · [`SLOTS`] + slot.
const MOTION: u32 = 0x6d6f_7665;
/// Random numbers kept for a step.
const SLOTS: u64 = 128;
/// The step whose numbers are those of the series.
const SERIES: u64 = u32::MAX as u64;
/// Cosines of a warp.
const WAVES: u64 = 4;
/// Points per axis among which the largest warp is looked for.
const LATTICE: usize = 33;
/// Points to a diameter of a marker whose centre of mass is taken; even.
const ACROSS: i32 = 16;
/// Most that the warp may change per voxel, and the blend against the width over which it happens: beyond, the map
/// might fold.
const STEEPEST: f64 = 0.5;
const BLEND: f64 = 0.25;

/// How much the cell moves. Each part is off where its number is 0; what the others do stays the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionSettings {
    /// Standard deviation of a scan's shift along each axis, voxels.
    pub translation: f64,
    /// Standard deviation of a scan's rotation about each axis, degrees.
    pub rotation_deg: f64,
    /// Slow drift in one direction, voxels per scan.
    pub drift: f64,
    /// Least and largest tilt of the sample in x-y and in y-z, of either sign, the same in all scans; degrees.
    pub tilt_deg: [f64; 2],
    /// Standard deviation of the plating side's shift against the stripping side along each axis, voxels.
    pub relative_translation: f64,
    /// Standard deviation of the plating side's rotation against the stripping side about each axis, degrees.
    pub relative_rotation_deg: f64,
    /// Least and largest amplitude of the warp, voxels.
    pub warp: [f64; 2],
    /// Motion (x, y, z) from the first projection of a scan to the last, voxels; the pose is that of the middle.
    pub within_scan: [f64; 3],
}

impl Default for MotionSettings {
    fn default() -> Self {
        MotionSettings {
            translation: 5.0,
            rotation_deg: 0.1,
            drift: 0.5,
            tilt_deg: [1.0, 3.0],
            relative_translation: 0.3,
            relative_rotation_deg: 0.02,
            warp: [1.0, 5.0],
            within_scan: [0.0; 3],
        }
    }
}

impl MotionSettings {
    /// Nothing moves.
    pub const STILL: MotionSettings = MotionSettings {
        translation: 0.0,
        rotation_deg: 0.0,
        drift: 0.0,
        tilt_deg: [0.0; 2],
        relative_translation: 0.0,
        relative_rotation_deg: 0.0,
        warp: [0.0; 2],
        within_scan: [0.0; 3],
    };

    fn check(&self) -> Result<()> {
        let sizes = [
            ("shift", self.translation),
            ("rotation", self.rotation_deg),
            ("drift", self.drift),
            ("least tilt", self.tilt_deg[0]),
            ("tilt", self.tilt_deg[1] - self.tilt_deg[0]),
            ("relative shift", self.relative_translation),
            ("relative rotation", self.relative_rotation_deg),
            ("least warp", self.warp[0]),
            ("warp", self.warp[1] - self.warp[0]),
        ];
        match sizes.iter().find(|(_, v)| !(0.0..=1e4).contains(v)) {
            Some((name, v)) => Err(Error::usage(format!("a {name} of {v} in the motion of the cell"))
                .help("sizes are at least 0, and a range begins with its least value")),
            None if self.within_scan.iter().all(|v| v.abs() <= 1e4) => Ok(()),
            None => Err(Error::usage(format!("a motion within the scan of {:?} voxels", self.within_scan))),
        }
    }
}

/// From the scan to the cell, as (A, b) of `p_cell = A p_scan + b`, of a motion from the cell to the scan.
pub(super) fn back(body: &Rigid) -> (Matrix<3>, [f64; 3]) {
    let inverse = transpose(&body.rotation);
    let middle = apply(&inverse, &from_fn(|i| body.centre[i] + body.translation[i]));
    (inverse, from_fn(|i| body.centre[i] - middle[i]))
}

fn body_json(body: &Rigid) -> Json {
    Json::obj([
        ("matrix", body.matrix().into()),
        ("rotation_vector_rad", Json::from(body.rotation_vector())),
        ("centre", Json::from(body.centre)),
        ("translation", Json::from(body.translation)),
    ])
}

/// A wave of the warp: `amplitude · cos(vector · p + phase)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wave {
    /// a, voxels.
    pub amplitude: [f64; 3],
    /// k, radians per voxel.
    pub vector: [f64; 3],
    /// φ, radians.
    pub phase: f64,
}

/// Where the cell lies in one scan; see the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Pose {
    /// The plating side.
    pub plating: Rigid,
    /// The stripping side.
    pub stripping: Rigid,
    /// y₀ and y₁: between them the one motion passes into the other.
    pub blend: [f64; 2],
    /// The warp, none if it is off.
    pub waves: Vec<Wave>,
    /// The largest |W| on a lattice of 33 points along each axis, which misses less than 2 %.
    pub largest_warp: f64,
    /// Motion from the first projection to the last, voxels. At time τ of −½ … ½ the object is shifted by v = τ · this:
    /// the image at angle θ moves by v_x cos θ − v_y sin θ columns and v_z rows.
    pub within_scan: [f64; 3],
}

impl Pose {
    /// The pose of scan `step` of a series. `bodies`: the plating side ends at y = bodies\[0\], the stripping side
    /// begins at bodies\[1\] (of this step).
    ///
    /// # Errors
    /// If a setting is negative or not a number, or the map would fold: too strong a warp for the volume, or too much
    /// relative motion for the space between the bodies.
    pub fn draw(settings: &MotionSettings, dims: Dims, bodies: [f64; 2], seed: u64, step: u32) -> Result<Pose> {
        settings.check()?;
        let (stream, step) = (Stream::new(seed, MOTION), u64::from(step));
        let normals = |step: u64, slot: u64| -> [f64; 3] { from_fn(|i| stream.normal(step * SLOTS + slot + i as u64)) };
        let range = |step: u64, slot: u64, [low, high]: [f64; 2]| {
            let v = 2.0 * stream.uniform_f64(step * SLOTS + slot) - 1.0;
            (low + (high - low) * v.abs()).copysign(v)
        };
        let degree = PI / 180.0;
        let extent = [dims.nx, dims.ny, dims.nz].map(|n| n as f64);
        let centre = extent.map(|n| (n - 1.0) / 2.0);
        let direction = unit(normals(SERIES, 0));
        let [shift, turn, apart, twist] = [0, 3, 6, 9].map(|slot| normals(step, slot));
        let translation = from_fn(|i| settings.translation * shift[i] + settings.drift * step as f64 * direction[i]);
        let tilt = [3, 4].map(|slot| degree * range(SERIES, slot, settings.tilt_deg));
        let tilted = product(&rotation([tilt[0], 0.0, 0.0]), &rotation([0.0, 0.0, tilt[1]]));
        let common = product(&rotation(turn.map(|v| v * degree * settings.rotation_deg)), &tilted);
        let relative = rotation(twist.map(|v| v * degree * settings.relative_rotation_deg));
        let mut pose = Pose {
            plating: Rigid {
                rotation: product(&relative, &common),
                centre,
                translation: from_fn(|i| translation[i] + settings.relative_translation * apart[i]),
            },
            stripping: Rigid { rotation: common, centre, translation },
            blend: bodies,
            waves: Vec::new(),
            largest_warp: range(step, 12, settings.warp).abs(),
            within_scan: settings.within_scan,
        };
        if pose.largest_warp > 0.0 {
            let length = extent.into_iter().fold(0.0, f64::max);
            pose.waves = (0..WAVES)
                .map(|w| 16 + 8 * w)
                .map(|slot| Wave {
                    amplitude: normals(step, slot),
                    vector: unit(normals(step, slot + 3))
                        .map(|v| v * range(step, slot + 6, [0.5, 1.0]) * 2.0 * PI / length),
                    phase: range(step, slot + 7, [0.0, PI]),
                })
                .collect();
            pose.scale_warp(extent)?;
        }
        pose.set_blend(extent)?;
        Ok(pose)
    }

    /// Scales the waves so that their sum is nowhere on the lattice longer than `largest_warp`, and there once is.
    fn scale_warp(&mut self, extent: [f64; 3]) -> Result<()> {
        let point = |i: usize, axis: usize| i as f64 / (LATTICE - 1) as f64 * (extent[axis] - 1.0);
        let mut largest = 0f64;
        for i in 0..LATTICE * LATTICE * LATTICE {
            let p = [point(i % LATTICE, 0), point(i / LATTICE % LATTICE, 1), point(i / LATTICE / LATTICE, 2)];
            let w = self.warp(p);
            largest = largest.max(dot(&w, &w));
        }
        let scale = self.largest_warp / largest.sqrt();
        let mut slope = 0.0;
        for wave in &mut self.waves {
            wave.amplitude = wave.amplitude.map(|a| a * scale);
            slope += (dot(&wave.amplitude, &wave.amplitude) * dot(&wave.vector, &wave.vector)).sqrt();
        }
        if slope > STEEPEST {
            let [nx, ny, nz] = extent;
            return Err(Error::usage(format!("a warp of {:.2} voxels in {nx} x {ny} x {nz}", self.largest_warp))
                .help("take a weaker warp or a larger volume: this one could fold"));
        }
        Ok(())
    }

    /// Narrows the zone between the bodies by half of what their motions differ in y, anywhere in twice the volume.
    fn set_blend(&mut self, extent: [f64; 3]) -> Result<()> {
        let (mut apart, mut longest) = (0f64, 0f64);
        for corner in 0..8 {
            let p = from_fn(|i| extent[i] * if corner >> i & 1 == 0 { -0.5 } else { 1.5 });
            let e = self.apart(p);
            (apart, longest) = (apart.max(0.5 * e[1].abs()), longest.max(dot(&e, &e).sqrt()));
        }
        let [end, begin] = self.blend;
        self.blend = [end + apart, begin - apart];
        if longest > BLEND * (self.blend[1] - self.blend[0]) && longest > 0.0 {
            let between = begin - end;
            return Err(Error::usage(format!("electrodes {between} voxels apart move by {longest:.2} voxels"))
                .help("let the plating side move less against the stripping side"));
        }
        Ok(())
    }

    /// B_P − B_S at a point of the scan, voxels.
    fn apart(&self, p: [f64; 3]) -> [f64; 3] {
        let [(a, b), (c, d)] = [back(&self.plating), back(&self.stripping)];
        let (plating, stripping) = (apply(&a, &p), apply(&c, &p));
        from_fn(|i| plating[i] + b[i] - stripping[i] - d[i])
    }

    /// W at a point of the scan, voxels.
    pub fn warp(&self, p: [f64; 3]) -> [f64; 3] {
        self.waves.iter().fold([0.0; 3], |sum, wave| {
            let c = cos(dot(&wave.vector, &p) + wave.phase);
            from_fn(|i| sum[i] + wave.amplitude[i] * c)
        })
    }

    /// (1/(y₁ − y₀), −y₀/(y₁ − y₀)): u = y* · first + second. Both are 0 where there is nothing between the bodies.
    pub(super) fn blend_line(&self) -> [f64; 2] {
        let [low, high] = self.blend;
        if high > low { [1.0 / (high - low), -low / (high - low)] } else { [0.0; 2] }
    }

    /// The point of the cell that is seen at a point of the scan.
    pub fn to_cell(&self, p: [f64; 3]) -> [f64; 3] {
        let ((a, b), w, e) = (back(&self.stripping), self.warp(p), self.apart(p));
        let turned = apply(&a, &p);
        let base: [f64; 3] = from_fn(|i| turned[i] + b[i] + w[i]);
        let [slope, start] = self.blend_line();
        let u = ((base[1] + 0.5 * e[1]) * slope + start).clamp(0.0, 1.0);
        let g = 1.0 - u * u * (3.0 - 2.0 * u);
        from_fn(|i| base[i] + g * e[i])
    }

    /// The point of the scan at which a point of the cell is seen, to 10⁻⁹ voxel.
    pub fn to_scan(&self, cell: [f64; 3]) -> [f64; 3] {
        let mut p = self.stripping.apply(&cell);
        // With a contraction below 0.95 this is more than enough.
        for _ in 0..500 {
            let reached = self.to_cell(p);
            let step: [f64; 3] = from_fn(|i| cell[i] - reached[i]);
            p = from_fn(|i| p[i] + step[i]);
            if dot(&step, &step) < 1e-22 {
                break;
            }
        }
        p
    }

    /// The centre of mass of a marker as it is seen, which the warp bends: the mean of those points p of a grid of
    /// [`ACROSS`] to a diameter whose [`Pose::to_cell`] lies in the ellipsoid; to about 10⁻² voxel.
    pub fn centre_of_mass(&self, marker: &Marker) -> [f64; 3] {
        let middle = self.to_scan(marker.centre);
        let step = marker.radii.map(|r| 2.0 * r / f64::from(ACROSS));
        let (mut sum, mut count) = ([0.0; 3], 0u32);
        // A little beyond the radii, which the warp may stretch.
        let range = || -(ACROSS * 3 / 4)..ACROSS * 3 / 4;
        for k in range() {
            for j in range() {
                for i in range() {
                    let off: [f64; 3] = from_fn(|a| ([i, j, k][a] as f64 + 0.5) * step[a]);
                    let cell = self.to_cell(from_fn(|a| middle[a] + off[a]));
                    let inside: [f64; 3] = from_fn(|a| (cell[a] - marker.centre[a]) / marker.radii[a]);
                    if dot(&inside, &inside) <= 1.0 {
                        (0..3).for_each(|a| sum[a] += off[a]);
                        count += 1;
                    }
                }
            }
        }
        from_fn(|a| middle[a] + sum[a] / f64::from(count.max(1)))
    }

    /// Everything above, and where the centres of the markers are seen. Matrices take column vectors (x, y, z, 1) of
    /// voxel-centre indices from the cell to the scan.
    pub fn to_json(&self, markers: &[Marker]) -> Json {
        let waves = self.waves.iter().map(|w| {
            Json::obj([
                ("amplitude", Json::from(w.amplitude)),
                ("wave_vector_rad", Json::from(w.vector)),
                ("phase_rad", w.phase.into()),
            ])
        });
        let markers = markers.iter().map(|m| {
            let seen = [
                ("scan", Json::from(self.to_scan(m.centre))),
                ("scan_centre_of_mass", Json::from(self.centre_of_mass(m))),
            ];
            Json::obj(m.to_json().into_iter().chain(seen))
        });
        Json::obj([
            (
                "frame",
                "voxel-centre indices (x, y, z); matrices take columns (x, y, z, 1) from the cell to the scan".into(),
            ),
            ("plating", body_json(&self.plating)),
            ("stripping", body_json(&self.stripping)),
            ("blend_y", Json::from(self.blend)),
            ("largest_warp", self.largest_warp.into()),
            ("warp", Json::Arr(waves.collect())),
            ("within_scan", Json::from(self.within_scan)),
            ("markers", Json::Arr(markers.collect())),
        ])
    }
}

/// v/|v|; of the zero vector, x.
fn unit(v: [f64; 3]) -> [f64; 3] {
    let length = dot(&v, &v).sqrt();
    if length > 0.0 { v.map(|x| x / length) } else { [1.0, 0.0, 0.0] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::linalg::identity;
    use crate::num::rigid::rotation_vector;
    use crate::phantom::matter::Fill;
    use crate::phantom::specimen::Body;

    const DIMS: Dims = Dims { nz: 48, ny: 288, nx: 64 };
    const BODIES: [f64; 2] = [110.0, 175.0];

    fn pose(settings: &MotionSettings, step: u32) -> Pose {
        Pose::draw(settings, DIMS, BODIES, 7, step).unwrap()
    }

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
    }

    /// Points all over the volume.
    fn points() -> impl Iterator<Item = [f64; 3]> {
        (0..2000u64).map(|i| from_fn(|k| Stream::new(1, 1).uniform_f64(3 * i + k as u64) * [63.0, 287.0, 47.0][k]))
    }

    #[test]
    fn nothing_moves_when_everything_is_off() {
        let still = pose(&MotionSettings::STILL, 9);
        assert!(points().all(|p| distance(still.to_cell(p), p) < 1e-12 && distance(still.to_scan(p), p) < 1e-12));
        assert_eq!(still.plating, still.stripping);
    }

    #[test]
    fn forward_undoes_backward() {
        let mut worst = 0f64;
        for step in 0..25 {
            let pose = pose(&MotionSettings::default(), step);
            for p in points().take(200) {
                worst = worst.max(distance(pose.to_cell(pose.to_scan(p)), p));
                worst = worst.max(distance(pose.to_scan(pose.to_cell(p)), p));
            }
        }
        println!("there and back: {worst:.1e} voxel");
        assert!(worst < 1e-6, "{worst:e}");
    }

    #[test]
    fn bodies_are_rigid_and_the_map_between_is_smooth() {
        let settings = MotionSettings { warp: [0.0; 2], ..MotionSettings::default() };
        let relative = (0..25).map(|step| {
            let pose = pose(&settings, step);
            for cell in points() {
                let scan = pose.to_scan(cell);
                if cell[1] <= BODIES[0] {
                    assert!(distance(scan, pose.plating.apply(&cell)) < 1e-8);
                } else if cell[1] >= BODIES[1] {
                    assert!(distance(scan, pose.stripping.apply(&cell)) < 1e-8);
                }
                // In between no step of 0.01 voxel moves a point by more than the steepest slope allows.
                let near = pose.to_cell([scan[0], scan[1] + 0.01, scan[2]]);
                assert!(distance(near, cell) < 0.012);
            }
            distance(pose.plating.translation, pose.stripping.translation)
        });
        // Rayleigh-like with σ 0.3 in three dimensions: the mean is 0.3 · √(8/π) = 0.48.
        let mean = relative.sum::<f64>() / 25.0;
        assert!((0.3..0.7).contains(&mean), "{mean}");
    }

    #[test]
    fn the_warp_is_as_large_as_it_says_and_changes_from_scan_to_scan() {
        let settings = MotionSettings { warp: [1.0, 5.0], ..MotionSettings::STILL };
        for step in 0..10 {
            let pose = pose(&settings, step);
            let largest = points().map(|p| distance(pose.to_cell(p), p)).fold(0.0, f64::max);
            assert!((1.0..=5.0).contains(&pose.largest_warp));
            assert!(largest < 1.02 * pose.largest_warp && largest > 0.8 * pose.largest_warp, "{largest}");
        }
        assert_ne!(pose(&settings, 1).waves, pose(&settings, 2).waves);
    }

    #[test]
    fn motions_have_their_size_and_parts_do_not_disturb_each_other() {
        let all = MotionSettings::default();
        let n = 400;
        let turned: Vec<Pose> =
            (0..n).map(|k| pose(&MotionSettings { tilt_deg: [0.0; 2], drift: 0.0, ..all }, k)).collect();
        for i in 0..3 {
            // n normal numbers: their variance is known to √(2/n) = 7 %; five times that.
            let square = |f: &dyn Fn(&Pose) -> f64| turned.iter().map(|p| f(p).powi(2)).sum::<f64>() / f64::from(n);
            let shift = square(&|p| p.stripping.translation[i]) / 25.0;
            let turn = square(&|p| rotation_vector(&p.stripping.rotation)[i] * 180.0 / PI) / 0.01;
            assert!((shift - 1.0).abs() < 0.36 && (turn - 1.0).abs() < 0.36, "{shift} {turn}");
        }
        let (with, without) = (pose(&all, 3), pose(&MotionSettings { warp: [0.0; 2], ..all }, 3));
        assert_eq!((with.plating, with.stripping), (without.plating, without.stripping));
        // The tilt is the same in all scans, the drift grows.
        let only = MotionSettings { drift: 0.5, tilt_deg: [1.0, 3.0], ..MotionSettings::STILL };
        let (first, last) = (pose(&only, 0), pose(&only, 24));
        assert_eq!(first.stripping.rotation, last.stripping.rotation);
        assert!((distance(first.stripping.translation, last.stripping.translation) - 12.0).abs() < 1e-9);
        let tilt = rotation_vector(&first.stripping.rotation).map(|v| v.abs() * 180.0 / PI);
        assert!((0.99..3.01).contains(&tilt[0]) && (0.99..3.01).contains(&tilt[2]) && tilt[1] < 0.1, "{tilt:?}");
    }

    #[test]
    fn the_story_of_a_pose_reads_back() {
        let pose = pose(&MotionSettings::default(), 5);
        let marker =
            Marker { centre: [30.0, 40.0, 20.0], radii: [4.0, 5.0, 6.0], body: Body::Plating, fill: Fill::Alumina };
        let json = Json::parse(&pose.to_json(&[marker]).to_canonical()).unwrap();
        let numbers = |j: &Json| -> Vec<f64> { j.as_arr().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
        let scan = numbers(json.need_arr("markers").unwrap()[0].need("scan").unwrap());
        assert!(distance(pose.to_cell([scan[0], scan[1], scan[2]]), marker.centre) < 1e-9);
        // A body that only moves takes its centre along; a warp bends it by less than its radius.
        let still = Pose { waves: Vec::new(), ..pose.clone() };
        for (pose, bound) in [(&still, 1e-2), (&pose, 1.0)] {
            let off = distance(pose.centre_of_mass(&marker), pose.to_scan(marker.centre));
            assert!(off < bound, "{off}");
        }
        assert!(distance(pose.centre_of_mass(&marker), pose.to_scan(marker.centre)) > 1e-3);
        let matrix = json.need("plating").unwrap().need_arr("matrix").unwrap();
        let p = [30.0, 40.0, 20.0, 1.0];
        let mapped = from_fn(|i| numbers(&matrix[i]).iter().zip(p).map(|(a, b)| a * b).sum());
        assert!(distance(mapped, pose.plating.apply(&marker.centre)) < 1e-10);
        let vector = numbers(json.need("plating").unwrap().need("rotation_vector_rad").unwrap());
        let again = rotation([vector[0], vector[1], vector[2]]);
        assert!((0..3).all(|i| distance(again[i], pose.plating.rotation[i]) < 1e-12));
        assert_eq!(rotation_vector(&identity()), [0.0; 3]);
    }

    #[test]
    fn what_would_fold_is_refused() {
        let refuse = |settings: MotionSettings, bodies: [f64; 2]| {
            Pose::draw(&settings, DIMS, bodies, 1, 1).unwrap_err().fault().exit_code()
        };
        assert_eq!(refuse(MotionSettings { warp: [80.0, 90.0], ..MotionSettings::STILL }, BODIES), 2);
        assert_eq!(refuse(MotionSettings { relative_translation: 9.0, ..MotionSettings::STILL }, [110.0, 112.0]), 2);
        assert_eq!(refuse(MotionSettings { drift: f64::NAN, ..MotionSettings::STILL }, BODIES), 2);
        assert_eq!(refuse(MotionSettings { warp: [2.0, 1.0], ..MotionSettings::STILL }, BODIES), 2);
    }
}
