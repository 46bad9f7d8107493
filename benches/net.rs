//! The network in both variants: inference and a training step with the paper's channels, planning excluded.
//!
//!     cargo bench -p benches --bench net                                  one thread
//!     TOMOLITH_BENCH_THREADS=2 cargo bench -p benches --bench net         two
//!
//! After criterion's own lines: GFLOP/s, the share of the FMA peak measured right here, for inference layer by layer,
//! and the digest of logits or weights, which is the same for any number of threads and any instruction set. `benches/peers/net_torch.py` times
//! other people's programs beside ours.
#![allow(clippy::print_stdout)] // A bench is there to print.

mod common;

use common::{Machine, least, median};
use criterion::{Criterion, SamplingMode};
use std::time::{Duration, Instant};
use tomolith::kernels::Cpu;
use tomolith::kernels::maps::{Maps, Shape};
use tomolith::nn::config::{CHANNELS, Config};
use tomolith::nn::fast::{FastPlan, FastWorkspace};
use tomolith::nn::infer::{Plan, What, Workspace};
use tomolith::nn::network::{Network, Step};
use tomolith::nn::train::{Options, Trainer};
use tomolith::num::lanes::Lane;
use tomolith::num::philox::Stream;
use tomolith::provenance::Digest;

/// Classes of the paper.
const CLASSES: usize = 5;
/// Steps whose weights are digested, so that the digest does not depend on how often criterion runs.
const DIGESTED: u32 = 2;
/// Runs of which each layer's least time is told.
const LAYER_RUNS: usize = 7;

fn main() {
    // Without cargo's --bench this is a test: a small network, once.
    let whole = std::env::args().any(|a| a == "--bench");
    let (channels, size) = if whole { (&CHANNELS[..], 512) } else { (&CHANNELS[..3], 64) };
    let machine = Machine::from_environment();
    let mut criterion = Criterion::default().configure_from_args();
    for config in [Config::monai(channels, CLASSES), Config::paper(channels, CLASSES)] {
        inference(&mut criterion, &machine, &config, size);
        fast(&mut criterion, &machine, &config, size);
        step(&mut criterion, &machine, &config, size);
    }
    criterion.final_summary();
}

fn name(config: &Config) -> &'static str {
    config.name().unwrap_or("a mixture")
}

/// A grey image of noise, and labels that follow it.
fn batch(n: usize, size: usize) -> (Maps<f32>, Vec<i16>) {
    let (stream, shape) = (Stream::new(1, 1), Shape::new(n, 1, size, size));
    let grey: Vec<f32> = (0..shape.len() as u64).map(|i| stream.uniform_f32(i)).collect();
    let labels = grey.iter().map(|v| (v * CLASSES as f32) as i16).collect();
    (Maps::from_nchw(shape, &grey), labels)
}

fn digest<'a>(lanes: impl Iterator<Item = &'a Lane>) -> String {
    Digest::of(&lanes.flat_map(|l| l.0).flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).hex()
}

/// Multiplications and additions of the convolution of each filter, for one size × size image.
fn flops_by_filter(network: &Network, size: usize) -> Vec<(usize, f64)> {
    let mut pixels = vec![(size * size) as f64];
    let mut all = Vec::new();
    for step in &network.steps {
        let of = |v: usize| pixels[v];
        pixels.push(match step {
            Step::Convolution { from, filter, .. } => {
                let shape = network.parameters[*filter].filter();
                let (inputs, coarse) = (shape.inputs.iter().sum::<usize>(), of(from[0]));
                let out =
                    if shape.window.transposed { 4.0 * coarse } else { coarse / shape.window.stride.pow(2) as f64 };
                all.push((*filter, 2.0 * (shape.taps() * inputs * shape.outputs) as f64 * out.min(coarse)));
                out
            }
            Step::Activation { from, .. } => of(*from),
            Step::MaxPool { from } => of(*from) / 4.0,
        });
    }
    all
}

/// Those of a forward pass.
fn flops(network: &Network, size: usize) -> f64 {
    flops_by_filter(network, size).iter().fold(0.0, |sum, (_, f)| sum + f)
}

fn report(machine: &Machine, seconds: &[f64], flops: f64, what: &str, digest: &str) {
    // The first run touches fresh memory.
    let warm = &seconds[usize::from(seconds.len() > 1)..];
    let (peak, rate) = (machine.roof().flops, flops / least(warm));
    println!(
        "    {:.2} ms (median; best {:.2}), {:.1} GFLOP/s at best: {:.0} % of the FMA peak of {:.1}",
        1e3 * median(warm),
        1e3 * least(warm),
        rate / 1e9,
        100.0 * rate / peak,
        peak / 1e9
    );
    println!("    digest of {what} {digest}\n");
}

