//! Which web pages may use the node: those of its own origin, those of this machine, and those of the configuration.

use std::net::IpAddr;
use std::sync::Arc;

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::web::ThinData;
use greenroom_actors::logic::fault::{Code, Fault};

use super::{ApiError, Clients};

/// Seconds for which a browser need not ask again whether it may.
const ASK_AGAIN_SECONDS: usize = 600;

/// See the module's description.
#[derive(Clone)]
pub struct Origins {
    allowed: Arc<[Allowed]>,
    clients: Clients,
}

enum Allowed {
    Any,
    Loopback,
    Origin(String),
}

impl Origins {
    /// Reads a list such as `loopback, https://app.example.com`. `*` is every origin.
    pub fn parse(list: &str, clients: Clients) -> Self {
        let allowed = list.split(',').map(str::trim).map(|word| match word {
            "*" => Allowed::Any,
            "loopback" => Allowed::Loopback,
            origin => Allowed::Origin(origin.trim_end_matches('/').to_ascii_lowercase()),
        });
        Self {
            allowed: allowed.collect(),
            clients,
        }
    }

    /// Whether a page of this origin may ask the host of this name. One that was loaded without TLS is not of the origin
    /// of a node that is known to be asked by TLS: anybody on the way may have written it.
    fn allow(&self, origin: &str, host: Option<&str>, https: Option<bool>) -> bool {
        let origin = origin.to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://").unzip();
        let is_secure = https != Some(true) || scheme == Some("https");
        if is_secure && authority.is_some() && authority == host.map(str::to_ascii_lowercase).as_deref() {
            return true;
        }
        self.allowed.iter().any(|allowed| match allowed {
            Allowed::Any => true,
            Allowed::Loopback => authority.is_some_and(is_loopback),
            Allowed::Origin(allowed) => *allowed == origin,
        })
    }

    fn allow_head(&self, origin: &header::HeaderValue, head: &RequestHead) -> bool {
        let host = head
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let https = self.clients.https(head);
        origin
            .to_str()
            .is_ok_and(|origin| self.allow(origin, host, https))
    }
}

/// `localhost`, `127.0.0.1:5173`, `[::1]`.
fn is_loopback(authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Tells browsers what pages of other origins may do.
pub fn cors(origins: Origins) -> Cors {
    Cors::default()
        .allowed_origin_fn(move |origin, head| origins.allow_head(origin, head))
        .allow_any_method()
        .allow_any_header()
        .expose_headers([header::RETRY_AFTER])
        .supports_credentials()
        .block_on_origin_mismatch(false)
        .max_age(ASK_AGAIN_SECONDS)
}

/// Refuses pages of origins that are not allowed: a browser would send a WebSocket's or a simple request's without asking.
pub async fn check(
    origins: ThinData<Origins>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !origins.0.allow_head(origin, request.head())
    {
        let message = "pages of this origin may not use the node: see http.origins";
        return Err(ApiError(Fault::new(Code::OriginForbidden, message)).into());
    }
    next.call(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::ForwardedHeader;
    use crate::http::Proxies;
    use greenroom_actors::callers::{Callers, Limits};

    fn parse(list: &str) -> Origins {
        let clients = Clients {
            proxies: Proxies::parse("", ForwardedHeader::XForwardedFor),
            callers: Arc::new(Callers::new(Limits::default())),
            tls: false,
            key: None,
        };
        Origins::parse(list, clients)
    }

    #[test]
    fn pages_of_this_machine_and_of_the_node_itself_are_allowed() {
        let origins = parse("loopback");
        for origin in [
            "http://localhost:5173",
            "http://127.0.0.1",
            "http://[::1]:80",
            "https://LOCALHOST",
        ] {
            assert!(origins.allow(origin, Some("127.0.0.1:7420"), None), "{origin}");
        }
        assert!(origins.allow("https://node.example.com", Some("node.example.com"), None));
        for origin in [
            "null",
            "",
            "https://evil.example.com",
            "http://localhost.evil.com",
            "http://127.0.0.1.evil.com",
        ] {
            assert!(!origins.allow(origin, Some("127.0.0.1:7420"), None), "{origin}");
        }
    }

    #[test]
    fn a_list_names_origins() {
        let origins = parse("https://app.example.com/, http://other.test:81");
        assert!(origins.allow("https://app.example.com", Some("node"), None));
        assert!(origins.allow("http://other.test:81", Some("node"), None));
        assert!(!origins.allow("http://app.example.com", Some("node"), None));
        assert!(!origins.allow("http://localhost", Some("node"), None));
        assert!(parse("*").allow("null", None, None));
    }

    #[test]
    fn a_page_without_tls_is_not_the_nodes_own_where_that_is_asked_by_tls() {
        let origins = parse("loopback");
        for (origin, https, allowed) in [
            ("https://node.example.com", Some(true), true),
            ("http://node.example.com", Some(true), false),
            ("http://node.example.com", Some(false), true),
            // It may stand behind a proxy that nobody told it of.
            ("https://node.example.com", None, true),
            ("http://node.example.com", None, true),
        ] {
            let is_allowed = origins.allow(origin, Some("node.example.com"), https);
            assert_eq!(is_allowed, allowed, "{origin} {https:?}");
        }
    }
}
