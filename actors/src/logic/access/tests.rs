//! The decision as a table.

use super::*;

fn room(name: &str) -> RoomName {
    RoomName::parse(name, 200).unwrap()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Ada, who may join agents and project 7, publish into one agent's room, and search.
fn ada() -> Grant {
    Grant {
        subject: Some("ada".into()),
        join: patterns(&["agent:*", "project:7"]),
        publish: patterns(&["agent:42"]),
        scopes: [Scope::Index].into(),
        expires_ms: Some(1_000),
        credential: Credential::Token(None),
    }
}

#[test]
fn a_grant_allows_what_it_names_and_nothing_else() {
    // (room, may be joined, may be published into)
    let table = [
        ("agent:42", true, true),
        ("agent:7", true, false),
        ("project:7", true, false),
        ("project:70", false, false),
        ("agents", false, false),
        ("user:ada", true, false),
        ("user:adam", false, false),
        ("user:", false, false),
        ("user:Ada", false, false),
        ("lobby", false, false),
    ];
    for (name, joins, publishes) in table {
        let room = room(name);
        for action in [Action::Join(&room), Action::Read(&room), Action::Presence(&room)] {
            assert_eq!(decide(&ada(), &action, 0).is_ok(), joins, "{action}");
        }
        assert_eq!(
            decide(&ada(), &Action::Publish(&room), 0).is_ok(),
            publishes,
            "{name}"
        );
    }
    for scope in Scope::ALL {
        assert_eq!(
            decide(&ada(), &Action::Use(scope), 0).is_ok(),
            scope == Scope::Index,
            "{scope:?}"
        );
    }
}

#[test]
fn a_refusal_says_what_was_refused() {
    let secret = room("secret");
    let fault = decide(&ada(), &Action::Join(&secret), 0).unwrap_err();
    assert_eq!(fault.code, Code::Forbidden);
    assert_eq!(fault.details, Some(json!({"action": "join", "room": "secret"})));
    let fault = decide(&ada(), &Action::Use(Scope::Admin), 0).unwrap_err();
    assert_eq!(
        (fault.code, fault.details),
        (Code::Forbidden, Some(json!({"scope": "admin"})))
    );
}

#[test]
fn an_expired_grant_allows_nothing_from_that_millisecond_on() {
    let agent = room("agent:42");
    for action in [
        Action::Join(&agent),
        Action::Publish(&agent),
        Action::Use(Scope::Index),
    ] {
        assert_eq!(decide(&ada(), &action, 999), Ok(()));
        let fault = decide(&ada(), &action, 1_000).unwrap_err();
        assert_eq!(fault.code, Code::Unauthenticated);
        assert_eq!(fault.details, Some(json!({"reason": "expired"})));
    }
}

#[test]
fn nobody_without_a_subject_has_a_room_of_his_own() {
    let grant = Grant {
        subject: None,
        join: Vec::new(),
        ..ada()
    };
    for name in ["user:", "user:None", "user:null"] {
        assert!(decide(&grant, &Action::Join(&room(name)), 0).is_err(), "{name}");
    }
}

#[test]
fn everything_is_everything() {
    let (all, lobby) = (Grant::everything(), room("lobby"));
    let actions = [
        Action::Join(&lobby),
        Action::Read(&lobby),
        Action::Presence(&lobby),
        Action::Publish(&lobby),
    ];
    let scopes = Scope::ALL.map(Action::Use);
    assert!(
        actions
            .iter()
            .chain(&scopes)
            .all(|action| decide(&all, action, i64::MAX).is_ok())
    );
}

#[test]
fn a_scope_is_found_by_its_name() {
    assert!(
        Scope::ALL
            .into_iter()
            .all(|scope| Scope::named(scope.name()) == Some(scope))
    );
    assert_eq!(Scope::named("root"), None);
}

#[test]
fn a_list_of_rooms_is_made_of_parts_that_do_not_overlap() {
    let grant = |join: &[&str]| Grant {
        join: patterns(join),
        ..ada()
    };
    // (patterns, prefix, parts)
    let table: [(&[&str], &str, &[&str]); 6] = [
        (&["*", "agent:1"], "", &["*"]),
        (
            &["task:1", "agent:*", "agent:4*", "agent:42"],
            "",
            &["agent:*", "task:1", "user:ada"],
        ),
        (&["agent:*"], "agent:4", &["agent:4*"]),
        (
            &["agent:1", "agent:12", "agent:1"],
            "agent:",
            &["agent:1", "agent:12"],
        ),
        (&[], "", &["user:ada"]),
        (&["user:*"], "user:a", &["user:a*"]),
    ];
    for (join, prefix, parts) in table {
        let found: Vec<String> = grant(join)
            .joinable_within(prefix)
            .iter()
            .map(Pattern::to_string)
            .collect();
        assert_eq!(found, parts, "{join:?} within {prefix:?}");
    }
}
