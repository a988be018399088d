//! `config` and `serve`: where keys come from, what is said of them, and that no secret is.

use crate::{greenroom, ran, run};
use greenroom::config::Config;

#[test]
fn config_check_says_ok_or_everything_that_is_wrong() {
    assert_eq!(run(&["config", "check"]).ok(), "ok\n");
    let err = run(&[
        "config",
        "check",
        "--set",
        "workers=-1",
        "--listen",
        "nowhere",
        "--log-format",
        "xml",
    ])
    .failed(2);
    let expected = "\
error: `listen` = \"nowhere\" (flag --listen) must be a text: an IP address and a port, such as 127.0.0.1:7420 or [::1]:7420
error: `log.format` = \"xml\" (flag --log-format) must be one of \"pretty\", \"json\"
error: `workers` = -1 (flag --set) must be a whole number from 0 to 1024
";
    assert_eq!(err, expected);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    let err = ran(greenroom(&["config", "check"]).env("GREENROOM_ROOMS__HISTORY_EVENT", "5")).failed(2);
    assert!(
        err.contains("GREENROOM_ROOMS__HISTORY_EVENT names no key"),
        "{err}"
    );
    assert!(
        err.contains("GREENROOM_ROOMS__HISTORY_EVENTS (`rooms.history_events`)"),
        "{err}"
    );
}

#[test]
fn the_file_is_found_by_flag_by_variable_and_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let file = folder.path().join("config/greenroom.toml");
    std::fs::write(&file, "workers = 3\n").unwrap();
    let show = || greenroom(&["config", "show"]);
    assert!(
        ran(show().current_dir(folder.path()))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().env("GREENROOM_CONFIG", &file))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().arg("--config").arg(&file))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().env("GREENROOM_CONFIG", ""))
            .ok()
            .contains("workers = 0")
    );
    let err = ran(show().args(["--config", "absent.toml"])).failed(2);
    assert!(err.starts_with("error: cannot read absent.toml: "), "{err}");
}

#[test]
fn config_show_prints_what_is_in_force() {
    let shown = run(&["config", "show", "--set", "rooms.history_events=7"]).ok();
    let mut expected = Config::default();
    expected.rooms.history_events = 7;
    assert_eq!(toml::from_str::<Config>(&shown).unwrap(), expected);
    let shown = run(&["config", "show", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Config>(&shown).unwrap(), Config::default());
}

#[test]
fn no_command_prints_a_secret() {
    let secrets = [
        ("REDIS_URL", "redis://:hidden@db"),
        ("OPENAI_API_KEY", "hidden"),
        ("GREENROOM_TOKEN", "hidden"),
    ];
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["watch", "--help"],
    ] {
        let ran = ran(greenroom(arguments).envs(secrets));
        assert!(
            !ran.out.contains("hidden") && !ran.err.contains("hidden"),
            "{} {}",
            ran.out,
            ran.err
        );
        assert_eq!(ran.code, Some(0));
    }
    let shown = ran(greenroom(&["config", "show"]).envs(secrets)).ok();
    assert!(
        shown.contains("url = \"***\"") && shown.contains("api_key = \"***\""),
        "{shown}"
    );
    let err =
        ran(greenroom(&["config", "check", "--set", "workers=x"]).env("OPENAI_API_KEY", "hid den")).failed(2);
    assert!(
        err.contains("`openai.api_key` = *** (environment variable OPENAI_API_KEY)"),
        "{err}"
    );
}

#[test]
fn keys_without_effect_are_warned_of() {
    let checked = ran(greenroom(&["config", "check"]).env("OPENAI_API_KEY", "sk-1"));
    assert!(
        checked
            .err
            .starts_with("warning: `openai.api_key` (environment variable OPENAI_API_KEY)"),
        "{}",
        checked.err
    );
    assert_eq!(checked.ok(), "ok\n");
}

#[test]
fn serve_refuses_an_address_that_others_reach_without_authentication() {
    let err = run(&["serve", "--listen", "0.0.0.0:0"]).failed(2);
    assert!(
        err.contains("`listen` = \"0.0.0.0:0\" (flag --listen) can be reached from other machines"),
        "{err}"
    );
    let check = [
        "config",
        "check",
        "--listen",
        "0.0.0.0:0",
        "--set",
        "auth.mode=off",
    ];
    assert_eq!(run(&check).ok(), "ok\n");
}
