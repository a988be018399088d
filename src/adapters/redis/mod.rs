//! The broker on Redis: a server by itself, behind a failover address, watched by Sentinels, or of a Redis Cluster (all keys
//! are in one slot of it).
//!
//! A link is two connections for what changes something, one for what is handed out, and a few for reading. Everything that
//! must be atomic is a script, loaded when the link is opened. RESP2 is enough: order between what is published and what is
//! answered is made by marks, which come by the connection of what is handed out. Only sharded channels, of a Redis Cluster,
//! need RESP3.

mod arrivals;
mod cache;
mod cache_depending;
mod cache_recent;
mod cache_standing;
mod errands;
mod keys;
mod link;
mod listening;
mod place;
mod radio;
mod readers;
mod reading;
mod recent;
mod scripts;
mod value;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use greenroom_actors::broker::{Broker, BrokerError, Hello, Opened};
use greenroom_actors::logic::position::Life;
use greenroom_actors::ports::PortFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};

pub use cache::RedisFar;
pub use radio::RedisRadio;

use arrivals::Reader;
use keys::Keys;
use link::RedisLink;
use place::Place;
use readers::Readers;
use recent::Recent;
use scripts::Scripts;
use value::{error, texts};

/// After a restart, nodes that were there are waited for so long, to learn what was lost: longer than any of them takes to try
/// again.
const UNSURE_MS: u64 = 6_000;

/// What is kept in Redis, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What keys and channels begin with; empty: `greenroom`.
    pub prefix: String,
    /// Whom to trust for `rediss://`, in PEM; else whom the system trusts.
    pub root: Option<Vec<u8>>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Events a room keeps.
    pub history_events: usize,
    /// Milliseconds they are kept after the last one.
    pub history_ms: u64,
    /// Milliseconds a publisher's own id is remembered.
    pub ids_ms: u64,
    /// Milliseconds for which a client that is gone may come back.
    pub gone_ms: u64,
    /// Milliseconds for which the record of a client is kept that is connected.
    pub session_ms: u64,
    /// Milliseconds after which a node that says nothing is dead.
    pub dead_ms: u64,
}

/// See the module's description.
pub struct RedisBroker {
    place: Arc<Place>,
    shared: Arc<Shared>,
}

/// What links share.
struct Shared {
    settings: Settings,
    keys: Keys,
    scripts: Scripts,
    /// Whether channels are those of one slot, as it has to be in a Redis Cluster.
    sharded: bool,
}

impl RedisBroker {
    /// The broker at an address: `redis://`, `rediss://` or `unix://`, `redis+sentinel://HOST:PORT,HOST:PORT/NAME` or
    /// `redis+cluster://HOST:PORT,HOST:PORT`. Nothing is reached yet. Errors: it is no such address.
    pub fn new(url: &str, settings: Settings) -> Result<Self, RedisError> {
        let keys = Keys::new(&settings.prefix);
        let place = Place::new(url, keys.tag(), settings.root.clone())?;
        let sharded = matches!(place, Place::Cluster { .. });
        let shared = Shared {
            keys,
            scripts: Scripts::new(if sharded { "SPUBLISH" } else { "PUBLISH" }),
            settings,
            sharded,
        };
        Ok(Self {
            place: Arc::new(place),
            shared: Arc::new(shared),
        })
    }
}

impl Broker for RedisBroker {
    fn open(&self, hello: Hello) -> PortFuture<Result<Opened, BrokerError>> {
        let (shared, place) = (self.shared.clone(), self.place.clone());
        Box::pin(async move {
            let client = place.client().await.map_err(|failed| error(&failed))?;
            open(shared, client, hello).await
        })
    }
}

async fn open(shared: Arc<Shared>, client: Client, hello: Hello) -> Result<Opened, BrokerError> {
    let mut sending = connect(&client, &shared).await?;
    let running = connect(&client, &shared).await?;
    let run_id = run_id(&mut sending).await?;
    for script in shared.scripts.all() {
        let loaded = sending.send_packed_command(&script.load()).await;
        value::answered(loaded)?;
    }
    let known_life = match hello.life {
        Life::NONE => String::new(),
        life => life.to_string(),
    };
    let mut begin = shared.scripts.open.call(3);
    begin
        .arg(shared.keys.meta())
        .arg(shared.keys.rooms())
        .arg(shared.keys.nodes())
        .arg(run_id)
        .arg(hello.fresh.to_string())
        .arg(known_life)
        .arg(hello.known)
        .arg(hello.tag.to_string())
        .arg(shared.settings.dead_ms)
        .arg(UNSURE_MS);
    let answer = value::answered(sending.send_packed_command(&begin).await)?;
    let [life, token, head] = &texts(answer)?[..] else {
        return Err(value::unreadable("open"));
    };
    let life: Life = life.parse().map_err(|_| value::unreadable("open"))?;
    let head = head.parse().map_err(|_| value::unreadable("open"))?;
    let recent = Arc::<Recent>::default();
    let reader = Reader {
        life,
        recent: recent.clone(),
    };
    let heard = listening::listen(&client, &shared, reader).await;
    let (listening, arrivals) = heard.map_err(|failed| error(&failed))?;
    let own = vec![shared.keys.node_channel(hello.tag), shared.keys.all_channel()];
    listening.subscribe(own).await?;
    let readers = Readers::new(&client, shared.settings.timeout).map_err(|failed| error(&failed))?;
    let link = RedisLink {
        shared,
        tag: hello.tag,
        life,
        token: token.as_str().into(),
        sending,
        running,
        listening,
        readers,
        recent,
        sent: AtomicU64::new(0),
    };
    Ok(Opened {
        link: Arc::new(link),
        arrivals,
        life,
        head,
    })
}

async fn connect(client: &Client, shared: &Shared) -> Result<MultiplexedConnection, BrokerError> {
    let config = connection_config(shared.settings.timeout);
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|failed| error(&failed))
}

fn connection_config(timeout: Duration) -> AsyncConnectionConfig {
    let timeout = Some(timeout);
    AsyncConnectionConfig::new()
        .set_connection_timeout(timeout)
        .set_response_timeout(timeout)
}

/// Which life of the server this is: one that was restarted, or has taken over, has another.
async fn run_id(connection: &mut MultiplexedConnection) -> Result<String, BrokerError> {
    let mut info = redis::cmd("INFO");
    info.arg("server");
    let answer = value::answered(connection.send_packed_command(&info).await)?;
    let text = value::text(answer)?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(line.unwrap_or("unknown").trim().to_owned())
}
