//! The fixtures of the packet core: RFC 2473 §3.1, §3.3, §4.1, §4.1.1, §4.1.2, §4.1.3, §5, §6.3 to §6.7, §7.1, §7.2,
//! §8.1 to §8.4; RFC 6040 §4.1, §4.2, §4.3; RFC 6275 §10.4.1 to §10.4.6; RFC 3963 §6.5; RFC 5555 §4.1, §4.4.1;
//! RFC 5648 §3, §6.5; RFC 6089 §5.3.6; RFC 2003 §3.1, §4.1; RFC 4213 §3.2.2, §3.4; RFC 8200 §4.5; RFC 5722 §3.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_fastpath::FastPath;
use homeport_tests::packets::{self, Case, Counts};

fn each(what: impl FnMut(&Case) -> Result<()>) -> Result<()> {
    let mut what = what;
    let mut failed = Vec::new();
    let cases = packets::cases()?;
    for case in &cases {
        if let Err(error) = what(case) {
            failed.push(format!("{}: {error:#}", case.name));
        }
    }
    ensure!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n\n"));
    Ok(())
}

fn skipped(why: &str) -> Result<()> {
    // Not by the macro: the test harness would keep that to itself.
    writeln!(std::io::stderr(), "\n*** SKIPPED fixtures of the packet core: {why}\n")?;
    Ok(())
}

#[test]
fn packets_are_treated_as_the_rfcs_say() -> Result<()> {
    each(packets::run)
}

#[test]
fn each_row_has_a_fixture_and_each_fixture_a_row() -> Result<()> {
    let rows = packets::rows()?;
    let cases = packets::cases()?;
    let shown: BTreeSet<String> = cases.into_iter().flat_map(|case| case.rows).collect();
    let missing: Vec<_> = rows.difference(&shown).collect();
    ensure!(missing.is_empty(), "rows without a case: {missing:#?}");
    let unknown: Vec<_> = shown.difference(&rows).collect();
    ensure!(unknown.is_empty(), "rows that are not listed: {unknown:#?}");
    Ok(())
}

#[test]
fn xdp_does_the_same_or_passes_the_packet_on() -> Result<()> {
    let mut path = match FastPath::load(64) {
        Ok(path) => path,
        Err(homeport_fastpath::Error::NotBuilt) => return skipped("built without the XDP program"),
        Err(error) if homeport_hostnet::privileges().is_err() => {
            return skipped(&error.to_string());
        }
        Err(error) => bail!(error),
    };
    let mut counts = Counts::default();
    each(|case| packets::beside(&mut path, case, &mut counts))?;
    println!("{counts:?}");
    ensure!(counts.same > 50 && counts.passed > 50, "they say little: {counts:?}");
    Ok(())
}

/// The files are what the oracle writes, so that nobody has mended an octet by hand.
#[test]
fn the_fixtures_are_the_oracles() -> Result<()> {
    // Debian's own, which its package of scapy is for.
    const PYTHON: &str = "/usr/bin/python3";
    let has_scapy = Command::new(PYTHON).args(["-c", "import scapy"]).output();
    if !has_scapy.is_ok_and(|output| output.status.success()) {
        return skipped("no scapy to write them anew (Debian's python3-scapy)");
    }
    let output = Command::new(PYTHON)
        .arg("-B")
        .arg(packets::directory().join("oracle.py"))
        .arg("--check")
        .output()
        .context(PYTHON)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}
