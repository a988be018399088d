//! Load generator and benchmark report.
fn main() {}
