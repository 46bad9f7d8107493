//! Steps before reconstruction, one thread, for the side-by-side with other programs (`peers/prepare_tomopy.py`).
//!
//!     cargo bench -p benches --bench prepare -- [STEP …]            all steps, their time and the digest of what they computed
//!     cargo bench -p benches --bench prepare -- --once STEP         one step, as one line of JSON
//!
//! Steps: `fw`, `vo`, `sf`, `ti` on a sinogram of 1500 × 2048; `phase` on two projections of 2048 × 2048; `center` (Vo's
//! search) on a sinogram of 1500 × 2048. The input is `0.6 + 0.3 sin(x/97 + t/211) + 0.02 u`, u from the integer hash that
//! the script repeats.
#![allow(clippy::print_stdout)] // A bench is there to print.

use std::time::Instant;
use tomolith::num::lanes::Isa;
use tomolith::provenance::Digest;
use tomolith::recon::center::{Options, vo};
use tomolith::recon::phase::{Paganin, PhasePlan};
use tomolith::recon::stripe::{Stripe, StripePlan};
use tomolith::units::{KiloElectronVolt, Micrometre};

const STEPS: [&str; 6] = ["fw", "vo", "sf", "ti", "phase", "center"];
const SINOGRAM: [usize; 2] = [1500, 2048];
const PROJECTION: [usize; 2] = [2048, 2048];
const ROUNDS: usize = 5;

fn input([rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..rows * columns)
        .map(|i| {
            let (t, x) = ((i / columns) as f64, (i % columns) as f64);
            let hash = (i as u32).wrapping_mul(2_654_435_761) >> 8;
            let u = f64::from(hash) / f64::from(1u32 << 24);
            (0.6 + 0.3 * (x / 97.0 + t / 211.0).sin() + 0.02 * u) as f32
        })
        .collect()
}

/// Median seconds and the digest of the result.
fn measure(step: &str, isa: Isa) -> (f64, Digest) {
    let [rows, columns] = if step == "phase" { PROJECTION } else { SINOGRAM };
    let data = input([rows, columns]);
    let mut times = Vec::new();
    let mut result: Vec<f32> = Vec::new();
    for _ in 0..ROUNDS {
        let start;
        match step {
            "phase" => {
                let paganin = Paganin {
                    energy: KiloElectronVolt(27.5),
                    distance: Micrometre(6e4),
                    delta_beta: 500.0,
                    pixel: Micrometre(1.33),
                };
                let plan = PhasePlan::new(&paganin, rows, columns).expect("a plan");
                let mut work = plan.work();
                let (mut first, mut second) = (data.clone(), data.clone());
                start = Instant::now();
                plan.run(isa, &mut work, &mut first, Some(&mut second));
                result = first;
            }
            "center" => {
                start = Instant::now();
                // A half turn of a wave has no axis: the curve is what is computed.
                let found = vo(isa, &data, rows, columns, &Options::default());
                result = match found {
                    Ok(found) => found.curve.iter().map(|c| c.1 as f32).collect(),
                    Err(_) => vec![0.0],
                };
            }
            name => {
                let stripe = Stripe::parse(name, "").expect("a stripe removal");
                let plan = StripePlan::new(&stripe, rows, columns).expect("a plan");
                let mut work = plan.work();
                let mut sinogram = data.clone();
                start = Instant::now();
                plan.run(isa, &mut work, &mut sinogram);
                result = sinogram;
            }
        }
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let bytes: Vec<u8> = result.iter().flat_map(|v| v.to_le_bytes()).collect();
    (times[ROUNDS / 2], Digest::of(&bytes))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked: Vec<&str> = STEPS.into_iter().filter(|s| words.iter().any(|w| w == s)).collect();
    let once = words.iter().any(|w| w == "--once");
    if !once && !words.iter().any(|w| w == "--bench") {
        println!("nothing to test; measure with: cargo bench -p benches --bench prepare");
        return;
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    for step in if asked.is_empty() { STEPS.to_vec() } else { asked } {
        let (seconds, digest) = pool.install(|| measure(step, Isa::detect()));
        match once {
            true => println!("{{\"seconds\": {seconds:e}, \"digest\": \"{}\"}}", digest.hex()),
            false => println!("{step:<7} {:>9.1} ms   {}", seconds * 1e3, digest.hex()),
        }
    }
}
