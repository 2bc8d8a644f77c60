//! With privileges: the XDP program beside the packet core, which is the oracle.
#![expect(clippy::expect_used, reason = "tests")]

use std::io::Write as _;

use homeport_fastpath::{
    Error, FastPath,
    differential::{Outcome, Planted, run},
};

/// Without a program or without privileges: says loudly, past the test harness, that nothing was tested.
/// A program that the kernel refuses to root is a failure.
fn is_skipped() -> bool {
    let Err(error) = FastPath::load(16) else { return false };
    let is_root = rustix::process::geteuid().is_root();
    assert!(matches!(error, Error::NotBuilt) || !is_root, "{error}");
    let said = format!("\n*** SKIPPED the XDP program beside the packet core: {error}\n");
    std::io::stderr().write_all(said.as_bytes()).is_ok()
}

fn compared(packets: u64, seed: u64, planted: Option<Planted>) -> Outcome {
    let outcome = run(packets, seed, planted).expect("root may run programs");
    assert_eq!(outcome.packets, packets);
    outcome
}

#[test]
fn a_million_packets_are_treated_as_the_packet_core_does() {
    if is_skipped() {
        return;
    }
    let outcome = compared(1_000_000, 1, None);
    assert_eq!(outcome.mismatches, 0, "{}", outcome.described.join("\n\n"));
    // They say something only when the common case is common among them.
    assert!(outcome.sent > 200_000, "{outcome:?}");
    assert!(outcome.dropped > 20_000, "{outcome:?}");
    assert!(outcome.passed > 100_000, "{outcome:?}");
}

#[test]
fn planted_differences_are_found() {
    if is_skipped() {
        return;
    }
    for planted in [Planted::HopLimit, Planted::StaleLines, Planted::UnknownNetwork] {
        let outcome = compared(20_000, 2, Some(planted));
        assert!(outcome.mismatches > 0, "{planted:?}: {outcome:?}");
    }
}
