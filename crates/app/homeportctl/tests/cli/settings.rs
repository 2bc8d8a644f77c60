//! Where the program takes from what it was not told by flags.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use crate::{
    assert_exit,
    fake::{Fake, Script},
    program, run, text,
};

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("is JSON")
}

/// The name of a file that is there.
fn name(file: &Path) -> &str {
    file.to_str().expect("is text")
}

#[tokio::test]
async fn a_token_is_made_once_and_the_file_of_the_stores_knows_its_digest_alone() {
    let new = ["-o", "json", "token", "new", "--name", "alice", "--role", "operator"];
    let (one, other) = (run(&[], &new).await, run(&[], &new).await);
    assert_exit(&one, 0);
    let (one, other) = (json(&one), json(&other));
    let (token, line) = (one["token"].as_str().expect("is"), one["line"].as_str().expect("is"));
    assert_eq!(token.len(), "homeport_".len() + 64);
    assert_ne!(one["token"], other["token"]);
    assert!(line.starts_with("alice = { role = \"operator\", sha256 = \""), "{line}");
    assert!(!line.contains(token.trim_start_matches("homeport_")), "{line}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("noc.token");
    let write = ["token", "new", "--name", "noc", "--role", "viewer", "--write", name(&file)];
    let written = run(&[], &write).await;
    assert_exit(&written, 0);
    assert!(text(&written.stdout).starts_with("noc = { role = \"viewer\""));
    let secret = fs::read_to_string(&file).expect("is there");
    assert!(!text(&written.stdout).contains(secret.trim()));
    assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    // Nothing is replaced.
    assert_exit(&run(&[], &write).await, 2);
    for wrong in ["two words", ""] {
        let new = ["token", "new", "--name", wrong, "--role", "viewer"];
        assert_exit(&run(&[], &new).await, 2);
    }
    let wrong = run(&[], &["token", "new", "--name", "a", "--role", "root"]).await;
    assert_exit(&wrong, 2);
    assert!(text(&wrong.stderr).contains("viewer, operator, security, admin"));
}

#[tokio::test]
async fn the_token_comes_from_the_flag_then_from_the_environment() {
    let store = Fake::start(Script::leader()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "of-the-file\n").expect("writes");
    let list = ["--endpoint", &store.endpoint, "home-prefixes", "list"];
    assert_exit(&program().args(list).output().await.expect("runs"), 0);
    assert_eq!(store.authorization(), None);
    let mut of_variable = program();
    of_variable.env("HOMEPORT_TOKEN", "of-the-variable").args(list);
    assert_exit(&of_variable.output().await.expect("runs"), 0);
    assert_eq!(store.authorization().as_deref(), Some("Bearer of-the-variable"));
    assert_exit(&of_variable.args(["--token-file", name(&file)]).output().await.expect("runs"), 0);
    assert_eq!(store.authorization().as_deref(), Some("Bearer of-the-file"));

    fs::write(&file, "two words").expect("writes");
    for wrong in [name(&file), "/nonexistent/token"] {
        let output = run(&[&store.endpoint], &["--token-file", wrong, "status"]).await;
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains(&format!("--token-file: {wrong}: ")));
    }
}
