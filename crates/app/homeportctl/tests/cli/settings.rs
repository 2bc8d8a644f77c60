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

    // Who is sent away was heard: that is no store that cannot be reached.
    store.set(Script::guarded());
    for verb in [&["status"][..], &["home-prefixes", "list"]] {
        let refused = run(&[&store.endpoint], verb).await;
        assert_exit(&refused, 1);
        assert!(text(&refused.stderr).contains("authorization: nobody has this token"));
    }

    fs::write(&file, "two words").expect("writes");
    for wrong in [name(&file), "/nonexistent/token"] {
        let output = run(&[&store.endpoint], &["--token-file", wrong, "status"]).await;
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains(&format!("--token-file: {wrong}: ")));
    }
}

#[tokio::test]
async fn a_context_says_how_its_cluster_is_reached_and_flags_and_environment_come_before_it() {
    let (one, two) = (Fake::start(Script::leader()).await, Fake::start(Script::leader()).await);
    let folder = tempfile::tempdir().expect("a folder");
    let (file, token) = (folder.path().join("new/config.toml"), folder.path().join("token"));
    fs::write(&token, "of-the-file").expect("writes");
    let with = async |arguments: &[&str]| {
        let mut program = program();
        program.env("HOMEPORT_CONFIG", &file).args(arguments).output().await.expect("runs")
    };
    let first = format!("stores={},{}", one.endpoint, one.endpoint);
    let token_file = format!("token_file={}", name(&token));
    let set = with(&["context", "set", "lab", &first, &token_file, "output=json"]).await;
    assert_exit(&set, 0);
    assert_eq!(text(&set.stdout), "lab is set, and used\n");
    assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
    let second = format!("stores={}", two.endpoint);
    assert_exit(&with(&["context", "set", "prod", &second]).await, 0);

    let listed = with(&["home-prefixes", "list"]).await;
    assert_exit(&listed, 0);
    assert_eq!(text(&listed.stdout), "[]\n", "the context says JSON");
    assert_eq!(one.authorization().as_deref(), Some("Bearer of-the-file"));
    let listed = with(&["-o", "table", "--context", "prod", "home-prefixes", "list"]).await;
    assert_eq!((text(&listed.stdout).as_str(), two.authorization()), ("none\n", None));
    let flagged = ["--endpoint", &two.endpoint, "home-prefixes", "list"];
    assert_exit(&with(&flagged).await, 0);
    assert_eq!(two.authorization().as_deref(), Some("Bearer of-the-file"));
    let mut of_environment = program();
    of_environment.env("HOMEPORT_CONFIG", &file).env("HOMEPORT_CONTEXT", "prod");
    let output = of_environment.args(["home-prefixes", "list"]).output().await.expect("runs");
    assert_eq!((text(&output.stdout).as_str(), two.authorization()), ("none\n", None));

    let json = json(&with(&["-o", "json", "context", "list"]).await);
    assert_eq!(json[0]["name"], "lab");
    assert_eq!((&json[0]["current"], &json[1]["current"]), (&true.into(), &false.into()));
    assert_exit(&with(&["context", "use", "prod"]).await, 0);
    assert_exit(&with(&["context", "remove", "lab"]).await, 0);
    let listed = with(&["context", "list"]).await;
    assert!(
        !text(&listed.stdout).contains("lab") && text(&listed.stdout).contains("*        prod")
    );
    assert_exit(&with(&["context", "remove", "prod"]).await, 0);
    assert_eq!(text(&with(&["context", "list"]).await.stdout), "none\n");
}

#[tokio::test]
async fn what_is_wrong_with_a_context_is_named_and_tokens_are_shown_to_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    let with = async |arguments: &[&str]| {
        let mut program = program();
        program.env("HOMEPORT_CONFIG", &file).args(arguments).output().await.expect("runs")
    };
    let rows: [(&[&str], &str); 8] = [
        (&["context", "use", "lab"], "NAME: \"lab\" is no context of "),
        (&["context", "set", "lab", "store=a:1"], "store=a:1: no such key; expected stores, "),
        (&["context", "set", "lab", "output=xml"], "expected one of table, wide, csv, json"),
        (&["context", "set", "lab", "stores=a"], "`contexts.lab.stores` has \"a\"; expected"),
        (&["context", "set", "a b", "stores=a:1"], "is no name of a context; expected 1 to 64"),
        (
            &["context", "set", "lab", "tls_ca=/ca"],
            "expected tls_ca, tls_cert and tls_key together",
        ),
        (
            &["--tls-ca", "/ca", "status"],
            "--tls-cert is missing; expected --tls-ca, --tls-cert and",
        ),
        (&["context", "set", "lab", "token=hunter2"], "token: a token on the command line is seen"),
    ];
    for (arguments, expected) in rows {
        let output = with(arguments).await;
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("hunter2"));
    }
    assert!(!file.exists());

    let text_of = "current = \"lab\"\n[contexts.lab]\ntoken = \"hunter2\"\nstores = [\"a:1\"]\n";
    fs::write(&file, text_of).expect("writes");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("is ours");
    let listed = with(&["context", "list"]).await;
    assert_exit(&listed, 0);
    assert!(text(&listed.stderr).contains("warning: others can read "));
    assert!(text(&listed.stdout).contains("in the file"));
    assert!(!text(&listed.stdout).contains("hunter2"));
    fs::write(&file, "current = \"lab\"").expect("writes");
    let output = with(&["status"]).await;
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("`current` is \"lab\"; expected the name of one"));
    // What puts it right does not need it.
    assert_exit(&with(&["completion", "bash"]).await, 0);
}
