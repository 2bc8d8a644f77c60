//! The JSON Schema of a configuration, made of its types, and what it says of each key.
//!
//! Doc comments are the descriptions, serde's attributes the defaults and what is required, schemars' the
//! ranges. Of our own are `x-reload` (taken while the role runs) and the formats of addresses and filters below.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform as _},
};
use serde_json::{Map, Value, json};

use super::fault::{is_taken, variable_of};

/// The schema of a file with this configuration, without references.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
}

/// TOML has no null: what is optional is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|it| it["type"] != "null");
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (keyword, value) in only {
                object.entry(keyword).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

macro_rules! text_format {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

text_format!(
    /// `#[schemars(with = "Listen")]`: an address and port of this host.
    Listen,
    "address-and-port"
);
text_format!(
    /// The same, of IPv4 alone.
    Listen4,
    "ipv4-address-and-port"
);
text_format!(
    /// A host, by name or address, and a port.
    HostPort,
    "host-and-port"
);
text_format!(
    /// Directives of `tracing`.
    LogFilter,
    "log-filter"
);

/// What the schema says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// With its tables: `xdp.keep_secs`; `processes[].name` in a list of tables, `peers.N` where any number may
    /// stand.
    pub path: String,
    /// What it is: "whole number", "text", "table".
    pub kind: String,
    /// What may stand there.
    pub allowed: String,
    /// The words that may stand there and what each means, where they are told.
    pub choices: Vec<(String, String)>,
    /// In what it is counted, where its name says so.
    pub unit: Option<&'static str>,
    /// What holds where it does not stand there, as TOML.
    pub default: Option<String>,
    /// Whether its table must have it.
    pub is_required: bool,
    /// Whether it is taken while the role runs.
    pub is_live: bool,
    /// The environment variable that goes over it; none where that is another program's.
    pub variable: Option<String>,
    /// What it does.
    pub description: String,
}

impl Key {
    /// Whether it is a table or a list of tables, and has keys itself.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.kind.contains("table")
    }

    /// In how many tables it is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path.matches('.').count()
    }

    /// Its name in its table.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }
}

/// All keys in the order of their names, tables before what is in them.
#[must_use]
pub fn keys<T: JsonSchema>() -> Vec<Key> {
    let mut keys = Vec::new();
    collect(&of::<T>(), "", &mut keys);
    keys
}

fn collect(table: &Value, within: &str, keys: &mut Vec<Key>) {
    let required = |name: &str| {
        let names = table["required"].as_array();
        names.is_some_and(|names| names.iter().any(|it| it == name))
    };
    for (name, schema) in properties(table) {
        let path = format!("{within}{name}");
        keys.push(key(path.clone(), schema, required(name)));
        let (inner, within) = match kind_of(schema) {
            "array" => (&schema["items"], format!("{path}[].")),
            _ => (schema, format!("{path}.")),
        };
        if kind_of(inner) == "object" {
            collect(inner, &within, keys);
        }
    }
    if let Some(schema) = numbered(table) {
        keys.push(key(format!("{within}N"), schema, false));
    }
}

fn key(path: String, schema: &Value, is_required: bool) -> Key {
    let kind = match kind_of(schema) {
        "array" if kind_of(&schema["items"]) == "object" => "list of tables".to_owned(),
        "array" => "list".to_owned(),
        "object" => "table".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        _ => "text".to_owned(),
    };
    // Of a table it is what its keys say.
    let default = schema.get("default").filter(|value| !value.is_object()).map(toml_of);
    Key {
        kind,
        allowed: allowed(schema),
        choices: told_choices(schema),
        unit: unit_of(&path),
        default,
        is_required,
        is_live: schema["x-reload"] == true,
        variable: (!is_taken(&path)).then(|| variable_of(&path)),
        description: line(&schema["description"]),
        path,
    }
}

/// Units stand last in names.
pub(super) fn unit_of(name: &str) -> Option<&'static str> {
    let units = [("_secs", "seconds"), ("_ms", "milliseconds"), ("_mib", "MiB"), ("mtu", "octets")];
    units.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, unit)| unit)
}

pub(super) fn properties(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table["properties"].as_object().into_iter().flatten()
}

/// The schema of what stands under numbers.
pub(super) fn numbered(table: &Value) -> Option<&Value> {
    table["patternProperties"].as_object().and_then(|patterns| patterns.get(r"^\d+$"))
}

