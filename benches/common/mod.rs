//! What the benches share: the machine's two limits measured on the spot, random input, one group of slices.
//!
//! **FMA peak**: independent chains of fused multiply-adds on registers, the best of several runs and numbers of
//! chains. **Copy bandwidth**: 256 MiB copied, far beyond any cache; every byte is read once and written once, so
//! 512 MiB are counted (a cache that first fetches the lines it will overwrite moves half as much again, which is
//! not counted). The **roof** of a computation is the longer of flops/peak and bytes/bandwidth; transforms count with
//! their nominal 5 n log2 n flops.
#![allow(dead_code)] // Every bench uses its own part.

use std::hint::black_box;
use std::time::{Duration, Instant};
use tomolith::fft::cells;
use tomolith::num::lanes::{ComplexLane, F32x16, Isa, Kernel, LANES, Lane};
use tomolith::num::philox::Stream;
use tomolith::provenance::{Digest, Hasher};
use tomolith::recon::engine::{Engine, Sinograms, Workspace};
use tomolith::recon::{filter::Filter, geometry::Angles, gridrec, gridrec_compat};

/// Repetitions of which the best counts, where a limit of the machine is measured.
const TRIES: usize = 5;
/// Multiply-adds per chain: a few milliseconds.
const CHAIN_LENGTH: usize = 1 << 21;
/// Cells of 128 bytes copied: 256 MiB.
const COPY_CELLS: usize = (256 << 20) / size_of::<ComplexLane>();
/// Seed of all random input.
const SEED: u64 = 20_230_901;

/// An instruction set and a pool of threads.
pub struct Machine {
    /// Instruction set.
    pub isa: Isa,
    /// Number of threads.
    pub threads: usize,
    /// As many threads.
    pub pool: rayon::ThreadPool,
}

impl Machine {
    /// `threads` threads; the widest instruction set, or that of `TOMOLITH_BENCH_ISA`.
    pub fn new(threads: usize) -> Machine {
        let name = std::env::var("TOMOLITH_BENCH_ISA").unwrap_or_else(|_| "auto".into());
        let isa = Isa::parse(&name).expect("TOMOLITH_BENCH_ISA names an instruction set of this machine");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        Machine { isa, threads, pool }
    }

    /// As many threads as `TOMOLITH_BENCH_THREADS` says, by default one.
    pub fn from_environment() -> Machine {
        let threads = std::env::var("TOMOLITH_BENCH_THREADS").unwrap_or_else(|_| "1".into());
        Machine::new(threads.parse().ok().filter(|&n| n > 0).expect("TOMOLITH_BENCH_THREADS is a number of threads"))
    }

    /// Fused multiply-adds of all threads, flop/s (two per multiply-add and lane), one measurement.
    pub fn fma_rate(&self) -> f64 {
        // How many chains hide the latency without spilling registers depends on the instruction set.
        self.chains::<6>().max(self.chains::<8>()).max(self.chains::<12>())
    }

    fn chains<const CHAINS: usize>(&self) -> f64 {
        let start = Instant::now();
        self.pool.broadcast(|_| black_box(self.isa.run(Chains::<CHAINS> { factor: black_box(0.5) })));
        let flops = 2 * LANES * CHAINS * CHAIN_LENGTH * self.threads;
        flops as f64 / start.elapsed().as_secs_f64()
    }

    /// Bytes per second, read and written, of one copy shared by all threads.
    pub fn copy_rate(&self, buffers: &mut CopyBuffers) -> f64 {
        let share = COPY_CELLS.div_ceil(self.threads);
        let parts = buffers.to.chunks_mut(share).zip(buffers.from.chunks(share));
        let start = Instant::now();
        self.pool.scope(|scope| parts.for_each(|(to, from)| scope.spawn(move |_| to.copy_from_slice(from))));
        let seconds = start.elapsed().as_secs_f64();
        black_box(&mut buffers.to);
        2.0 * size_of_val(&buffers.from[..]) as f64 / seconds
    }

