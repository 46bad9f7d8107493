//! The program as a user meets it: words in, exit code, two streams and files out. One program of tests, so that those of
//! different commands run at a time; `cargo test --release --test cli register::` runs those of one.

mod analyze;
mod analyze_paper;
mod analyze_registered;
mod center;
#[path = "../common/mod.rs"]
mod common;
mod crash;
#[cfg(feature = "cuda")]
mod cuda;
mod determinism;
mod fields;
mod labels;
#[cfg(feature = "cuda")]
#[path = "../cuda/mock.rs"]
mod mock;
mod net;
mod phantom_refused;
mod pipeline;
mod recon;
mod recount;
mod register;
mod rounds;
mod scan;
mod seg;
mod shapes;
mod trace;
mod training;
mod versions;
mod volume;
mod words;
