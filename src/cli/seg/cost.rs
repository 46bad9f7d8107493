//! What `seg predict` holds and how long its phases are beside one another, before it runs.
//!
//! ```text
//! memory of a phase = program + network + its values + windows + slices + writers' slabs     the largest is the plan
//! work of a phase   = pixels of windows · (multiply-adds of the network, idle lanes too, + around it)
//!                     voxels turned, voxels averaged                          in multiply-adds that take as long
//! ```
//!
//! Left out: what a GPU's driver takes on the host, and pages of mapped files (`--io mmap`), which the system takes back
//! where memory is short.

use crate::cli::progress::Part;
use crate::kernels::maps::Shape;
use crate::nn::fast::Ready;
use crate::nn::infer::Plan;
use crate::nn::network::{Network, Step};
use crate::num::lanes::{LANES, Lane};
use crate::segment::orient::{Plane, turning};
use crate::segment::predict::memory;
use crate::segment::windows::Windows;
use crate::volume::slabs::Layout;
use crate::volume::{Dims, Dtype};

/// The program, the stacks of its threads, and what they read and hash through.
const PROGRAM: u64 = 32 << 20;
/// Slabs that a writer holds: one that is filled, one that is written.
const SLABS: u64 = 2;
/// Multiply-adds that take as long as a pixel of a window takes beside the network: cut, added up, its classes told.
const AROUND: f64 = 2000.0;
/// As long as a voxel that is read, turned and written takes.
const TURNED: f64 = 800.0;

/// A part of the work.
pub struct Phase {
    /// What is done.
    pub name: &'static str,
    /// Bytes that are held.
    pub memory: u64,
    /// Multiply-adds that take as long.
    pub work: f64,
    /// Bytes that go through.
    pub bytes: u64,
}

/// What is predicted.
pub struct Asked<'a> {
    /// Network.
    pub network: &'a Network,
    /// In 16 bits on the CPU.
    pub halves: bool,
    /// Windows.
    pub windows: &'a Windows,
    /// Rows and columns of one.
    pub roi: usize,
    /// Passes; of their logits one set each stands behind the other, or their mean alone.
    pub passes: usize,
    /// Only the mean of the passes' logits is kept.
    pub mean: bool,
    /// BatchNorm by the windows' own moments.
    pub of_batch: bool,
    /// Maps that are written.
    pub maps: usize,
    /// Planes.
    pub planes: &'a [Plane],
    /// Volume.
    pub volume: Dims,
}

impl Asked<'_> {
    /// The phases in their order.
    pub fn phases(&self) -> Vec<Phase> {
        let (d, k) = (self.volume, self.network.config.classes);
        let several = self.planes.len() > 1;
        let mut phases = Vec::new();
        for &plane in self.planes {
            let view = plane.dims(d);
            let (maps, dtype) = if several { (k, Dtype::U16) } else { (self.maps, Dtype::U8) };
            let written = maps as u64 * slabs(view, dtype);
            let slices = memory::of_slices(view, plane, self.network.config.inputs, maps);
            let pixels = (view.nz * self.windows.count(view.ny, view.nx) * self.roi.pow(2)) as f64;
            phases.push(Phase {
                name: plane.name(),
                memory: PROGRAM
                    + self.of_network(view, if several { 4 * k } else { 1 + maps })
                    + slices
                    + turning(d, plane.cut())
                    + written,
                work: pixels * self.passes as f64 * (self.multiply_adds() + AROUND),
                bytes: d.voxels() as u64,
            });
        }
        let (voxels, written) = (d.voxels() as f64, self.maps as u64 * slabs(d, Dtype::U8));
        // Slices of another plane lie on the disk first.
        let turned = |plane: Plane| turning(plane.dims(d), plane.back());
        if several {
            let logits = k * self.planes.len();
            let turning = self.planes.iter().map(|&p| turned(p)).max();
            phases.push(Phase {
                name: "average",
                memory: PROGRAM
                    + self.of_network(d, 4 * k)
                    + memory::of_average(d, logits, self.maps)
                    + turning.unwrap_or(0)
                    + written,
                work: voxels * (logits as f64 * TURNED + AROUND),
                bytes: d.voxels() as u64,
            });
        } else if self.planes != [Plane::Xy] {
            let block = super::predict::BAND.max(4 * d.slice() as u64).min(4 * d.voxels() as u64);
            phases.push(Phase {
                name: "turn",
                memory: PROGRAM + self.weights() + block + turned(self.planes[0]) + written,
                work: voxels * self.maps as f64 * TURNED,
                bytes: d.voxels() as u64,
            });
        }
        phases
    }

    /// The network's numbers.
    fn weights(&self) -> u64 {
        self.network.parameters.iter().map(|p| (p.values.len() * size_of::<Lane>()) as u64).sum()
    }

    /// The network, made ready, its values and the windows of slices, of each pixel of which `told` bytes are told.
    fn of_network(&self, view: Dims, told: usize) -> u64 {
        let (k, inputs) = (self.network.config.classes, self.network.config.inputs);
        let shape = |n: usize, c: usize| Shape::new(n, c, self.roi, self.roi);
        let lanes = |s: Shape| (s.n * s.c.div_ceil(LANES) * s.plane() * size_of::<Lane>()) as u64;
        let kept = if self.mean { k } else { k * self.passes };
        let size = [view.ny, view.nx];
        let batch = self.windows.batch(size, view.nz);
        // Passes are computed window by window; their mean is put together.
        let (values, logits) = match self.passes {
            1 => (Ready::new(self.network, self.halves).memory(shape(batch, inputs)), shape(batch, k)),
            _ => {
                let plan = Plan::with_dropout(self.network, self.of_batch);
                (plan.memory::<Lane>(shape(1, inputs)), shape(if self.mean { 2 } else { 1 }, k))
            }
        };
        let windows = self.windows.memory(size, view.nz, inputs, kept, told);
        2 * self.weights() + values + lanes(logits) + windows
    }

    /// Of a pixel of a window, times a pass.
    fn multiply_adds(&self) -> f64 {
        let image = Shape::new(1, self.network.config.inputs, self.roi, self.roi);
        let shapes = self.network.shapes(image);
        let of = |(value, step): (usize, &Step)| match step {
            Step::Convolution { from, filter, .. } => {
                let filter = self.network.parameters[*filter].filter();
                let coarse = if filter.window.transposed { shapes[from[0]] } else { shapes[value + 1] };
                (coarse.h * coarse.w * filter.taps() * filter.slots() * filter.groups() * LANES) as f64
            }
            _ => 0.0,
        };
        self.network.steps.iter().enumerate().map(of).fold(0.0, |sum, n| sum + n) / self.roi.pow(2) as f64
    }
}

