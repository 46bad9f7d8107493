//! Milliseconds per slice of `gridrec` and `gridrec-compat`, sixteen slices in memory, planning excluded.
//!
//!     cargo bench -p benches --bench gridrec                                  one thread
//!     TOMOLITH_BENCH_THREADS=2 cargo bench -p benches --bench gridrec         two
//!     cargo bench -p benches --bench gridrec -- --once 2048x1500 gridrec      one line of JSON, for the scripts in peers/
//!
//! After criterion's own lines: the roof (what the FMA peak and the copy bandwidth, measured right here, allow; see
//! `Group::flops` and `Group::bytes` for what is counted), the share of it that was reached, and the digest of the
//! images, which is the same for any number of threads and any instruction set.
#![allow(clippy::print_stdout)] // A bench is there to print.

mod common;

use common::{Group, Machine, Mode, Roof, least, median};
use criterion::{Criterion, SamplingMode};
use std::time::Duration;
use tomolith::num::lanes::LANES;

/// Detector columns × angles.
const SIZES: [(usize, usize); 4] = [(512, 375), (1024, 750), (2048, 1500), (2560, 1500)];
/// Timed runs with `--once`, after one to warm up.
const ONCE_RUNS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let machine = Machine::from_environment();
    if let Some(at) = arguments.iter().position(|a| a == "--once") {
        return once(&arguments[at + 1..], &machine);
    }
    // Without cargo's --bench this is a test: the smallest size, once.
    let sizes = if arguments.iter().any(|a| a == "--bench") { &SIZES[..] } else { &SIZES[..1] };
    let mut criterion = Criterion::default().configure_from_args();
    for &(columns, angles) in sizes {
        for mode in Mode::ALL {
            bench(&mut criterion, &machine, mode, columns, angles);
        }
    }
    criterion.final_summary();
}

/// One size and mode through criterion, and what criterion does not print.
fn bench(criterion: &mut Criterion, machine: &Machine, mode: Mode, columns: usize, angles: usize) {
    let mut seconds = Vec::new();
    // Made when criterion asks for the first time: its filter may skip this one.
    let mut planned: Option<(Group, Roof)> = None;
    let mut group = criterion.benchmark_group(mode.name());
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(3));
    group.bench_function(format!("{columns}x{angles}, {LANES} slices, {} thread(s)", machine.threads), |bencher| {
        let (slices, _) = planned.get_or_insert_with(|| (Group::new(mode, columns, angles, machine), machine.roof()));
        bencher.iter_custom(|runs| {
            let times = (0..runs).map(|_| slices.run(&machine.pool)).collect::<Vec<_>>();
            seconds.extend(times.iter().map(|t| t.as_secs_f64() / LANES as f64));
            times.iter().sum()
        });
    });
    group.finish();
    let Some((slices, roof)) = planned else { return };
    // The first run touches fresh memory.
    let warm = &seconds[usize::from(seconds.len() > 1)..];
    let (flops, bytes) = (slices.flops(), slices.bytes());
    let allowed = roof.seconds(flops, bytes);
    println!(
        "    {:.2} ms per slice (median; best {:.2}); planned once in {:.0} ms",
        1e3 * median(warm),
        1e3 * least(warm),
        1e3 * slices.planning
    );
    println!(
        "    per slice {:.3} GFLOP at {:.1} GFLOP/s FMA peak: {:.2} ms; {:.1} MB at {:.2} GB/s copied: {:.2} ms",
        flops / 1e9,
        roof.flops / 1e9,
        1e3 * flops / roof.flops,
        bytes / 1e6,
        roof.bytes / 1e9,
        1e3 * bytes / roof.bytes
    );
    println!("    {:.0} % of the roof; digest {}\n", 100.0 * allowed / median(warm), slices.digest());
}

/// `--once COLUMNSxANGLES MODE`: one line of JSON.
fn once(arguments: &[String], machine: &Machine) {
    let parsed = match arguments {
        [size, mode, ..] => size
            .split_once('x')
            .and_then(|(columns, angles)| Some((columns.parse().ok()?, angles.parse().ok()?, Mode::parse(mode)?))),
        _ => None,
    };
    let Some((columns, angles, mode)) = parsed else {
        panic!("--once takes a size and a mode, for example --once 2048x1500 gridrec-compat");
    };
    let mut slices = Group::new(mode, columns, angles, machine);
    slices.run(&machine.pool);
    let ms: Vec<f64> = (0..ONCE_RUNS).map(|_| 1e3 * slices.run(&machine.pool).as_secs_f64() / LANES as f64).collect();
    println!(
        r#"{{"mode":"{}","columns":{columns},"angles":{angles},"slices":{LANES},"threads":{},"isa":"{}","ms_per_slice_median":{:.4},"ms_per_slice_min":{:.4},"planning_ms":{:.1},"digest":"{}"}}"#,
        mode.name(),
        machine.threads,
        machine.isa.name(),
        median(&ms),
        least(&ms),
        1e3 * slices.planning,
        slices.digest()
    );
}
