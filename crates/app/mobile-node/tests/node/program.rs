//! The program itself: what it prints and how it ends.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use homeport_binding::Authentication;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::home_agent::{HomeAgent, KEY, NAI};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mobile-node");

fn file(agent: &HomeAgent, more: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".toml").unwrap();
    write!(
        file,
        r#"
home_address = "2001:db8:0:1::100"
home_agent = "2001:db8:0:1::1"
home_agent_v4 = "{}"
home_agent_port = {}
updates_per_second_max = 100
request_timeout_ms = 3000
{more}
[authentication]
spi = 256
key = "{KEY}"
nai = "{NAI}"

[[care_of]]
bid = 1
address = "127.0.0.2"

[[care_of]]
bid = 2
address = "127.0.0.3"
"#,
        agent.udp.ip(),
        agent.udp.port(),
    )
    .unwrap();
    file
}

/// Runs the program beside the home agent, which lives in this runtime.
async fn run(config: &NamedTempFile, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    let (name, rest) = arguments.split_first().unwrap();
    command.arg(name).arg("--config").arg(config.path()).args(rest).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ended_with(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_registers_pings_and_ends() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let config = file(&agent, "");
    let output = run(&config, &["once", "--bulk", "--json", "--ping", "2001:db8:f::99"]).await;
    ended_with(&output, 0);
    let lines = lines(&output);
    let commands: Vec<_> = lines.iter().map(|line| line["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["register", "ping", "ping", "deregister"]);
    assert_eq!(lines[1]["results"][0]["outcome"]["kind"], "reply");
    assert_eq!(agent.state().echo_requests, 6);
    assert_eq!(agent.bids(), [0_u16; 0]);

    let output =
        run(&config, &["once", "--ping", "2001:db8:f::98", "--ping-timeout-ms", "100"]).await;
    ended_with(&output, 4);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("via BID 1, 1: no reply"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_shot_commands_leave_their_work_behind() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let config = file(&agent, "");
    ended_with(&run(&config, &["register"]).await, 0);
    assert_eq!(agent.bids(), [1, 2]);
    ended_with(&run(&config, &["deregister", "--bid", "2"]).await, 0);
    assert_eq!(agent.bids(), [1]);
    ended_with(&run(&config, &["ping", "2001:db8:f::99", "--via", "2"]).await, 0);
    assert_eq!(agent.bids(), [1, 2]);
    ended_with(&run(&config, &["deregister"]).await, 0);
    assert_eq!(agent.bids(), [0_u16; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refreshes_and_writes_a_journal() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let config = file(&agent, "");
    let journal = NamedTempFile::new().unwrap();
    let path = journal.path().to_str().unwrap();
    let arguments = [
        "run",
        "--json",
        "--bulk",
        "--refresh-every-ms",
        "100",
        "--for-secs",
        "2",
        "--journal",
        path,
    ];
    let output = run(&config, &arguments).await;
    ended_with(&output, 0);
    let events = lines(&output);
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert!(count("acknowledged") >= 8, "{events:#?}");
    assert_eq!(count("deregistered"), 2);
    let journal = std::fs::read_to_string(path).unwrap();
    let updates: Vec<Value> =
        journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(updates.len() >= 8);
    let accepted = updates.iter().filter(|update| update["acknowledgement"]["status"] == 0);
    assert!(accepted.count() >= 8, "{updates:#?}");
    assert_eq!(agent.bids(), [0_u16; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_exit_code() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let told = |output: &Output, code: i32, words: &str| {
        ended_with(output, code);
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(text.contains(words), "{text}");
    };
    let wrong = file(&agent, "lifetime_secs = 2");
    told(&run(&wrong, &["register"]).await, 2, "`lifetime_secs` is 2; expected 4 to 262140");
    let unknown = file(&agent, "lifetime = 2");
    told(&run(&unknown, &["register"]).await, 2, "`lifetime`");
    let config = file(&agent, "");
    told(&run(&config, &["register", "--what"]).await, 2, "--what");
    told(&run(&config, &["deregister", "--bid", "9"]).await, 1, "no care-of address has this BID");

    agent.state().mute = true;
    told(&run(&config, &["register"]).await, 3, "no answer within 3000 ms");
    agent.state().mute = false;

    // Refused by the home agent.
    agent.change_policy(|prefix| {
        prefix.home_agent_ipv4 = None;
        prefix.loopback_care_of_allowed = false;
    });
    told(&run(&config, &["register"]).await, 1, "BID 1: refused, status 164");

    // 192.0.2.1 is no address of this host.
    let text = std::fs::read_to_string(config.path()).unwrap().replace("127.0.0.2", "192.0.2.1");
    std::fs::write(config.path(), text).unwrap();
    told(&run(&config, &["register"]).await, 5, "192.0.2.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_configuration_without_the_key() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let output = run(&file(&agent, ""), &["check"]).await;
    ended_with(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(NAI) && !text.contains(KEY), "{text}");
}
