//! Who a certificate says that its holder is: `spiffe://homeport/ROLE/NAME` as a URI among its subject
//! alternative names (RFC 5280 section 4.2.1.6).

use std::{fmt, str::FromStr};

use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::limits::NAME_LEN_MAX;

/// What a process is, or whom a person works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A replica of the store.
    Store,
    /// A signalling front-end.
    FrontEnd,
    /// A forwarder.
    Forwarder,
    /// What learns security associations from an IKE daemon.
    IkeAgent,
    /// A dashboard.
    Noc,
    /// Who runs the cluster: `homeportctl`.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Store, Self::FrontEnd, Self::Forwarder, Self::IkeAgent, Self::Noc, Self::Operator];

    /// As it stands in a certificate.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::FrontEnd => "front-end",
            Self::Forwarder => "forwarder",
            Self::IkeAgent => "ike-agent",
            Self::Noc => "noc",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.word() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            format!("{text:?} is not one of {words}")
        })
    }
}

/// A role, and which one of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// How it is called: `store-1`, `alice`.
    pub name: String,
}

impl Identity {
    /// # Errors
    /// What is wrong with the name.
    pub fn new(role: Role, name: &str) -> Result<Self, &'static str> {
        // It stands in logs and records.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        let is_name = (1..=NAME_LEN_MAX).contains(&name.len()) && name.chars().all(is_plain);
        is_name
            .then(|| Self { role, name: name.to_owned() })
            .ok_or("1 to 64 of the characters a-z A-Z 0-9 . _ - @")
    }

    /// As it stands in a certificate of this trust domain.
    #[must_use]
    pub fn uri(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/{}/{}", self.role, self.name)
    }

    /// The one of such a URI.
    #[must_use]
    pub fn of_uri(uri: &str, trust_domain: &str) -> Option<Self> {
        let path = uri.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?.strip_prefix('/')?;
        let (role, name) = path.split_once('/')?;
        Self::new(role.parse().ok()?, name).ok()
    }

    /// The one of a certificate, whoever has signed it. A certificate with several is of nobody.
    pub(crate) fn of(certificate: &CertificateDer<'_>, trust_domain: &str) -> Option<Self> {
        Self::of_uri(&only_uri(certificate)?, trust_domain)
    }

    /// What stands in front of the role.
    pub(crate) fn trust_domain_of(certificate: &CertificateDer<'_>) -> Option<String> {
        let uri = only_uri(certificate)?;
        let (domain, _) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        Some(domain.to_owned())
    }
}

fn only_uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (first, more) = (uris.next()?, uris.next());
    more.is_none().then(|| first.to_owned())
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_written_and_nothing_else_is_one() {
        for role in Role::ALL {
            let identity = Identity::new(role, "edge-1.example").expect("is one");
            let uri = identity.uri("homeport");
            assert_eq!(Identity::of_uri(&uri, "homeport"), Some(identity), "{uri}");
            assert_eq!(Identity::of_uri(&uri, "home"), None);
            assert_eq!(Identity::of_uri(&uri, "homeport2"), None);
        }
        for wrong in [
            "spiffe://homeport/store/",
            "spiffe://homeport/store",
            "spiffe://homeport/root/a",
            "spiffe://homeport/store/a/b",
            "spiffe://homeport/store/a\nb",
            "spiffe://homeportx/store/a",
            "https://homeport/store/a",
            "SPIFFE://homeport/store/a",
        ] {
            assert_eq!(Identity::of_uri(wrong, "homeport"), None, "{wrong}");
        }
    }
}
