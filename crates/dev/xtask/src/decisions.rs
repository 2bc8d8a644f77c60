//! `docs/decisions.md` against the tree: the constants, rules and tests that it names are there.

use std::{collections::BTreeSet, fs, path::Path};

/// Rows of the page's tables: question, answer, where it is decided, tests, RFC.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|row: &Vec<&str>| row.first().is_some_and(|question| *question != "question"))
}

/// What stands in backticks, without the path before it.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(|path| path.rsplit("::").next().unwrap_or(path))
}

/// What the sources define: the word behind `fn` or `const`, and the fields and variants of types.
pub(crate) fn defined(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            defined(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            found.extend(text.lines().filter_map(definition).map(str::to_owned));
        }
    }
}

fn definition(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_');
    for keyword in ["const fn ", "async fn ", "fn ", "const "] {
        let behind = |at: usize| &line[at + keyword.len()..];
        if let Some(at) = line.find(keyword).filter(|at| *at == 0 || line.starts_with("pub")) {
            return behind(at).get(..end(behind(at))?);
        }
    }
    let name = line.strip_prefix("pub ").unwrap_or(line);
    let (name, rest) = name.split_at(end(name)?);
    (!name.is_empty() && matches!(rest.as_bytes(), [b':' | b',', ..])).then_some(name)
}

#[test]
fn every_decision_names_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("the tree");
    let page = fs::read_to_string(root.join("docs/decisions.md")).expect("the page");
    let mut known = BTreeSet::new();
    defined(&root.join("crates"), &mut known);
    let mut count = 0;
    for row in rows(&page) {
        let &[question, _, decided, tests, rfc] = &row[..] else { panic!("{row:?}") };
        assert!(names(decided).next().is_some() && names(tests).next().is_some(), "{question}");
        for name in names(decided).chain(names(tests)) {
            assert!(known.contains(name), "{question}: there is no {name}");
        }
        assert!(rfc.contains('§'), "{question}: {rfc}");
        count += 1;
    }
    assert!(count > 40, "{count} rows");
}

#[test]
fn definitions_are_read() {
    let rows = [
        ("    pub(crate) const fn rank(self) -> u8 {", Some("rank")),
        ("pub const BID_ZERO: Status = Status::MCOA_MALFORMED;", Some("BID_ZERO")),
        ("fn statuses_of_options() {", Some("statuses_of_options")),
        ("    pub only_router: bool,", Some("only_router")),
        ("    Gone,", Some("Gone")),
        ("    // the fn of it", None),
        ("    let answer = lab.register(r);", None),
    ];
    for (line, name) in rows {
        assert_eq!(definition(line), name, "{line}");
    }
}
