//! Chaos with a fixed seed and a limit in time: three nodes, fifty rooms, two hundred clients, steady publishing; nodes are
//! killed, and Redis is cut off, stalled, and killed. In the end each client has every event of its room exactly once, or
//! was told that something is missing: within a limit after all is well again, since what was missed comes when it can be read.
//!
//! `GREENROOM_CHAOS_SEED` and `GREENROOM_CHAOS_FAULTS` change what happens, and how often.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;

mod book;
mod follower;
mod publisher;
mod stage;
mod stock;

use std::time::Duration;

use book::Book;
use follower::Followers;
use kit::eventually;
use publisher::Publisher;
use stage::{Act, Stage};
use stock::StockFollowers;

/// How often something fails, if nothing else is asked for.
const FAULTS: usize = 14;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Rooms, and clients of ours and of the stock's.
pub const ROOMS: usize = 50;
const FOLLOWERS: usize = 140;
const STOCK: usize = 60;

fn from_environment(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
    given.unwrap_or(otherwise)
}

#[tokio::test]
async fn nothing_is_lost_doubled_or_silently_missing_whatever_fails() {
    let mut random = fastrand::Rng::with_seed(from_environment("GREENROOM_CHAOS_SEED", 7) as u64);
    let mut stage = Stage::set().await;
    let book = Book::new();
    let followers = Followers::start(FOLLOWERS, &stage, &book).await;
    let mut stock = StockFollowers::start(STOCK, &stage).await;
    let publisher = Publisher::start(&stage, &book);
    for fault in 0..from_environment("GREENROOM_CHAOS_FAULTS", FAULTS) {
        stock.follow_for(PAUSE).await;
        let act = Act::choose(&mut random);
        println!("fault {fault}: {act:?} at {} ms", book.ms());
        stage.play(act, &publisher, &mut stock).await;
    }
    stage.heal(&mut stock).await;
    publisher.stop().await;
    let verdict = followers.finish(&book, Some(&mut stock)).await;
    println!("{verdict}");
    println!("{}", stock.finish(&book).await);
}

/// Clients that are connected while nodes are restarted one after the other.
const ROLLING: usize = 500;
/// Events between one restart and the next, beside those during them.
const BETWEEN: usize = 500;

#[tokio::test]
async fn a_rolling_restart_of_three_nodes_loses_nothing() {
    let mut stage = Stage::set().await;
    let book = Book::new();
    let followers = Followers::start(ROLLING, &stage, &book).await;
    let publisher = Publisher::start(&stage, &book);
    let mut took = Vec::new();
    for node in 0..stage::NODES {
        took.push(stage.roll(node).await);
        let next = book.all() + BETWEEN;
        eventually("events between two restarts", || async { book.all() >= next }).await;
    }
    publisher.stop().await;
    println!("{}", followers.finish(&book, None).await);
    println!("each node took {took:?} from SIGTERM to being ready again");
}
