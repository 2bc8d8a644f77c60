//! The documents link to what is there: files of the repository, and headings in them.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where documents stand; the rest of the repository is code.
const PLACES: [&str; 4] = ["docs", "migrations", "tests", "crates"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents: Vec<PathBuf> = Vec::new();
    for place in PLACES {
        gather(&root().join(place), &mut documents);
    }
    let here = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(here.filter(|path| path.extension().is_some_and(|it| it == "md")));
    let mut followed = 0;
    let mut broken = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for link in links(&text) {
            followed += 1;
            if let Some(why) = fault(document, &link) {
                broken.push(format!("{}: {link}: {why}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(
        documents.len() > 20 && followed > 100,
        "{} documents, {followed} links",
        documents.len()
    );
}

/// What operators are told of a name, by `#`, is on the page.
#[test]
fn every_page_for_operators_is_in_the_index() {
    let place = root().join("docs/operations");
    let index = fs::read_to_string(place.join("README.md")).unwrap();
    let linked: BTreeSet<String> = links(&index).into_iter().map(|link| page_of(&link)).collect();
    for entry in fs::read_dir(place).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || linked.contains(&name), "{name} is not in README.md");
    }
}

fn page_of(link: &str) -> String {
    link.split('#').next().unwrap_or_default().to_owned()
}

fn gather(folder: &Path, documents: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.ends_with("target") {
                continue;
            }
            gather(&path, documents);
        } else if path.extension().is_some_and(|it| it == "md") {
            documents.push(path);
        }
    }
}

/// Links within the repository, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.starts_with("    ") {
            continue;
        }
        // What stands between backticks is no link.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("_");
        for after in plain.split("](").skip(1) {
            let link = after.split(')').next().unwrap_or_default().trim();
            if !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") {
                found.push(link.to_owned());
            }
        }
    }
    found
}

fn fault(document: &Path, link: &str) -> Option<&'static str> {
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match page {
        "" => document.to_owned(),
        page => document.parent()?.join(page),
    };
    if !target.exists() {
        return Some("there is no such file");
    }
    if anchor.is_empty() || target.extension().is_none_or(|it| it != "md") {
        return None;
    }
    let text = fs::read_to_string(&target).ok()?;
    (!anchors(&text).contains(anchor)).then_some("there is no such heading")
}

/// As forges make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = heading.chars().filter(kept).collect();
        found.insert(anchor.replace(' ', "-"));
    }
    found
}