    /// Both limits, the best of several measurements.
    pub fn roof(&self) -> Roof {
        let mut buffers = CopyBuffers::new();
        let best = |measure: &mut dyn FnMut() -> f64| (0..TRIES).map(|_| measure()).fold(0.0, f64::max);
        Roof { flops: best(&mut || self.fma_rate()), bytes: best(&mut || self.copy_rate(&mut buffers)) }
    }
}

/// Chains of `x ← x/2 + 1`, which neither grow nor vanish.
struct Chains<const CHAINS: usize> {
    factor: f32,
}

impl<const CHAINS: usize> Kernel for Chains<CHAINS> {
    type Out = Lane;
    #[inline(always)]
    fn run<V: F32x16>(self) -> Lane {
        let (factor, one) = (V::splat(self.factor), V::splat(1.0));
        // Different starting points, or the compiler would find that all chains are one.
        let mut x: [V; CHAINS] = [one; CHAINS];
        for chain in 0..CHAINS {
            x[chain] = V::splat(chain as f32);
        }
        for _ in 0..CHAIN_LENGTH {
            for chain in 0..CHAINS {
                x[chain] = x[chain].mul_add(factor, one);
            }
        }
        let mut sum = x[0];
        for chain in 1..CHAINS {
            sum = sum.add(x[chain]);
        }
        let mut out = Lane::ZERO;
        sum.store(&mut out);
        out
    }
}

/// What is copied to measure the bandwidth; pages are touched and huge where the system grants it.
pub struct CopyBuffers {
    from: Vec<ComplexLane>,
    to: Vec<ComplexLane>,
}

impl CopyBuffers {
    /// Twice 256 MiB.
    pub fn new() -> CopyBuffers {
        let filled = |value| {
            let mut buffer = cells(COPY_CELLS);
            buffer.fill(ComplexLane { re: Lane([value; LANES]), im: Lane([value; LANES]) });
            buffer
        };
        CopyBuffers { from: filled(1.0), to: filled(2.0) }
    }
}

/// The machine's limits.
#[derive(Clone, Copy)]
pub struct Roof {
    /// Peak of fused multiply-adds, flop/s.
    pub flops: f64,
    /// Copy bandwidth, bytes/s read and written.
    pub bytes: f64,
}

impl Roof {
    /// Seconds that work of so many flops and bytes takes at the longer of the two limits.
    pub fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.bytes)
    }
}

/// The middle of some numbers.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

/// The least of some numbers.
pub fn least(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

/// `n` numbers in −1 ≤ x < 1.
pub fn random(n: usize, stream: u32) -> Vec<f32> {
    let stream = Stream::new(SEED, stream);
    (0..n.div_ceil(4) as u64)
        .flat_map(|i| stream.u32x4(i))
        .take(n)
        .map(|word| word as i32 as f32 / 2f32.powi(31))
        .collect()
}

/// SHA-256 of numbers in memory order, little-endian.
pub fn digest<'a>(numbers: impl IntoIterator<Item = &'a [f32]>) -> Digest {
    let mut hasher = Hasher::new();
    let mut bytes = Vec::new();
    for part in numbers {
        for block in part.chunks(1 << 16) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|x| x.to_le_bytes()));
            hasher.update(&bytes);
        }
    }
    hasher.finish()
}

/// Nominal flops of a complex transform of n points: 5 n log2 n. A real one counts half.
pub fn transform_flops(n: usize) -> f64 {
    5.0 * n as f64 * (n as f64).log2()
}

