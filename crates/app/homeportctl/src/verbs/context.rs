//! `homeportctl context`: which clusters there are, and which of them is meant.

use std::io::{self, Read as _};

use clap::ValueEnum as _;
use homeport_api::bearer::{Bearer, TOKEN_OCTETS_MAX};
use serde_json::{Value, json};

use crate::{
    arguments::{ContextAction, Format},
    contexts::{Context, Contexts},
    failure::Failure,
    output::{self, Columns},
};

const COLUMNS: Columns =
    Columns { names: &["CURRENT", "NAME", "STORES", "TOKEN", "TLS", "OUTPUT"], narrow: 6 };

pub(crate) fn run(format: Format, action: &ContextAction) -> Result<String, Failure> {
    let mut file = Contexts::load()?;
    let what = match action {
        ContextAction::List => {
            let current = file.current.as_deref();
            let all: Vec<Shown<'_>> = file
                .contexts
                .iter()
                .map(|(name, context)| (name.as_str(), context, current == Some(name)))
                .collect();
            return Ok(output::list_of(format, COLUMNS, &all, rows, document));
        }
        ContextAction::Use { name } => {
            file.named(name, "NAME")?;
            file.current = Some(name.clone());
            format!("{name} is used from now on")
        }
        ContextAction::Set { name, settings } => {
            let is_first = file.contexts.is_empty();
            let context = file.contexts.entry(name.clone()).or_default();
            for setting in settings {
                set(context, setting)?;
            }
            if is_first {
                file.current = Some(name.clone());
            }
            match file.current.as_ref() == Some(name) {
                true => format!("{name} is set, and used"),
                false => format!("{name} is set; homeportctl context use {name}"),
            }
        }
        ContextAction::Remove { name } => {
            file.named(name, "NAME")?;
            file.contexts.remove(name);
            let was_used = file.current.take_if(|current| current == name).is_some();
            format!("{name} is gone{}", if was_used { ", and none is used now" } else { "" })
        }
    };
    file.save()?;
    Ok(output::done(format, &what))
}

/// KEY=VALUE; an empty value takes the key out.
fn set(context: &mut Context, setting: &str) -> Result<(), Failure> {
    let wrong = |what: String| Failure::Usage(format!("{setting}: {what}"));
    let Some((key, value)) = setting.split_once('=') else {
        return Err(wrong("expected KEY=VALUE, such as stores=store-1:7101,store-2:7101".into()));
    };
    match (key, value) {
        ("stores", _) => {
            let stores = value.split(',').map(str::trim).filter(|store| !store.is_empty());
            context.stores = stores.map(str::to_owned).collect();
        }
        ("token", "") => context.token = None,
        ("token", "-") => {
            context.token = Some(from_standard_input()?);
            context.token_file = None;
        }
        // Not shown again.
        ("token", _) => {
            let what = "token: a token on the command line is seen by others; expected token=-, which reads it \
                        from standard input";
            return Err(Failure::Usage(what.to_owned()));
        }
        ("token_file", "") => context.token_file = None,
        ("token_file", _) => {
            let file = std::path::absolute(value).map_err(|error| wrong(error.to_string()))?;
            Bearer::of_file(&file).map_err(|error| wrong(error.to_string()))?;
            context.token_file = Some(file);
            context.token = None;
        }
        ("tls_ca" | "tls_cert" | "tls_key", _) => {
            let file = std::path::absolute(value).map_err(|error| wrong(error.to_string()));
            let place = match key {
                "tls_ca" => &mut context.tls_ca,
                "tls_cert" => &mut context.tls_cert,
                _ => &mut context.tls_key,
            };
            *place = if value.is_empty() { None } else { Some(file?) };
        }
        ("output", "") => context.output = None,
        ("output", _) => {
            let known = || {
                let all = Format::value_variants().iter().filter_map(Format::to_possible_value);
                all.map(|it| it.get_name().to_owned()).collect::<Vec<_>>().join(", ")
            };
            let format = Format::from_str(value, false);
            context.output =
                Some(format.map_err(|_| wrong(format!("expected one of {}", known())))?);
        }
        _ => {
            let known = "stores, token, token_file, tls_ca, tls_cert, tls_key or output";
            return Err(wrong(format!("no such key; expected {known}")));
        }
    }
    Ok(())
}

fn from_standard_input() -> Result<String, Failure> {
    let wrong = |what: String| Failure::Usage(format!("token: standard input: {what}"));
    let max = u64::try_from(TOKEN_OCTETS_MAX).unwrap_or(u64::MAX).saturating_mul(2);
    let mut token = String::new();
    let read = io::stdin().take(max).read_to_string(&mut token);
    read.map_err(|error| wrong(error.to_string()))?;
    let token = token.trim();
    Bearer::new(token).map_err(|error| wrong(error.to_string()))?;
    Ok(token.to_owned())
}

/// Name, what stands there, and whether it is the current one.
type Shown<'c> = (&'c str, &'c Context, bool);

/// Where the token is; never itself.
fn token(context: &Context) -> Option<String> {
    match (&context.token, &context.token_file) {
        (Some(_), _) => Some("in the file".to_owned()),
        (None, Some(file)) => Some(file.display().to_string()),
        (None, None) => None,
    }
}

fn certificate(context: &Context) -> Option<String> {
    context.tls_cert.as_ref().map(|file| file.display().to_string())
}

fn rows((name, context, is_current): &Shown<'_>) -> Vec<Vec<String>> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let stores = (!context.stores.is_empty()).then(|| context.stores.join(","));
    let current = if *is_current { "*" } else { "-" };
    vec![vec![
        current.to_owned(),
        (*name).to_owned(),
        or_dash(stores),
        or_dash(token(context)),
        or_dash(certificate(context)),
        or_dash(context.output.map(name_of)),
    ]]
}

fn name_of(format: Format) -> String {
    format.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

fn document((name, context, is_current): &Shown<'_>) -> Value {
    json!({
        "name": name,
        "current": is_current,
        "stores": context.stores,
        "token": token(context),
        "tls_cert": certificate(context),
        "output": context.output.map(name_of),
    })
}
