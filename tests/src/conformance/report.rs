//! The table of a run: on a terminal, as JSON, as a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::catalogue::Link;
use super::{Ran, Tried, Verdict};

/// Titles of the parts.
pub const PARTS: [(u8, &str); 5] = [
    (1, "Mobile IPv6 home agent (RFC 6275)"),
    (2, "Mobile routers (RFC 3963)"),
    (3, "Multiple care-of addresses (RFC 5648)"),
    (4, "IPv4 links and home addresses (RFC 5555)"),
    (5, "The cluster"),
];

/// Passed, failed, cannot run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Cannot run.
    pub cannot_run: u32,
}

/// Counts of each part.
#[must_use]
pub fn counts(tried: &[Tried]) -> BTreeMap<u8, Counts> {
    let mut parts: BTreeMap<u8, Counts> = BTreeMap::new();
    for case in tried {
        let counts = parts.entry(case.row.part).or_default();
        match case.verdict {
            Verdict::Passed => counts.passed += 1,
            Verdict::Failed => counts.failed += 1,
            Verdict::CannotRun => counts.cannot_run += 1,
        }
    }
    parts
}

/// Counts as a table of a few lines.
#[must_use]
pub fn summary(tried: &[Tried]) -> String {
    let mut text =
        String::from("| part | cases | passed | failed | cannot run |\n|---|---|---|---|---|\n");
    let mut all = Counts::default();
    for (part, counts) in counts(tried) {
        let title = PARTS.iter().find(|(n, _)| *n == part).map_or("", |(_, title)| *title);
        line(&mut text, &format!("{part} {title}"), counts);
        all.passed += counts.passed;
        all.failed += counts.failed;
        all.cannot_run += counts.cannot_run;
    }
    line(&mut text, "all", all);
    text
}

fn line(text: &mut String, name: &str, counts: Counts) {
    let Counts { passed, failed, cannot_run } = counts;
    let cases = passed + failed + cannot_run;
    let written = writeln!(text, "| {name} | {cases} | {passed} | {failed} | {cannot_run} |");
    debug_assert!(written.is_ok(), "a string takes everything");
}

/// The page: every case with what is sent, what must come, and its verdict. What the page before says of
/// the run with kills stays.
#[must_use]
pub fn page(before: &str, tried: &[Tried]) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&summary(tried));
    text.push_str(&second_tries(tried));
    for (part, title) in PARTS {
        let of_part = || tried.iter().filter(|case| case.row.part == part);
        if of_part().next().is_none() {
            continue;
        }
        text.push_str(&format!("\n## {part} {title}\n\n"));
        text.push_str("| case | home link | sent | must come | RFC | verdict |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for case in of_part() {
            let row = &case.row;
            let link = match row.link {
                Link::Real => "real",
                Link::Virtual => "virtual",
            };
            let mut verdict = case.verdict.name().to_owned();
            if !case.reason.is_empty() {
                verdict.push_str(": ");
                verdict.push_str(&shortened(&case.reason));
            }
            let cells = [&row.id, link, &row.sent, &row.expected, &row.rfc, &verdict];
            text.push_str(&format!("| {} |\n", cells.map(escaped).join(" | ")));
        }
    }
    if let Some(at) = before.find(KILLS) {
        text.push_str(&before[at..]);
    }
    text
}

/// The page with another section about the run with kills.
#[must_use]
pub fn page_with_kills(before: &str, ran: &Ran) -> String {
    let mut text = before[..before.find(KILLS).unwrap_or(before.len())].to_owned();
    text.push_str(KILLS);
    text.push_str(ABOUT_KILLS);
    text.push_str(&format!("{} leaders were killed.\n\n", ran.leader_kills));
    text.push_str(&summary(&ran.tried));
    text.push_str(&second_tries(&ran.tried));
    let failed = || ran.tried.iter().filter(|case| case.verdict == Verdict::Failed);
    if failed().next().is_some() {
        text.push_str("\n| case that failed | what came instead |\n|---|---|\n");
    }
    for case in failed() {
        let cells = [case.row.id.clone(), shortened(&case.reason)];
        text.push_str(&format!("| {} |\n", cells.map(|cell| escaped(&cell)).join(" | ")));
    }
    text
}

/// Which cases passed only when they were run again, one by one.
fn second_tries(tried: &[Tried]) -> String {
    let second = tried.iter().filter(|case| case.is_second() && case.verdict == Verdict::Passed);
    let ids: Vec<&str> = second.map(|case| case.row.id.as_str()).collect();
    if ids.is_empty() {
        return String::new();
    }
    let ids = ids.join(", ");
    format!("\nOn a busy machine these failed beside others, and passed by themselves: {ids}.\n")
}

/// Where that section begins; it is the last.
const KILLS: &str = "\n## With the leader killed between the steps\n";

const ABOUT_KILLS: &str = "
The same cases by `cargo xtask conformance --during-leader-kill`: whenever all cases that run at the time stand between
two of their steps, the store's leader is killed with SIGKILL, and they go on under the next. A Binding Update
that was lost with it is sent again. Cases C06 and C10 are not among them: they end processes by themselves.

";

const INTRODUCTION: &str = "# Conformance

This page is written by `cargo xtask conformance`, which acts as mobile node, correspondent node, router
and host of the home link on the wire of a running cluster: three store replicas, two front-ends, two
forwarders. A million home addresses are registered at a cluster of release programs, all others at one of
debug programs. Part 2 repeats the cases of part 1 with a mobile router, and adds its own. A case that cannot
run says why, and counts as neither passed nor failed. One that fails beside others is run again by itself on
another cluster; that counts, and its name stands below.

";

/// Reasons are for people: a long one tells its story in its beginning.
fn shortened(reason: &str) -> String {
    const LEN_MAX: usize = 200;
    match reason.char_indices().nth(LEN_MAX) {
        Some((at, _)) => format!("{}...", &reason[..at]),
        None => reason.to_owned(),
    }
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}
