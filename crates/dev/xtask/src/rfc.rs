//! Which section of which RFC is met where: `docs/rfc.md`, made of what comments say.
//!
//! Comments name obligations as `RFC 6275 §9.5.1`; further sections of the same RFC follow as `§9.5.3`,
//! and a span as `§9.5.1 to §9.5.3`. The page lists files, not lines, so that it stays right when code
//! moves inside them. What is left out on purpose stands in `docs/rfc.toml`, by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::report::Report;

const PAGE: &str = "docs/rfc.md";
const DATA: &str = "docs/rfc.toml";

/// What is written by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    rfc: Vec<Rfc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rfc {
    number: u16,
    title: String,
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

/// Something that the RFC describes and Homeport does not do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOut {
    section: String,
    what: String,
    why: String,
}

/// A section's numbers, for their order: 9.10 comes after 9.9.
type Section = Vec<u16>;

/// Files that name a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

type Matrix = BTreeMap<u16, BTreeMap<Section, Places>>;

/// Writes the page, or only says whether it is up to date.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<Report> {
    let text = fs::read_to_string(root.join(DATA)).with_context(|| format!("no {DATA}"))?;
    let data: Data = toml::from_str(&text).with_context(|| format!("{DATA} cannot be read"))?;
    let matrix = scan(root)?;
    let written = page(&data, &matrix)?;
    let mut report = Report::default();
    let sections = matrix.values().map(BTreeMap::len).sum::<usize>();
    let all = || matrix.values().flat_map(BTreeMap::values);
    let tested = all().filter(|places| !places.tests.is_empty()).count();
    println!("rfc: {} RFCs, {sections} sections, {tested} named by tests", matrix.len());
    for (name, value) in
        [("rfcs", matrix.len()), ("sections", sections), ("sections_named_by_tests", tested)]
    {
        report.figure(name, f64::from(u32::try_from(value)?), "1");
    }
    if check {
        let is_fresh = fs::read_to_string(root.join(PAGE)).is_ok_and(|page| page == written);
        report.count(is_fresh);
        if !is_fresh {
            eprintln!("{PAGE} is stale: write it with `cargo xtask rfc`");
        }
    } else {
        fs::write(root.join(PAGE), written)?;
        report.count(true);
    }
    Ok(report)
}

fn scan(root: &Path) -> anyhow::Result<Matrix> {
    let mut matrix = Matrix::new();
    for file in sources(root)? {
        let text = fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
        let (code, tests) = halves(&file, &text);
        for (half, is_test) in [(code, false), (tests, true)] {
            for (rfc, section) in mentions(half) {
                let places = matrix.entry(rfc).or_default().entry(section).or_default();
                let files = if is_test { &mut places.tests } else { &mut places.code };
                files.insert(file.clone());
            }
        }
    }
    Ok(matrix)
}

/// The Rust files that belong to the tree, or will once they are added.
fn sources(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let files = String::from_utf8(output.stdout)?;
    let mut files: Vec<String> = files.lines().map(str::to_owned).collect();
    // One that is deleted and not yet committed is still listed.
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

/// What a file holds of code and of tests.
fn halves<'t>(file: &str, text: &'t str) -> (&'t str, &'t str) {
    let is_test = file.starts_with("tests/")
        || file.contains("/tests/")
        || file.ends_with("/tests.rs")
        || file.ends_with("_tests.rs");
    if is_test {
        return ("", text);
    }
    let inline = text.find("\n#[cfg(test)]\nmod tests {");
    inline.map_or((text, ""), |at| text.split_at(at))
}

/// The sections that the comments of a text name.
fn mentions(text: &str) -> BTreeSet<(u16, Section)> {
    let mut found = BTreeSet::new();
    let mut comment = String::new();
    for line in text.lines().chain([""]) {
        let stripped = line.trim_start();
        let is_doc = |mark| stripped.strip_prefix(mark);
        match is_doc("///").or_else(|| is_doc("//!")).or_else(|| is_doc("//")) {
            Some(words) => {
                comment.push(' ');
                comment.push_str(words);
            }
            None => {
                // A comment behind code is a comment of its own.
                found.extend(sections(&std::mem::take(&mut comment)));
                if let Some((_, behind)) = line.split_once(" // ") {
                    found.extend(sections(behind));
                }
            }
        }
    }
    found
}

