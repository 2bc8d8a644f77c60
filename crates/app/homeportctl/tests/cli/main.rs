//! The program itself against stores that answer by a script.

#![allow(clippy::expect_used, reason = "tests")]

mod dry_run;
mod fake;
mod notices;
mod operations;
mod raft;
mod settings;
mod snapshot;
mod trace;

use std::{
    net::TcpListener,
    process::{Output, Stdio},
};

use fake::{Fake, Script};
use homeport_api::admin::{AdvertiseHomePrefixRequest, HomePrefix};
use tokio::process::Command;

const KEY_HEX: &str = "000102030405060708090a0b0c0d0e0f";

async fn run(endpoints: &[&str], arguments: &[&str]) -> Output {
    let mut command = program();
    for endpoint in endpoints {
        command.args(["--endpoint", endpoint]);
    }
    command.args(arguments).output().await.expect("runs")
}

/// The program, which nothing of who runs the tests reaches.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeportctl"));
    let of_files = ["TOKEN_FILE", "TLS_CA", "TLS_CERT", "TLS_KEY"];
    for name in ["ENDPOINTS", "FORWARDERS", "TOKEN", "CONTEXT"].into_iter().chain(of_files) {
        command.env_remove(format!("HOMEPORT_{name}"));
    }
    command.env("HOMEPORT_CONFIG", "/nonexistent/homeport.toml").kill_on_drop(true);
    command
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// An address at which nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listens");
    listener.local_addr().expect("has an address").to_string()
}

#[tokio::test]
async fn creates_shows_and_deletes_a_home_prefix() {
    let store = Fake::start(Script::leader()).await;
    let create = [
        "home-prefixes",
        "create",
        "2001:db8:0:1::/64",
        "--home-agent",
        "2001:db8:0:1::1",
        "--authentication",
        "mn-ha",
        "--bindings-max",
        "4",
        "--bulk",
        "false",
    ];
    let created = run(&[&store.endpoint], &create).await;
    assert_exit(&created, 0);
    let table = text(&created.stdout);
    assert!(table.starts_with("PREFIX "), "{table}");
    let row = "2001:db8:0:1::/64  2001:db8:0:1::1  -     mn-ha           yes       no ";
    assert!(table.contains(row), "{table}");

    let again = run(&[&store.endpoint], &create).await;
    assert_exit(&again, 1);
    assert!(
        text(&again.stderr).contains("\n  prefix: exists already\n"),
        "{}",
        text(&again.stderr)
    );

    let get = ["-o", "json", "home-prefixes", "get", "2001:db8:0:1::/64"];
    let got = run(&[&store.endpoint], &get).await;
    let json: serde_json::Value = serde_json::from_slice(&got.stdout).expect("is JSON");
    assert_eq!(json["bindings_per_home_address_max"], 4);
    assert_eq!(json["bulk_allowed"], false);
    assert_eq!(json["multiple_care_of_allowed"], true);

    let delete = ["home-prefixes", "delete", "2001:db8:0:1::/64"];
    let deleted = run(&[&store.endpoint], &delete).await;
    assert_exit(&deleted, 0);
    assert_eq!(text(&deleted.stdout), "deleted 2001:db8:0:1::/64\n");
    let listed = run(&[&store.endpoint], &["home-prefixes", "list"]).await;
    assert_eq!(text(&listed.stdout), "none\n");
    let none = run(&[&store.endpoint], &["-o", "json", "home-prefixes", "list"]).await;
    assert_eq!(text(&none.stdout), "[]\n");
}

