//! `homeport config` as an operator types it.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

fn config(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeport"));
    command.env_clear().arg("config").args(arguments).output().unwrap()
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

#[test]
fn exit_status_says_whether_it_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signalling.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "listen = \"127.0.0.1:0\"\nstores = [\"store-1:7101\"]\n").unwrap();
    let check = ["check", "--role", "signalling", "--config", path];
    let output = config(&check);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(output.stdout);
    assert_eq!(said, format!("{path}: good, as the configuration of signalling\n"));
    // The other name of the role, and what goes over the file.
    let front_end = ["check", "--role", "front-end", "--config", path];
    assert_eq!(config(&front_end).status.code(), Some(0));
    let output = config(&[check.as_slice(), &["--set", "deadline_ms=0"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(output.stderr);
    let expected = "expected a whole number, 1 to 60000 milliseconds";
    assert_eq!(said, format!("homeport: --set deadline_ms: `deadline_ms` is 0; {expected}\n"));

    fs::write(&file, "listen = \"127.0.0.1\"\nstroes = []\n[correspondent]\nkey_file = \"x\"\n")
        .unwrap();
    let output = config(&check);
    assert_eq!(output.status.code(), Some(1));
    let said = text(output.stderr);
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(
        said.contains("`stroes` is not a key that exists here, did you mean `stores`?"),
        "{said}"
    );

    // What only the role knows: files that it needs.
    let key =
        "listen = \"[::1]:0\"\nstores = [\"a:1\"]\n[correspondent]\nkey_file = \"/nonexistent\"\n";
    fs::write(&file, key).unwrap();
    let said = text(config(&check).stderr);
    let expected = format!("homeport: {path}: `correspondent.key_file` is \"/nonexistent\": ");
    assert!(
        said.starts_with(&expected) && said.contains("; expected 64 hexadecimal digits"),
        "{said}"
    );
}

#[test]
fn schema_and_explanation_are_printed() {
    let schema: Value =
        serde_json::from_slice(&config(&["schema", "--role", "noc"]).stdout).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["processes"]["items"]["required"][0], "name");
    let all: Value = serde_json::from_slice(&config(&["schema"]).stdout).unwrap();
    assert_eq!(all["noc"], schema);
    assert_eq!(all.as_object().unwrap().len(), 5);

    let output = config(&["explain", "xdp.keep_sec"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(output.stderr);
    assert_eq!(said, "homeport: there is no key `xdp.keep_sec`; did you mean `xdp.keep_secs`?\n");
    let listed = text(config(&["explain"]).stdout);
    assert!(listed.contains("forwarder\n") && listed.contains("  headless_secs "), "{listed}");
}
