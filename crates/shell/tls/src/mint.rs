//! An authority of one's own, for a laboratory and for `homeport dev`: it signs certificates of processes and
//! operators. Where there is an authority already, such as cert-manager or Vault, that one does it.

use std::time::Duration;

use homeport_runtime::clock::unix_ms;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::identity::{Identity, Role};

/// How long before its making a certificate is valid: clocks differ.
const BEFORE: Duration = Duration::from_secs(300);

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate and its private key, PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// From when to when, around now.
fn valid_for(params: &mut CertificateParams, validity: Duration) -> Result<(), Error> {
    let at = |secs: u64| {
        let secs = i64::try_from(secs).map_err(|_| Error::Time)?;
        OffsetDateTime::from_unix_timestamp(secs).map_err(|_| Error::Time)
    };
    let now = unix_ms() / 1000;
    params.not_before = at(now.saturating_sub(BEFORE.as_secs()))?;
    params.not_after = at(now.saturating_add(validity.as_secs()))?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random numbers, or the time is out of range.
    pub fn new(name: &str, validity: Duration) -> Result<(Self, Pair), Error> {
        let mut params = CertificateParams::default();
        valid_for(&mut params, validity)?;
        params.distinguished_name = named(name);
        // It signs those that stand on their own only.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let pair = Pair { certificate, key: key.serialize_pem() };
        Ok((Self { issuer: Issuer::new(params, key) }, pair))
    }

    /// The one of these files.
    ///
    /// # Errors
    /// When they are not of an authority.
    pub fn of(pair: &Pair) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&pair.key)?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pair.certificate, key)? })
    }

    /// A certificate for a process or an operator.
    ///
    /// # Errors
    /// When the system gives no random numbers, or the time is out of range.
    pub fn sign(
        &self,
        identity: &Identity,
        trust_domain: &str,
        validity: Duration,
    ) -> Result<Pair, Error> {
        self.sign_uris(&[identity.uri(trust_domain)], identity, validity)
    }

    /// The same with other URIs than the one of its identity.
    ///
    /// # Errors
    /// As [`Self::sign`], and when one is no URI.
    pub fn sign_uris(
        &self,
        uris: &[String],
        identity: &Identity,
        validity: Duration,
    ) -> Result<Pair, Error> {
        let mut params = CertificateParams::default();
        valid_for(&mut params, validity)?;
        params.distinguished_name = named(&identity.to_string());
        let uris = uris.iter().map(|uri| Ok(SanType::URI(uri.as_str().try_into()?)));
        params.subject_alt_names = uris.collect::<Result<_, Error>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match identity.role {
            Role::Operator | Role::Noc => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Role::Store | Role::FrontEnd | Role::Forwarder | Role::IkeAgent => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}
