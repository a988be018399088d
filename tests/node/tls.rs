//! TLS: every surface by it, certificates that are replaced, and clients that do not do it right.

use std::fs;
use std::io::ErrorKind;

use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::kit::raw::{self, CLOSE, HANDSHAKE, TEXT};
use crate::kit::{
    Authority, Polling, Process, Raw, Sio, Sse, TestNode, Tunnel, Ws, eventually, number, within,
};

const ROOM: &str = "agent:1";

type Connection = TlsStream<TcpStream>;

/// A connection that has become a WebSocket.
async fn websocket(mut tls: Connection) -> Connection {
    within("a handshake", tls.write_all(HANDSHAKE.as_bytes()))
        .await
        .unwrap();
    let head = read_until(&mut tls, b"\r\n\r\n").await;
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    tls
}

async fn read_until(tls: &mut Connection, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        read.push(within("a byte", tls.read_u8()).await.unwrap());
    }
    read
}

/// The next frame of a WebSocket: opcode and payload.
async fn frame(tls: &mut Connection) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    within("a frame", tls.read_exact(&mut head)).await.unwrap();
    let length = match head[1] {
        126 => u64::from(tls.read_u16().await.unwrap()),
        127 => tls.read_u64().await.unwrap(),
        length => length.into(),
    };
    let mut payload = vec![0; length as usize];
    within("a payload", tls.read_exact(&mut payload)).await.unwrap();
    (head[0] & 0x0f, payload)
}

async fn json_frame(tls: &mut Connection) -> Value {
    let (opcode, payload) = frame(tls).await;
    assert_eq!(opcode, TEXT);
    serde_json::from_slice(&payload).unwrap()
}

async fn join(tls: &mut Connection) {
    let command = json!({"type": "join", "room": ROOM}).to_string();
    tls.write_all(&raw::text(&command)).await.unwrap();
    assert_eq!(json_frame(tls).await["type"], "joined");
}

/// The node's own word on its certificate.
async fn certificate(node: &TestNode) -> Value {
    let ready = node.http.get("/readyz").await.ok();
    let dependencies = ready["dependencies"].as_array().unwrap().clone();
    let found = dependencies.into_iter().find(|row| row["name"] == "certificate");
    found.unwrap()
}

#[tokio::test]
async fn every_surface_works_by_tls() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |_| {}).await;
    let tunnel = Tunnel::to(node.address, &authority).await;
    let mut ws = Ws::connect(tunnel.address).await;
    ws.join(&[ROOM], None).await;
    let mut sse = Sse::open(tunnel.address, &format!("/v1/rooms/{ROOM}/stream"), None).await;
    sse.joined().await;
    let mut sio = Sio::joined(tunnel.address, &[ROOM]).await;
    let (polling, _) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    assert!(polling.packets().await[0].starts_with("430[{\"ok\":true"));
    let query = format!("EIO=4&transport=websocket&sid={}", polling.sid);
    let mut upgraded = Sio::attach(tunnel.address, &query).await;
    upgraded.send("2probe").await;
    assert_eq!(upgraded.packet().await, "3probe");
    upgraded.send("5").await;
    for n in 0..10 {
        node.publish(ROOM, "note", n).await;
    }
    let of_ws: Vec<u64> = ws.events(10).await.iter().map(number).collect();
    assert_eq!(of_ws, (0..10).collect::<Vec<u64>>());
    assert_eq!(sio.numbers(10).await, of_ws);
    assert_eq!(upgraded.numbers(10).await, of_ws);
    for n in 0..10 {
        assert_eq!(sse.event().await["data"], n);
    }
    assert_eq!(certificate(&node).await["state"], "up");
    assert_eq!(
        node.http.metric("greenroom_tls_certificate_end_seconds").await,
        4_102_444_800
    );
}

#[tokio::test]
async fn both_versions_are_spoken_unless_the_older_one_is_ruled_out() {
    let authority = Authority::new();
    let both = TestNode::with_tls(&authority, |_| {}).await;
    let newer = TestNode::with_tls(&authority, |config| {
        config.tls.min_version = greenroom::config::sections::TlsVersion::Tls13;
    })
    .await;
    for (node, version, fits) in [
        (&both, &TLS12, true),
        (&both, &TLS13, true),
        (&newer, &TLS12, false),
        (&newer, &TLS13, true),
    ] {
        let tcp = TcpStream::connect(node.address).await.unwrap();
        let connected = authority.connect_on(tcp, &[version]).await;
        assert_eq!(connected.is_ok(), fits, "{version:?}");
        if let Ok(tls) = connected {
            join(&mut websocket(tls).await).await;
        }
    }
}