pub(super) fn kind_of(schema: &Value) -> &str {
    match schema["type"].as_str() {
        Some(kind) => kind,
        None if !choices(schema).is_empty() => "string",
        None => "",
    }
}

/// The words that may stand there, where only some may.
pub(super) fn choices(schema: &Value) -> Vec<&str> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let told = schema["oneOf"].as_array().into_iter().flatten();
    // Variants without a description of their own come together, the others one by one.
    let told = told.flat_map(|it| match it["enum"].as_array() {
        Some(several) => several.iter().collect(),
        None => vec![&it["const"]],
    });
    plain.chain(told).filter_map(Value::as_str).collect()
}

/// What is said of each of them, where something is.
fn told_choices(schema: &Value) -> Vec<(String, String)> {
    let told = schema["oneOf"].as_array().into_iter().flatten();
    let pair = |it: &Value| Some((it["const"].as_str()?.to_owned(), line(&it["description"])));
    told.filter_map(pair).collect()
}

/// A description without its line breaks.
fn line(description: &Value) -> String {
    description.as_str().unwrap_or_default().replace('\n', " ")
}

/// The least and the greatest whole number that may stand there.
pub(super) fn range(schema: &Value) -> (i128, Option<i128>) {
    let least = schema["minimum"].as_i64().map_or(0, i128::from);
    let most = schema["maximum"].as_u64().map(i128::from).or(match schema["format"].as_str() {
        Some("uint8") => Some(u8::MAX.into()),
        Some("uint16") => Some(u16::MAX.into()),
        Some("uint32") => Some(u32::MAX.into()),
        _ => None,
    });
    (least, most)
}

/// What may stand there, for a sentence that begins with "expected".
pub(super) fn allowed(schema: &Value) -> String {
    let words = choices(schema);
    if !words.is_empty() {
        return one_of(&words);
    }
    match kind_of(schema) {
        "integer" => match range(schema) {
            (least, Some(most)) => format!("a whole number, {least} to {most}"),
            (least, None) => format!("a whole number, {least} or more"),
        },
        "boolean" => "true or false".to_owned(),
        "array" => {
            let each = allowed(&schema["items"]);
            format!("a list{}, of each: {each}", extent(schema, "Items", "entries"))
        }
        "object" => "a table".to_owned(),
        _ => match schema["format"].as_str() {
            Some("address-and-port") => {
                "an address and port, such as \"127.0.0.1:7101\" or \"[::1]:7101\"".to_owned()
            }
            Some("ipv4-address-and-port") => {
                "an IPv4 address and port, such as \"192.0.2.1:4191\"".to_owned()
            }
            Some("host-and-port") => "a host and port, such as \"store-1:7101\"".to_owned(),
            Some("log-filter") => {
                "levels error, warn, info, debug, trace, off, also of a part: \"info,homeport_store=debug\""
                    .to_owned()
            }
            _ => format!("a text in quotes{}", extent(schema, "Length", "characters")),
        },
    }
}

fn extent(schema: &Value, what: &str, noun: &str) -> String {
    let bound = |end: &str| schema[format!("{end}{what}")].as_u64();
    match (bound("min"), bound("max")) {
        (Some(least), Some(most)) => format!(" of {least} to {most} {noun}"),
        (Some(1), None) => ", not empty".to_owned(),
        (Some(least), None) => format!(" of at least {least} {noun}"),
        (None, Some(most)) => format!(" of at most {most} {noun}"),
        (None, None) => String::new(),
    }
}

pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        [only] => format!("\"{only}\""),
        several => format!("one of \"{}\"", several.join("\", \"")),
    }
}

/// The known name that was most likely meant.
#[must_use]
pub fn nearest<'n>(found: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distance = |name: &str| strsim::damerau_levenshtein(found, name);
    let best = known.into_iter().min_by_key(|name| distance(name))?;
    (distance(best) <= best.len().max(found.len()) / 2).then_some(best)
}

/// A value as it stands in a file.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let pair = |(name, value): (&String, &Value)| format!("{name} = {}", toml_of(value));
            format!("{{ {} }}", table.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The keys whose values differ, tables followed into, in their order.
#[must_use]
pub fn differences(one: &Value, other: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ(one, other, "", &mut found);
    found
}

fn differ(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (one, other) else {
        if one != other {
            found.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let absent = json!(null);
    let of =
        |table: &Map<String, Value>, name: &str| table.get(name).cloned().unwrap_or(absent.clone());
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        differ(&of(a, name), &of(b, name), &path, found);
    }
}

#[cfg(test)]
mod tests;
