//! The kit against what is known: the stock server, a server that loses events, and the bytes of a plain connection.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::follow::{FAST, Failures, Returns, endure_all};
use crate::kit::{
    Entry, Event, Fault, Follower, KINDS, Log, Process, Proxy, Publisher, Stock, StockClient, Transport,
    Version, numbered_name, stock_server, within,
};

const NEWEST: (Version, Transport) = (Version::Newest, Transport::WebSocket);

/// The number that an event carries.
fn numbers(event: &Event) -> Vec<u64> {
    vec![event.data().as_u64().unwrap()]
}

/// Numbers for everybody in `n`.
fn publisher(server: &Process, followers: &[Follower]) -> Publisher {
    Publisher::start(
        server.http.clone(),
        "n",
        "n",
        |number| number.into(),
        FAST,
        followers,
    )
}

#[tokio::test]
async fn every_kind_of_client_talks_with_the_stock_server() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(server.address, kind).await;
        assert_eq!(client.status().await["transport"], kind.1.settled(), "{kind:?}");
        assert_eq!(client.join(&room).await, json!({"ok": true, "room": room}));

        let binary = json!({"$binary": "AAEC/w=="});
        let ask = json!([{"room": room, "event": "note", "data": {"bytes": binary, "text": "é"}}]);
        let answer = client.ask_ok("publish", ask).await;
        assert_eq!(answer["rooms"], json!({room.as_str(): 1}), "{kind:?}");
        let event = client.event().await;
        assert_eq!(event.name, "note");
        assert_eq!(event.data(), &json!({"bytes": binary, "text": "é"}), "{kind:?}");
        // The offset, which recovery adds.
        assert!(event.args.len() == 2 && event.args[1].is_string(), "{event:?}");

        server.http.publish(&room, "note", 7).await;
        assert_eq!(client.event().await.data(), 7);
        client.emit("publish", json!([{"room": room, "event": "note", "data": 8}]));
        assert_eq!(client.event().await.data(), 8, "without an ack, too");
        assert_eq!(client.ask_refused("join", json!([""])).await, "room_name_invalid");
        client.hears_nothing().await;
        client.disconnect();
        assert_eq!(client.disconnected().await, "io client disconnect");
    }
}

#[tokio::test]
async fn an_ack_that_never_comes_is_an_error() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    let mut client = stock.connected(server.address, NEWEST).await;
    let cut_off = client.ask_later("nobody-listens", json!([]));
    client.cut(true);
    let error = client.answer_to(cut_off).await.unwrap_err();
    assert_eq!(error, "socket has been disconnected");
}

#[tokio::test]
async fn refusals_are_told_with_their_data() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    for kind in KINDS {
        let mut options = kind.1.options();
        options["auth"] = json!({"token": "wrong"});
        let mut client = stock.client_of(&format!("http://{}", server.address), kind.0, options);
        let wanted = ("unauthorized".to_owned(), json!({"code": "token_invalid"}));
        assert_eq!(client.refused().await, wanted, "{kind:?}");
        client.set_auth(json!({"token": "right"}));
        client.open();
        assert_eq!(client.connect().await["recovered"], false);

        let url = format!("http://{}/nowhere", server.address);
        let mut lost = stock.client_of(&url, kind.0, kind.1.options());
        assert_eq!(
            lost.refused().await,
            ("Invalid namespace".to_owned(), Value::Null)
        );
    }
}

#[tokio::test]
async fn the_end_of_a_server_is_told_apart_from_a_cut() {
    let stock = Stock::start();
    for kind in KINDS {
        let mut server = stock_server(&[]);
        let mut client = stock.connected(server.address, kind).await;
        client.cut(false);
        let reason = client.disconnected().await;
        let wanted = if kind.1 == Transport::Polling {
            "transport error"
        } else {
            "transport close"
        };
        assert_eq!(reason, wanted, "{kind:?}");
        client.connect().await;
        if kind.1 == Transport::Upgrade {
            client.upgraded().await;
        }
        server.signal("TERM");
        let reason = client.disconnected().await;
        // Who was between two polls is told nothing any more.
        let between = kind.1 == Transport::Polling && reason == "transport error";
        assert!(between || reason == "transport close", "{kind:?}: {reason}");
        assert!(server.ended().await.success());
    }
}