/// Which reconstruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `gridrec` at its default error.
    Gridrec,
    /// `gridrec-compat`.
    Compat,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Gridrec, Mode::Compat];
    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Gridrec => "gridrec",
            Mode::Compat => "gridrec-compat",
        }
    }
    /// The mode of a name.
    pub fn parse(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Sixteen slices, planned and in memory: `[angle][slice][column]`, as a scan holds them.
pub struct Group {
    engine: Engine,
    isa: Isa,
    workspace: Workspace,
    sinograms: Vec<f32>,
    images: Vec<f32>,
    /// Seconds that planning took.
    pub planning: f64,
}

impl Group {
    /// Plans and fills the sinograms.
    pub fn new(mode: Mode, columns: usize, angles: usize, machine: &Machine) -> Group {
        let start = Instant::now();
        let theta = Angles::half_turn(angles).expect("there are angles");
        let filter = Filter::default();
        let engine = match mode {
            Mode::Gridrec => gridrec::plan(columns, &theta, &filter, gridrec::DEFAULT_ERROR).map(|plan| plan.engine),
            Mode::Compat => gridrec_compat::plan(columns, &theta, &filter),
        };
        let engine = engine.expect("the sizes of this bench can be planned");
        let planning = start.elapsed().as_secs_f64();
        let workspace = machine.pool.install(|| engine.workspace());
        let mut images = vec![0.0; LANES * columns * columns];
        tomolith::os::advise_huge_pages(&mut images);
        let mut sinograms = vec![0.0; LANES * angles * columns];
        tomolith::os::advise_huge_pages(&mut sinograms);
        sinograms.copy_from_slice(&random(LANES * angles * columns, 0));
        Group { engine, isa: machine.isa, workspace, sinograms, images, planning }
    }

    /// Reconstructs all sixteen slices once on the threads of `pool`.
    pub fn run(&mut self, pool: &rayon::ThreadPool) -> Duration {
        let n = self.engine.columns();
        let centers = [n as f64 / 2.0; LANES];
        let sinograms = Sinograms { data: &self.sinograms, angle_stride: LANES * n, slice_stride: n, slices: LANES };
        let start = Instant::now();
        pool.install(|| self.engine.run(self.isa, &mut self.workspace, sinograms, &centers, &mut self.images));
        start.elapsed()
    }

    /// Of the images.
    pub fn digest(&self) -> Digest {
        digest([&self.images[..]])
    }

    /// Flops per slice, with T angles, P padded length, K samples used of a spectrum, W taps, M grid, N columns:
    ///
    /// ```text
    /// T·2.5 P log2 P + T·K·6 + T·K·4W² + (M/2+1)·(5 M log2 M + 2N) + N·(2.5 M log2 M + N)
    /// projections      filter  gridding  columns of the half plane   rows of the image
    /// ```
    pub fn flops(&self) -> f64 {
        let (n, m) = (self.engine.columns() as f64, self.engine.grid());
        let samples = self.engine.samples();
        let (angles, used) = (self.engine.angles() as f64, samples.used.len() as f64);
        let taps: f64 = samples.width.iter().map(|&w| 4.0 * f64::from(w).powi(2)).sum();
        let half_plane = (m / 2 + 1) as f64;
        angles * (0.5 * transform_flops(self.engine.padded()) + 6.0 * used)
            + used * taps
            + half_plane * (transform_flops(m) + 2.0 * n)
            + n * (0.5 * transform_flops(m) + n)
    }

    /// Bytes per slice that must move between memory and caches, since no cache holds what lies between two stages:
    ///
    /// ```text
    /// 4·T·N + 2·8·T·K + table/16 + 2·8·(M/2+1)·N + 4·N²
    /// sinogram spectra   weights   half plane      image        spectra and half plane are written and read once
    /// ```
    pub fn bytes(&self) -> f64 {
        let (n, m) = (self.engine.columns() as f64, self.engine.grid());
        let samples = self.engine.samples();
        let (angles, used) = (self.engine.angles() as f64, samples.used.len() as f64);
        4.0 * angles * n
            + 16.0 * angles * used
            + samples.bytes() as f64 / LANES as f64
            + 16.0 * (m / 2 + 1) as f64 * n
            + 4.0 * n * n
    }
}
