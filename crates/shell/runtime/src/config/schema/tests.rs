//! What is said of keys is what the types say.

use serde::{Deserialize, Serialize};

use super::*;
use crate::config::{Live, OpsConfig, TelemetryConfig};

/// A role.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Example {
    /// How long it waits
    /// before it goes on.
    #[serde(default = "wait_default")]
    #[schemars(range(min = 1, max = 60))]
    wait_secs: Live,
    #[schemars(with = "Vec<HostPort>", length(min = 1, max = 3))]
    stores: Vec<String>,
    /// More of it.
    more: Option<More>,
    #[serde(default)]
    telemetry: TelemetryConfig,
    #[serde(default)]
    ops: OpsConfig,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct More {
    #[schemars(with = "std::collections::BTreeMap<u64, HostPort>")]
    peers: std::collections::BTreeMap<u64, String>,
    how: Option<How>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    /// By hand.
    Hand,
    /// By itself.
    Auto,
}

fn wait_default() -> Live {
    Live::new(5)
}

fn key(path: &str) -> Key {
    let found = keys::<Example>().into_iter().find(|key| key.path == path);
    found.unwrap_or_else(|| panic!("there is {path}"))
}

#[test]
fn a_key_has_range_unit_default_and_words() {
    let wait = key("wait_secs");
    assert_eq!(wait.kind, "whole number");
    assert_eq!(wait.allowed, "a whole number, 1 to 60");
    assert_eq!(wait.unit, Some("seconds"));
    assert_eq!(wait.default.as_deref(), Some("5"));
    assert_eq!(wait.description, "How long it waits before it goes on.");
    assert_eq!(wait.variable.as_deref(), Some("HOMEPORT_WAIT_SECS"));
    assert!(wait.is_live && !wait.is_required);

    let stores = key("stores");
    assert!(stores.is_required && !stores.is_live);
    assert_eq!(
        stores.allowed,
        "a list of 1 to 3 entries, of each: a host and port, such as \"store-1:7101\""
    );
}

#[test]
fn tables_that_may_be_absent_have_their_keys() {
    assert_eq!(key("more").kind, "table");
    let peer = key("more.peers.N");
    assert_eq!(peer.allowed, "a host and port, such as \"store-1:7101\"");
    let how = key("more.how");
    assert_eq!(how.allowed, "one of \"hand\", \"auto\"");
    let told = [("hand", "By hand."), ("auto", "By itself.")];
    assert_eq!(how.choices, told.map(|(word, means)| (word.to_owned(), means.to_owned())));
    assert_eq!(key("telemetry.format").default.as_deref(), Some("\"text\""));
    assert!(key("telemetry.log").is_live);
    assert_eq!(key("telemetry.otlp_endpoint").allowed, "a text in quotes, not empty");
}

#[test]
fn a_near_name_is_found_and_a_far_one_is_not() {
    assert_eq!(nearest("keep_sec", ["keep_secs", "mode"]), Some("keep_secs"));
    assert_eq!(nearest("lisen", ["listen"]), Some("listen"));
    assert_eq!(nearest("frobnicate", ["keep_secs", "mode"]), None);
}

#[test]
fn differences_are_named_by_their_keys() {
    let one = json!({ "a": 1, "t": { "b": [1], "c": true }, "gone": { "x": 1 } });
    let other = json!({ "a": 1, "t": { "b": [2], "c": true }, "new": 3, "gone": null });
    assert_eq!(differences(&one, &other), ["gone", "new", "t.b"]);
    assert!(differences(&one, &one).is_empty());
}
