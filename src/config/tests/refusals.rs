//! What is refused, and how it is told.

use super::*;

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file = "listen = \"localhost\"\nlissten = 1\n[rooms]\nhistory_events = 0\nname_chars = \"many\"\n";
    let variables = [
        ("GREENROOM_BUS__ON_OUTAGE", "panic"),
        ("GREENROOM_LOGLEVEL", "info"),
    ];
    let told = refused(file, &variables, &["log.level=inof", "nonsense", "rooms=3"]);
    let expected = [
        "`lissten` (FILE, line 2) is no key of the configuration; the nearest is `listen`",
        "environment variable GREENROOM_LOGLEVEL names no key of the configuration; the nearest is GREENROOM_LOG__LEVEL \
         (`log.level`)",
        "flag --set: expected key=value, such as --set rooms.history_events=500, but `nonsense...` has no `=`",
        "`rooms` (flag --set) is a section, not a value; its keys: history_events, history_seconds, history_bytes, \
         remembered_rooms, outbox_bytes, name_chars, linger_ms",
        "`bus.on_outage` = \"panic\" (environment variable GREENROOM_BUS__ON_OUTAGE) must be one of \"local\", \"refuse\"",
        "`listen` = \"localhost\" (FILE, line 1) must be a text: an IP address and a port, such as 127.0.0.1:7420 or \
         [::1]:7420",
        "`log.level` = \"inof\" (flag --set) must be a text: off, error, warn, info, debug or trace, or directives such \
         as info,greenroom=debug",
        "`rooms.history_events` = 0 (FILE, line 4) must be a whole number from 1 to 1000000",
        "`rooms.name_chars` = \"many\" (FILE, line 5) must be a whole number from 1 to 1024",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_value_of_the_wrong_shape_is_told() {
    let told = refused("rooms = 1\nworkers = [2]\n[listen]\na = 1\n", &[], &[]);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told[0].starts_with("`listen` = a table (FILE, line 3) must be a text"),
        "{told:#?}"
    );
    assert!(
        told[1].starts_with("`rooms` (FILE, line 1) is a section"),
        "{told:#?}"
    );
    assert!(
        told[2].starts_with("`workers` = an array (FILE, line 2) must be a whole number"),
        "{told:#?}"
    );
}

#[test]
fn sizes_that_do_not_go_together_are_told_with_both_keys() {
    let told = refused(
        "[rooms]\noutbox_bytes = 4096\n",
        &[("GREENROOM_LIMITS__FRAME_BYTES", "262145")],
        &[],
    );
    let expected = [
        "`limits.event_bytes` = 262144 must be at most 1024: a quarter of `rooms.outbox_bytes` = 4096 (FILE, line 2)",
        "`throttle.wait_bytes` = 262144 must be at most 1024: a quarter of `rooms.outbox_bytes` = 4096 (FILE, line 2)",
        "`limits.frame_bytes` = 262145 (environment variable GREENROOM_LIMITS__FRAME_BYTES) must be at most 262144: \
         `limits.message_bytes` = 262144",
    ];
    assert_eq!(told, expected);
    let told = refused("", &[], &["limits.memory_bytes=4000000"]);
    let expected = [
        "`rooms.history_bytes` = 268435456 must be at most 2000000: half of `limits.memory_bytes` = 4000000 (flag --set)",
        "`rooms.outbox_bytes` = 1048576 must be at most 1000000: a quarter of `limits.memory_bytes` = 4000000 (flag --set)",
    ];
    assert_eq!(told, expected);
    loaded(
        "[rooms]\nhistory_bytes = 1099511627776\n",
        &[],
        &["limits.memory_bytes=0"],
    );
}

