//! What a request that was handed on may say, and who may say it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use tokio::time::timeout;

use crate::kit::http::send;
use crate::kit::sio::fault;
use crate::kit::{Answer, Polling, Redis};
use crate::polling::session;
use crate::{counted, node_with, nodes};

const HEADER: &str = "x-greenroom-handed-on";

/// Polls, with a head that says that the request comes from elsewhere.
fn poll(session: &Polling, node: &crate::kit::TestNode, from: &str) -> RequestBuilder {
    node.http
        .request(Method::GET, &session.path())
        .header("x-forwarded-for", from.to_owned())
        .header(HEADER, format!("{from} https {}", "0".repeat(64)))
}

#[tokio::test]
async fn what_was_handed_on_is_not_handed_on_again() {
    let (_redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    one.publish("lobby", "n", 1).await;
    let answer = send(poll(&session, &two, "198.51.100.7")).await;
    fault(&answer, 1, "Session ID unknown");
    assert_eq!(counted(&two, "greenroom_handed_on_total").await, 0);
    assert_eq!(session.by(&two.http).get().await.status, 200);
}

/// A poll that waits now, and goes on to do so for as long as what is returned is kept; or it is 429 at once.
async fn waits(request: RequestBuilder) -> Option<Pin<Box<dyn Future<Output = Answer>>>> {
    let mut asked: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(send(request));
    match timeout(Duration::from_millis(400), &mut asked).await {
        Err(_) => Some(asked),
        Ok(answer) => {
            answer.error(429, "rate_limited");
            None
        }
    }
}

#[tokio::test]
async fn a_nodes_word_for_an_address_counts_and_nobody_elses() {
    let redis = Redis::start();
    // One poll of an address may wait here.
    let one = node_with(&redis, |config| config.limits.streams_per_address = 1).await;
    // It believes the test when that says who asks.
    let two = node_with(&redis, |config| config.http.trusted_proxies = "127.0.0.1".into()).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Polling::enter(&one.http).await.0);
    }
    let by_two = |session: &Polling, from: &str| {
        let request = two.http.request(Method::GET, &session.path());
        request.header("x-forwarded-for", from.to_owned())
    };
    let first = waits(by_two(&sessions[0], "198.51.100.1")).await;
    let second = waits(by_two(&sessions[1], "198.51.100.2")).await;
    assert!(first.is_some() && second.is_some(), "two addresses");
    let third = waits(by_two(&sessions[2], "198.51.100.2")).await;
    assert!(third.is_none(), "one address");
    // The same by somebody who only says so.
    let here = waits(poll(&sessions[3], &one, "198.51.100.3")).await;
    assert!(here.is_some());
    let there = waits(poll(&sessions[4], &one, "198.51.100.4")).await;
    assert!(there.is_none(), "both are 127.0.0.1");
}

#[tokio::test]
async fn the_list_of_nodes_does_not_show_what_they_are_known_by() {
    let (redis, [one, _two]) = nodes().await;
    let listed = one.http.get("/v1/nodes").await.text;
    let cards = redis.cli(&["--no-raw", "eval", "local o = {} for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('TYPE', k).ok == 'hash' then for _, v in ipairs(redis.call('HVALS', k)) do o[#o + 1] = v end end end return table.concat(o, ' ')", "0"]);
    let key = cards.split("\\\"key\\\":\\\"").nth(1).expect("a card with a key");
    let key = &key[..32];
    assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert!(!listed.contains(key) && !listed.contains("key"), "{listed}");
}
