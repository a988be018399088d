//! The forms that texts have to have: addresses, names, lists of them.

use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::http::Cidr;

pub(super) fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

pub(super) fn is_node_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// The kernel's names have at most 15 characters (`TCP_CA_NAME_MAX` counts the end).
pub(super) fn is_congestion(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (1..=15).contains(&text.len()) && text.chars().all(plain)
}

pub(super) fn is_event_name(text: &str) -> bool {
    (1..=200).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// A bare word that is no level would be taken for the name of a module, and silence everything else.
pub(super) fn is_filter(text: &str) -> bool {
    let sensible =
        |directive: &str| directive.contains(['=', '[']) || directive.parse::<LevelFilter>().is_ok();
    !text.is_empty()
        && text.split(',').all(|directive| sensible(directive.trim()))
        && EnvFilter::try_new(text).is_ok()
}

pub(super) fn is_redis(text: &str) -> bool {
    let schemes = ["redis://", "rediss://", "unix://", "redis+unix://"];
    let is_one = schemes.iter().any(|scheme| text.starts_with(scheme)) && reqwest::Url::parse(text).is_ok();
    is_one
        || ["redis+sentinel://", "redis+cluster://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
}

pub(super) fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

pub(super) fn is_prefix(text: &str) -> bool {
    text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=4_096).contains(&text.len()) && !text.contains(char::is_control)
}

/// The hash of HS256 has 32 bytes: a shorter secret would be the weakest part (RFC 7518, section 3.2).
pub(super) fn is_jwt_secret(text: &str) -> bool {
    text.len() >= 32
}

pub(super) fn is_web(text: &str) -> bool {
    let plain = |url: &reqwest::Url| url.username().is_empty() && url.password().is_none();
    reqwest::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && plain(&url))
}

pub(super) fn is_origins(text: &str) -> bool {
    let is_origin = |word: &str| {
        let bare = reqwest::Url::parse(word).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none()
        });
        matches!(word, "*" | "loopback") || bare
    };
    text.split(',').all(|word| is_origin(word.trim()))
}

pub(super) fn is_networks(text: &str) -> bool {
    text.is_empty() || text.split(',').all(|word| Cidr::parse(word.trim()).is_some())
}

pub(super) fn is_docker(text: &str) -> bool {
    let schemes = ["unix", "tcp", "http", "https", "npipe", "ssh", "fd"];
    text.split_once("://")
        .is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}
