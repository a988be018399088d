//! The kinds of servers: with a password, with users, by TLS, watched by Sentinels.

use crate::kit::{Authority, Redis, eventually};
use crate::{bus, node, node_with, until};

#[tokio::test]
async fn a_password_and_a_user_are_shown() {
    let redis = Redis::with(&["--requirepass", "open sesame"]);
    let url = format!("redis://:open%20sesame@{}", redis.address);
    let one = node(&url).await;
    assert_eq!(bus(&one).await["state"], "up");
    let cli = |command: &[&str]| redis.cli(&[&["-a", "open sesame", "--no-auth-warning"], command].concat());
    let made = cli(&[
        "acl",
        "setuser",
        "greenroom",
        "on",
        ">key",
        "~{greenroom}:*",
        "&{greenroom}:*",
        "+@all",
    ]);
    assert_eq!(made, "OK");
    let two = node(&format!("redis://greenroom:key@{}", redis.address)).await;
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    let refused = node(&format!("redis://greenroom:wrong@{}", redis.address)).await;
    let state = bus(&refused).await;
    assert_eq!(state["state"], "down");
    let means = state["means"].as_str().unwrap();
    assert!(
        means.contains("WRONGPASS") || means.to_lowercase().contains("auth"),
        "{means}"
    );
    assert!(!means.contains("wrong@"), "{means}");
}

#[tokio::test]
async fn of_a_cluster_the_server_is_used_that_has_our_slot() {
    let mut servers: Vec<Redis> = (0..3).map(|_| Redis::of_cluster()).collect();
    let addresses: Vec<String> = servers.iter().map(|redis| redis.address.to_string()).collect();
    let made = std::process::Command::new("redis-cli")
        .args(["--cluster", "create", "--cluster-yes"])
        .args(&addresses)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    eventually("the cluster", || async {
        servers
            .iter()
            .all(|redis| redis.cli(&["cluster", "info"]).contains("cluster_state:ok"))
    })
    .await;
    let url = format!("redis+cluster://{}", addresses.join(","));
    let [one, two] = [node(&url).await, node(&url).await];
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.event().await["data"], 1);
    let has_ours = |redis: &&Redis| redis.cli(&["exists", "{greenroom}:meta"]) == "1";
    assert_eq!(servers.iter().filter(has_ours).count(), 1);
    // Nor does any other server hear of what is published.
    let channels = |kind| servers.iter().map(move |redis| redis.cli(&["pubsub", kind]));
    assert!(channels("channels").all(|names| names.is_empty()));
    let heard: Vec<String> = channels("shardchannels")
        .filter(|names| !names.is_empty())
        .collect();
    assert!(
        matches!(&heard[..], [names] if names.contains("{greenroom}:room:agent:1")),
        "{heard:?}"
    );
    client.cut();
    eventually("nobody to hear the room any more", || async {
        let names = servers
            .iter()
            .map(|redis| redis.cli(&["pubsub", "shardchannels", "*:room:*"]));
        names.collect::<String>().is_empty()
    })
    .await;
    one.publish("agent:1", "note", 2).await;
    let mut back = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 3).await;
    assert_eq!(back.event().await["data"], 3);
    // It goes, and comes back.
    let ours = servers.iter().position(|redis| has_ours(&redis)).unwrap();
    servers[ours].kill();
    until(&one, "down").await;
    until(&two, "down").await;
    one.publish("agent:1", "note", 4).await;
    servers[ours].begin();
    until(&one, "up").await;
    until(&two, "up").await;
    assert_eq!(back.heard().await["data"], 4);
}

#[tokio::test]
async fn a_server_behind_tls_is_trusted_by_its_authority() {
    let authority = Authority::new();
    let port = Redis::free_port().to_string();
    let (cert, key, root) = (authority.cert_file(), authority.key_file(), authority.root_file());
    let [cert, key, root] = [&cert, &key, &root].map(|path| path.to_str().unwrap().to_owned());
    let _redis = Redis::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &root,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}");
    let trusts = |config: &mut greenroom::config::Config| {
        config.redis.ca_file = Some(root.clone());
        // Handshakes take their time in a debug build.
        config.redis.timeout_ms = 5_000;
    };
    let [one, two] = [node_with(&url, trusts).await, node_with(&url, trusts).await];
    let state = bus(&one).await;
    assert_eq!(state["state"], "up", "{state}");
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.event().await["data"], 1);
    let stranger = node(&url).await;
    assert_eq!(bus(&stranger).await["state"], "down", "nobody vouches for it");
}

#[tokio::test]
async fn nodes_with_different_prefixes_do_not_meet() {
    let redis = Redis::start();
    let one = node_with(&redis.url(), |config| config.redis.prefix = "a".into()).await;
    let two = node_with(&redis.url(), |config| config.redis.prefix = "b".into()).await;
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    client.hears_nothing().await;
    assert_eq!(redis.cli(&["keys", "{greenroom}*"]), "");
}

#[tokio::test]
async fn a_server_that_sentinels_promote_takes_over() {
    let mut first = Redis::start();
    let port = first.address.port().to_string();
    let second = Redis::with(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
    eventually("the replica", || async {
        first.cli(&["info", "replication"]).contains("state=online")
    })
    .await;
    let sentinel = Redis::sentinel(&first);
    let one = node(&format!("redis+sentinel://{}/main", sentinel.address)).await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    eventually("the replica to have it", || async {
        second.cli(&["xlen", "{greenroom}:history:agent:1"]) == "1"
    })
    .await;
    first.kill();
    until(&one, "down").await;
    one.publish("agent:1", "note", 2).await;
    assert_eq!(client.heard().await["data"], 2);
    until(&one, "up").await;
    one.publish("agent:1", "note", 3).await;
    assert_eq!(client.heard().await["data"], 3);
    let history = one.http.get("/v1/rooms/agent:1/events").await.ok();
    assert_eq!(
        crate::kit::numbers(history["events"].as_array().unwrap()),
        [1, 2, 3]
    );
    assert_eq!(second.cli(&["xlen", "{greenroom}:history:agent:1"]), "3");
}
