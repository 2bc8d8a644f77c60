//! What an operator reads when the configuration is wrong.

#![expect(clippy::result_large_err, reason = "the error type is what Jail asks for")]

use figment::Jail;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Example {
    node_id: u64,
    listen: SocketAddr,
    #[serde(default)]
    stores: Vec<String>,
    #[serde(default, deserialize_with = "numbered")]
    peers: BTreeMap<u64, SocketAddr>,
    #[serde(default)]
    telemetry: TelemetryConfig,
    #[serde(default)]
    ops: OpsConfig,
}

const GOOD: &str = r#"
node_id = 1
listen = "127.0.0.1:7101"
[peers]
1 = "127.0.0.1:7101"
"#;

fn message_of(text: &str, environment: &[(&str, &str)]) -> String {
    let mut message = String::new();
    Jail::expect_with(|jail| {
        jail.create_file("store.toml", text)?;
        for (name, value) in environment {
            jail.set_env(name, value);
        }
        message = load::<Example>(Path::new("store.toml")).expect_err("is wrong").to_string();
        Ok(())
    });
    message
}

#[test]
fn a_good_file_is_read_and_the_environment_goes_over_it() {
    Jail::expect_with(|jail| {
        jail.create_file("store.toml", GOOD)?;
        jail.set_env("HOMEPORT_NODE_ID", "3");
        jail.set_env("HOMEPORT_TELEMETRY__FORMAT", "json");
        jail.set_env("HOMEPORT_STORES", "[\"a:1\", \"b:2\"]");
        jail.set_env("HOMEPORT_ENDPOINTS", "this is homeportctl's");
        jail.set_env("HOMEPORT_FORWARDERS", "this as well");
        let config: Example = load(Path::new("store.toml")).expect("is right");
        assert_eq!(config.node_id, 3);
        assert_eq!(config.telemetry.format, LogFormat::Json);
        assert_eq!(config.telemetry.log, "info,openraft=warn");
        assert_eq!(config.stores, ["a:1", "b:2"]);
        assert_eq!(config.peers.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(config.ops, OpsConfig::default());
        Ok(())
    });
}

#[test]
fn each_fault_names_file_key_and_expectation() {
    let rows = [
        (
            "node_id = \"one\"\nlisten = \"127.0.0.1:1\"",
            "store.toml: `node_id` is string \"one\"; expected u64",
        ),
        ("node_id = 1", "store.toml: `listen` is missing; expected a value"),
        (
            "node_id = 1\nlisten = \"localhost\"",
            "store.toml: `listen` invalid socket address syntax; \
             expected an address and port, such as \"127.0.0.1:7101\"",
        ),
        (
            "node_id = 1\nlisten = \"127.0.0.1:1\"\n[ops]\nlisen = \"127.0.0.1:1\"",
            "store.toml: `ops.lisen` is not a key that exists here; expected \"listen\"",
        ),
        (
            "node_id = 1\nlisten = \"127.0.0.1:1\"\n[peers]\none = \"127.0.0.1:1\"",
            "store.toml: `peers` has the key \"one\", which is not a number",
        ),
        (
            "node_id = 1\nlisten = \"127.0.0.1:1\"\n[telemetry]\nformat = \"xml\"",
            "store.toml: `telemetry.format` is \"xml\"; expected one of \"text\", \"json\"",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(message_of(text, &[]), expected);
    }
}

#[test]
fn a_fault_of_the_environment_names_the_variable() {
    assert_eq!(
        message_of(GOOD, &[("HOMEPORT_NODE_ID", "one")]),
        "environment variable HOMEPORT_NODE_ID: `node_id` is string \"one\"; expected u64"
    );
    assert_eq!(
        message_of(GOOD, &[("HOMEPORT_OPS__LISEN", "x")]),
        "environment variable HOMEPORT_OPS__LISEN: `ops.lisen` is not a key that exists here; \
         expected \"listen\""
    );
}

#[test]
fn a_file_that_is_no_toml_or_is_not_there_is_named() {
    let syntax = message_of("node_id = [", &[]);
    assert!(syntax.starts_with("store.toml: TOML parse error at line 1"), "{syntax}");
    let missing = load::<Example>(Path::new("/nonexistent/store.toml")).expect_err("not there");
    assert!(missing.to_string().starts_with("/nonexistent/store.toml: cannot be read: "));
}

#[test]
fn a_role_adds_faults_of_its_own() {
    let error = ConfigError::invalid(Path::new("s.toml"), "node_id", "is 4", "a key of `peers`");
    assert_eq!(error.to_string(), "s.toml: `node_id` is 4; expected a key of `peers`");
}
