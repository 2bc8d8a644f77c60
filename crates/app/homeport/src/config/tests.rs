//! What the schemas say is what is taken, for each role: of what stands in the documents and of what `dev` writes.

use std::path::Path;

use homeport_runtime::config::Configuration;
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use toml::{Table, Value};

use super::*;
use crate::dev::plan::{Member, Mode, Plan};

/// With every table that there is.
const STORE: &str = r#"
node_id = 1
cluster_name = "c"
data_dir = "/var/lib/homeport"
listen = "127.0.0.1:7101"
[peers]
1 = "store-1:7101"
2 = "[2001:db8::2]:7101"
[raft]
[admin]
tokens_file = "/etc/homeport/tokens.toml"
[telemetry]
[ops]
"#;
const SIGNALLING: &str = r#"
listen = "[::1]:7102"
stores = ["store-1:7101"]
[correspondent]
key_file = "/nonexistent"
[telemetry]
[ops]
"#;
const FORWARDER: &str = r#"
name = "edge1"
stores = ["store-1:7101"]
front_ends = ["192.0.2.1:7102"]
[udp]
listen = "0.0.0.0:4191"
[tun]
[tunnels]
spread = true
[telemetry]
otlp_endpoint = "http://127.0.0.1:4317"
[ops]
"#;
const IKE_AGENT: &str = r#"
name = "ike-1"
listen = "[::1]:7500"
address = "ike-1.example.net:7500"
stores = ["store-1:7101"]
[telemetry]
[ops]
"#;

fn full(role: Role) -> Table {
    let noc = "stores = [\"store-1:7101\"]\n[telemetry]\n[ops]\n";
    let text = match role {
        Role::Store => STORE.to_owned(),
        Role::Signalling => SIGNALLING.to_owned(),
        Role::Forwarder => readme()
            .into_iter()
            .filter(|it| it.contains("[xdp]") || it.contains("[inspection]"))
            .fold(FORWARDER.to_owned(), |all, more| merged(&all, &more)),
        Role::IkeAgent => IKE_AGENT.to_owned(),
        Role::Noc => {
            let of_noc = readme().into_iter().find(|it| it.contains("[login]"));
            merged(noc, &of_noc.expect("the README has the dashboard's configuration"))
        }
    };
    text.parse().expect("TOML")
}

/// The TOML of the README, fenced or indented.
fn readme() -> Vec<String> {
    const README: &str = include_str!("../../../../../README.md");
    let fenced = README.split("```toml\n").skip(1).filter_map(|it| it.split("```").next());
    let fenced = fenced.map(str::to_owned);
    let indented = README.split("\n\n").filter(|it| it.starts_with("    [") && it.contains(" = "));
    let blocks: Vec<String> = fenced.chain(indented.map(str::to_owned)).collect();
    assert!(blocks.len() >= 5, "{blocks:?}");
    blocks
}

/// Tables of both; where both have a table, all keys of both.
fn merged(one: &str, other: &str) -> String {
    let mut all: Table = one.parse().expect("TOML");
    let more: Table = other.parse().expect("TOML");
    for (key, value) in more {
        match (all.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(more)) => there.extend(more),
            (_, value) => drop(all.insert(key, value)),
        }
    }
    all.to_string()
}

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn write(&self, table: &Table) -> PathBuf {
        let file = self.0.path().join("role.toml");
        std::fs::write(&file, table.to_string()).expect("writes");
        file
    }

    /// What is said to it, by its schema and its types.
    fn message(&self, role: Role, table: &Table) -> Option<String> {
        fn one<C: Configuration>(file: &Path) -> Option<String> {
            Source::file(file).read::<C>().err().map(|error| error.to_string())
        }
        let file = self.write(table);
        with_config!(role, C => one::<C>(&file))
    }
}

/// The table that a key is in, made where it is absent.
fn place<'t>(table: &'t mut Table, key: &'t str) -> (&'t mut Table, &'t str) {
    match key.split_once('.') {
        None => (table, key),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            place(inner.as_table_mut().expect("a table"), rest)
        }
    }
}

#[test]
fn what_stands_in_the_readme_is_taken() {
    let scratch = Scratch::new();
    for role in Role::value_variants() {
        assert_eq!(scratch.message(*role, &full(*role)), None, "{role:?}");
    }
    for block in readme() {
        // A piece goes with what stands above it, and does not say which role it is for.
        let messages: Vec<_> = Role::value_variants()
            .iter()
            .map(|role| {
                let table = merged(&full(*role).to_string(), &block).parse().expect("TOML");
                scratch.message(*role, &table)
            })
            .collect();
        assert!(messages.contains(&None), "{block}\n{messages:?}");
    }
}