fn sections(comment: &str) -> BTreeSet<(u16, Section)> {
    let mut found = BTreeSet::new();
    let mut rfc = None;
    let mut words = comment.split_whitespace().peekable();
    let mut span: Option<(u16, Section)> = None;
    while let Some(word) = words.next() {
        let plain = word.trim_start_matches(['(', '`', '"', '[']);
        if plain == "RFC" {
            let digits = words.peek().map(|next| leading(next, |c| c.is_ascii_digit()));
            rfc = digits.and_then(|digits| digits.parse().ok());
            span = None;
            continue;
        }
        let numbers = plain.strip_prefix('§').map(numbers);
        match (rfc, numbers.filter(|numbers| !numbers.is_empty())) {
            (Some(number), Some(section)) => {
                if let Some((begun, from)) = span.take()
                    && begun == number
                {
                    found.extend(between(&from, &section).map(|between| (number, between)));
                }
                found.insert((number, section.clone()));
                if words.peek() == Some(&"to") {
                    span = Some((number, section));
                    words.next();
                }
            }
            // What follows a span's "to" and is no section ends it; the RFC goes on to count.
            _ => span = None,
        }
    }
    found
}

fn leading(word: &str, belongs: impl Fn(char) -> bool) -> &str {
    word.split_once(|c| !belongs(c)).map_or(word, |(head, _)| head)
}

fn numbers(text: &str) -> Section {
    let text = leading(text, |c| c.is_ascii_digit() || c == '.');
    text.split('.').map_while(|part| part.parse().ok()).collect()
}

/// The sections between two that differ in their last number.
fn between(from: &[u16], to: &[u16]) -> impl Iterator<Item = Section> {
    let (first, last) = match (from.split_last(), to.split_last()) {
        (Some((first, head)), Some((last, same))) if head == same => (*first, *last),
        _ => (0, 0),
    };
    let head = from.get(..from.len().saturating_sub(1)).unwrap_or_default().to_vec();
    (first..last).skip(1).map(move |number| [head.as_slice(), &[number]].concat())
}

fn page(data: &Data, matrix: &Matrix) -> anyhow::Result<String> {
    let mut text = String::from(
        "# RFC by RFC\n\n\
         Written by `cargo xtask rfc` from the comments of the tree, and from `docs/rfc.toml` for what is left \
         out; `cargo xtask rfc --check` says whether it is up to date. Folders are those of `crates`.\n",
    );
    let mut numbers: BTreeSet<u16> = matrix.keys().copied().collect();
    numbers.extend(data.rfc.iter().map(|rfc| rfc.number));
    for number in numbers {
        let by_hand = data.rfc.iter().find(|rfc| rfc.number == number);
        match by_hand {
            Some(rfc) => writeln!(text, "\n## RFC {number}: {}", rfc.title)?,
            None => writeln!(text, "\n## RFC {number}")?,
        }
        if let Some(sections) = matrix.get(&number) {
            text.push_str("\n| section | code | tests |\n|---|---|---|\n");
            for (section, places) in sections {
                let section: Vec<String> = section.iter().map(u16::to_string).collect();
                let (code, tests) = (list(&places.code), list(&places.tests));
                writeln!(text, "| {} | {code} | {tests} |", section.join("."))?;
            }
        }
        let left_out = by_hand.map(|rfc| rfc.left_out.as_slice()).unwrap_or_default();
        if !left_out.is_empty() {
            text.push_str("\nLeft out:\n\n");
            for LeftOut { section, what, why } in left_out {
                writeln!(text, "- §{section}, {what}: {why}")?;
            }
        }
    }
    Ok(text)
}

