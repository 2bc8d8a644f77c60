//! `[tls]`: the files of a process, and whom it trusts.

use std::path::{Path, PathBuf};

use homeport_runtime::config::Refusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{identity::Role, material};

/// `[tls]`: mutual TLS 1.3 on every gRPC link. All files are PEM, and read again when they change.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// This process's certificate, and those between it and its authority. Its role and name stand in it as the
    /// URI spiffe://homeport/ROLE/NAME.
    #[schemars(length(min = 1))]
    pub certificate_file: PathBuf,
    /// The private key of the certificate.
    #[schemars(length(min = 1))]
    pub key_file: PathBuf,
    /// Certificates of the authorities that are trusted for each role which has none of its own below.
    #[schemars(length(min = 1))]
    pub ca_file: PathBuf,
    /// Authorities of store replicas, in place of `ca_file`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub store_ca_file: Option<PathBuf>,
    /// Authorities of front-ends, in place of `ca_file`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub front_end_ca_file: Option<PathBuf>,
    /// Authorities of forwarders, in place of `ca_file`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub forwarder_ca_file: Option<PathBuf>,
    /// Authorities of IKE agents, in place of `ca_file`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub ike_agent_ca_file: Option<PathBuf>,
    /// Authorities of operators and dashboards, in place of `ca_file`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub operator_ca_file: Option<PathBuf>,
    /// What stands in certificates between spiffe:// and the role: another name for each cluster whose
    /// certificates the same authority signs.
    #[serde(default = "trust_domain_default")]
    #[schemars(length(min = 1, max = 255))]
    pub trust_domain: String,
}

fn trust_domain_default() -> String {
    "homeport".to_owned()
}

impl TlsConfig {
    /// With one authority for all.
    pub fn new(
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
        ca_file: impl Into<PathBuf>,
    ) -> Self {
        Self {
            certificate_file: certificate_file.into(),
            key_file: key_file.into(),
            ca_file: ca_file.into(),
            store_ca_file: None,
            front_end_ca_file: None,
            forwarder_ca_file: None,
            ike_agent_ca_file: None,
            operator_ca_file: None,
            trust_domain: trust_domain_default(),
        }
    }

    /// The same for who works for the cluster that its certificate is of, whatever trust domain that has.
    pub fn of_own_domain(
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
        ca_file: impl Into<PathBuf>,
    ) -> Self {
        let config = Self::new(certificate_file, key_file, ca_file);
        match material::trust_domain_of(&config.certificate_file) {
            Some(trust_domain) => Self { trust_domain, ..config },
            None => config,
        }
    }

    /// The key that names the authorities of a role, and the file.
    pub(crate) fn authorities(&self, role: Role) -> (&'static str, &Path) {
        let own = match role {
            Role::Store => ("tls.store_ca_file", &self.store_ca_file),
            Role::FrontEnd => ("tls.front_end_ca_file", &self.front_end_ca_file),
            Role::Forwarder => ("tls.forwarder_ca_file", &self.forwarder_ca_file),
            Role::IkeAgent => ("tls.ike_agent_ca_file", &self.ike_agent_ca_file),
            Role::Noc | Role::Operator => ("tls.operator_ca_file", &self.operator_ca_file),
        };
        match own {
            (key, Some(file)) => (key, file),
            (_, None) => ("tls.ca_file", &self.ca_file),
        }
    }

    /// What a process of this role would refuse: what [`crate::Links::open`] says, before anything is opened.
    #[must_use]
    pub fn refusals(config: Option<&Self>, own: Role) -> Vec<Refusal> {
        config.and_then(|config| material::read(config, own).err()).into_iter().collect()
    }
}
