//! The two limits of this machine, for one thread and two: FMA peak and copy bandwidth (`common` says how).
//!
//!     cargo bench -p benches --bench roofline
#![allow(clippy::print_stdout)] // A bench is there to print.

mod common;

use common::Machine;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing to test; measure with: cargo bench -p benches --bench roofline");
        return;
    }
    for threads in [1, 2] {
        let machine = Machine::new(threads);
        let roof = machine.roof();
        println!(
            "{threads} thread(s), {}: FMA peak {:.1} GFLOP/s, copy {:.2} GB/s read and written",
            machine.isa.name(),
            roof.flops / 1e9,
            roof.bytes / 1e9
        );
    }
}
