//! The document that describes the surface.

use reqwest::Method;
use serde_json::Value;

use crate::kit::TestNode;

/// Each path of the document with each of its methods is there, and each method it does not have is refused.
#[tokio::test]
async fn the_open_api_document_lists_the_routes_that_exist() {
    let node = TestNode::start().await;
    let document = node.http.get("/openapi.json").await.ok();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{}",
        document["openapi"]
    );
    let paths = document["paths"].as_object().unwrap();
    let mut listed: Vec<&str> = paths.keys().map(String::as_str).collect();
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/v1/agents/{id}/status",
            "/v1/agents/{id}/thoughts",
            "/v1/auth/reload",
            "/v1/cache/invalidate",
            "/v1/cache/metrics",
            "/v1/nodes",
            "/v1/projects/{id}/cache",
            "/v1/projects/{id}/events",
            "/v1/projects/{id}/invalidate",
            "/v1/projects/{id}/warm",
            "/v1/rooms",
            "/v1/rooms/{room}",
            "/v1/rooms/{room}/events",
            "/v1/rooms/{room}/stream",
            "/v1/sessions",
            "/v1/sessions/{id}",
            "/v1/tasks/{id}/updates",
            "/v1/workers",
            "/v1/ws",
        ]
    );
    for (path, item) in paths {
        is_as_documented(&node, path, item).await;
    }
}

/// Each method of a path is answered as the document says it may be.
async fn is_as_documented(node: &TestNode, path: &str, item: &Value) {
    let url = path.replace("{id}", "1").replace("{room}", "lobby");
    for method in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ] {
        let operation = &item[method.as_str().to_ascii_lowercase()];
        let response = node.http.request(method.clone(), &url).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(status == 405, operation.is_null(), "{method} {path}: {status}");
        // There is no connection of that id.
        let is_nobody = status == 404 && method == Method::DELETE && path == "/v1/sessions/{id}";
        assert!(status != 404 || is_nobody, "{method} {path}");
        let documented = operation["responses"].get(status.to_string());
        assert!(
            status == 405 || documented.is_some(),
            "{method} {path} answers {status}, which is not documented"
        );
    }
}

/// Every reference of the document leads somewhere.
#[tokio::test]
async fn the_open_api_document_is_whole() {
    let node = TestNode::start().await;
    let document = node.http.get("/openapi.json").await.ok();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(reference) if name == "$ref" => found.push(reference.to_owned()),
                    _ => collect_references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