#[test]
fn what_dev_writes_is_taken() {
    fn check<C: Configuration + DeserializeOwned + Serialize>(plan: &Plan, members: &[Member]) {
        for member in members {
            let checked = Source::file(plan.configuration(member)).check::<C>();
            assert!(checked.is_ok(), "{:?}", checked.err());
        }
    }
    for namespaces in [vec![], vec!["one".to_owned(), "two".to_owned()]] {
        let scratch = Scratch::new();
        let plan = Plan::load_or_make(scratch.0.path(), Mode::Udp, None).expect("a plan");
        plan.write_configurations(&namespaces).expect("writes");
        check::<homeport_store::Config>(&plan, &plan.stores);
        check::<homeport_front_end::Config>(&plan, &plan.front_ends);
        check::<homeport_forwarder::Config>(&plan, &plan.forwarders);
        check::<homeport_noc::Config>(&plan, std::slice::from_ref(&plan.noc));
    }
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let scratch = Scratch::new();
    for role in Role::value_variants() {
        let tables =
            role.keys().into_iter().filter(|key| key.kind == "table" && key.name() != "peers");
        for within in tables.map(|key| format!("{}.", key.path)).chain([String::new()]) {
            let key = format!("{within}nonsense");
            let mut table = full(*role);
            let (inner, name) = place(&mut table, &key);
            inner.insert(name.to_owned(), 1.into());
            let message = scratch.message(*role, &table).expect("is refused");
            let begins = format!("`{key}` is not a key that exists here; expected ");
            assert!(message.contains(&begins), "{role:?} {message}");
        }
    }
}

