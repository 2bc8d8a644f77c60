//! What was not told by flags: the environment says it, else the context, else it is as always.

use std::{
    env,
    path::{Path, PathBuf},
};

use homeport_api::bearer::Bearer;
use homeport_tls::{Links, Role, TlsConfig};

use crate::{
    arguments::{Arguments, Format},
    contexts::{Context, Contexts},
    failure::Failure,
};

/// The environment variable that may hold a token: one on the command line would be seen by others.
const TOKEN: &str = "HOMEPORT_TOKEN";
/// The environment variable that names stores.
const ENDPOINTS: &str = "HOMEPORT_ENDPOINTS";
/// The store that is asked when none is named.
const ENDPOINT: &str = "127.0.0.1:7101";

/// How the cluster is reached, and how answers are printed.
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    pub(crate) bearer: Bearer,
    pub(crate) links: Links,
    pub(crate) format: Format,
}

impl Settings {
    /// What flags and the environment say alone.
    pub(crate) fn without_file(arguments: &Arguments) -> Self {
        let format = arguments.output.unwrap_or_default();
        let (bearer, links) = (Bearer::default(), Links::default());
        Self { endpoints: vec![ENDPOINT.to_owned()], bearer, links, format }
    }

    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let contexts = Contexts::load()?;
        let context = context(arguments, &contexts)?;
        let stores = context.map(|it| it.stores.clone()).filter(|stores| !stores.is_empty());
        let told = env::var(ENDPOINTS).ok().filter(|told| *told == arguments.endpoints.join(","));
        if arguments.context.is_some() && stores.is_some() && told.is_some() {
            eprintln!("warning: {ENDPOINTS} is set, so the stores of the context are not asked");
        }
        let endpoints = match (arguments.endpoints.is_empty(), stores) {
            (false, _) => arguments.endpoints.clone(),
            (true, Some(stores)) => stores,
            (true, None) => vec![ENDPOINT.to_owned()],
        };
        let output = arguments.output.or_else(|| context?.output);
        let bearer = bearer(arguments, &contexts, context)?;
        let links = links(arguments, &contexts, context)?;
        Ok(Self { endpoints, bearer, links, format: output.unwrap_or_default() })
    }
}

/// The one that is named, else the current one. An empty name is for who wants none.
fn context<'c>(
    arguments: &Arguments,
    contexts: &'c Contexts,
) -> Result<Option<&'c Context>, Failure> {
    match (&arguments.context, &contexts.current) {
        (Some(name), _) if name.is_empty() => Ok(None),
        (Some(name), _) => contexts.named(name, "--context").map(Some),
        (None, Some(current)) => Ok(contexts.contexts.get(current)),
        (None, None) => Ok(None),
    }
}

/// Who the stores are told that calls.
fn bearer(
    arguments: &Arguments,
    contexts: &Contexts,
    context: Option<&Context>,
) -> Result<Bearer, Failure> {
    let of_file = |by: &str, file: &Path| {
        let wrong = |error| Failure::Usage(format!("{by}: {}: {error}", file.display()));
        Bearer::of_file(file).map_err(wrong)
    };
    if let Some(file) = &arguments.token_file {
        return of_file("--token-file", file);
    }
    if let Ok(token) = env::var(TOKEN) {
        return Bearer::new(&token).map_err(|error| Failure::Usage(format!("{TOKEN}: {error}")));
    }
    let Some(context) = context else { return Ok(Bearer::default()) };
    if let Some(token) = &context.token {
        let wrong = |error| Failure::Usage(format!("token of the context: {error}"));
        return Bearer::new(token).map_err(wrong);
    }
    let Some(file) = &context.token_file else { return Ok(Bearer::default()) };
    of_file("token_file of the context", &contexts.beside(file))
}

/// Plain ones where nothing names a certificate.
fn links(
    arguments: &Arguments,
    contexts: &Contexts,
    context: Option<&Context>,
) -> Result<Links, Failure> {
    let file = |given: &Option<PathBuf>, of_context: fn(&Context) -> &Option<PathBuf>| {
        let kept = || Some(contexts.beside(of_context(context?).as_deref()?));
        given.clone().or_else(kept)
    };
    let ca = file(&arguments.tls_ca, |it| &it.tls_ca);
    let certificate = file(&arguments.tls_cert, |it| &it.tls_cert);
    let key = file(&arguments.tls_key, |it| &it.tls_key);
    let (ca, certificate, key) = match (ca, certificate, key) {
        (None, None, None) => return Ok(Links::default()),
        (Some(ca), Some(certificate), Some(key)) => (ca, certificate, key),
        (ca, certificate, _) => {
            let absent = match (ca, certificate) {
                (None, _) => "--tls-ca",
                (_, None) => "--tls-cert",
                _ => "--tls-key",
            };
            let what = format!(
                "{absent} is missing; expected --tls-ca, --tls-cert and --tls-key together, or keys of the context"
            );
            return Err(Failure::Usage(what));
        }
    };
    let config = TlsConfig::of_own_domain(certificate, key, ca);
    Links::fixed(&config, Role::Operator).map_err(|refusal| {
        let flag = match refusal.key.as_str() {
            "tls.ca_file" => "--tls-ca",
            "tls.key_file" => "--tls-key",
            _ => "--tls-cert",
        };
        Failure::Usage(format!("{flag}: {}; expected {}", refusal.wrong, refusal.expected))
    })
}