/// More than rustls and the kernel hold, to a client that begins to read only when the node has had to stop writing:
/// all of it comes, the end too.
#[tokio::test]
async fn what_a_slow_reader_is_owed_comes_whole_and_in_order() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| config.rooms.outbox_bytes = 16 << 20).await;
    let tcp = Raw::connect_narrow(node.address).await.stream;
    let tls = authority.connect_on(tcp, rustls::ALL_VERSIONS).await.unwrap();
    let mut tls = websocket(tls).await;
    join(&mut tls).await;
    let filler = "x".repeat(100_000);
    for n in 0..80 {
        node.publish(ROOM, "note", json!({"n": n, "filler": filler}))
            .await;
    }
    let waiting = || async {
        let sessions = node.http.get("/v1/sessions").await.ok();
        sessions["sessions"][0]["bytesWaiting"].as_u64().unwrap()
    };
    assert!(waiting().await > 1 << 20, "the socket was to be full");
    for n in 0..80 {
        let event = json_frame(&mut tls).await;
        assert_eq!(
            (&event["data"]["n"], &event["data"]["filler"]),
            (&json!(n), &json!(filler))
        );
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_the_others_notice_nothing() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| {
        config.rooms.outbox_bytes = 512 << 10;
        config.limits.event_bytes = 128 << 10;
        config.throttle.wait_bytes = 128 << 10;
        config.websocket.close_timeout_ms = 10;
    })
    .await;
    let tunnel = Tunnel::to(node.address, &authority).await;
    let mut witness = Ws::connect(tunnel.address).await;
    witness.join(&[ROOM], None).await;
    let tcp = Raw::connect_narrow(node.address).await.stream;
    let tls = authority.connect_on(tcp, rustls::ALL_VERSIONS).await.unwrap();
    let mut stalled = websocket(tls).await;
    join(&mut stalled).await;
    let filler = "x".repeat(100_000);
    let mut sent = 0;
    while node.members(ROOM).await == 2 {
        node.publish(ROOM, "note", json!({"n": sent, "filler": filler}))
            .await;
        assert_eq!(number(&witness.event().await), sent);
        sent += 1;
        assert!(sent < 1_000, "it is served still");
    }
    assert_eq!(node.http.metric("greenroom_slow_clients_total").await, 1);
}

#[tokio::test]
async fn a_connection_ends_by_close_notify_on_both_sides() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |_| {}).await;
    let mut tls = websocket(authority.connect(node.address).await).await;
    join(&mut tls).await;
    tls.write_all(&raw::frame(true, CLOSE, &1000u16.to_be_bytes()))
        .await
        .unwrap();
    assert_eq!(frame(&mut tls).await, (CLOSE, 1000u16.to_be_bytes().to_vec()));
    // An end without close_notify would be an error here.
    assert_eq!(within("the end", tls.read(&mut [0; 1])).await.unwrap(), 0);
    let mut tls = websocket(authority.connect(node.address).await).await;
    join(&mut tls).await;
    tls.shutdown().await.unwrap();
    node.until_members(ROOM, 0).await;
    // One that is answered and not kept alive.
    let mut tls = authority.connect(node.address).await;
    tls.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within("the answer", tls.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_handshake_has_a_time_limit_and_disturbs_nobody() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| config.tls.handshake_timeout_ms = 200).await;
    let mut silent = Raw::connect(node.address).await;
    let mut halting = Raw::connect(node.address).await;
    // The beginning of a record that never becomes whole.
    halting.send(&[0x16, 3, 1, 0x40, 0, 1]).await;
    join(&mut websocket(authority.connect(node.address).await).await).await;
    assert_eq!(silent.read_to_the_end().await, b"");
    assert_eq!(halting.read_to_the_end().await, b"");
    assert_eq!(node.http.metric("greenroom_tls_failures_total").await, 2);
}

#[tokio::test]
async fn plaintext_on_the_port_is_told_so_and_ended() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |_| {}).await;
    let mut plain = Raw::connect(node.address).await;
    plain.send(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let answer = String::from_utf8(plain.read_to_the_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("use https or wss"), "{answer}");
    assert_eq!(node.http.metric("greenroom_tls_failures_total").await, 1);
}

