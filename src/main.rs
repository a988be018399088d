//! The `greenroom` command.

use std::process::ExitCode;

/// Chosen by measurement: "What the misses are" in `docs/BENCHMARKS.md`. An embedding program chooses its own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    greenroom::cli::main()
}
