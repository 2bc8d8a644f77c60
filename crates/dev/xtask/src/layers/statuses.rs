//! No rule is decided outside the core: what is built on it names no status of an answer.
//!
//! Roles, shell and the program carry statuses about; which one an answer has is the core's to say. The
//! conversions of shell/api may name the types, but neither there is a value of theirs written down.
//! tonic's `Status` is another one: its constructors are functions, their names in lower case.

use std::{fs, path::Path};

use super::{Crate, Layer, sources};

/// Types of statuses in homeport-wire. The first shares its name with tonic's.
const TYPES: [&str; 5] =
    ["Status", "FlowStatus", "Ipv4AddressStatus", "BindingErrorStatus", "RevocationStatus"];

/// The crate whose types they are.
const CODEC: &str = "homeport_wire";

/// The crate that writes statuses into messages of ours and reads them back.
const CONVERTS: (Layer, &str) = (Layer::Shell, "api");

/// Crates whose sources are looked through.
pub(super) fn is_checked(package: &Crate) -> bool {
    match package.layer {
        Layer::Role | Layer::Shell => true,
        Layer::App => package.folder == "homeport",
        Layer::Core | Layer::Dev => false,
    }
}

/// What the sources of one crate say of statuses, tests aside.
pub(super) fn named(package: &Crate) -> anyhow::Result<Vec<String>> {
    let may_name_types = (package.layer, package.folder.as_str()) == CONVERTS;
    let mut found = Vec::new();
    for source in sources(&package.path.join("src"))? {
        let text = fs::read_to_string(&source)?;
        for (line, what) in violations(&text, may_name_types) {
            let inside = source.strip_prefix(&package.path).unwrap_or_else(|_| Path::new(""));
            found.push(format!("{}: {}:{line}: {what}", package.name, inside.display()));
        }
    }
    Ok(found)
}

/// Line numbers, and what stands there.
fn violations(source: &str, may_name_types: bool) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| *word);
    let mut found = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        if *token == CODEC && !may_name_types {
            let names = imported(&tokens[at + 1..]);
            for name in names.filter(|name| *name == TYPES[0] || *name == "*") {
                found.push((*line, format!("names {CODEC}::{name}")));
            }
        }
        if !TYPES.contains(token) {
            continue;
        }
        let follows = word(at + 2).chars().next();
        if word(at + 1) == "::" && is_constant(word(at + 2)) {
            found.push((*line, format!("names {token}::{}", word(at + 2))));
        } else if word(at + 1) == "(" && follows.is_some_and(|first| first.is_ascii_digit()) {
            found.push((*line, format!("writes {token}({})", word(at + 2))));
        } else if *token != TYPES[0] && !may_name_types {
            found.push((*line, format!("names {token}")));
        }
    }
    found
}

/// `SOMETHING_LIKE_THIS`.
fn is_constant(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The names that a path takes from a crate: what follows `::`, or all within its braces.
fn imported<'t>(tokens: &'t [(usize, &'t str)]) -> impl Iterator<Item = &'t str> {
    let is_path = tokens.first().is_some_and(|(_, token)| *token == "::");
    let mut depth = 0_usize;
    let mut at_end = !is_path;
    tokens.iter().skip(1).map(|(_, token)| *token).take_while(move |token| {
        if at_end {
            return false;
        }
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at_end = depth == 0;
        true
    })
}

/// Words and punctuation with their lines, without comments, texts and what only tests compile.
fn tokens(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lines = source.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines);
            continue;
        }
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("//") {
                break;
            }
            let len = token_len(rest, first);
            let (token, after) = rest.split_at(len);
            if !first.is_whitespace() && first != '"' {
                found.push((number + 1, token));
            }
            rest = after;
        }
    }
    found
}

/// Octets of the token at the start.
fn token_len(rest: &str, first: char) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if is_word(first) {
        return rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    }
    if first == '"' {
        // A text without escaped quotes ends at the next; one that goes on in the next line is read
        // as words, which at worst names too much.
        return rest[1..].find('"').map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with("::") { 2 } else { first.len_utf8() }
}

