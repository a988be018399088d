//! What the client commands share: the node's address, requests to it, and its errors.

use std::error::Error as _;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use super::out;
use crate::adapters::tls;
use crate::config::Secret;

/// A request that is answered at all is answered by then.
const ANSWER: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

const DEFAULT_URL: &str = "http://127.0.0.1:7420";

/// Which node to speak to.
#[derive(clap::Args)]
pub struct Connection {
    /// Address of the node
    #[arg(long, env = "GREENROOM_URL", default_value = DEFAULT_URL, global = true)]
    url: String,
    /// Token to show to the node
    #[arg(long, env = "GREENROOM_TOKEN", hide_env_values = true, global = true)]
    token: Option<Secret>,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The node refused it, and says why.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The code of the node's catalogue.
        code: String,
        /// One sentence.
        message: String,
        /// More, if the node has more to say.
        details: Option<Value>,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// Something answered, but not in a node's words.
    #[error("{url} answered {status}, which does not look like a Greenroom node")]
    Strange {
        /// What was asked.
        url: Url,
        /// HTTP status.
        status: StatusCode,
    },
    /// Nothing answered.
    #[error(
        "no node answers at {url} ({reason}): start one with `greenroom serve`, or name another one with --url"
    )]
    Unreachable {
        /// What was asked.
        url: Url,
        /// What the operating system says.
        reason: String,
    },
}

impl Failure {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, .. } | Self::Strange { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Self::Unreachable { .. } => true,
        }
    }

    /// When the node asks to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A node, seen from outside.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// Reads the address; nothing is sent yet.
    pub fn new(connection: &Connection) -> anyhow::Result<Self> {
        // An empty variable counts as not set.
        let url = if connection.url.is_empty() {
            DEFAULT_URL
        } else {
            &connection.url
        };
        let base = Url::parse(url).context("--url is not an address such as http://127.0.0.1:7420")?;
        match base.scheme() {
            "http" | "https" => {}
            other => bail!("--url has to begin with http:// or https://, not {other}:"),
        }
        if !base.username().is_empty() || base.password().is_some() {
            bail!("--url may not hold user or password; use --token");
        }
        tls::provide();
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT);
        if base.scheme() == "http" {
            // Spares reading the system's certificates, which takes longer than the request.
            http = http.tls_certs_only([]);
        }
        let http = http.build().context("cannot set up HTTP")?;
        let token = connection
            .token
            .clone()
            .filter(|token| !token.expose().trim().is_empty());
        Ok(Self { http, base, token })
    }

    /// A request to `/v1/...`. Each part of the path is one segment, whatever characters it has.
    pub fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        if let Some(dots) = path.iter().find(|part| matches!(**part, "." | ".." | "")) {
            bail!("a room called `{dots}` cannot be named in an address");
        }
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().push("v1").extend(path),
            Err(()) => bail!("--url cannot be the beginning of an address"),
        };
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose().trim()),
            None => request,
        })
    }

    /// A request to a path outside `/v1`, without a token.
    pub fn root(&self, path: &str) -> anyhow::Result<RequestBuilder> {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().push(path),
            Err(()) => bail!("--url cannot be the beginning of an address"),
        };
        Ok(self.http.get(url))
    }

    /// Sends a request and takes the whole answer, which is JSON.
    pub async fn ask(&self, request: RequestBuilder) -> anyhow::Result<String> {
        let response = self.open(request.timeout(ANSWER)).await?;
        let (url, status) = (response.url().clone(), response.status());
        let text = response
            .text()
            .await
            .map_err(|error| unreachable_node(&url, &error))?;
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(_) => Err(Failure::Strange { url, status }.into()),
        }
    }

    /// Sends a request and prints the answer: as it came if `json` says so, or else by `print`.
    pub fn show<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        json: bool,
        print: impl FnOnce(T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let text = block_on(self.ask(request))?;
        match json {
            true => Ok(out::line(text.trim())?),
            false => print(parse(&text)?),
        }
    }

    /// Sends a request; the answer is a success, of which the body is still to come.
    pub async fn open(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = request
            .build()
            .map_err(|error| error.without_url())
            .context("the request cannot be made")?;
        let url = request.url().clone();
        let response = match timeout(ANSWER, self.http.execute(request)).await {
            Ok(response) => response.map_err(|error| unreachable_node(&self.base, &error))?,
            Err(_) => {
                let reason = "no answer in time".to_owned();
                return Err(Failure::Unreachable {
                    url: self.base.clone(),
                    reason,
                }
                .into());
            }
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refusal(url, response).await.into()),
        }
    }
}

/// `text` as the answer that was asked for.
pub fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> anyhow::Result<T> {
    serde_json::from_str(text).context("the node's answer is not what this version of `greenroom` expects")
}

/// Runs a client command, on this thread alone.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start")?.block_on(command)
}

fn unreachable_node(url: &Url, error: &reqwest::Error) -> Failure {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let reason = match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false if error.source().is_none() => "the connection broke".to_owned(),
        false => deepest.to_string(),
    };
    Failure::Unreachable {
        url: url.clone(),
        reason,
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    message: String,
    details: Option<Value>,
}

async fn refusal(url: Url, response: Response) -> Failure {
    let status = response.status();
    let header = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = header
        .and_then(|value| value.trim().parse().ok())
        .map(Duration::from_secs);
    let body = response.json::<ErrorBody>();
    match timeout(ANSWER, body).await {
        Ok(Ok(ErrorBody {
            error:
                ErrorDetail {
                    code,
                    message,
                    details,
                },
        })) => Failure::Refused {
            status,
            code,
            message,
            details,
            retry_after,
        },
        _ => Failure::Strange { url, status },
    }
}