/// Slabs of a volume on its way to the disk.
fn slabs(d: Dims, dtype: Dtype) -> u64 {
    SLABS * Layout::new(d, dtype).length(0)
}

/// The most that is held, and where.
pub fn peak(phases: &[Phase]) -> (u64, &'static str) {
    phases.iter().map(|p| (p.memory, p.name)).max().unwrap_or((0, ""))
}

/// Parts of one progress, as long as the phases, counted in slices of the first.
pub fn parts(phases: &[Phase], slices: usize) -> Vec<Part> {
    let whole = phases.first().map_or(1.0, |p| p.work).max(1.0);
    phases.iter().map(|p| Part { work: (p.work / whole * slices as f64).round() as u64, bytes: p.bytes }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::config::Config;
    use crate::segment::windows::Importance;

    #[test]
    fn phases_follow_the_planes_and_the_network() {
        let network = Network::new(Config::monai(&[32, 64, 128, 256, 512, 512, 512], 5), 1);
        let windows = Windows::new([512; 2], 0.25, Importance::Constant, 1).unwrap();
        let volume = Dims::new(3896, 698, 1707).unwrap();
        let of = |planes: &[Plane], passes: usize| {
            let asked = Asked {
                network: &network,
                halves: false,
                windows: &windows,
                roi: 512,
                passes,
                mean: false,
                of_batch: false,
                maps: 2,
                planes,
                volume,
            };
            (asked.multiply_adds(), asked.phases())
        };
        // 12.2 G multiply-adds of a window of 512 x 512, and the last layers' five channels as sixteen.
        let (per_pixel, phases) = of(&[Plane::Xy], 1);
        assert!((46_500.0..51_500.0).contains(&per_pixel), "{per_pixel}");
        let names = |phases: &[Phase]| phases.iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(names(&phases), ["xy"]);
        // Ten windows a slice.
        assert_eq!(phases[0].work, 38_960.0 * 262_144.0 * (per_pixel + AROUND));
        let (_, turned) = of(&[Plane::Xz], 1);
        assert_eq!(names(&turned), ["xz", "turn"]);
        assert!(turned[1].work < 0.05 * turned[0].work);
        let (_, several) = of(&[Plane::Xy, Plane::Zy], 1);
        assert_eq!(names(&several), ["xy", "zy", "average"]);
        // Ten writers of u16 hold more than two of u8.
        assert!(several[0].memory > phases[0].memory && peak(&several).0 >= several[2].memory);
        let all: u64 = parts(&several, 3896).iter().map(|p| p.work).sum();
        // Slices of xy, those of zy with twice the windows, and the average, which is a tenth of one plane.
        assert!((3896 + 3414 + 200..3896 + 3414 + 600).contains(&all), "{all}");
        assert!(of(&[Plane::Xy], 8).1[0].memory > phases[0].memory);
    }
}