/// The item behind `#[cfg(test)]`: one line, or up to the brace at its own indentation.
fn skip_item<'s>(lines: &mut impl Iterator<Item = (usize, &'s str)>) {
    let Some((_, head)) = lines.find(|(_, line)| !line.trim_start().starts_with("#[")) else {
        return;
    };
    if head.trim_end().ends_with('{') {
        let indentation = head.len() - head.trim_start().len();
        let is_end = |line: &str| line.trim() == "}" && line.find('}') == Some(indentation);
        lines.find(|(_, line)| is_end(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_named_by_the_core_alone() {
        // (source, what a role may not say, what shell/api may not say)
        let rows: [(&str, &[&str], &[&str]); 15] = [
            ("use tonic::{Request, Status};\nlet e = Status::internal(\"x\");", &[], &[]),
            ("Err(Status::new(Code::Aborted, text))", &[], &[]),
            ("use homeport_wire::{Bid, Lifetime};\nuse tonic::Status;", &[], &[]),
            ("use homeport_wire::Status;", &["names homeport_wire::Status"], &[]),
            ("use homeport_wire::{\n    Bid, Status,\n};", &["names homeport_wire::Status"], &[]),
            ("use homeport_wire::*;", &["names homeport_wire::*"], &[]),
            ("if s == homeport_wire::Status(s.0) {}", &["names homeport_wire::Status"], &[]),
            ("use homeport_wire::FlowStatus;", &["names FlowStatus"], &[]),
            ("x.map(Status)", &[], &[]),
            ("Status::ACCEPTED", &["names Status::ACCEPTED"], &["names Status::ACCEPTED"]),
            ("s = Status(133);", &["writes Status(133)"], &["writes Status(133)"]),
            (
                "RevocationStatus::SUCCESS.0",
                &["names RevocationStatus::SUCCESS"],
                &["names RevocationStatus::SUCCESS"],
            ),
            ("/// Not [`Status::ACCEPTED`].\nfn f() {} // FlowStatus", &[], &[]),
            ("log(\"Status::ACCEPTED, FlowStatus\");", &[], &[]),
            ("#[cfg(test)]\nmod tests {\n    Status::ACCEPTED\n}\n", &[], &[]),
        ];
        for (source, role, api) in rows {
            let said = |may_name_types| {
                let found = violations(source, may_name_types).into_iter();
                found.map(|(_, what)| what).collect::<Vec<_>>()
            };
            assert_eq!(said(false), role, "a role with {source:?}");
            assert_eq!(said(true), api, "shell/api with {source:?}");
        }
    }

    #[test]
    fn what_follows_a_test_is_looked_at_again() {
        let source = "#[cfg(test)]\nmod tests;\n\n#[cfg(test)]\n#[allow(dead_code)]\nfn f() {\n    \
                      if true {\n    }\n    Status::ACCEPTED\n}\nlet status = Status::ACCEPTED;\n";
        assert_eq!(violations(source, true), [(11, "names Status::ACCEPTED".to_owned())]);
    }

    #[test]
    fn a_role_that_refuses_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("src");
        fs::create_dir_all(source.join("tests")).expect("folders");
        let text = "fn f() -> Status {\n    Status::NOT_HOME_AGENT\n}\n";
        fs::write(source.join("lib.rs"), text).expect("writes");
        fs::write(source.join("tests/refusals.rs"), text).expect("writes");
        let role = Crate {
            name: "homeport-store".to_owned(),
            folder: "store".to_owned(),
            layer: Layer::Role,
            path: folder.path().to_owned(),
            dependencies: Vec::new(),
        };
        assert!(is_checked(&role));
        let found = named(&role).expect("reads");
        assert_eq!(found, ["homeport-store: src/lib.rs:2: names Status::NOT_HOME_AGENT"]);
    }
}