#[test]
fn a_certificate_and_its_key_go_together() {
    assert_eq!(
        refused("[tls]\ncert_file = \"node.crt\"\n", &[], &[]),
        [
            "`tls.cert_file` = \"node.crt\" (FILE, line 2) needs `tls.key_file` too: a certificate and its key go together"
        ]
    );
    assert_eq!(
        refused("", &[("GREENROOM_TLS__KEY_FILE", "node.key")], &[]),
        [
            "`tls.key_file` = \"node.key\" (environment variable GREENROOM_TLS__KEY_FILE) needs `tls.cert_file` too: \
          a certificate and its key go together"
        ]
    );
    let both = loaded(
        "[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nmin_version = \"1.3\"\n",
        &[],
        &[],
    );
    assert_eq!(both.config.tls.min_version, sections::TlsVersion::Tls13);
}

#[test]
fn javascript_servers_are_met_on_redis() {
    assert_eq!(
        refused("[bus]\nsocketio_compat = true\n", &[], &[]),
        [
            "`bus.socketio_compat` = true (FILE, line 2) needs `redis.url` too: JavaScript servers are met on Redis"
        ]
    );
    assert_eq!(
        refused("", &[("GREENROOM_BUS__SOCKETIO_COMPAT", "maybe")], &[]),
        [
            "`bus.socketio_compat` = \"maybe\" (environment variable GREENROOM_BUS__SOCKETIO_COMPAT) must be true or false"
        ]
    );
    let both = loaded("", &[("REDIS_URL", "redis://db")], &["bus.socketio_compat=true"]);
    assert!(both.config.bus.socketio_compat);
}

#[test]
fn trusted_proxies_are_networks() {
    let told = refused("[http]\ntrusted_proxies = \"10.0.0.0/8, proxy\"\n", &[], &[]);
    assert_eq!(
        told,
        [
            "`http.trusted_proxies` = \"10.0.0.0/8, proxy\" (FILE, line 2) must be a text: networks or addresses such as \
          10.0.0.0/8 or fd00::1, with commas between"
        ]
    );
    loaded(
        "[http]\ntrusted_proxies = \"10.0.0.0/8, ::1\"\nforwarded_header = \"forwarded\"\n",
        &[],
        &[],
    );
}

#[test]
fn a_broken_value_is_not_told_twice() {
    let told = refused(
        "[rooms]\noutbox_bytes = 1\n[limits]\nevent_bytes = 1000000\n",
        &[],
        &[],
    );
    assert_eq!(
        told,
        ["`rooms.outbox_bytes` = 1 (FILE, line 2) must be a whole number from 1024 to 1073741824"]
    );
}

#[test]
fn an_address_that_others_reach_needs_authentication_off_in_as_many_words() {
    for address in ["0.0.0.0:7420", "[::]:7420", "192.168.1.7:80"] {
        let setting = format!("listen={address}");
        let told = refused("", &[], &[&setting]);
        assert!(told[0].contains("`auth.mode` = \"token\""), "{told:?}");
        loaded("[auth]\nmode = \"off\"", &[], &[&setting]);
        loaded("", &[("GREENROOM_AUTH__MODE", "off")], &[&setting]);
        loaded("", &[], &[&setting, "auth.mode=off"]);
    }
    for address in ["127.0.0.1:0", "[::1]:7420", "127.8.8.8:1", "[::ffff:127.0.0.1]:1"] {
        loaded("", &[], &[&format!("listen={address}")]);
    }
}

#[test]
fn a_node_that_asks_for_tokens_knows_some_and_its_secret_is_long_enough() {
    let told = refused("[auth]\nmode = \"token\"", &[], &[]);
    assert!(
        told[0].contains("`auth.mode` = \"token\" (FILE, line 2) needs something"),
        "{told:?}"
    );
    let long = "x".repeat(32);
    for setting in [
        "auth.keys_file=/keys",
        "auth.jwks_file=/set",
        &format!("auth.jwt_secret={long}"),
    ] {
        loaded("[auth]\nmode = \"token\"", &[], &[setting]);
    }
    let told = refused("", &[("GREENROOM_AUTH__JWT_SECRET", &long[1..])], &[]);
    assert!(
        told[0].contains("`auth.jwt_secret` = ***") && told[0].contains("32 bytes"),
        "{told:?}"
    );
}