#[tokio::test]
async fn a_record_that_does_not_hold_ends_the_connection() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |_| {}).await;
    let mut tls = websocket(authority.connect(node.address).await).await;
    join(&mut tls).await;
    // A record of application data that was never encrypted with the connection's key.
    tls.get_mut().0.write_all(&[0x17, 3, 3, 0, 20]).await.unwrap();
    tls.get_mut().0.write_all(&[7; 20]).await.unwrap();
    let error = within("the end", tls.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "an alert: {error}");
    node.until_members(ROOM, 0).await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_over_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| config.tls.reload_ms = 20).await;
    let mut before = websocket(authority.connect(node.address).await).await;
    join(&mut before).await;
    let shown = || async {
        let tls = authority.connect(node.address).await;
        let chain = tls.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    };
    let second = authority.renew(2_101);
    eventually("the new certificate", || async { shown().await == second }).await;
    fs::write(authority.cert_file(), "not a certificate").unwrap();
    eventually("the broken one to be noticed", || async {
        certificate(&node).await["state"] == "degraded"
    })
    .await;
    let row = certificate(&node).await;
    assert!(row["means"].as_str().unwrap().contains("tls.cert_file"), "{row}");
    assert_eq!(node.http.get("/readyz").await.ok()["status"], "degraded");
    assert_eq!(shown().await, second, "what was served is served still");
    assert!(node.http.metric("greenroom_tls_reload_failures_total").await >= 1);
    // One that has ended already would be worse than what there is.
    authority.renew(2_001);
    eventually("the ended one to be noticed", || async {
        certificate(&node).await["means"]
            .as_str()
            .unwrap()
            .contains("has ended on 2001")
    })
    .await;
    let third = authority.renew(2_102);
    eventually("the next one", || async { shown().await == third }).await;
    eventually("all to be well", || async {
        certificate(&node).await["state"] == "up"
    })
    .await;
    // Who was there before is there still.
    node.publish(ROOM, "note", 1).await;
    assert_eq!(number(&json_frame(&mut before).await), 1);
}

#[tokio::test]
async fn sighup_makes_the_program_look_at_its_certificate() {
    let authority = Authority::new();
    let settings = authority.settings();
    let never = "tls.reload_ms=3600000";
    let node = Process::start(&[&settings[0], &settings[1], never]);
    let http = authority.http(node.address);
    http.get("/livez").await.ok();
    let renewed = authority.renew(2_101);
    node.signal("HUP");
    eventually("the new certificate", || async {
        let tls = authority.connect(node.address).await;
        tls.get_ref().1.peer_certificates().unwrap()[0].to_vec() == renewed
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| config.tls.expiry_warning_days = 3_650).await;
    assert_eq!(certificate(&node).await["state"], "up");
    let soon = jiff::Zoned::now().year() + 2;
    authority.renew(soon.into());
    let node = TestNode::with_tls(&authority, |config| config.tls.expiry_warning_days = 3_650).await;
    let row = certificate(&node).await;
    assert_eq!(row["state"], "degraded");
    assert!(
        row["means"].as_str().unwrap().contains(&format!("{soon}-01-01")),
        "{row}"
    );
}

#[tokio::test]
async fn the_command_line_speaks_https() {
    let authority = Authority::new();
    let settings = authority.settings();
    let node = Process::start(&[&settings[0], &settings[1]]);
    let run = |trusted: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_greenroom"));
        let url = format!("https://localhost:{}", node.address.port());
        command.env_clear().args(["workers", "--url", &url]);
        if trusted {
            command.env("SSL_CERT_FILE", authority.root_file());
        }
        command.output().unwrap()
    };
    let trusted = run(true);
    assert!(trusted.status.success(), "{trusted:?}");
    assert!(String::from_utf8_lossy(&trusted.stdout).contains("bridge"));
    let strange = run(false);
    assert!(!strange.status.success());
    assert!(
        String::from_utf8_lossy(&strange.stderr).contains("certificate"),
        "{strange:?}"
    );
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_a_node_from_starting() {
    let authority = Authority::new();
    let starts = || {
        let mut config = crate::kit::config();
        authority.apply(&mut config);
        let started = actix_rt::System::new().block_on(greenroom::node::Node::start(config));
        started.err().map(|error| error.to_string())
    };
    fs::write(
        authority.key_file(),
        rcgen::KeyPair::generate().unwrap().serialize_pem(),
    )
    .unwrap();
    let error = starts().unwrap();
    assert!(
        error.starts_with("tls.cert_file and tls.key_file cannot be used together"),
        "{error}"
    );
    fs::write(authority.key_file(), "no key").unwrap();
    let error = starts().unwrap();
    assert!(
        error.starts_with("tls.key_file = ") && error.contains("no private key"),
        "{error}"
    );
    fs::remove_file(authority.cert_file()).unwrap();
    let error = starts().unwrap();
    assert!(
        error.starts_with("tls.cert_file = ") && error.contains("cannot be read"),
        "{error}"
    );
}
