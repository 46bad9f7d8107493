//! argv -> cli -> exit code.

fn main() -> std::process::ExitCode {
    tomolith::cli::main(std::env::args_os().collect(), std::env::vars_os().collect()).into()
}