/// Every flag reaches the field of its name.
#[tokio::test]
async fn flags_of_home_links_dual_stack_mobile_networks_flows_and_discovery() {
    let store = Fake::start(Script::leader()).await;
    let create = "home-prefixes create 2001:db8:0:1::/64 --home-agent 2001:db8:0:1::1 \
                  --authentication none --valid-lifetime-secs 86400 \
                  --preferred-lifetime-secs 14400 --force-udp false --force-udp-requests false \
                  --nat-keepalive-secs 30 --ipv4-pool 198.51.100.0/24 \
                  --mobile-networks-allowed false --flow-bindings-max 0 --home-agent-discovery \
                  --prefix-discovery --real-home-link --home-agent-preference 65535 \
                  --prefix-advertisement-delay-min-secs 1 \
                  --prefix-advertisement-delay-max-secs 60 --care-of-verification false";
    let create: Vec<&str> = ["-o", "json"].into_iter().chain(create.split_whitespace()).collect();
    let created = run(&[&store.endpoint], &create).await;
    assert_exit(&created, 0);
    let json: serde_json::Value = serde_json::from_slice(&created.stdout).expect("is JSON");
    let expected = serde_json::json!({
        "valid_lifetime_secs": 86_400,
        "preferred_lifetime_secs": 14_400,
        "force_udp_encapsulation": false,
        "force_udp_requests_allowed": false,
        "nat_keepalive_secs": 30,
        "ipv4_pool": "198.51.100.0/24",
        "mobile_networks_allowed": false,
        "flow_bindings_per_home_address_max": 0,
        "home_agent_discovery_allowed": true,
        "prefix_discovery_allowed": true,
        "real_home_link": true,
        "home_agent_preference": 65_535,
        "prefix_advertisement_delay_min_secs": 1,
        "prefix_advertisement_delay_max_secs": 60,
        "care_of_verification": false,
    });
    for (field, value) in expected.as_object().expect("is an object") {
        assert_eq!(json[field], *value, "{field}");
    }
    let create = "subscribers create 2001:db8:300::7 --home-prefix 2001:db8:0:1::/64 \
                  --mobile-network 2001:db8:300::/56 --mobile-network 2001:db8:400::/64 \
                  --mobile-networks-explicit --mobile-networks-allowed true \
                  --flow-bindings-max 4 --ipv4-home-address 198.51.100.64/28";
    let create: Vec<&str> = ["-o", "json"].into_iter().chain(create.split_whitespace()).collect();
    let created = run(&[&store.endpoint], &create).await;
    assert_exit(&created, 0);
    let json: serde_json::Value = serde_json::from_slice(&created.stdout).expect("is JSON");
    let expected = serde_json::json!({
        "home_prefix": "2001:db8:0:1::/64",
        "mobile_networks": ["2001:db8:300::/56", "2001:db8:400::/64"],
        "mobile_networks_explicit": true,
        "mobile_networks_allowed": true,
        "flow_bindings_per_home_address_max": 4,
        "ipv4_home_address": "198.51.100.64/28",
    });
    for (field, value) in expected.as_object().expect("is an object") {
        assert_eq!(json[field], *value, "{field}");
    }
    let listed = text(&run(&[&store.endpoint], &["subscribers", "list"]).await.stdout);
    assert!(listed.contains("2001:db8:300::/56,2001:db8:400::/64  198.51.100.64/28"), "{listed}");
}

