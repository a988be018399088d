//! Where the server is: at an address, or where Sentinels or a Redis Cluster say that it is now.

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, TlsCertificates, Value};
use tokio::sync::Mutex;

const SENTINELS: &str = "redis+sentinel://";
const CLUSTER: &str = "redis+cluster://";
/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// See the module's description.
pub(super) enum Place {
    /// At an address, which may be that of whatever has taken over.
    Address(Client),
    /// Where the Sentinels say. Asking them changes what is known of them.
    Sentinels(Mutex<SentinelClient>),
    /// On the server of a Redis Cluster that has the slot of our keys; each of these may be asked for it.
    Cluster { servers: Vec<Client>, slot: u16 },
}

fn invalid(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, what))
}

impl Place {
    /// Reads an address; `tag` is the hash tag of all keys. Nothing is reached yet.
    pub fn new(url: &str, tag: &str, root: Option<Vec<u8>>) -> Result<Self, RedisError> {
        if let Some(rest) = url.strip_prefix(SENTINELS) {
            return Ok(Self::Sentinels(Mutex::new(sentinels(rest)?)));
        }
        if let Some(rest) = url.strip_prefix(CLUSTER) {
            let (who, hosts) = rest
                .rsplit_once('@')
                .map_or(("", rest), |(who, hosts)| (who, hosts));
            let at = if who.is_empty() { "" } else { "@" };
            let server = |host: &str| Client::open(format!("redis://{who}{at}{host}"));
            return Ok(Self::Cluster {
                servers: hosts.split(',').map(server).collect::<Result<_, _>>()?,
                slot: crc16(tag.as_bytes()) % SLOTS,
            });
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: root,
        };
        Ok(Self::Address(match certificates.root_cert {
            Some(_) => Client::build_with_tls(url, certificates)?,
            None => Client::open(url)?,
        }))
    }

    /// The server as it is to be reached now.
    pub async fn client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Address(client) => Ok(client.clone()),
            Self::Sentinels(sentinels) => sentinels.lock().await.async_get_client().await,
            Self::Cluster { servers, slot } => {
                let mut last = invalid("no server of the cluster is named");
                for server in servers {
                    match owner(server, *slot).await {
                        Ok(client) => return Ok(client),
                        Err(failed) => last = failed,
                    }
                }
                Err(last)
            }
        }
    }
}

/// `[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB]`; user and password are those of the server, not of the Sentinels.
fn sentinels(rest: &str) -> Result<SentinelClient, RedisError> {
    let (who, rest) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(who, rest)| (Some(who), rest));
    let (hosts, path) = rest
        .split_once('/')
        .ok_or_else(|| invalid("the name of the master is missing"))?;
    let (name, db) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(invalid("the name of the master is missing"));
    }
    let mut addresses = Vec::new();
    for host in hosts.split(',') {
        let info = format!("redis://{host}").into_connection_info()?;
        addresses.push(info.addr().clone());
    }
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?;
    if let Some((user, password)) = who.and_then(|who| who.split_once(':')) {
        if !user.is_empty() {
            builder = builder.set_client_to_redis_username(user);
        }
        builder = builder.set_client_to_redis_password(password);
    }
    if !db.is_empty() {
        let db = db
            .parse()
            .map_err(|_| invalid("the number of the database is none"))?;
        builder = builder.set_client_to_redis_db(db);
    }
    builder.build()
}

/// The server that has a slot, as one of the cluster says: with the same user and password.
async fn owner(server: &Client, slot: u16) -> Result<Client, RedisError> {
    let mut connection = server.get_multiplexed_async_connection().await?;
    let slots: Vec<Value> = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await?;
    let found = slots.iter().find_map(|range| has_slot(range, slot));
    let (host, port) = found.ok_or_else(|| invalid("no server of the cluster has the slot of our keys"))?;
    let asked: &ConnectionInfo = server.get_connection_info();
    // An empty host is the one that was asked.
    let host = match (host.is_empty(), asked.addr()) {
        (true, redis::ConnectionAddr::Tcp(host, _)) => host.clone(),
        _ => host,
    };
    let info = asked.clone().set_addr(redis::ConnectionAddr::Tcp(host, port));
    Client::open(info)
}

/// The master of a range of slots, if the slot is among them: `[first, last, [host, port, ...], ...]`.
fn has_slot(range: &Value, slot: u16) -> Option<(String, u16)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
        return None;
    };
    if !(*first..=*last).contains(&i64::from(slot)) {
        return None;
    }
    let [host, Value::Int(port), ..] = &master[..] else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::SimpleString(host) => host.clone(),
        _ => String::new(),
    };
    Some((host, u16::try_from(*port).ok()?))
}

/// CRC-16/XMODEM, by which a Redis Cluster finds the slot of a key: the cluster specification, appendix A.
fn crc16(bytes: &[u8]) -> u16 {
    const POLYNOMIAL: u16 = 0x1021;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ POLYNOMIAL,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn addresses_are_read() {
        for url in [
            "redis://127.0.0.1",
            "redis+sentinel://a:1,b:2/main",
            "redis+sentinel://user:pw@a:1/main/3",
            "redis+cluster://a:1,b:2",
            "redis+cluster://user:pw@a:1",
        ] {
            assert!(Place::new(url, "greenroom", None).is_ok(), "{url}");
        }
        for url in [
            "http://a",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+sentinel://a:1/m/x",
            "redis+cluster://",
        ] {
            assert!(Place::new(url, "greenroom", None).is_err(), "{url}");
        }
    }
}
