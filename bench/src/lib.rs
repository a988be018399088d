//! Load generator with its own floor, and the benchmark report. `README.md` says how to run it.

mod client;
mod floor;
mod frame;
mod generator;
mod http;
mod ledger;
mod protocol;
mod server;
mod socket;
mod stamp;

#[cfg(test)]
mod tests;
