//! The HTTP surface: the whole route table on one screen, one file a surface.

mod accept;
mod auth;
mod cache;
mod client;
mod error;
mod events;
mod forward;
mod head;
mod lent;
mod nodes;
mod ops;
mod origins;
mod patience;
mod presence;
mod proxies;
mod sessions;
mod shapes;
pub mod socketio;
mod sse;
mod stage;
mod turn_away;
mod typed;
mod unread;
mod upgrade;
mod ws;

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_http::body::BoxBody;
use actix_http::{HttpService, Request, Response};
use actix_server::Server;
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::web::ThinData;
use actix_web::{App, Resource, web};
use greenroom_actors::cache::CacheActor;
use tokio::time::Instant;

use crate::adapters::tls::Certificates;
use crate::auth::Guard;
use crate::config::{Config, sections};
use crate::extensions::{EngineDoor, Extensions};
use crate::shards::{Thread, ThreadParts};
use accept::Accept;

pub use client::Clients;
pub use error::ApiError;
pub use forward::Forward;
pub use ops::openapi_json;
pub use origins::Origins;
pub use proxies::{Cidr, Proxies};
pub use stage::{Stage, Stages};

/// The door of Socket.IO.
const SOCKET_IO: &str = "/socket.io/";

/// What the HTTP surface of a node is given.
#[derive(Clone)]
pub struct Site {
    /// What each thread is given.
    pub parts: ThreadParts,
    /// The node's name.
    pub node: Arc<str>,
    /// Milliseconds after which another node that says nothing is taken for dead.
    pub dead_ms: u64,
    /// The largest head of a request, bytes.
    pub head_bytes: usize,
    /// The largest request body, bytes.
    pub body_bytes: usize,
    /// Connections (WebSocket and streams) the node takes.
    pub connections: u64,
    /// The certificate, if connections are by TLS.
    pub tls: Option<Arc<Certificates>>,
    /// How long clients may take.
    pub times: Times,
    /// Who its clients are.
    pub clients: Clients,
    /// Which web pages may use the node.
    pub origins: Origins,
    /// Who may read the metrics without a token.
    pub open_metrics: sections::OpenMetrics,
    /// What keeps strangers out.
    pub guard: Guard,
    /// Bytes a client of Socket.IO may put into one POST.
    pub max_payload: usize,
    /// The name of the cookie that a polling client is given, for proxies that keep it on one node.
    pub cookie: Option<Arc<str>>,
    /// What is cached.
    pub cache: Addr<CacheActor>,
    /// What hands requests on to other nodes, where there may be some.
    pub forward: Option<Arc<Forward>>,
    /// How far it has got with shutting down.
    pub stages: Stages,
    /// When it began.
    pub began: Instant,
}

impl Site {
    /// The doors of Engine.IO.
    fn engine_paths(&self) -> impl Iterator<Item = &str> {
        let others = self.parts.extensions.engines.iter();
        [SOCKET_IO]
            .into_iter()
            .chain(others.map(|door| door.path.as_str()))
    }
}

/// How long a client may take.
#[derive(Clone, Copy)]
pub struct Times {
    /// To do the handshake of TLS.
    pub handshake: Duration,
    /// To send the head of a request.
    pub header: Duration,
    /// To send its body.
    pub body: Duration,
    /// To take something of what waits for it.
    pub send: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
}

impl From<&Config> for Times {
    fn from(config: &Config) -> Self {
        let http = &config.http;
        Self {
            handshake: Duration::from_millis(config.tls.handshake_timeout_ms),
            header: Duration::from_millis(http.header_timeout_ms),
            body: Duration::from_millis(http.body_timeout_ms),
            send: Duration::from_millis(http.send_timeout_ms),
            keep_alive: Duration::from_millis(http.keep_alive_ms),
        }
    }
}

fn routes(config: &mut web::ServiceConfig) {
    let get = web::get;
    let post = web::post;
    config
        .service(at("/").route(get().to(ops::root)))
        .service(at("/livez").route(get().to(ops::livez)))
        .service(at("/readyz").route(get().to(ops::readyz)))
        .service(at("/metrics").route(get().to(ops::metrics)))
        .service(at("/openapi.json").route(get().to(ops::openapi)))
        .service(at("/v1/ws").route(get().to(ws::open)))
        .service(at("/v1/rooms").route(get().to(presence::rooms)))
        .service(at("/v1/rooms/{room}").route(get().to(presence::room)))
        .service(at("/v1/rooms/{room}/stream").route(get().to(sse::stream)))
        .service(
            at("/v1/rooms/{room}/events")
                .route(get().to(events::history))
                .route(post().to(events::publish)),
        )
        .service(at("/v1/agents/{id}/thoughts").route(post().to(typed::thought)))
        .service(at("/v1/agents/{id}/status").route(post().to(typed::status)))
        .service(at("/v1/tasks/{id}/updates").route(post().to(typed::update)))
        .service(at("/v1/projects/{id}/events").route(post().to(typed::project_event)))
        .service(at("/v1/sessions").route(get().to(sessions::list)))
        .service(at("/v1/sessions/{id}").route(web::delete().to(sessions::end)))
        .service(at("/v1/auth/reload").route(post().to(auth::reload)))
        .service(at("/v1/workers").route(get().to(ops::workers)))
        .service(at("/v1/nodes").route(get().to(nodes::list)))
        .service(at("/v1/cache/metrics").route(get().to(cache::metrics)))
        .service(at("/v1/cache/invalidate").route(post().to(cache::forget_found)))
        .service(at("/v1/projects/{id}/invalidate").route(post().to(cache::invalidate)))
        .service(at("/v1/projects/{id}/warm").route(post().to(cache::warm)))
        .service(at("/v1/projects/{id}/cache").route(web::delete().to(cache::clear)))
        .default_service(web::to(error::not_found));
}

