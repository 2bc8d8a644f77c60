//! What is said of keys.

use homeport_runtime::config::schema::{Key, nearest};

use super::Role;

/// Of one key, of a table with all that is in it, or of everything.
///
/// # Errors
/// There is no such key; the text says which may have been meant.
pub(super) fn explain(key: Option<&str>, roles: &[Role]) -> Result<String, String> {
    let Some(asked) = key else {
        return Ok(roles
            .iter()
            .map(|role| tree(*role, &role.keys()))
            .collect::<Vec<_>>()
            .join("\n"));
    };
    // A place in a list says nothing of what may stand there: processes[0].name, peers.3.
    let asked = place_of(asked);
    let mut found: Vec<(Key, Vec<Role>)> = Vec::new();
    for role in roles {
        for key in role.keys().into_iter().filter(|key| place_of(&key.path) == asked) {
            match found.iter_mut().find(|(other, _)| *other == key) {
                Some((_, roles)) => roles.push(*role),
                None => found.push((key, vec![*role])),
            }
        }
    }
    if found.is_empty() {
        return Err(unknown(&asked, roles));
    }
    let texts = found.iter().map(|(key, of)| {
        let mut text = one(key, of);
        if key.is_table()
            && let Some(role) = of.first()
        {
            let within = format!("{}.", place_of(&key.path));
            let keys = role.keys();
            let inner: Vec<_> =
                keys.iter().filter(|it| place_of(&it.path).starts_with(&within)).collect();
            text += &format!("\n{}", lines(&inner, key.depth() + 1));
        }
        text
    });
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

fn place_of(key: &str) -> String {
    let plain = |name: &str| {
        let name = name.split_once('[').map_or(name, |(list, _)| list);
        let is_number = name == "N" || name.parse::<u64>().is_ok();
        if is_number { "N".to_owned() } else { name.to_owned() }
    };
    key.split('.').map(plain).collect::<Vec<_>>().join(".")
}

fn unknown(asked: &str, roles: &[Role]) -> String {
    let keys: Vec<String> =
        roles.iter().flat_map(|role| role.keys()).map(|key| place_of(&key.path)).collect();
    // Who leaves out the table has the name right.
    let last = |key: &'_ str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let names: Vec<String> = keys.iter().map(|key| last(key)).collect();
    let meant = nearest(asked, keys.iter().map(String::as_str)).or_else(|| {
        let name = nearest(asked, names.iter().map(String::as_str))?;
        keys.iter().find(|key| last(key) == name).map(String::as_str)
    });
    let of = match roles {
        [role] => format!(" of {}", role.name()),
        _ => String::new(),
    };
    match meant {
        Some(meant) => format!("there is no key `{asked}`{of}; did you mean `{meant}`?"),
        None => format!("there is no key `{asked}`{of}; without a key, config explain lists all"),
    }
}

/// All of one key.
fn one(key: &Key, roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let mut text = format!("{}, {}, of {}\n", key.path, key.kind, names.join(", "));
    text += &format!("  {}\n", key.description);
    let mut fact = |name: &str, what: &str| text += &format!("  {name:<12}{what}\n");
    if !key.is_table() {
        fact("allowed", &key.allowed);
        if let Some(unit) = key.unit {
            fact("unit", unit);
        }
    }
    for (word, means) in &key.choices {
        fact("", &format!("\"{word}\": {means}"));
    }
    fact("default", &default(key));
    fact("variable", key.variable.as_deref().unwrap_or("none: its name is homeportctl's"));
    if !key.path.contains("[]") && !key.is_table() {
        fact("flag", &format!("--set {}=VALUE", key.path));
    }
    if !key.is_table() {
        fact("at SIGHUP", if key.is_live { "is taken" } else { "needs a restart" });
    }
    text
}

fn default(key: &Key) -> String {
    match &key.default {
        Some(default) => default.clone(),
        None if key.path.ends_with(".N") => "none".to_owned(),
        None if key.is_required && key.depth() > 0 => "none: its table must have it".to_owned(),
        None if key.is_required => "none: it must be there".to_owned(),
        None => "none: may be left out".to_owned(),
    }
}

fn tree(role: Role, keys: &[Key]) -> String {
    let keys: Vec<&Key> = keys.iter().collect();
    format!("{}\n{}", role.name(), lines(&keys, 0))
}

/// A line for each, deeper ones further right.
fn lines(keys: &[&Key], depth: usize) -> String {
    let name = |key: &Key| {
        let indent = "  ".repeat(1 + key.depth().saturating_sub(depth));
        format!("{indent}{}", key.name())
    };
    let width = keys.iter().map(|key| name(key).len()).max().unwrap_or(0);
    let line = |key: &&Key| {
        let what = match (&key.default, key.is_required) {
            (Some(default), _) => format!("{}, default {default}", key.kind),
            (None, true) => format!("{}, required", key.kind),
            (None, false) => key.kind.clone(),
        };
        let live = if key.is_live { ", taken at SIGHUP" } else { "" };
        format!("{:<width$}  {what}{live}\n", name(key))
    };
    keys.iter().map(line).collect()
}
