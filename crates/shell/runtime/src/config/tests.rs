//! What an operator reads when the configuration is wrong.

#![expect(clippy::result_large_err, reason = "the error type is what Jail asks for")]

use figment::Jail;

use super::*;

#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Example {
    node_id: u64,
    #[schemars(with = "schema::Listen")]
    listen: SocketAddr,
    #[serde(default)]
    stores: Vec<String>,
    #[serde(default, deserialize_with = "numbered")]
    #[schemars(with = "BTreeMap<u64, schema::Listen>")]
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
        message = Source::file("store.toml").read::<Example>().expect_err("is wrong").to_string();
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
        let config: Example = Source::file("store.toml").read().expect("is right");
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
            "store.toml: `node_id` is \"one\"; expected a whole number, 0 or more",
        ),
        (
            "node_id = 1",
            "store.toml: `listen` is missing; \
             expected an address and port, such as \"127.0.0.1:7101\" or \"[::1]:7101\"",
        ),
        (
            "node_id = 1\nlisten = \"localhost\"",
            "store.toml: `listen` is \"localhost\"; \
             expected an address and port, such as \"127.0.0.1:7101\" or \"[::1]:7101\"",
        ),
        (
            "node_id = 1\nlisten = \"127.0.0.1:1\"\n[ops]\nlisen = \"127.0.0.1:1\"",
            "store.toml: `ops.lisen` is not a key that exists here, did you mean `ops.listen`?; \
             expected \"listen\"",
        ),
        (
            "node_id = 1\nlisten = \"127.0.0.1:1\"\n[peers]\none = \"127.0.0.1:1\"",
            "store.toml: `peers` has the key \"one\"; \
             expected keys that are numbers, such as 1 = \"store-1:7101\"",
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
        "environment variable HOMEPORT_NODE_ID: `node_id` is \"one\"; expected a whole number, 0 or more"
    );
    assert_eq!(
        message_of(GOOD, &[("HOMEPORT_OPS__LISEN", "x")]),
        "environment variable HOMEPORT_OPS__LISEN: `ops.lisen` is not a key that exists here, \
         did you mean `ops.listen`?; expected \"listen\""
    );
}

#[test]
fn a_file_that_is_no_toml_or_is_not_there_is_named() {
    let syntax = message_of("node_id = [", &[]);
    assert!(syntax.starts_with("store.toml: TOML parse error at line 1"), "{syntax}");
    let missing = load::<Example>(Path::new("/nonexistent/store.toml")).expect_err("not there");
    assert!(missing.to_string().starts_with("/nonexistent/store.toml: cannot be read: "));
}

impl Configuration for Example {
    const ROLE: &'static str = "example";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let is_known = self.peers.contains_key(&self.node_id);
        let refusal =
            || Refusal::new("node_id", format!("is {}", self.node_id), "a key of `peers`");
        if is_known { vec![] } else { vec![refusal()] }
    }
}

#[test]
fn a_role_adds_faults_of_its_own() {
    Jail::expect_with(|jail| {
        jail.create_file("s.toml", GOOD)?;
        let mut source = Source::file("s.toml");
        assert_eq!(source.check::<Example>().expect("is good").node_id, 1);
        source.settings = vec!["node_id=4".parse().expect("a setting")];
        let error = source.check::<Example>().expect_err("is wrong").to_string();
        assert_eq!(error, "--set node_id: `node_id` is 4; expected a key of `peers`");
        source.settings = vec![];
        jail.set_env("HOMEPORT_NODE_ID", "5");
        let error = source.check::<Example>().expect_err("is wrong").to_string();
        let variable = "environment variable HOMEPORT_NODE_ID";
        assert_eq!(error, format!("{variable}: `node_id` is 5; expected a key of `peers`"));
        jail.create_file("s.toml", &GOOD.replace("node_id = 1", "node_id = 6"))?;
        jail.set_env("HOMEPORT_NODE_ID", "6");
        assert!(source.check::<Example>().is_err());
        Ok(())
    });
}

#[test]
fn the_command_line_goes_over_everything_else() {
    Jail::expect_with(|jail| {
        jail.create_file("store.toml", GOOD)?;
        jail.set_env("HOMEPORT_TELEMETRY__LOG", "warn");
        let mut source = Source::file("store.toml");
        source.settings = ["telemetry.log=debug", "stores=[\"a:1\"]", "ops.listen=[::1]:9"]
            .map(|text| text.parse().expect("a setting"))
            .to_vec();
        let config: Example = source.check().expect("is good");
        assert_eq!((config.telemetry.log.as_str(), config.stores.len()), ("debug", 1));
        source.settings = vec!["ops.lisen=x".parse().expect("a setting")];
        let error = source.check::<Example>().expect_err("is wrong").to_string();
        assert!(error.starts_with("--set ops.lisen: `ops.lisen` is not a key"), "{error}");
        Ok(())
    });
    for wrong in ["telemetry.log", "=1", "a..b=1", ".a=1"] {
        assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "node_id = -1\nstores = [1]\n[ops]\nlisten = true\n[telemetry]\nlog = \"a=loud\"";
    let message = message_of(text, &[]);
    for key in [
        "`node_id` is -1",
        "`stores[0]` is 1",
        "`ops.listen` is true",
        "`telemetry.log` is \"a=loud\"",
        "`listen` is missing",
    ] {
        assert!(message.contains(key), "{key}: {message}");
    }
    assert_eq!(message.lines().count(), 5, "{message}");
}
