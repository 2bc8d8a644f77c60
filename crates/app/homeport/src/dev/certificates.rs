//! The certificates of a dev cluster: an authority in its data directory, and one for each process and for who
//! operates it. They are made anew at each start; the authority stays.

use std::path::PathBuf;

use anyhow::Context as _;
use homeport_tls::{Identity, Links, Role, TlsConfig};
use serde_json::{Value, json};

use super::plan::Plan;
use crate::certificates::Lab;

/// The name of who operates it.
const OPERATOR: &str = "operator";
/// Longer than anybody plays with one start of it.
const DAYS: u32 = 30;
const TRUST_DOMAIN: &str = "homeport";

fn folder(plan: &Plan) -> PathBuf {
    plan.data_dir.join("tls")
}

/// The files of a process, or of the operator.
pub(super) fn files(plan: &Plan, name: &str) -> TlsConfig {
    let file = |name: String| folder(plan).join(name);
    TlsConfig::new(file(format!("{name}.crt")), file(format!("{name}.key")), file("ca.crt".into()))
}

/// Makes them, and the configuration by which homeportctl reaches the cluster.
pub(super) fn mint(plan: &Plan) -> anyhow::Result<()> {
    let folder = folder(plan);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let lab = Lab::open(&folder)?;
    let sign = |role, name: &str| {
        let identity = Identity::new(role, name).map_err(anyhow::Error::msg)?;
        lab.new_certificate(&identity, TRUST_DOMAIN, DAYS)
    };
    let roles = [
        (Role::Store, plan.stores.as_slice()),
        (Role::FrontEnd, &plan.front_ends),
        (Role::Forwarder, &plan.forwarders),
        (Role::Noc, std::slice::from_ref(&plan.noc)),
    ];
    for (role, members) in roles {
        for member in members {
            sign(role, &member.name)?;
        }
    }
    sign(Role::Operator, OPERATOR).map(drop)
}

/// The way of the operator of this cluster.
pub(super) fn links(plan: &Plan) -> anyhow::Result<Links> {
    if !plan.protected {
        return Ok(Links::default());
    }
    Ok(Links::fixed(&files(plan, OPERATOR), Role::Operator)?)
}

/// The operator's files, for `endpoints.json`; null on plain links.
pub(super) fn of_operator(plan: &Plan) -> Value {
    if !plan.protected {
        return Value::Null;
    }
    let TlsConfig { certificate_file, key_file, ca_file, .. } = files(plan, OPERATOR);
    json!({ "ca": ca_file, "certificate": certificate_file, "key": key_file })
}

/// What homeportctl needs, for `HOMEPORT_CONFIG`.
pub(super) fn context(plan: &Plan) -> toml::Table {
    let mut context = toml::Table::new();
    context.insert("stores".into(), plan.store_addresses().into());
    if plan.protected {
        let TlsConfig { certificate_file, key_file, ca_file, .. } = files(plan, OPERATOR);
        let text = |file: PathBuf| toml::Value::from(file.display().to_string());
        context.insert("tls_ca".into(), text(ca_file));
        context.insert("tls_cert".into(), text(certificate_file));
        context.insert("tls_key".into(), text(key_file));
    }
    let contexts = toml::Table::from_iter([("dev".to_owned(), context.into())]);
    toml::Table::from_iter([
        ("current".to_owned(), "dev".into()),
        ("contexts".to_owned(), contexts.into()),
    ])
}
