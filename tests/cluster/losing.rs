//! Redis comes back with less than it had.

use crate::kit::{Fault, Proxy, Redis, Ws, eventually};
use crate::{node, until};

/// How often Redis has answered that it is not known yet what was lost.
fn unsure(redis: &Redis) -> usize {
    let stats = redis.cli(&["info", "errorstats"]);
    let row = stats
        .lines()
        .find_map(|row| row.strip_prefix("errorstat_UNSURE:count="));
    row.map_or(0, |count| count.trim().parse().unwrap())
}

/// A node's way to Redis is cut, or is there again.
fn cut(way: &Proxy, cut: bool) {
    way.refuse(cut);
    if cut {
        way.strike(Fault::Reset);
    }
}

#[tokio::test]
async fn whoever_knows_what_was_lost_is_waited_for_before_anybody_is_told_that_nothing_was() {
    let mut redis = Redis::start();
    let (to_one, to_two) = (Proxy::to(redis.address).await, Proxy::to(redis.address).await);
    let one = node(&format!("redis://{}", to_one.address)).await;
    let two = node(&format!("redis://{}", to_two.address)).await;
    let mut stays = two.joined(&["agent:1"]).await;
    two.publish("agent:1", "note", 1).await;
    let position = stays.heard().await["position"].as_str().unwrap().to_owned();
    redis.keep();
    // The one does not hear of what will be lost: only the other can tell.
    cut(&to_one, true);
    until(&one, "down").await;
    two.publish("agent:1", "note", 2).await;
    assert_eq!(stays.heard().await["data"], 2);
    redis.kill();
    until(&two, "down").await;
    cut(&to_two, true);
    redis.go_back();
    redis.begin();
    cut(&to_one, false);
    until(&one, "up").await;
    let mut back = Ws::connect(one.address).await;
    let healed = async {
        eventually("the question to be put off", || async { unsure(&redis) > 0 }).await;
        cut(&to_two, false);
    };
    let rooms = ["agent:1"];
    let (joined, ()) = tokio::join!(back.join(&rooms, Some(&position)), healed);
    assert_eq!(joined["recovered"], false, "{joined}");
    until(&two, "up").await;
    two.publish("agent:1", "note", 3).await;
    assert_eq!(stays.numbers(1).await, [3], "who heard everything stays");
    assert_eq!(back.numbers(1).await, [3]);
}
