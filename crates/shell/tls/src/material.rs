//! What the files of `[tls]` say, checked whole: either all of it is used or nothing.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path, sync::Arc};

use homeport_runtime::config::Refusal;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use x509_parser::parse_x509_certificate;

use crate::{
    config::TlsConfig,
    identity::{Identity, Role},
    limits::{CERTIFICATES_MAX, FILE_OCTETS_MAX},
    verify::{Callers, Dialled},
};

/// HTTP/2, the only protocol of gRPC (RFC 7301).
const ALPN: &[u8] = b"h2";

/// Checked files, as the TLS library uses them.
#[derive(Debug)]
pub(crate) struct Material {
    /// Who this process is.
    pub(crate) identity: Identity,
    trust_domain: String,
    /// For connections that come.
    pub(crate) server: Arc<ServerConfig>,
    /// For connections to each role.
    clients: BTreeMap<Role, Arc<ClientConfig>>,
    /// When the first of this process's certificates ends, seconds since 1970.
    pub(crate) own_end: i64,
    /// When the first authority ends.
    pub(crate) authority_end: i64,
    /// What stands in the files, to see whether it has changed.
    pub(crate) texts: Texts,
}

impl Material {
    /// Whose certificate this is, in the same trust domain.
    pub(crate) fn identity_of(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        Identity::of(certificate, &self.trust_domain)
    }

    pub(crate) fn client(&self, to: Role) -> Option<Arc<ClientConfig>> {
        self.clients.get(&to).cloned()
    }
}

/// The content of each file; what cannot be read is in it as that.
pub(crate) type Texts = BTreeMap<&'static str, Result<Vec<u8>, String>>;

/// Reads the files, as they are now.
pub(crate) fn texts(config: &TlsConfig) -> Texts {
    let own = [
        ("tls.certificate_file", config.certificate_file.as_path()),
        ("tls.key_file", config.key_file.as_path()),
    ];
    let authorities = Role::ALL.map(|role| config.authorities(role));
    let read = |(key, file)| (key, contents(file));
    own.into_iter().chain(authorities).map(read).collect()
}

fn contents(file: &Path) -> Result<Vec<u8>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut octets = Vec::new();
    let opened = File::open(file).map_err(|error| named(&error))?;
    let read = opened.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets);
    read.map_err(|error| named(&error))?;
    if u64::try_from(octets.len()).is_ok_and(|len| len <= FILE_OCTETS_MAX) {
        return Ok(octets);
    }
    Err(named(&format_args!("has more than {FILE_OCTETS_MAX} octets")))
}

/// What the files say now.
pub(crate) fn read(config: &TlsConfig, own: Role) -> Result<Material, Refusal> {
    Files { config, texts: texts(config) }.material(own)
}

struct Files<'c> {
    config: &'c TlsConfig,
    texts: Texts,
}

const CERTIFICATE: &str = "tls.certificate_file";
const KEY: &str = "tls.key_file";