/// Of every key, values of every other type and just out of its range.
#[test]
fn each_wrong_value_is_refused_with_file_key_value_and_what_is_allowed() {
    let scratch = Scratch::new();
    let mut tried = 0;
    for role in Role::value_variants() {
        for key in role.keys() {
            if key.path.contains("[]") || key.name() == "N" {
                continue;
            }
            for (wrong, found) in wrong_values(&key) {
                let mut table = full(*role);
                let (inner, name) = place(&mut table, &key.path);
                inner.insert(name.to_owned(), wrong.clone());
                let Some(message) = scratch.message(*role, &table) else {
                    panic!("{role:?}: {} = {wrong} is taken", key.path);
                };
                let says = format!("role.toml: `{}` is {found}; expected ", key.path);
                let unit = key.unit.unwrap_or_default();
                let line = message.lines().find(|line| line.contains(&says));
                let line = line.unwrap_or_else(|| panic!("{says}: {message}"));
                assert!(line.contains(&key.allowed) && line.contains(unit), "{line}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

fn wrong_values(key: &Key) -> Vec<(Value, String)> {
    let text = |it: &str| (Value::from(it), format!("{it:?}"));
    let number = |it: i64| (Value::from(it), it.to_string());
    let yes = (Value::from(true), "true".to_owned());
    let list = (Value::Array(vec![]), "a list of 0".to_owned());
    let table = (Value::Table(Table::new()), "a table".to_owned());
    match key.kind.as_str() {
        "whole number" => {
            let mut wrong =
                vec![text("x"), (Value::from(1.5), "1.5".to_owned()), yes, list, table, number(-1)];
            let range = key.allowed.trim_start_matches("a whole number, ");
            let (least, most) =
                range.split_once(" to ").unwrap_or((range.trim_end_matches(" or more"), ""));
            let least: i64 = least.parse().expect("a number");
            wrong.push(number(least - 1));
            wrong.extend(most.parse().ok().map(|most: i64| number(most + 1)));
            wrong
        }
        "true or false" => vec![text("true"), number(1), list, table],
        "list" | "list of tables" => {
            let mut wrong = vec![text("x"), number(1), yes, table];
            wrong.extend(key.allowed.contains("list of 1 ").then_some(list));
            wrong
        }
        "table" => vec![text("x"), number(1), yes, list],
        _ => {
            let mut wrong = vec![number(1), yes, list, table];
            let is_free = key.allowed.starts_with("a text in quotes");
            wrong.extend((!is_free).then(|| text("no such = word")));
            wrong
        }
    }
}

#[test]
fn what_holds_without_a_key_may_be_written_out() {
    let scratch = Scratch::new();
    for role in Role::value_variants() {
        let mut table = full(*role);
        for key in role.keys() {
            // Beside certificates, which stand in files and have no default.
            let is_alone = key.path.contains("[]") || key.path.starts_with("tls.");
            if let (false, Some(default)) = (is_alone, &key.default) {
                let value: Table = format!("it = {default}").parse().expect("TOML");
                let (inner, name) = place(&mut table, &key.path);
                inner.insert(name.to_owned(), value["it"].clone());
            }
        }
        assert_eq!(scratch.message(*role, &table), None, "{role:?}");
    }
}

#[test]
fn every_key_is_described() {
    for role in Role::value_variants() {
        for key in role.keys() {
            assert!(!key.description.is_empty() || key.name() == "N", "{role:?} {}", key.path);
            assert!(!key.description.contains("[`"), "{role:?} {}: {}", key.path, key.description);
        }
    }
}

/// A keyword that nobody holds values against would promise what is not kept.
#[test]
fn every_keyword_is_held() {
    const HELD: [&str; 18] = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "items",
        "enum",
        "oneOf",
        "const",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "format",
        "default",
        "description",
    ];
    fn look(schema: &serde_json::Value) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            let is_ours = ["$schema", "title", "x-reload"].contains(&keyword.as_str());
            assert!(is_ours || HELD.contains(&keyword.as_str()), "{keyword}: {value}");
            match keyword.as_str() {
                "properties" | "patternProperties" => {
                    value.as_object().into_iter().flatten().for_each(|(_, inner)| look(inner));
                }
                "items" => look(value),
                "oneOf" => value.as_array().into_iter().flatten().for_each(look),
                _ => {}
            }
        }
    }
    for role in Role::value_variants() {
        look(&role.schema());
    }
}

#[test]
fn a_key_is_explained_and_a_wrong_one_is_answered_with_the_nearest() {
    let explain = |key: &str| explain::explain(Some(key), Role::value_variants());
    let keep = explain("xdp.keep_secs").expect("is there");
    for line in [
        "xdp.keep_secs, whole number, of forwarder\n",
        "  allowed     a whole number, 5 to 86400\n",
        "  unit        seconds\n",
        "  default     60\n",
        "  variable    HOMEPORT_XDP__KEEP_SECS\n",
        "  flag        --set xdp.keep_secs=VALUE\n",
        "  at SIGHUP   needs a restart\n",
    ] {
        assert!(keep.contains(line), "{line}: {keep}");
    }
    let log = explain("telemetry.log").expect("is there");
    assert!(
        log.starts_with("telemetry.log, text, of store, signalling, forwarder, ike-agent, noc\n"),
        "{log}"
    );
    assert!(log.contains("  at SIGHUP   is taken\n"), "{log}");
    // HOMEPORT_TOKEN_FILE is another program's.
    assert!(explain("token_file").expect("is there").contains("  variable    none: "));
    // What a key means may depend on the role.
    assert!(explain("listen").expect("is there").matches("listen, text, of ").count() > 1);
    assert!(explain("xdp").expect("is there").contains("\n  keep_secs "));
    assert!(explain("xdp.mode").expect("is there").contains("\"native\": In the driver;"));
    assert!(
        explain("processes[3].role").expect("is there").contains("processes[].role, text, of noc")
    );
    assert!(explain("peers.7").is_ok());
    for (wrong, meant) in [
        ("xdp.keep_sec", "xdp.keep_secs"),
        ("keep_secs", "xdp.keep_secs"),
        ("keep_sec", "xdp.keep_secs"),
        ("telemetry.logs", "telemetry.log"),
        ("stroes", "stores"),
    ] {
        let message = explain(wrong).expect_err("is not there");
        assert_eq!(message, format!("there is no key `{wrong}`; did you mean `{meant}`?"));
    }
    let message = explain::explain(Some("xdp.mode"), &[Role::Noc]).expect_err("not there");
    assert!(message.starts_with("there is no key `xdp.mode` of noc; "), "{message}");
}

#[test]
fn without_a_key_all_are_listed() {
    for role in Role::value_variants() {
        let text = explain::explain(None, &[*role]).expect("a list");
        assert_eq!(text.lines().count(), role.keys().len() + 1, "{text}");
    }
}

#[test]
fn what_is_said_to_be_taken_at_sighup_is_taken() {
    fn differing<C: Configuration>(file: &Path, key: &Key) -> Vec<String> {
        let (least, _) =
            key.allowed.trim_start_matches("a whole number, ").split_once(' ').expect("a range");
        let other: u64 = least.parse::<u64>().expect("a number") + 3;
        let mut source = Source::file(file);
        let running: C = source.read().expect("is good");
        source.settings = vec![format!("{}={other}", key.path).parse().expect("a setting")];
        let new: C = source.read().expect("is good");
        let value = |config: &C| serde_json::to_value(config).expect("serializes");
        let before = schema::differences(&value(&running), &value(&new));
        assert_eq!(before.join(", "), key.path);
        running.take(&new);
        schema::differences(&value(&running), &value(&new))
    }
    let scratch = Scratch::new();
    let mut tried = 0;
    for role in Role::value_variants() {
        let file = scratch.write(&full(*role));
        // Telemetry is taken where the signal comes in, of every role.
        let live =
            role.keys().into_iter().filter(|key| key.is_live && !key.path.starts_with("telemetry"));
        for key in live {
            assert!(
                with_config!(role, C => differing::<C>(&file, &key)).is_empty(),
                "{}",
                key.path
            );
            tried += 1;
        }
    }
    assert!(tried >= 2, "{tried}");
}
