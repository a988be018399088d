//! Connections that end, and those that the node has no place for.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::JOIN;
use crate::kit::raw::{self, CLOSE};
use crate::kit::{Process, Raw, TestNode, Ws, numbers};

#[tokio::test]
async fn a_close_is_answered_with_the_clients_own_code() {
    let node = TestNode::start().await;
    for (close, code) in [
        (None, 1005),
        (Some(CloseCode::Normal), 1000),
        (Some(CloseCode::Away), 1001),
        (Some(CloseCode::Library(4_321)), 4_321),
    ] {
        let mut ws = node.joined(&["lobby"]).await;
        let frame = close.map(|code| CloseFrame {
            code,
            reason: "bye".into(),
        });
        ws.send_raw(Message::Close(frame)).await;
        let (frames, closed) = ws.read_to_the_end().await;
        assert_eq!(
            (frames, closed.map(|(code, _)| code)),
            (Vec::<Value>::new(), Some(code))
        );
    }
    node.until_members("lobby", 0).await;
}

#[tokio::test]
async fn a_client_that_closes_and_never_reads_is_forgotten() {
    let node = TestNode::start().await;
    let mut silent = Raw::websocket(node.address).await;
    silent.send(&raw::text(JOIN)).await;
    node.until_members("lobby", 1).await;
    silent.send(&raw::frame(true, CLOSE, &[3, 232])).await;
    node.until_members("lobby", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
    assert_eq!(silent.json().await["type"], "joined");
    assert_eq!(
        silent.close_code().await,
        Some(1000),
        "it was answered all the same"
    );
}

#[tokio::test]
async fn half_closed_and_reset_connections_leave_their_rooms() {
    let node = TestNode::start().await;
    let mut half = Raw::websocket(node.address).await;
    let reset = Raw::websocket(node.address).await;
    let mut torn = Raw::websocket(node.address).await;
    let mut reset = reset;
    for raw in [&mut half, &mut reset, &mut torn] {
        raw.send(&raw::text(JOIN)).await;
    }
    node.until_members("lobby", 3).await;
    half.half_close().await;
    node.until_members("lobby", 2).await;
    reset.reset();
    node.until_members("lobby", 1).await;
    // In the middle of a frame.
    torn.send(&raw::text(JOIN)[..9]).await;
    drop(torn);
    node.until_members("lobby", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
}

#[tokio::test]
async fn a_full_node_refuses_and_goes_on_serving_whom_it_has() {
    let node = TestNode::with(|config| config.limits.connections = 3).await;
    let mut first = node.joined(&["lobby"]).await;
    let second = node.joined(&["lobby"]).await;
    let _stream = node.sse("lobby").await;
    let Err(Error::Http(refused)) = Ws::try_connect(node.address).await else {
        panic!("a fourth connection was taken");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let stream = node.http.get("/v1/rooms/lobby/stream").await;
    stream.error(503, "overloaded");
    node.publish("lobby", "note", 1).await;
    assert_eq!(numbers(&first.events(1).await), [1]);
    second.cut();
    node.until_members("lobby", 2).await;
    let mut third = node.joined(&["lobby"]).await;
    node.publish("lobby", "note", 2).await;
    assert_eq!(numbers(&third.events(1).await), [2]);
}

/// Also where the shell from which it was started allows fewer files than the node has connections.
#[tokio::test]
async fn a_node_takes_the_files_it_may_have() {
    let node = Process::start_with_few_files(40);
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = Ws::connect(node.address).await;
        client.join(&["lobby"], None).await;
        clients.push(client);
    }
    let lobby = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!(lobby["count"], 60);
}
