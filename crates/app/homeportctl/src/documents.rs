//! The command lines in the documents are those of this program.

use clap::{Parser as _, error::ErrorKind};

use crate::arguments::Arguments;

const DOCUMENTS: [(&str, &str); 15] = [
    ("README.md", include_str!("../../../../README.md")),
    ("operations/README.md", include_str!("../../../../docs/operations/README.md")),
    ("operations/alarms.md", include_str!("../../../../docs/operations/alarms.md")),
    ("operations/backup.md", include_str!("../../../../docs/operations/backup.md")),
    ("operations/certificates.md", include_str!("../../../../docs/operations/certificates.md")),
    ("operations/checks.md", include_str!("../../../../docs/operations/checks.md")),
    ("operations/dashboard.md", include_str!("../../../../docs/operations/dashboard.md")),
    ("operations/drain.md", include_str!("../../../../docs/operations/drain.md")),
    ("operations/errors.md", include_str!("../../../../docs/operations/errors.md")),
    ("operations/home-prefixes.md", include_str!("../../../../docs/operations/home-prefixes.md")),
    ("operations/install.md", include_str!("../../../../docs/operations/install.md")),
    ("operations/kubernetes.md", include_str!("../../../../docs/operations/kubernetes.md")),
    (
        "operations/lose-a-majority.md",
        include_str!("../../../../docs/operations/lose-a-majority.md"),
    ),
    ("operations/lose-a-node.md", include_str!("../../../../docs/operations/lose-a-node.md")),
    ("operations/upgrade.md", include_str!("../../../../docs/operations/upgrade.md")),
];

#[test]
fn what_the_documents_type_is_understood() {
    let mut tried = 0;
    for (document, text) in DOCUMENTS {
        for line in commands(text) {
            let words = words(&line);
            let Err(error) = Arguments::try_parse_from(&words) else {
                tried += 1;
                continue;
            };
            // Capital letters stand for a value, and a name of a command alone is a way to speak of it.
            let is_spoken = matches!(
                error.kind(),
                ErrorKind::ValueValidation
                    | ErrorKind::InvalidValue
                    | ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelp
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::MissingSubcommand
            );
            assert!(is_spoken, "{document}: {line}\n{error}");
        }
    }
    assert!(tried > 40, "{tried}");
}

/// Indented lines and what stands between backticks, from the program's name on.
fn commands(text: &str) -> Vec<String> {
    // A command that goes on in the next line ends with a backslash, or within its backticks.
    let joined = text.replace("\\\n", " ");
    let indented = joined.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let indented = indented.map(|line| line.strip_prefix("$ ").unwrap_or(line).to_owned());
    let outside = joined.lines().filter(|line| !line.starts_with("    ")).collect::<Vec<_>>();
    let outside = outside.join("\n");
    let quoted = outside.split('`').skip(1).step_by(2).map(|it| it.replace('\n', " "));
    let all = indented.chain(quoted).filter(|line| line.starts_with("homeportctl "));
    all.map(|line| line.split([';', '|', '>']).next().unwrap_or_default().trim().to_owned())
        .filter(|line| !["...", "$(", " VERB"].iter().any(|it| line.contains(it)))
        .collect()
}

/// As a shell splits them; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.split(" #").next().unwrap_or(line).chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.push(String::new()),
            (c, _) => {
                if let Some(last) = words.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
