//! The sections on how clients come in: HTTP, TLS, the transports, and who may do what.

use serde::{Deserialize, Serialize};

use super::Secret;

/// `[http]`: who may use the HTTP server, and how long a client of it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Origins whose web pages may use the node, besides its own: a list with commas. `loopback`: those of this machine.
    /// `*`: all.
    pub origins: String,
    /// Proxies in front of the node whose word on a client's address and scheme is taken: a list of networks or
    /// addresses with commas. Empty: none.
    pub trusted_proxies: String,
    /// Where they write it.
    pub forwarded_header: ForwardedHeader,
    /// Milliseconds to send the head of a request.
    pub header_timeout_ms: u64,
    /// Milliseconds to send the body of a request.
    pub body_timeout_ms: u64,
    /// Milliseconds to take something of an answer or a stream that waits for it.
    pub send_timeout_ms: u64,
    /// Milliseconds between two requests on one connection.
    pub keep_alive_ms: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            origins: "loopback".to_owned(),
            trusted_proxies: String::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            send_timeout_ms: 10_000,
            keep_alive_ms: 75_000,
        }
    }
}

/// Where proxies write whom a request comes from. What they do not write themselves they pass on, whoever wrote it: so
/// only one is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    XForwardedFor,
    /// `Forwarded`, of RFC 7239.
    Forwarded,
}

/// `[tls]`: TLS on the address that the node listens on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the node's certificate, and behind it those that vouch for it. Unset: no TLS.
    pub cert_file: Option<String>,
    /// PEM file with the certificate's private key.
    pub key_file: Option<String>,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
    /// Milliseconds that a client may take for the handshake.
    pub handshake_timeout_ms: u64,
    /// Milliseconds between two looks at the files, whether they have changed.
    pub reload_ms: u64,
    /// Days before the certificate's end from which on the node warns of it.
    pub expiry_warning_days: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            min_version: TlsVersion::Tls12,
            handshake_timeout_ms: 10_000,
            reload_ms: 30_000,
            expiry_warning_days: 14,
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[websocket]`: plain WebSocket connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Websocket {
    /// Milliseconds between two pings to a client.
    pub ping_interval_ms: u64,
    /// Milliseconds a client has to answer a ping before its connection counts as dead.
    pub ping_timeout_ms: u64,
    /// Milliseconds a client has to take and answer a close frame before its connection is cut.
    pub close_timeout_ms: u64,
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            close_timeout_ms: 2_000,
        }
    }
}

/// `[socketio]`: Socket.IO connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketIo {
    /// Milliseconds between a client's answer to a ping and the next ping.
    pub ping_interval_ms: u64,
    /// Milliseconds a client has to answer a ping before its connection counts as dead.
    pub ping_timeout_ms: u64,
    /// Milliseconds that the upgrade from polling to a WebSocket may take.
    pub upgrade_timeout_ms: u64,
    /// Milliseconds a client may take from opening a session to entering a namespace.
    pub connect_timeout_ms: u64,
    /// Bytes a client may put into one POST or WebSocket message, and is given in one answer to a poll.
    pub max_payload_bytes: usize,
    /// Whether clients that come back are where they were: their rooms restored, what they missed delivered.
    pub recovery: Recovery,
    /// Seconds for which a client that is gone may come back so.
    pub recovery_seconds: u64,
    /// Name of the cookie that a polling client is given, for proxies that keep it on one node. Unset: none.
    pub cookie: Option<String>,
}

impl Default for SocketIo {
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            connect_timeout_ms: 45_000,
            max_payload_bytes: 1_000_000,
            recovery: Recovery::On,
            recovery_seconds: 120,
            cookie: None,
        }
    }
}

/// Whether clients that come back are where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// They are.
    On,
    /// They are new.
    Off,
}

/// `[sse]`: server-sent event streams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sse {
    /// Milliseconds between two comment lines, which keep a quiet stream open through proxies.
    pub comment_ms: u64,
}

impl Default for Sse {
    fn default() -> Self {
        Self { comment_ms: 15_000 }
    }
}

/// `[auth]`: who may do what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How clients prove who they are. To listen on an address that other machines reach, it has to be given
    /// explicitly.
    pub mode: AuthMode,
    /// Secret by which tokens are signed and verified (HS256).
    pub jwt_secret: Option<Secret>,
    /// File with the public key of the issuer in PEM (RS256, ES256, ES384 or EdDSA, by what it is).
    pub jwt_public_key_file: Option<String>,
    /// File with the public keys of the issuer as a JWK set. Then tokens have to name their key.
    pub jwks_file: Option<String>,
    /// The issuer that tokens have to name. Unset: any.
    pub issuer: Option<String>,
    /// What tokens have to name as (one of) their audience. Unset: anything.
    pub audience: Option<String>,
    /// Seconds that the clocks of issuer and node may be apart.
    pub leeway_seconds: u64,
    /// File of API keys, one a line, as `greenroom key` prints them.
    pub keys_file: Option<String>,
    /// File of those who are let in no more.
    pub deny_file: Option<String>,
    /// Seconds after which the files are looked at again.
    pub reload_seconds: u64,
    /// Seconds before its token expires that a client hears of it.
    pub expiring_seconds: u64,
    /// Who may read the metrics without a token.
    pub open_metrics: OpenMetrics,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Off,
            jwt_secret: None,
            jwt_public_key_file: None,
            jwks_file: None,
            issuer: None,
            audience: None,
            leeway_seconds: 30,
            keys_file: None,
            deny_file: None,
            reload_seconds: 10,
            expiring_seconds: 30,
            open_metrics: OpenMetrics::Loopback,
        }
    }
}

/// Who may read the metrics without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenMetrics {
    /// Nobody.
    Nobody,
    /// Who asks from this machine, and not for somebody else as a proxy does.
    Loopback,
    /// Everyone.
    Everyone,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everyone may do everything.
    Off,
    /// Everyone has to show a token or an API key, and may do what it grants.
    Token,
}
