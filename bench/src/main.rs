//! `portcullis-bench`: the measurements, the load generator, and each process of the stack, in one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::command::run()
}
