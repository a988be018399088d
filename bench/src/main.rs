//! Load generator and benchmark report.

use std::process::ExitCode;

fn main() -> ExitCode {
    match greenroom_bench::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greenroom-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