impl Files<'_> {
    fn material(self, own: Role) -> Result<Material, Refusal> {
        let provider = Arc::new(ring::default_provider());
        let chain = self.certificates(CERTIFICATE)?;
        let own_end = self.ends(CERTIFICATE, &chain)?;
        let identity = self.identity(chain.first(), own)?;
        let key = Arc::new(self.certified(chain, &provider)?);
        let mut trusted = BTreeMap::new();
        let mut authority_end = i64::MAX;
        for role in Role::ALL {
            let (key, _) = self.config.authorities(role);
            let certificates = self.certificates(key)?;
            authority_end = authority_end.min(self.ends(key, &certificates)?);
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add(certificate).map_err(|error| self.wrong(key, &error, AUTHORITIES))?;
            }
            trusted.insert(role, Arc::new(roots));
        }
        let domain = &self.config.trust_domain;
        let callers = Callers::new(domain, &trusted, &provider)
            .map_err(|error| self.wrong("tls.ca_file", &error, AUTHORITIES))?;
        let server = server(&provider, callers, Arc::clone(&key))
            .map_err(|error| self.wrong(CERTIFICATE, &error, CHAIN))?;
        let mut clients = BTreeMap::new();
        for (role, roots) in trusted {
            let dialled = Dialled::new(role, domain, roots, &provider);
            let client = client(&provider, dialled, Arc::clone(&key))
                .map_err(|error| self.wrong(CERTIFICATE, &error, CHAIN))?;
            clients.insert(role, client);
        }
        let trust_domain = domain.clone();
        let texts = self.texts;
        Ok(Material { identity, trust_domain, server, clients, own_end, authority_end, texts })
    }

    fn file(&self, key: &str) -> &Path {
        match key {
            CERTIFICATE => &self.config.certificate_file,
            KEY => &self.config.key_file,
            _ => {
                let all = Role::ALL.map(|role| self.config.authorities(role));
                let named = all.into_iter().find(|(known, _)| *known == key);
                named.map_or(Path::new(""), |(_, file)| file)
            }
        }
    }

    fn wrong(&self, key: &str, what: &dyn std::fmt::Display, expected: &str) -> Refusal {
        let wrong = format!("is {:?}: {what}", self.file(key));
        Refusal::new(key, wrong, expected)
    }

    fn octets(&self, key: &str, expected: &str) -> Result<&[u8], Refusal> {
        match self.texts.get(key) {
            Some(Ok(octets)) => Ok(octets),
            Some(Err(error)) => Err(Refusal::new(key, format!("is {error}"), expected)),
            None => Err(self.wrong(key, &"it was not read", expected)),
        }
    }

    fn certificates(&self, key: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let expected = if key == CERTIFICATE { CHAIN } else { AUTHORITIES };
        let octets = self.octets(key, expected)?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(octets).collect();
        let all = all.map_err(|error| self.wrong(key, &error, expected))?;
        if all.is_empty() || all.len() > CERTIFICATES_MAX {
            let found = format!("it has {} certificates", all.len());
            return Err(self.wrong(key, &found, expected));
        }
        Ok(all)
    }

    /// When the first of them ends.
    fn ends(&self, key: &str, certificates: &[CertificateDer<'_>]) -> Result<i64, Refusal> {
        let mut first = i64::MAX;
        for certificate in certificates {
            let (_, parsed) = parse_x509_certificate(certificate)
                .map_err(|error| self.wrong(key, &error, CHAIN))?;
            first = first.min(parsed.validity().not_after.timestamp());
        }
        Ok(first)
    }

    fn identity(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        own: Role,
    ) -> Result<Identity, Refusal> {
        let domain = &self.config.trust_domain;
        let identity = certificate.and_then(|it| Identity::of(it, domain));
        let expected = format!("one with the URI spiffe://{domain}/{own}/NAME, and no other URI");
        match identity {
            Some(identity) if identity.role == own => Ok(identity),
            Some(identity) => {
                let found = format!("it is the certificate of {identity}");
                Err(self.wrong(CERTIFICATE, &found, &expected))
            }
            None => Err(self.wrong(CERTIFICATE, &"it names no role", &expected)),
        }
    }

    fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, Refusal> {
        let expected = "the private key of the certificate, PEM without a passphrase";
        let octets = self.octets(KEY, expected)?;
        let key = PrivateKeyDer::from_pem_slice(octets);
        let key = key.map_err(|error| self.wrong(KEY, &error, expected))?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        certified.map_err(|error| self.wrong(KEY, &error, expected))
    }
}

const CHAIN: &str =
    "a PEM file with this process's certificate first, as homeport certificates new writes it";
const AUTHORITIES: &str = "a PEM file with the certificates of authorities, 1 to 256";

type Configured<T> = Result<Arc<T>, rustls::Error>;

fn server(
    provider: &Arc<CryptoProvider>,
    callers: Callers,
    key: Arc<CertifiedKey>,
) -> Configured<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider));
    let mut config = builder
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(callers))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session that is resumed would not look at certificates again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn client(
    provider: &Arc<CryptoProvider>,
    dialled: Dialled,
    key: Arc<CertifiedKey>,
) -> Configured<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let mut config = builder
        .with_protocol_versions(&[&TLS13])?
        // Roles are looked at in place of names of hosts: see `Dialled`.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(dialled))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // Names of hosts are nobody's business on the way.
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// What a certificate says, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its subject.
    pub subject: String,
    /// Who has signed it.
    pub issuer: String,
    /// Whose it is; none of an authority, and of another trust domain.
    pub identity: Option<Identity>,
    /// Valid from, seconds since 1970.
    pub not_before: i64,
    /// Valid until, seconds since 1970.
    pub not_after: i64,
}

/// What the certificates of a PEM file say.
///
/// # Errors
/// When the file cannot be read or has something else in it.
pub fn facts(file: &Path, trust_domain: &str) -> Result<Vec<Facts>, String> {
    let octets = contents(file)?;
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    let all = all.map_err(|error| named(&error))?;
    if all.is_empty() || all.len() > CERTIFICATES_MAX {
        return Err(named(&"has no certificates, or more than 256; expected a PEM file"));
    }
    let fact = |certificate: &CertificateDer<'_>| {
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|error| named(&error))?;
        Ok(Facts {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            identity: Identity::of(certificate, trust_domain),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    };
    all.iter().map(fact).collect()
}

/// The trust domain of the first certificate of a file, whatever role it names.
pub(crate) fn trust_domain_of(file: &Path) -> Option<String> {
    let octets = contents(file).ok()?;
    let first = CertificateDer::pem_slice_iter(&octets).next()?.ok()?;
    Identity::trust_domain_of(&first)
}
