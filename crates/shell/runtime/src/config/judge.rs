//! Holds the values of a configuration against its schema: every fault at once, each with its key, where it was
//! set, what stands there and what may.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, SocketAddrV4},
    path::Path,
};

use figment::{Figment, value::Value};
use serde_json::Value as Schema;
use tracing_subscriber::EnvFilter;

use super::{
    Fault, Origin,
    schema::{allowed, choices, kind_of, nearest, numbered, one_of, properties, range, unit_of},
};

/// Everything that is wrong.
pub(super) fn faults(
    schema: &Schema,
    values: &BTreeMap<String, Value>,
    figment: &Figment,
    path: &Path,
) -> Vec<Fault> {
    let mut judge = Judge { figment, path, faults: vec![] };
    judge.table(schema, values, "", &Origin::File(path.to_owned()));
    judge.faults
}

struct Judge<'c> {
    figment: &'c Figment,
    path: &'c Path,
    faults: Vec<Fault>,
}

impl Judge<'_> {
    fn refuse(
        &mut self,
        origin: &Origin,
        key: &str,
        wrong: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (origin, key) = (origin.clone(), key.to_owned());
        self.faults.push(Fault { origin, key, wrong: wrong.into(), expected: expected.into() });
    }

    fn table(
        &mut self,
        schema: &Schema,
        values: &BTreeMap<String, Value>,
        within: &str,
        origin: &Origin,
    ) {
        let path_of = |name: &str| {
            if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
        };
        for (name, value) in values {
            let found = properties(schema).find(|(known, _)| *known == name);
            if let Some((_, schema)) = found {
                self.value(schema, value, &path_of(name));
            } else if let Some(schema) = numbered(schema) {
                match name.parse::<u64>() {
                    Ok(_) => self.value(schema, value, &path_of(name)),
                    Err(_) => {
                        let wrong = format!("has the key {name:?}");
                        let expected = "keys that are numbers, such as 1 = \"store-1:7101\"";
                        self.refuse(&self.origin(value), within, wrong, expected);
                    }
                }
            } else {
                let known: Vec<&str> = properties(schema).map(|(name, _)| name.as_str()).collect();
                let wrong = match nearest(name, known.iter().copied()) {
                    Some(meant) => {
                        let meant = path_of(meant);
                        format!("is not a key that exists here, did you mean `{meant}`?")
                    }
                    None => "is not a key that exists here".to_owned(),
                };
                self.refuse(&self.origin(value), &path_of(name), wrong, one_of(&known));
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Schema::as_str) {
            if !values.contains_key(name) {
                let expected = allowed(&schema["properties"][name]);
                self.refuse(origin, &path_of(name), "is missing", expected);
            }
        }
    }

    fn value(&mut self, schema: &Schema, value: &Value, key: &str) {
        let origin = self.origin(value);
        let fits = match (kind_of(schema), value) {
            ("object", Value::Dict(_, values)) => {
                self.table(schema, values, key, &origin);
                true
            }
            ("array", Value::Array(_, values)) => {
                for (place, value) in values.iter().enumerate() {
                    self.value(&schema["items"], value, &format!("{key}[{place}]"));
                }
                within(schema, "Items", values.len())
            }
            ("string", Value::String(_, text)) => is_such_text(schema, text),
            ("integer", Value::Num(_, number)) => {
                let (least, most) = range(schema);
                let whole = number
                    .to_i128()
                    .or_else(|| number.to_u128().and_then(|it| i128::try_from(it).ok()));
                whole.is_some_and(|it| least <= it && most.is_none_or(|most| it <= most))
            }
            ("boolean", Value::Bool(..)) => true,
            _ => false,
        };
        if fits {
            return;
        }
        let mut expected = allowed(schema);
        if let Some(unit) = unit_of(key) {
            expected += &format!(" {unit}");
        }
        let is_text = kind_of(schema) == "string" && !matches!(value, Value::String(..));
        if is_text && !matches!(origin, Origin::File(_)) {
            expected +=
                "; here a text that looks like something else needs quotes of its own: '\"5\"'";
        }
        self.refuse(&origin, key, found(value), expected);
    }

    fn origin(&self, value: &Value) -> Origin {
        Origin::of(self.figment.get_metadata(value.tag()), self.path)
    }
}

fn within(schema: &Schema, what: &str, count: usize) -> bool {
    let bound = |end: &str| schema[format!("{end}{what}")].as_u64();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    bound("min").is_none_or(|least| least <= count) && bound("max").is_none_or(|most| count <= most)
}

fn is_such_text(schema: &Schema, text: &str) -> bool {
    let words = choices(schema);
    if !words.is_empty() {
        return words.contains(&text);
    }
    let is_format = match schema["format"].as_str() {
        Some("address-and-port") => text.parse::<SocketAddr>().is_ok(),
        Some("ipv4-address-and-port") => text.parse::<SocketAddrV4>().is_ok(),
        Some("host-and-port") => is_host_and_port(text),
        Some("log-filter") => EnvFilter::builder().parse(text).is_ok(),
        _ => true,
    };
    is_format && within(schema, "Length", text.chars().count())
}

/// `store-1:7101`, `192.0.2.1:7101`, `[2001:db8::1]:7101`.
fn is_host_and_port(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let is_host = |host: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !host.is_empty() && host.chars().all(plain)
    };
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

/// What stands there, short enough for a line.
fn found(value: &Value) -> String {
    const CHARACTERS_MAX: usize = 60;
    match value {
        Value::Dict(..) => "is a table".to_owned(),
        Value::Array(_, values) => format!("is a list of {}", values.len()),
        Value::Bool(_, it) => format!("is {it}"),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(it), _, _) => format!("is {it}"),
            (None, Some(it), _) => format!("is {it}"),
            (None, None, Some(it)) => format!("is {it:?}"),
            (None, None, None) => "is a number".to_owned(),
        },
        Value::String(_, text) if text.chars().count() > CHARACTERS_MAX => {
            let begin: String = text.chars().take(CHARACTERS_MAX).collect();
            format!("is {begin:?}...")
        }
        Value::String(_, text) => format!("is {text:?}"),
        Value::Char(_, it) => format!("is {it:?}"),
        Value::Empty(..) => "is empty".to_owned(),
    }
}
