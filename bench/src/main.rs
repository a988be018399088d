//! Load generator and benchmark report.

fn main() -> anyhow::Result<()> {
    greenroom_bench::cli::run()
}
