//! A few seeds, run by the program itself. `cargo xtask sim` runs many.

use std::process::Command;

use serde_json::Value;

/// Runs a seed with so many simulated seconds of faults; what came of it.
fn run(seed: &str, fault_secs: &str, more: &[&str]) -> Value {
    let mut program = Command::new(env!("CARGO_BIN_EXE_homeport-sim"));
    program.args(["run", "--seed", seed, "--fault-secs", fault_secs]).args(more);
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let outcome: Value = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said:?} and {}", String::from_utf8_lossy(&output.stderr))
    });
    let held = outcome["violations"].as_array().unwrap().is_empty();
    assert_eq!(output.status.success(), held, "{outcome}");
    outcome
}

#[test]
fn a_seed_does_the_same_to_the_octet_when_it_is_run_again() {
    let first = run("2", "2", &[]);
    assert_eq!(first["violations"], Value::Array(Vec::new()));
    assert!(first["acknowledged"].as_u64().unwrap() > 0, "{first}");
    assert!(!first["faults"].as_object().unwrap().is_empty(), "{first}");
    assert_eq!(run("2", "2", &[]), first);
}

#[test]
fn another_seed_does_something_else() {
    let [one, other] = ["3", "6"].map(|seed| run(seed, "1", &[]));
    for outcome in [&one, &other] {
        assert_eq!(outcome["violations"], Value::Array(Vec::new()));
    }
    assert_ne!(one["digest"], other["digest"]);
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    let outcome = run("1", "1", &["--bug", "ack-before-commit"]);
    assert_eq!(outcome["violations"][0]["invariant"], "acknowledged_is_committed");
}
