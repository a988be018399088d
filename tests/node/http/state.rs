//! Who is where, and how the node is.

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::kit::TestNode;

#[tokio::test]
async fn rooms_with_members_are_listed_by_prefix_and_in_pages() {
    let node = TestNode::start().await;
    let _many = node
        .joined(&["agent:1", "agent:2", "agent:3", "agents", "b", "task:1"])
        .await;
    let _one = node.joined(&["agent:2"]).await;
    node.publish("quiet", "note", 1).await;
    let all = node.http.get("/v1/rooms").await.ok();
    let names = |page: &Value| -> Vec<String> {
        let rows = page["rooms"].as_array().unwrap().iter();
        rows.map(|row| row["room"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        names(&all),
        ["agent:1", "agent:2", "agent:3", "agents", "b", "task:1"]
    );
    assert_eq!(all["rooms"][1]["members"], 2);
    assert!(all.get("next").is_none(), "{all}");
    let page = node.http.get("/v1/rooms?prefix=agent:&limit=2").await.ok();
    assert_eq!(names(&page), ["agent:1", "agent:2"]);
    let next = page["next"].as_str().unwrap();
    let page = node
        .http
        .get(&format!("/v1/rooms?prefix=agent:&limit=2&after={next}"))
        .await
        .ok();
    assert_eq!(names(&page), ["agent:3"]);
    assert!(page.get("next").is_none(), "{page}");
    let none = node.http.get("/v1/rooms?prefix=x").await.ok();
    assert_eq!(none, json!({"rooms": []}));
}

#[tokio::test]
async fn a_rooms_members_are_told_with_the_position() {
    let node = TestNode::start().await;
    let empty = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!((&empty["count"], &empty["members"]), (&json!(0), &json!([])));
    let mut member = node.joined(&["lobby"]).await;
    node.publish("lobby", "note", 1).await;
    let position = member.event().await["position"].clone();
    let room = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!(
        (&room["room"], &room["count"], &room["position"]),
        (&json!("lobby"), &json!(1), &position)
    );
    let row = &room["members"][0];
    assert_eq!((&row["node"], &row["subject"]), (&json!(node.name), &Value::Null));
    assert!(
        row["joinedAt"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{row}"
    );
    let presence = member.ask(json!({"type": "presence", "room": "lobby"})).await;
    assert_eq!(presence["members"], room["members"]);
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let node = TestNode::with(|config| config.node_id = Some("node-a".into())).await;
    assert_eq!(node.http.get("/livez").await.ok(), json!({"status": "alive"}));
    let ready = node.http.get("/readyz").await.ok();
    assert_eq!(
        (&ready["status"], &ready["node"], &ready["workers"]),
        (&json!("ready"), &json!("node-a"), &json!({}))
    );
    let bus = &ready["dependencies"][0];
    assert_eq!((&bus["name"], &bus["state"]), (&json!("bus"), &json!("up")));
    assert!(bus["means"].as_str().is_some_and(|means| !means.is_empty()));
    let workers = node.http.get("/v1/workers").await.ok();
    let rows = workers["workers"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bridge", "cache", "rooms-0", "rooms-1"]);
    for row in rows {
        assert_eq!(
            (&row["phase"], &row["vital"], &row["restarts"]),
            (
                &json!("running"),
                &json!(row["name"] != "cache"),
                &json!({"panics": 0, "outages": 0})
            )
        );
        assert!(row["ageMs"].is_u64() && row["lastExit"].is_null(), "{row}");
    }
    let root = node.http.get("/").await.ok();
    assert_eq!(
        (&root["name"], &root["node"]),
        (&json!("greenroom"), &json!("node-a"))
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_and_count() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    let _stream = node.sse("lobby").await;
    for number in 0..3 {
        node.publish("lobby", "note", number).await;
    }
    member.events(3).await;
    member.ask(json!({"type": "join", "room": "a b"})).await;
    let answer = node.http.get("/metrics").await;
    let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let sum = |name: &str| samples(&answer.text, name).iter().sum::<f64>();
    assert_eq!(sum("greenroom_published_total"), 3.0);
    assert_eq!(sum("greenroom_connections"), 2.0);
    assert_eq!(sum("greenroom_history_events"), 3.0);
    assert_eq!(sum("greenroom_worker_up"), 4.0);
    assert_eq!(sum("greenroom_worker_restarts_total"), 0.0);
    assert_eq!(sum("greenroom_command_errors_total"), 1.0);
    assert!(sum("greenroom_deliveries_total") >= 3.0);
    assert_eq!(
        samples(&answer.text, "greenroom_connections").len(),
        2,
        "a shard each"
    );
}

/// The values of a metric's samples. Checks of every line that it is OpenMetrics, and that the metric is described.
fn samples(text: &str, name: &str) -> Vec<f64> {
    let mut values = Vec::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let word = comment.split(' ').next().unwrap();
            assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&word), "{line}");
            continue;
        }
        let (metric, value) = line.rsplit_once(' ').unwrap();
        let bare = metric.split('{').next().unwrap();
        let value: f64 = value.parse().unwrap();
        if bare == name {
            values.push(value);
        }
    }
    let family = name.strip_suffix("_total").unwrap_or(name);
    assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
    assert!(!values.is_empty(), "there is no {name}");
    values
}
