//! Requests to a node.

use std::net::SocketAddr;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use serde_json::{Value, json};

use super::LIMIT;

/// A client of the HTTP surface.
#[derive(Clone)]
pub struct Http {
    base: String,
    client: Client,
}

/// What the node answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Http {
    /// A client of the node at that address.
    pub fn new(address: SocketAddr) -> Self {
        Self::by(format!("http://{address}"), Client::builder(), [])
    }

    /// The sum of a metric's rows, without what is behind the point.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text;
        let rows = text.lines().filter(|line| line.starts_with(name));
        rows.map(|row| row.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
            .sum()
    }

    /// A client that keeps no connection: what the node has open is what was left open. It shows this token.
    pub fn without_keep_alive(address: SocketAddr, token: Option<&str>) -> Self {
        let show = |token: &str| (AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let builder = Client::builder()
            .pool_max_idle_per_host(0)
            .default_headers(token.map(show).into_iter().collect());
        Self::by(format!("http://{address}"), builder, [])
    }

    /// A client of the node at that URL, which trusts these certificates and no others.
    pub fn with(base: String, trusted: impl IntoIterator<Item = reqwest::Certificate>) -> Self {
        Self::by(base, Client::builder(), trusted)
    }

    fn by(
        base: String,
        builder: ClientBuilder,
        trusted: impl IntoIterator<Item = reqwest::Certificate>,
    ) -> Self {
        // Another test of this program may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = builder.no_proxy().timeout(LIMIT);
        let client = builder.tls_certs_only(trusted).build().unwrap();
        Self { base, client }
    }

    /// A request, to be changed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Gets.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, "application/json", body.to_string()).await
    }

    /// Posts anything.
    pub async fn post_text(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, kind);
        send(request.body(body)).await
    }

    /// Publishes an event that has to be accepted.
    pub async fn publish(&self, room: &str, event: &str, data: impl Into<Value>) -> Value {
        let body = json!({"event": event, "data": data.into()});
        let answer = self.post(&format!("/v1/rooms/{room}/events"), &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()
    }
}

/// Sends a request that has to be answered.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

impl Answer {
    /// The body of an answer that has to be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that has to be 200.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The error of an answer that has to be this one; checks what every error has.
    pub fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        assert_eq!(body["error"]["code"], code, "{self:?}");
        assert!(
            body["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{self:?}"
        );
        let may_retry = matches!(status, 429 | 503);
        assert_eq!(self.headers.contains_key(RETRY_AFTER), may_retry, "{self:?}");
        body["error"].clone()
    }
}