fn bench(criterion: &mut Criterion, machine: &Machine, name: &str, mut work: impl FnMut() + Send) -> Vec<f64> {
    let mut seconds = Vec::new();
    let mut group = criterion.benchmark_group("net");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_secs(3));
    group.bench_function(format!("{name}, {} thread(s)", machine.threads), |bencher| {
        bencher.iter_custom(|runs| {
            let mut all = Duration::ZERO;
            for _ in 0..runs {
                let start = Instant::now();
                machine.pool.install(&mut work);
                all += start.elapsed();
                seconds.push(start.elapsed().as_secs_f64());
            }
            all
        });
    });
    group.finish();
    seconds
}

fn inference(criterion: &mut Criterion, machine: &Machine, config: &Config, size: usize) {
    let network = Network::new(config.clone(), 0);
    let (plan, (image, _)) = (Plan::new(&network), batch(1, size));
    let (kernels, mut workspace, mut found) = (Cpu { isa: machine.isa }, Workspace::default(), String::new());
    let seconds = bench(criterion, machine, &format!("{}, inference {size}x{size}", name(config)), || {
        let logits = plan.run(&kernels, &image, &mut workspace, |_| ());
        if found.is_empty() {
            found = digest(logits.data().iter());
        }
        workspace.give(logits);
    });
    if seconds.is_empty() {
        return;
    }
    report(machine, &seconds, flops(&network, size), "the logits", &found);
    let mut by_layer = vec![f64::MAX; plan.calls.len()];
    for _ in 0..LAYER_RUNS {
        machine.pool.install(|| {
            let mut last = Instant::now();
            let logits = plan.run(&kernels, &image, &mut workspace, |call| {
                by_layer[call] = by_layer[call].min(last.elapsed().as_secs_f64());
                last = Instant::now();
            });
            workspace.give(logits);
        });
    }
    let (peak, flops) = (machine.roof().flops, flops_by_filter(&network, size));
    for (call, seconds) in plan.calls.iter().zip(&by_layer) {
        if let What::Convolution { filter, .. } = &call.what
            && let Some((_, flops)) = flops.iter().find(|(f, _)| f == filter)
        {
            let name = network.parameters[*filter].name.replace("1.submodule.", "^").replace(".weight", "");
            let rate = flops / seconds;
            println!("    {name:32} {:7.3} ms {:6.1} GFLOP/s {:3.0} %", 1e3 * seconds, rate / 1e9, 100.0 * rate / peak);
        }
    }
    println!();
}

/// In bf16, where the machine has it; its bits are the machine's own.
fn fast(criterion: &mut Criterion, machine: &Machine, config: &Config, size: usize) {
    if !machine.isa.has_halves() {
        return println!("    no bf16 here: fast inference is not timed\n");
    }
    let network = Network::new(config.clone(), 0);
    let (plan, (image, _)) = (FastPlan::new(Plan::new(&network)), batch(1, size));
    let (mut workspace, mut found) = (FastWorkspace::default(), String::new());
    let seconds = bench(criterion, machine, &format!("{}, fast inference {size}x{size}", name(config)), || {
        let logits = plan.run(machine.isa, &image, &mut workspace, |_| ());
        if found.is_empty() {
            found = digest(logits.data().iter());
        }
        workspace.give(logits);
    });
    if !seconds.is_empty() {
        report(machine, &seconds, flops(&network, size), "the fast logits", &found);
    }
}

fn step(criterion: &mut Criterion, machine: &Machine, config: &Config, size: usize) {
    const BATCH: usize = 4;
    let network = Network::new(config.clone(), 0);
    let work = 3.0 * BATCH as f64 * flops(&network, size);
    let (image, labels) = batch(BATCH, size);
    let options = Options { rate: 3e-4, dropout: 0.2, seed: 0, class_weights: vec![1.0; CLASSES], leaf: None };
    let (kernels, mut trainer, mut found) = (Cpu { isa: machine.isa }, Trainer::new(network), String::new());
    let seconds =
        bench(criterion, machine, &format!("{}, training step, {BATCH} of {size}x{size}", name(config)), || {
            trainer.step(&kernels, &image, &labels, &options).expect("finite numbers");
            if trainer.steps == DIGESTED {
                found = digest(trainer.network.parameters.iter().flat_map(|p| &p.values));
            }
        });
    if !seconds.is_empty() {
        report(machine, &seconds, work, &format!("the weights after {DIGESTED} steps"), &found);
    }
}
