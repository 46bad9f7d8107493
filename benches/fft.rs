//! GFLOP/s of the transforms, sixteen signals at a time, one thread, planning excluded.
//!
//!     cargo bench -p benches --bench fft
//!     cargo bench -p benches --bench fft -- --once 2048      one line of JSON, for the scripts in peers/
//!
//! Nominal flops: 16 · 5 n log2 n for complex transforms, half of that for real ones, whatever an implementation
//! really does. Each length prints its share of the FMA peak, measured right here, and the SHA-256 of one transform's
//! output. Transforms run in place on their own output, in batches so short that numbers do not overflow; fresh input
//! between batches is not timed.
//!
//! A share above 100 % is no mistake: nominal flops are more than a radix-8 transform does, and adders may work beside
//! the multipliers.
#![allow(clippy::print_stdout)] // A bench is there to print.

mod common;

use common::{Machine, digest, least, median, random, transform_flops};
use criterion::Criterion;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tomolith::fft::{ComplexPlan, Direction, RealPlan, cells};
use tomolith::num::lanes::{ComplexLane, F32x16, Isa, Kernel, LANES};
use tomolith::provenance::Digest;

/// Powers of two, and the lengths that detectors and grids bring.
const LENGTHS: [usize; 10] = [256, 512, 1024, 2048, 4096, 8192, 1280, 1500, 2560, 3000];
/// Transforms per batch: each multiplies the norm by at most n, and 8192⁸ · 16 < f32::MAX.
const BATCH: u64 = 8;
/// Time spent on each transform with `--once`.
const ONCE: Duration = Duration::from_millis(300);

/// What is timed.
#[derive(Clone, Copy)]
enum What {
    /// Complex, output left digit-reversed, as the reconstruction uses it.
    Scrambled,
    /// Complex, output in natural order.
    Natural,
    /// Real, forward, output in natural order.
    Real,
}

impl What {
    const ALL: [What; 3] = [What::Scrambled, What::Natural, What::Real];
    fn name(self) -> &'static str {
        match self {
            What::Scrambled => "complex_scrambled",
            What::Natural => "complex",
            What::Real => "real",
        }
    }
}

/// Sixteen signals of n points and their plans.
struct Signals {
    isa: Isa,
    complex: ComplexPlan,
    real: RealPlan,
    source: Vec<ComplexLane>,
    x: Vec<ComplexLane>,
    scratch: Vec<ComplexLane>,
}

impl Signals {
    fn new(isa: Isa, n: usize) -> Signals {
        let mut source = cells(n);
        for (cell, numbers) in source.iter_mut().zip(random(2 * LANES * n, 1).chunks_exact(2 * LANES)) {
            cell.re.0.copy_from_slice(&numbers[..LANES]);
            cell.im.0.copy_from_slice(&numbers[LANES..]);
        }
        Signals {
            isa,
            complex: ComplexPlan::new(n, Direction::Forward).expect("a length of this bench can be planned"),
            real: RealPlan::new(n).expect("a length of this bench can be planned"),
            x: source.clone(),
            scratch: cells(n.max(n / 2 + 1)),
            source,
        }
    }

    /// Nominal flops of one call.
    fn flops(&self, what: What) -> f64 {
        let complex = LANES as f64 * transform_flops(self.complex.len());
        if matches!(what, What::Real) { 0.5 * complex } else { complex }
    }

    /// Time of `times` ≤ [`BATCH`] transforms of fresh input.
    fn batch(&mut self, what: What, times: u64) -> Duration {
        let n = self.complex.len();
        self.x.copy_from_slice(&self.source);
        let start = Instant::now();
        match what {
            What::Scrambled => self.isa.run(Scrambled { plan: &self.complex, x: &mut self.x, times }),
            What::Natural => (0..times).for_each(|_| self.complex.run(self.isa, &mut self.x, &mut self.scratch)),
            What::Real => (0..times)
                .for_each(|_| self.real.forward(self.isa, &mut self.x[..n / 2], &mut self.scratch[..n / 2 + 1])),
        }
        let elapsed = start.elapsed();
        black_box((&mut self.x, &mut self.scratch));
        elapsed
    }

    /// Of the output of one transform.
    fn digest(&mut self, what: What) -> Digest {
        self.batch(what, 1);
        let n = self.complex.len();
        let output = if matches!(what, What::Real) { &self.scratch[..n / 2 + 1] } else { &self.x[..] };
        digest(output.iter().flat_map(|cell| [&cell.re.0[..], &cell.im.0[..]]))
    }
}

/// A batch inside one kernel, as the reconstruction calls it.
struct Scrambled<'a> {
    plan: &'a ComplexPlan,
    x: &'a mut [ComplexLane],
    times: u64,
}

impl Kernel for Scrambled<'_> {
    type Out = ();
    #[inline(always)]
    fn run<V: F32x16>(self) {
        for _ in 0..self.times {
            self.plan.run_scrambled::<V>(self.x);
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let machine = Machine::new(1);
    if let Some(at) = arguments.iter().position(|a| a == "--once") {
        let n = arguments.get(at + 1).and_then(|n| n.parse().ok()).expect("--once takes a length");
        return once(n, &machine);
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    for n in LENGTHS {
        for what in What::ALL {
            bench(&mut criterion, &machine, what, n);
        }
    }
    criterion.final_summary();
}

/// One length and kind through criterion, and what criterion does not print.
fn bench(criterion: &mut Criterion, machine: &Machine, what: What, n: usize) {
    let mut planned: Option<Signals> = None;
    let (mut seconds, mut peak) = (Vec::new(), 0f64);
    criterion.bench_function(&format!("{}/{n}", what.name()), |bencher| {
        let signals = planned.get_or_insert_with(|| Signals::new(machine.isa, n));
        peak = peak.max(machine.fma_rate());
        bencher.iter_custom(|runs| {
            let (mut left, mut total) = (runs, Duration::ZERO);
            while left > 0 {
                let times = left.min(BATCH);
                total += signals.batch(what, times);
                left -= times;
            }
            seconds.push(total.as_secs_f64() / runs as f64);
            total
        });
    });
    let Some(mut signals) = planned else { return };
    let rate = signals.flops(what) / median(&seconds);
    println!(
        "    {:.1} GFLOP/s, {:.0} % of the FMA peak of {:.1}; digest {}\n",
        rate / 1e9,
        100.0 * rate / peak,
        peak / 1e9,
        signals.digest(what)
    );
}

/// `--once LENGTH`: one line of JSON, microseconds for sixteen signals.
fn once(n: usize, machine: &Machine) {
    let mut signals = Signals::new(machine.isa, n);
    let fields = What::ALL.map(|what| {
        let start = Instant::now();
        let mut us = Vec::new();
        while start.elapsed() < ONCE {
            us.push(1e6 * signals.batch(what, BATCH).as_secs_f64() / BATCH as f64);
        }
        format!(
            r#""{0}_us_median":{1:.4},"{0}_us_min":{2:.4},"{0}_digest":"{3}""#,
            what.name(),
            median(&us),
            least(&us),
            signals.digest(what)
        )
    });
    println!(r#"{{"length":{n},"signals":{LANES},"isa":"{}",{}}}"#, machine.isa.name(), fields.join(","));
}
