//! What operators do: keys, sessions, signals, the log.

use std::fs::{self, File};
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Guarded, SECRET, ada, admin};
use crate::kit::http::send;
use crate::kit::{Process, Ws, eventually};

/// Runs the command line in an empty environment, with the node's secret.
fn greenroom(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.env_clear().env("GREENROOM_AUTH__JWT_SECRET", SECRET);
    command
        .current_dir(std::env::temp_dir())
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = greenroom(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[actix_rt::test]
async fn a_key_that_the_command_line_makes_is_known_by_its_line() {
    let guarded = Guarded::start().await;
    let both = printed(&[
        "key",
        "--sub",
        "ci",
        "--publish",
        "a",
        "--scope",
        "admin",
        "--id",
        "k1",
    ]);
    let (key, line) = both.split_once('\n').unwrap();
    guarded
        .get("/v1/sessions", key)
        .await
        .error(401, "unauthenticated");
    guarded.write("keys", line);
    assert_eq!(guarded.reload().await.ok()["keys"], 1);
    guarded.get("/v1/sessions", key).await.ok();
    let event = json!({"event": "e", "data": 1});
    assert_eq!(guarded.post("/v1/rooms/a/events", key, &event).await.status, 202);
    guarded.get("/v1/rooms/a", key).await.error(403, "forbidden");
    let mut ws = Ws::knock(guarded.node.address, "", Some(key)).await.unwrap();
    guarded.write("denied", "key:k1");
    assert_eq!(guarded.reload().await.ok()["ended"], 1);
    assert_eq!(ws.read_to_the_end().await.1.map(|(code, _)| code), Some(4502));
    guarded
        .get("/v1/sessions", key)
        .await
        .error(401, "unauthenticated");
    let made: Value =
        serde_json::from_str(&printed(&["key", "--sub", "ci", "--ttl", "60", "--json"])).unwrap();
    assert!(
        made["key"].as_str().unwrap().starts_with("grk_") && made["line"].is_string(),
        "{made}"
    );
}

#[actix_rt::test]
async fn a_token_that_the_command_line_makes_is_taken() {
    let guarded = Guarded::start().await;
    let token = printed(&["token", "--sub", "ada", "--join", "agent:*", "--ttl", "60"]);
    guarded.get("/v1/rooms/agent:7", &token).await.ok();
    guarded
        .get("/v1/rooms/task:7", &token)
        .await
        .error(403, "forbidden");
    let made: Value = serde_json::from_str(&printed(&["token", "--sub", "ada", "--json"])).unwrap();
    assert!(
        made["token"].is_string() && made["id"].is_string() && made["expires"].is_u64(),
        "{made}"
    );
    for wrong in [
        ["--scope", "root"],
        ["--join", "a*b"],
        ["--private-key", "/nowhere"],
    ] {
        let output = greenroom(&[&["token", "--sub", "ada"][..], &wrong].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[actix_rt::test]
async fn an_operator_sees_connections_and_ends_them() {
    let guarded = Guarded::start().await;
    let url = format!("http://{}", guarded.node.address);
    let mut ws = Ws::knock(guarded.node.address, "", Some(&ada())).await.unwrap();
    ws.join(&["a"], None).await;
    let admin = admin();
    let sessions = |more: &[&str]| printed(&[&["sessions", "--url", &url, "--token", &admin], more].concat());
    let listed = sessions(&[]);
    let [id, "ada", "websocket", _, _, "a"] = listed.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{listed}");
    };
    let (id, ended) = (id.to_owned(), json!({"ended": id}).to_string());
    assert_eq!(
        printed(&["sessions", "end", &id, "--url", &url, "--token", &admin, "--json"]),
        ended
    );
    assert_eq!(ws.read_to_the_end().await.1, Some((4503, "ended".into())));
    eventually("the connection to be gone", || async { sessions(&[]).is_empty() }).await;
    let end = |token: String| {
        let request = guarded
            .node
            .http
            .request(Method::DELETE, &format!("/v1/sessions/{id}"));
        send(request.bearer_auth(token))
    };
    end(admin.clone()).await.error(404, "not_found");
    end(ada()).await.error(403, "forbidden");
}

#[actix_rt::test]
async fn a_signal_has_the_files_read_and_the_log_tells_who_was_refused_and_no_token() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("denied"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.env_clear().env("GREENROOM_AUTH__JWT_SECRET", SECRET);
    command.env("GREENROOM_AUTH__DENY_FILE", path("denied"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "auth.mode=token"]);
    command.args(["--set", "log.level=trace", "--log-format", "json"]);
    command
        .stderr(File::create(path("log")).unwrap())
        .current_dir(folder.path());
    let process = Process::from(command);
    let token = ada();
    let mut ws = Ws::knock(process.address, &format!("?token={token}"), None)
        .await
        .unwrap();
    assert_eq!(
        ws.ask(json!({"type": "join", "room": "secret"})).await["code"],
        "forbidden"
    );
    let forged = format!("{token}x");
    assert!(
        Ws::knock(process.address, &format!("?token={forged}"), None)
            .await
            .is_err()
    );
    fs::write(path("denied"), "jti:t1").unwrap();
    process.signal("HUP");
    assert_eq!(ws.read_to_the_end().await.1.map(|(code, _)| code), Some(4502));
    for _ in 0..20 {
        process.http.get("/v1/rooms").await.error(401, "unauthenticated");
    }
    let log = fs::read_to_string(path("log")).unwrap();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let audit: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
    let refused: Vec<&Value> = audit.iter().filter(|line| line["message"] == "refused").collect();
    let forbidden = refused.iter().find(|line| line["code"] == "forbidden").unwrap();
    for (field, wanted) in [
        ("surface", "websocket"),
        ("subject", "ada"),
        ("action", "join"),
        ("room", "secret"),
        ("address", "127.0.0.1"),
    ] {
        assert_eq!(forbidden[field], wanted, "{forbidden}");
    }
    assert!(
        refused.iter().any(|line| line["reason"] == "signature"),
        "{audit:?}"
    );
    assert_eq!(
        refused.len(),
        10,
        "a flood from one address gets no more lines than that"
    );
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "a token is in the log");
}