/// The files of one folder together, their folder said once.
fn list(files: &BTreeSet<String>) -> String {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files {
        let short = file.strip_prefix("crates/").unwrap_or(file);
        let (folder, name) = short.rsplit_once('/').unwrap_or(("", short));
        folders.entry(folder).or_default().push(name.strip_suffix(".rs").unwrap_or(name));
    }
    let folders: Vec<String> = folders
        .into_iter()
        .map(|(folder, names)| match names.as_slice() {
            [name] => format!("`{folder}/{name}`"),
            names => format!("`{folder}/{{{}}}`", names.join(",")),
        })
        .collect();
    folders.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(comment: &str) -> Vec<String> {
        let name = |(rfc, section): (u16, Section)| {
            let section: Vec<String> = section.iter().map(u16::to_string).collect();
            format!("{rfc}/{}", section.join("."))
        };
        sections(comment).into_iter().map(name).collect()
    }

    #[test]
    fn sections_are_found_in_prose() {
        let rows: [(&str, &[&str]); 9] = [
            ("RFC 6275 §9.5.1: text.", &["6275/9.5.1"]),
            ("(RFC 6275 §9.4.1, §9.4.3).", &["6275/9.4.1", "6275/9.4.3"]),
            (
                "RFC 6275 §6.1.3 to §6.1.5, RFC 5648 §6.1",
                &["5648/6.1", "6275/6.1.3", "6275/6.1.4", "6275/6.1.5"],
            ),
            ("RFC 4443 §2.4 (f) and RFC 8200 §4", &["4443/2.4", "8200/4"]),
            ("by RFC 5648, erratum 1904; §6.2", &["5648/6.2"]),
            ("§6.2 of nothing", &[]),
            ("RFC 6275 alone", &[]),
            ("RFC 6275 §9.9 to the end §9.10", &["6275/9.9", "6275/9.10"]),
            ("RFC 6275 §5 to §6.2", &["6275/5", "6275/6.2"]),
        ];
        for (comment, expected) in rows {
            assert_eq!(named(comment), expected, "{comment}");
        }
    }

    #[test]
    fn comments_end_where_code_begins() {
        let text =
            "//! RFC 6275\n//! §9.4 and\nuse x; // RFC 5648 §4.3\n/// §7 of what?\nfn f() {}\n";
        let expected = [(5648, vec![4, 3]), (6275, vec![9, 4])];
        assert_eq!(mentions(text).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tests_are_told_from_code() {
        let text = "// RFC 1 §1\n#[cfg(test)]\nmod tests {\n// RFC 1 §2\n}\n";
        let (code, tests) = halves("crates/core/wire/src/udp.rs", text);
        assert_eq!(mentions(code).len(), 1);
        assert_eq!(mentions(tests).into_iter().next(), Some((1, vec![2])));
        assert_eq!(halves("crates/core/binding/src/tests/model.rs", text), ("", text));
        assert_eq!(halves("tests/src/fuzz/mod.rs", text), ("", text));
    }

    #[test]
    fn the_page_is_in_order_and_says_what_is_left_out() {
        let mut matrix = Matrix::new();
        let sections = matrix.entry(9000).or_default();
        for (section, file) in [
            (vec![10], "crates/core/wire/src/b.rs"),
            (vec![9, 1], "crates/core/wire/src/a.rs"),
            (vec![10], "crates/core/wire/src/a.rs"),
        ] {
            sections.entry(section).or_default().code.insert(file.to_owned());
        }
        let data = "[[rfc]]\nnumber = 8000\ntitle = \"T\"\n[[rfc.left_out]]\nsection = \"3\"\n\
                    what = \"x\"\nwhy = \"y.\"\n";
        let data: Data = toml::from_str(data).expect("is right");
        let text = page(&data, &matrix).expect("is written");
        let (_, text) = text.split_once("\n## ").expect("has RFCs");
        let expected = "RFC 8000: T\n\nLeft out:\n\n- §3, x: y.\n\n## RFC 9000\n\n\
                        | section | code | tests |\n|---|---|---|\n\
                        | 9.1 | `core/wire/src/a` |  |\n| 10 | `core/wire/src/{a,b}` |  |\n";
        assert_eq!(text, expected);
    }
}
