//! argv -> cli -> exit code.
fn main() {}
