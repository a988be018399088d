//! Load generator with its own floor, and the benchmark report. `README.md` says how to run it.
//!
//! Below the command line: `run` takes the peers in turn, `scenario` does to a server what the case in `cases` says,
//! by a `generator` of real sockets (`client`, `http`) whose `ledger` accounts for every delivery. `floor` is the
//! server that everything is compared with, `cluster` does it to several nodes that share a `redis`, `inside` measures the actors without one, `cache` the cache on one, `soak` has a crowd of its own,
//! `process` reads what a server uses, `report` tells it.

mod cache;
mod cases;
pub mod cli;
mod client;
mod cluster;
mod figures;
mod floor;
mod frame;
mod generator;
mod http;
mod inside;
mod ledger;
mod machine;
mod peer;
mod process;
mod protocol;
mod redis;
mod report;
mod results;
mod run;
mod scenario;
mod server;
mod soak;
mod socket;
mod stamp;

#[cfg(test)]
mod tests;