#[tokio::test]
async fn a_subscriber_s_key_comes_from_a_file_or_a_flag_and_is_never_shown() {
    let store = Fake::start(Script::leader()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let octets: Vec<u8> = (0..16).collect();
    for (name, content) in [("raw", octets.clone()), ("hex", format!("{KEY_HEX}\n").into_bytes())] {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("writes");
        let file = file.to_str().expect("is text");
        let create =
            ["subscribers", "create", "2001:db8:0:1::100", "--spi", "0x100", "--key-file", file];
        let created = run(&[&store.endpoint], &create).await;
        assert_exit(&created, 0);
        assert_eq!(store.subscriber().expect("was created").key, octets);
        assert!(!text(&created.stdout).contains(KEY_HEX));
        let deleted =
            run(&[&store.endpoint], &["subscribers", "delete", "2001:db8:0:1::100"]).await;
        assert_exit(&deleted, 0);
    }
    let create =
        ["subscribers", "create", "2001:db8:0:1::100", "--spi", "256", "--key-hex", KEY_HEX];
    let created = run(&[&store.endpoint], &create).await;
    assert_exit(&created, 0);
    assert!(text(&created.stdout).contains("2001:db8:0:1::100  -    256  yes"));
    let listed = run(&[&store.endpoint], &["-o", "json", "subscribers", "list"]).await;
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("is JSON");
    assert_eq!(json[0]["key_present"], true);
    assert!(json[0].get("key").is_none());

    let file = folder.path().join("short");
    std::fs::write(&file, "0001").expect("writes");
    let file = file.to_str().expect("is text");
    for key in [["--key-hex", "0001"], ["--key-file", file], ["--key-file", "/nonexistent"]] {
        let create = ["subscribers", "create", "2001:db8:0:1::101", "--spi", "256", key[0], key[1]];
        let wrong = run(&[&store.endpoint], &create).await;
        assert_exit(&wrong, 2);
        assert!(text(&wrong.stderr).starts_with(&format!("error: {}", key[0])));
        assert!(!text(&wrong.stderr).contains("0001"), "{}", text(&wrong.stderr));
    }
}

/// A change names what the command line names, and nothing else.
#[tokio::test]
async fn changes_and_advertises_a_home_prefix() {
    const PREFIX: &str = "2001:db8:0:1::/64";
    let store = Fake::start(Script::leader()).await;
    let all = "--home-agent-ipv4 198.51.100.1 --multiple-care-of false --bulk false \
               --home-and-foreign false --bindings-max 3 --lifetime-max-secs 40 --only-router true \
               --loopback-care-of true --valid-lifetime-secs 600 --preferred-lifetime-secs 60 \
               --force-udp false --force-udp-requests false --nat-keepalive-secs 30 \
               --ipv4-pool 198.51.100.0/24 --mobile-networks-allowed false --flow-bindings-max 0 \
               --home-agent-discovery true --prefix-discovery true --home-agent-preference 7 \
               --prefix-advertisement-delay-min-secs 0 --prefix-advertisement-delay-max-secs 9 \
               --care-of-verification true";
    let update = ["home-prefixes", "update", PREFIX];
    let with_all: Vec<&str> = update.into_iter().chain(all.split_whitespace()).collect();
    assert_exit(&run(&[&store.endpoint], &with_all).await, 0);
    let seen = store.updated().expect("arrived");
    let expected = HomePrefix {
        prefix: PREFIX.to_owned(),
        home_agent_ipv4: "198.51.100.1".to_owned(),
        multiple_care_of_allowed: Some(false),
        bulk_allowed: Some(false),
        home_and_foreign_allowed: Some(false),
        bindings_per_home_address_max: 3,
        lifetime_max_secs: 40,
        only_router: true,
        loopback_care_of_allowed: true,
        valid_lifetime_secs: Some(600),
        preferred_lifetime_secs: Some(60),
        force_udp_encapsulation: Some(false),
        force_udp_requests_allowed: Some(false),
        nat_keepalive_secs: 30,
        ipv4_pool: "198.51.100.0/24".to_owned(),
        mobile_networks_allowed: Some(false),
        flow_bindings_per_home_address_max: Some(0),
        home_agent_discovery_allowed: true,
        prefix_discovery_allowed: true,
        home_agent_preference: 7,
        prefix_advertisement_delay_min_secs: Some(0),
        prefix_advertisement_delay_max_secs: Some(9),
        care_of_verification: Some(true),
        ..HomePrefix::default()
    };
    assert_eq!(seen.home_prefix, Some(expected));
    assert_eq!(seen.update_mask.len(), all.matches("--").count());
    let one = ["--prefix-discovery", "false"];
    let with_one: Vec<&str> = update.into_iter().chain(one).collect();
    assert_exit(&run(&[&store.endpoint], &with_one).await, 0);
    let seen = store.updated().expect("arrived");
    assert_eq!(seen.update_mask, ["prefix_discovery_allowed"], "false is a change too");
    let wrong = [update[0], update[1], PREFIX, "--home-agent", "2001:db8:0:1::2"];
    assert_exit(&run(&[&store.endpoint], &wrong).await, 2);

    let advertise = ["home-prefixes", "advertise", PREFIX];
    let done = run(&[&store.endpoint], &advertise).await;
    assert_eq!(text(&done.stdout), format!("mobile nodes of {PREFIX} are being told\n"));
    let arrived = |within_secs| AdvertiseHomePrefixRequest {
        prefix: PREFIX.to_owned(),
        within_secs,
        ..Default::default()
    };
    assert_eq!(store.advertised(), Some(arrived(None)));
    let soon: Vec<&str> = advertise.into_iter().chain(["--within-secs", "0"]).collect();
    assert_exit(&run(&[&store.endpoint], &soon).await, 0);
    assert_eq!(store.advertised(), Some(arrived(Some(0))));
}

#[tokio::test]
async fn a_refusal_names_every_field_and_cannot_steer_the_terminal() {
    let store = Fake::start(Script::refusing()).await;
    let create = [
        "home-prefixes",
        "create",
        "2001:db8:0:1::/64",
        "--home-agent",
        "2001:db8:0:2::1",
        "--authentication",
        "none",
    ];
    for format in ["table", "json"] {
        let mut arguments = vec!["-o", format];
        arguments.extend(create);
        let refused = run(&[&store.endpoint], &arguments).await;
        assert_exit(&refused, 1);
        assert!(refused.stdout.is_empty(), "{}", text(&refused.stdout));
        let message = text(&refused.stderr);
        let (first, fields) = message.split_once('\n').expect("has lines");
        assert!(first.ends_with(": two fields\u{fffd}are wrong"), "{message}");
        let expected = "  home_agent: lies outside\n  bulk_allowed: \u{fffd}[2Jneeds several\n  \
                        node 2: upgrade it\n  ask again after 1.5 s\n  \
                        see docs/operations/errors.md#field_invalid\u{fffd}\n";
        assert_eq!(fields, expected);
    }
}

#[tokio::test]
async fn finds_a_subscriber_with_its_bindings() {
    let store = Fake::start(Script::leader()).await;
    let create = ["subscribers", "create", "2001:db8:0:1::1", "--nai", "mn1@example.net"];
    assert_exit(&run(&[&store.endpoint], &create).await, 0);
    let find = ["subscribers", "find", "mn1@example.net"];
    let found = text(&run(&[&store.endpoint], &find).await.stdout);
    let row = "mn1@example.net  nai       2001:db8:0:1::1  7         2    192.0.2.44 ";
    assert!(found.contains(row), "{found}");
    let json = [&["-o", "json"], &find[..]].concat();
    let json = run(&[&store.endpoint], &json).await.stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("is JSON");
    assert_eq!(json[0]["subscriber"]["nai"], "mn1@example.net");
    assert_eq!(json[0]["bindings"]["bindings"][1]["care_of_address"], "192.0.2.44");
    assert_eq!(json[0]["matches"], serde_json::json!(["nai"]));
    let nobody = run(&[&store.endpoint], &["subscribers", "find", "nobody"]).await;
    assert_exit(&nobody, 0);
    assert_eq!(text(&nobody.stdout), "none\n");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let store = Fake::start(Script::leader()).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeportctl"));
    command.args(["--endpoint", &store.endpoint, "bindings", "list"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().await.expect("ends").code(), Some(0));
}

#[tokio::test]
async fn follows_the_leader_and_tries_the_next_endpoint() {
    let leader = Fake::start(Script::leader()).await;
    let follower = Fake::start(Script::follower_of(&leader.endpoint)).await;
    let gone = dead();
    let list = ["home-prefixes", "list"];
    for endpoints in [vec![follower.endpoint.as_str()], vec![&gone, &follower.endpoint]] {
        let listed = run(&endpoints, &list).await;
        assert_exit(&listed, 0);
        assert_eq!(text(&listed.stdout), "none\n");
    }
    // The leader that is named has gone: the next endpoint may know better.
    let mistaken = Fake::start(Script::follower_of(&gone)).await;
    assert_exit(&run(&[&mistaken.endpoint, &leader.endpoint], &list).await, 0);

    let lost = run(&[&gone, &mistaken.endpoint], &list).await;
    assert_exit(&lost, 3);
    let message = text(&lost.stderr);
    assert!(message.starts_with("error: no store could answer\n"), "{message}");
    assert!(message.contains(&format!("  {gone}: Connection refused")), "{message}");

    // Two that name each other are not followed for ever.
    let circular = Fake::start(Script::leader()).await;
    circular.set(Script::follower_of(&circular.endpoint));
    assert_exit(&run(&[&circular.endpoint], &list).await, 3);
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_not_repeated_elsewhere() {
    let slow = Fake::start(Script::silent()).await;
    let leader = Fake::start(Script::leader()).await;
    let endpoints = [slow.endpoint.as_str(), leader.endpoint.as_str()];
    let delete = ["--timeout-secs", "1", "home-prefixes", "delete", "2001:db8:0:1::/64"];
    let deleted = run(&endpoints, &delete).await;
    assert_exit(&deleted, 3);
    assert!(text(&deleted.stderr).contains("did not say whether the change was made"));
    assert!(leader.marks().is_empty());
    let [(_, first), (_, again)] = &slow.marks()[..] else { panic!("{:?}", slow.marks()) };
    assert_eq!(first, again, "the same store is asked once more, and knows the request by its id");
    // A read is asked of the next one.
    let list = ["--timeout-secs", "1", "home-prefixes", "list"];
    assert_exit(&run(&endpoints, &list).await, 0);
}

#[tokio::test]
async fn bindings_are_listed_page_by_page() {
    let store = Fake::start(Script::leader()).await;
    let listed = run(&[&store.endpoint], &["bindings", "list"]).await;
    assert_exit(&listed, 0);
    let table = text(&listed.stdout);
    assert_eq!(table.lines().count(), 1 + 2 * 3, "{table}");
    let row = "2001:db8:0:1::2  7         2    192.0.2.44      40000     yes  -         no    yes       12 s";
    assert!(table.contains(row), "{table}");
    let some = run(&[&store.endpoint], &["-o", "json", "bindings", "list", "--limit", "2"]).await;
    let json: serde_json::Value = serde_json::from_slice(&some.stdout).expect("is JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    assert_eq!(json[1]["bindings"][0]["care_of_address"], "2001:db8:a::11");
    assert!(text(&some.stderr).contains("there are more than 2"));
    let one = run(&[&store.endpoint], &["-o", "json", "bindings", "get", "2001:db8:0:1::3"]).await;
    let json: serde_json::Value = serde_json::from_slice(&one.stdout).expect("is JSON");
    assert_eq!(json["sequence"], 7);
    let none = run(&[&store.endpoint], &["bindings", "get", "2001:db8:0:1::dead"]).await;
    assert_exit(&none, 1);
}

#[tokio::test]
async fn status_shows_every_endpoint_and_who_cannot_be_reached() {
    let store = Fake::start(Script::leader()).await;
    let gone = dead();
    let status = run(&[&store.endpoint, &gone], &["status"]).await;
    assert_exit(&status, 0);
    let table = text(&status.stdout);
    assert!(table.contains("leader"), "{table}");
    assert!(table.contains("cannot be reached: Connection refused"), "{table}");
    assert!(table.contains("forwarder-1      node 1  118            2"), "{table}");
    let json = run(&[&store.endpoint, &gone], &["status", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("is JSON");
    assert_eq!(json[0]["applied_index"], 120);
    assert_eq!(json[1]["endpoint"], gone);
    assert_exit(&run(&[&gone], &["status"]).await, 3);
}

#[tokio::test]
async fn a_wrong_command_line_is_usage_and_help_names_the_exit_codes() {
    for wrong in [
        vec!["home-prefixes", "create", "2001:db8:0:1::/64"],
        vec!["subscribers", "get", "nobody"],
        vec!["--endpoint", "nowhere", "status"],
        vec!["status", "-o", "xml"],
        vec![],
    ] {
        assert_exit(&run(&[], &wrong).await, 2);
    }
    let help = run(&[], &["--help"]).await;
    assert_exit(&help, 0);
    assert!(text(&help.stdout).contains("Exit codes:"));
}

#[tokio::test]
async fn endpoints_come_from_the_environment_too() {
    let store = Fake::start(Script::leader()).await;
    let output = Command::new(env!("CARGO_BIN_EXE_homeportctl"))
        .env("HOMEPORT_ENDPOINTS", format!("{},{}", dead(), store.endpoint))
        .args(["home-prefixes", "list"])
        .output();
    assert_exit(&output.await.expect("runs"), 0);
}
