//! The table of cases: texts of `tests/conformance/part-N.txt`, one line each:
//!
//! `id | link | what is sent | what must come | RFC | script arguments : steps of a story`

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// Texts of the parts that have one; part 2 also repeats part 1 with a mobile router.
const TEXTS: [(u8, &str); 5] = [
    (1, include_str!("../../conformance/part-1.txt")),
    (2, include_str!("../../conformance/part-2.txt")),
    (3, include_str!("../../conformance/part-3.txt")),
    (4, include_str!("../../conformance/part-4.txt")),
    (5, include_str!("../../conformance/part-5.txt")),
];

/// Groups of part 1 that part 2 repeats with a mobile router.
const REPEATED: [&str; 22] = [
    "1_1", "2_1", "2_2", "2_3", "2_4", "2_5", "2_6", "2_7", "2_8", "3_1", "3_2", "3_3", "4_1",
    "4_2", "4_3", "4_4", "5_1", "6_1", "6_2", "7_2", "7_3", "7_4",
];
/// More of them.
const REPEATED_TOO: [&str; 2] = ["7_5", "8_1"];

/// On which kind of home link a case plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// A home link exists, and the home agent is on it.
    Real,
    /// The home prefix is on no link.
    Virtual,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Row {
    /// Part of the list, 1 to 5.
    pub part: u8,
    /// `HA_2_5_1`.
    pub id: String,
    /// Its number among all cases: which addresses it uses.
    pub number: u16,
    /// Home link.
    pub link: Link,
    /// What is sent.
    pub sent: String,
    /// What must come.
    pub expected: String,
    /// Which section says so.
    pub rfc: String,
    /// How it is run.
    pub script: String,
    /// The mobile node is a mobile router.
    pub is_router: bool,
    arguments: BTreeMap<String, String>,
    steps: Vec<String>,
}

impl Row {
    /// The steps of a story.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(String::as_str)
    }

    /// A named argument of the script; "" when it stands alone.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).map(String::as_str)
    }

    /// Whether an argument stands there with another value than 0.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "0")
    }

    /// An argument's value.
    ///
    /// # Errors
    /// When it is missing or is not one.
    pub fn value<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.get(name).with_context(|| format!("{} has no {name}", self.id))?;
        text.parse().ok().with_context(|| format!("{} of {}: {text:?}", name, self.id))
    }
}

/// All cases in their order.
///
/// # Errors
/// When a line has not that form, or an id stands there twice.
pub fn cases() -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (part, text) in TEXTS {
        if part == 2 {
            let repeated: Vec<Row> = rows.iter().filter_map(repeated).collect();
            rows.extend(repeated);
        }
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            rows.extend(of_line(part, line).with_context(|| format!("part {part}: {line}"))?);
        }
    }
    let mut ids = std::collections::BTreeSet::new();
    for (number, row) in (1..).zip(&mut rows) {
        row.number = number;
        ensure!(ids.insert(row.id.clone()), "{} stands there twice", row.id);
    }
    Ok(rows)
}

/// The case of a line; two where the id names that on a real home link and that on a virtual one, as
/// `NEMO_2_9_1/11`.
fn of_line(part: u8, line: &str) -> Result<Vec<Row>> {
    let Some((ids, rest)) = line.split_once(" | both | ") else {
        return Ok(vec![row(part, line)?]);
    };
    let (real, other) = ids.split_once('/').context("one id for both links")?;
    let (group, _) = real.rsplit_once('_').context("no group")?;
    let real = row(part, &format!("{real} | real | {rest}"))?;
    Ok(vec![real, row(part, &format!("{group}_{other} | virt | {rest}"))?])
}

fn row(part: u8, line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [id, link, sent, expected, rfc, script] = fields.as_slice() else {
        anyhow::bail!("{} fields, expected 6", fields.len());
    };
    let (script, steps) = script.split_once(" : ").unwrap_or((script, ""));
    let steps = steps.split(';').map(str::trim).filter(|step| !step.is_empty());
    let mut words = script.split_whitespace();
    let script = words.next().context("no script")?.to_owned();
    let arguments = words.map(|word| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), value.to_owned())
    });
    let arguments: BTreeMap<String, String> = arguments.collect();
    Ok(Row {
        part,
        id: (*id).to_owned(),
        number: 0,
        link: match *link {
            "real" => Link::Real,
            "virt" => Link::Virtual,
            other => anyhow::bail!("link {other:?}"),
        },
        sent: (*sent).to_owned(),
        expected: (*expected).to_owned(),
        rfc: (*rfc).to_owned(),
        script,
        is_router: part == 2 && !arguments.contains_key("host"),
        arguments,
        steps: steps.map(str::to_owned).collect(),
    })
}

/// The case of part 2 that is a case of part 1 with a mobile router (RFC 3963).
fn repeated(row: &Row) -> Option<Row> {
    let group = row.id.strip_prefix("HA_")?;
    let group = group.rsplit_once('_')?.0;
    let only_there = ["2_3_4", "4_1_3"].iter().any(|id| row.id.ends_with(id));
    if only_there || !(REPEATED.contains(&group) || REPEATED_TOO.contains(&group)) {
        return None;
    }
    let id = row.id.replace("HA_", "NEMO_");
    // Those two have another meaning there, and stand in the text of part 2.
    if id.starts_with("NEMO_8_1_3") || id.starts_with("NEMO_8_1_4") {
        return None;
    }
    let rfc = format!("RFC 3963 6.2; {}", row.rfc);
    Some(Row { part: 2, id, rfc, is_router: true, ..row.clone() })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::cast::Cast;
    use super::super::lab::Home;
    use super::super::{is_known, policy, story};
    use super::*;

    #[test]
    fn every_case_has_a_script_and_steps_that_can_be_read() {
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x40, 1, 0, 0, 0, 0);
        let home = Home { prefix, agent: prefix, agent4: Ipv4Addr::new(198, 51, 101, 1) };
        for row in cases().expect("the table") {
            assert!(is_known(&row.script), "{} has the unknown script {}", row.id, row.script);
            policy(&row).expect("a policy");
            let cast = Cast::new(row.number, home);
            for step in row.steps() {
                story::check(&cast, step).unwrap_or_else(|e| panic!("{}: {step}: {e:#}", row.id));
            }
            assert_eq!(row.script == "story", row.steps().next().is_some(), "{}", row.id);
        }
    }

    #[test]
    fn part_1_has_all_cases_of_its_suite() {
        let cases = cases().expect("the table");
        assert_eq!(cases.iter().filter(|row| row.part == 1).count(), 222);
    }
}