/// The doors of Engine.IO: that of Socket.IO, and those of an embedding program; and its plain WebSockets.
fn engine_routes(config: &mut web::ServiceConfig, extensions: &Extensions) {
    let socket_io = EngineDoor {
        path: SOCKET_IO.to_owned(),
        begins: Arc::new(socketio::socket_io),
        // Its clients are asked when they enter a namespace.
        is_open: true,
    };
    for door in [&socket_io].into_iter().chain(&extensions.engines) {
        // One resource for both would be found by a regular expression, which costs more than all else of the routing.
        for path in [&*door.path, door.path.trim_end_matches('/')] {
            let door = ThinData(door.clone());
            config.service(web::resource(path).app_data(door).to(socketio::engine));
        }
    }
    for (path, speaks) in &extensions.sockets {
        let resource = at(path).app_data(ThinData(speaks.clone()));
        config.service(resource.route(web::get().to(ws::open_own)));
    }
}

/// A path; methods that it has no route for are answered 405.
fn at(path: &str) -> Resource {
    web::resource(path).default_service(web::to(error::method_not_allowed))
}

/// The application of one thread, for requests that are answered.
fn app(
    site: &Site,
    thread: &Rc<Thread>,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = Response<BoxBody>,
    Error = Response<BoxBody>,
    InitError = (),
> + use<> {
    let app = App::new()
        .app_data(thread.clone())
        .app_data(Rc::new(site.clone()))
        .app_data(web::PayloadConfig::new(site.body_bytes))
        .app_data(ThinData(site.origins.clone()))
        .app_data(ThinData(site.clients.clone()))
        .wrap(actix_web::middleware::from_fn(auth::check))
        .wrap(actix_web::middleware::from_fn(origins::check))
        .wrap(actix_web::middleware::from_fn(head::check))
        .wrap(actix_web::middleware::from_fn(client::pace))
        .wrap(actix_web::middleware::from_fn(error::in_our_words))
        .wrap(origins::cors(site.origins.clone()))
        .wrap(actix_web::middleware::from_fn(client::identify))
        .wrap(actix_web::middleware::from_fn(stage::part))
        .configure(|config| engine_routes(config, &site.parts.extensions))
        .configure(routes);
    map_config(app, |()| AppConfig::default())
        .map_err(|error: actix_web::Error| Response::from(error))
        .map(|response| Response::from(response).map_into_boxed_body())
}

/// Listens: every worker thread has a shard of the rooms, the application, and a way to take connections over.
pub fn serve(site: Site, listener: TcpListener, workers: usize, shutdown: Duration) -> io::Result<Server> {
    let local = listener.local_addr()?;
    let builder = Server::build()
        .workers(workers)
        .shutdown_timeout(shutdown.as_secs().max(1))
        // Connections that were taken over are not counted here: the node has a limit of its own.
        .max_concurrent_connections(usize::MAX >> 1)
        .disable_signals();
    let server = builder.listen("http", listener, move || {
        let thread = Thread::start(&site.parts);
        let stages = site.stages.clone();
        let times = site.times;
        let accept = Accept::new(&site, thread.desk.hub.stats.clone());
        let http = HttpService::build()
            .local_addr(local)
            .client_request_timeout(times.header)
            .keep_alive(times.keep_alive)
            // A stream whose client has gone is over at once, not when writing to it has failed twice.
            .h1_allow_half_closed(false)
            // Without it, connections that are merely kept alive would be waited for in the end.
            .graceful_shutdown_signal(move || stages.clone().reached(Stage::Ending))
            .on_connect_ext(|stream: &patience::Patience, connection| drop(connection.insert(stream.stage())))
            .upgrade(upgrade::service(site.clone(), thread.clone()))
            .finish(app(&site, &thread));
        fn_service(move |tcp| {
            let accept = accept.clone();
            async move { accept.welcome(tcp).await }
        })
        .and_then(http)
    })?;
    Ok(server.run())
}