async fn in_room(stock: &Stock, proxy: &Proxy, kind: (Version, Transport), room: &str) -> StockClient {
    let mut client = stock.connected(proxy.address, kind).await;
    client.join(room).await;
    client
}

#[tokio::test]
async fn a_client_behind_the_proxy_recovers_what_it_missed() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let proxy = Proxy::to(server.address).await;
        let mut client = in_room(&stock, &proxy, kind, &room).await;
        server.http.publish(&room, "n", 1).await;
        assert_eq!(client.event().await.data(), 1, "{kind:?}");

        proxy.refuse(true);
        proxy.strike(Fault::Reset);
        client.disconnected().await;
        server.http.publish(&room, "n", 2).await;
        proxy.refuse(false);
        let recovered = client.connect().await["recovered"] == true;
        // The stock server only recovers what it has seen going, and it does not see a poll that was never made.
        assert!(recovered || kind.1 == Transport::Polling, "{kind:?}");
        if recovered {
            assert_eq!(client.event().await.data(), 2, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn half_open_means_that_the_server_notices_nothing() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let proxy = Proxy::to(server.address).await;
        let mut client = in_room(&stock, &proxy, kind, &room).await;
        proxy.strike(Fault::HalfOpen);
        client.disconnected().await;
        // One who polls also says goodbye, by another request: into the void.
        assert!(proxy.ghosts() > 0, "{kind:?}");
        assert_eq!(client.connect().await["recovered"], false, "{kind:?}");
        let presence = client.ask_ok("presence", json!([room])).await;
        assert_eq!(presence["count"], 1, "its old self is still there: {kind:?}");
    }
}

#[tokio::test]
async fn a_stalled_network_is_noticed_by_the_missing_heartbeat_alone() {
    let server = stock_server(&["--ping-interval-ms", "300", "--ping-timeout-ms", "1000"]);
    let stock = Stock::start();
    for kind in KINDS {
        let proxy = Proxy::to(server.address).await;
        let mut client = in_room(&stock, &proxy, kind, "lobby").await;
        proxy.stall();
        assert_eq!(client.disconnected().await, "ping timeout", "{kind:?}");
        proxy.flow();
        client.connect().await;
    }
}

#[tokio::test]
async fn an_armed_fault_strikes_to_the_byte() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(upstream.local_addr().unwrap()).await;
    for fault in [Fault::Close, Fault::Reset, Fault::HalfOpen] {
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut node, _) = within("a connection", upstream.accept()).await.unwrap();
        let struck = proxy.arm(fault, 100);
        node.write_all(&[1; 60]).await.unwrap();
        client.read_exact(&mut [0; 60]).await.unwrap();
        node.write_all(&[2; 60]).await.unwrap();
        client.read_exact(&mut [0; 40]).await.unwrap();
        within("the fault", struck).await;
        let end = within("the client's end", client.read(&mut [0; 1])).await;
        assert_eq!(end.is_err(), fault != Fault::Close, "{fault:?}: {end:?}");
        assert_eq!(proxy.ghosts(), usize::from(fault == Fault::HalfOpen));
    }
}

#[tokio::test]
async fn a_follower_of_an_honest_server_on_a_whole_network_has_it_all() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    let mut followers = Vec::new();
    for kind in KINDS {
        followers.push(Follower::join(&stock, server.address, kind, "n", numbers).await);
    }
    let publisher = publisher(&server, &followers);
    let failures = Failures {
        returns: 0,
        half_open: false,
        seed: 1,
    };
    let last = endure_all(&mut followers, publisher, failures).await;
    assert!(last > 0);
    for follower in &followers {
        assert_eq!(follower.log.check(last), Ok(Returns::default()));
    }
}

