//! The `greenroom` command.

use std::process::ExitCode;

/// Clients come and go between events that stay for a while; glibc's allocator lets what they leave behind add up. An
/// embedding program chooses its own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    greenroom::cli::main()
}
