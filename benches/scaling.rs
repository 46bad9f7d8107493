//! Two threads against one: `gridrec` and `gridrec-compat` at 2048 × 1500, next to the FMA peak and the copy
//! bandwidth of the same machine in the same minute.
//!
//!     cargo bench -p benches --bench scaling
//!
//! Each round measures everything with one thread and with two, one right after the other, so that what else the
//! machine does falls on both; medians of the rounds. A program can scale no better than the smaller of the two
//! limits it lives under: the last column is its ratio to that. Both thread counts must give the same images.
#![allow(clippy::print_stdout)] // A bench is there to print.

mod common;

use common::{CopyBuffers, Group, Machine, Mode, median};

/// Rounds.
const ROUNDS: usize = 5;
/// Detector columns and angles.
const SIZE: (usize, usize) = (2048, 1500);
/// What is measured, in the order of the table.
const ROWS: [&str; 4] = ["FMA, GFLOP/s", "copy, GB/s", "gridrec, ms per slice", "gridrec-compat, ms per slice"];

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing to test; measure with: cargo bench -p benches --bench scaling");
        return;
    }
    let machines = [Machine::new(1), Machine::new(2)];
    let slices = tomolith::num::lanes::LANES as f64;
    let mut buffers = CopyBuffers::new();
    // Workspaces for two threads serve one as well.
    let mut groups = Mode::ALL.map(|mode| Group::new(mode, SIZE.0, SIZE.1, &machines[1]));
    for group in &mut groups {
        let digests = machines.each_ref().map(|machine| {
            group.run(&machine.pool);
            group.digest()
        });
        assert_eq!(digests[0], digests[1], "two threads give other images than one");
    }

    // [row][threads − 1]: values as printed; [row]: how much faster two threads are.
    let mut values: [[Vec<f64>; 2]; 4] = Default::default();
    let mut gains: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for row in 0..ROWS.len() {
            let pair = machines.each_ref().map(|machine| match row {
                0 => machine.fma_rate() / 1e9,
                1 => machine.copy_rate(&mut buffers) / 1e9,
                _ => 1e3 * groups[row - 2].run(&machine.pool).as_secs_f64() / slices,
            });
            values[row][0].push(pair[0]);
            values[row][1].push(pair[1]);
            // Rates grow, times shrink.
            gains[row].push(if row < 2 { pair[1] / pair[0] } else { pair[0] / pair[1] });
        }
    }

    println!("{} x {}, medians of {ROUNDS} rounds, {}", SIZE.0, SIZE.1, machines[0].isa.name());
    println!("{:30} {:>10} {:>10} {:>8} {:>16}", "", "1 thread", "2 threads", "ratio", "of the limit");
    let limit = median(&gains[0]).min(median(&gains[1]));
    for row in 0..ROWS.len() {
        let gain = median(&gains[row]);
        let share = if row < 2 { String::new() } else { format!("{:.3}", gain / limit) };
        let [one, two] = values[row].each_ref().map(|v| median(v));
        println!("{:30} {one:>10.2} {two:>10.2} {gain:>8.3} {share:>16}", ROWS[row]);
    }
    for (mode, group) in Mode::ALL.iter().zip(&groups) {
        println!("{} digest {}", mode.name(), group.digest());
    }
}