#[tokio::test]
async fn a_server_that_loses_an_event_is_caught() {
    let (server, stock) = (stock_server(&["--lose-every", "20"]), Stock::start());
    let mut follower = Follower::join(&stock, server.address, NEWEST, "n", numbers).await;
    let publisher = publisher(&server, std::slice::from_ref(&follower));
    follower.reach(25).await;
    let last = publisher.stop().await;
    let complaint = follower.log.check(last).unwrap_err();
    assert!(complaint.starts_with("a gap: 21 after 19"), "{complaint}");
}

#[tokio::test]
async fn followers_come_back_after_every_cut() {
    let (server, stock) = (stock_server(&[]), Stock::start());
    let mut followers = Vec::new();
    // By WebSocket, and never half-open: when a stock server drops the ghost of a client that it did not see going, it
    // drops the rooms of the client with it.
    let kinds = KINDS.into_iter().filter(|kind| kind.1 == Transport::WebSocket);
    for kind in kinds {
        followers.push(Follower::join(&stock, server.address, kind, "n", numbers).await);
    }
    let publisher = publisher(&server, &followers);
    let failures = Failures {
        returns: 10,
        half_open: false,
        seed: 7,
    };
    let last = endure_all(&mut followers, publisher, failures).await;
    // It repeats events at that: the verdict is its own, that it can be had is the kit's.
    for follower in &followers {
        let backs = |entry: &&Entry| matches!(entry, Entry::Back { .. });
        let back = follower.log.0.iter().filter(backs).count();
        assert!(back >= 10, "{back} times");
        let verdict = follower.log.check(last);
        assert!(!verdict.is_err_and(|complaint| complaint.starts_with("ended")));
    }
}

#[tokio::test]
async fn a_page_in_a_browser_is_driven_as_any_client() {
    let (server, stock) = (stock_server(&[]), Stock::start_browser("127.0.0.1"));
    for kind in KINDS {
        let mut client = stock.connected(server.address, kind).await;
        client.join("lobby").await;
        let data = json!({"bytes": {"$binary": "AAEC/w=="}, "text": "é"});
        let ask = json!([{"room": "lobby", "event": "note", "data": data}]);
        client.ask_ok("publish", ask).await;
        assert_eq!(client.event().await.data(), &data, "{kind:?}");
        client.disconnect();
        assert_eq!(client.disconnected().await, "io client disconnect", "{kind:?}");
    }
    // What the server does not allow, the browser does.
    let stock = Stock::start_browser("elsewhere.test");
    let mut client = stock.client(server.address, (Version::Newest, Transport::Polling));
    assert_eq!(client.refused().await.0, "xhr poll error");
}

#[test]
fn a_log_is_judged_by_what_it_claims() {
    let heard = |numbers: std::ops::RangeInclusive<u64>| numbers.map(Entry::Heard);
    let back = |recovered| [Entry::Back { recovered }];
    let judge = |entries: Vec<Entry>| Log(entries).check(9);
    let log = |first, recovered, second| -> Vec<Entry> {
        heard(first).chain(back(recovered)).chain(heard(second)).collect()
    };

    let returns = |recovered, fresh| Ok(Returns { recovered, fresh });
    assert_eq!(judge(log(1..=4, true, 5..=9)), returns(1, 0));
    assert_eq!(judge(log(1..=4, false, 7..=9)), returns(0, 1));
    for (entries, complaint) in [
        (log(1..=4, true, 6..=9), "a gap: 6 after 4"),
        (log(2..=4, true, 5..=9), "a gap: 2 after 0"),
        (log(1..=4, true, 4..=9), "a repeat: 4 after 4"),
        (log(1..=4, false, 4..=9), "a repeat: 4 after 4"),
        (log(1..=4, true, 5..=8), "ended at 8 of 9"),
        (
            [log(1..=3, false, 5..=6), heard(8..=9).collect()].concat(),
            "a gap: 8 after 6",
        ),
    ] {
        let said = judge(entries).unwrap_err();
        assert!(said.starts_with(complaint), "{said}");
    }
}
