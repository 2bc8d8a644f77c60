//! Whom a process believes: an authority that is trusted for the role of a certificate has signed it.
//!
//! Names of hosts play no part. Addresses change as clusters grow, and who may answer for a role is its
//! authority's to say; so a client looks for the role that it dials.

use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{
    identity::{Identity, Role},
    reason::{NotThisRole, Reason},
};

fn not_this_role(reason: Reason, what: String) -> Error {
    let other = OtherError(Arc::new(NotThisRole { reason, what }));
    Error::InvalidCertificate(CertificateError::Other(other))
}

fn no_role(trust_domain: &str) -> Error {
    let what = format!("no role; expected one URI spiffe://{trust_domain}/ROLE/NAME");
    not_this_role(Reason::NoRole, what)
}

/// Looks at certificates of those who call.
pub(crate) struct Callers {
    trust_domain: String,
    provider: Arc<CryptoProvider>,
    of_roles: BTreeMap<Role, Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Callers {
    pub(crate) fn new(
        trust_domain: &str,
        trusted: &BTreeMap<Role, Arc<RootCertStore>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let mut of_roles = BTreeMap::new();
        for (role, roots) in trusted {
            let (roots, provider) = (Arc::clone(roots), Arc::clone(provider));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            of_roles.insert(*role, verifier);
        }
        let (trust_domain, provider) = (trust_domain.to_owned(), Arc::clone(provider));
        Ok(Self { trust_domain, provider, of_roles })
    }
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // What the certificate says is not believed yet: it only chooses the authorities that must have signed it.
        let claimed = Identity::of(end_entity, &self.trust_domain);
        let verifier = claimed.and_then(|claimed| self.of_roles.get(&claimed.role));
        let verifier = verifier.ok_or_else(|| no_role(&self.trust_domain))?;
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Looks at the certificate of who was dialled.
pub(crate) struct Dialled {
    role: Role,
    trust_domain: String,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Dialled {
    pub(crate) fn new(
        role: Role,
        trust_domain: &str,
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let (trust_domain, provider) = (trust_domain.to_owned(), Arc::clone(provider));
        Self { role, trust_domain, roots, provider }
    }
}

impl ServerCertVerifier for Dialled {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let identity = Identity::of(end_entity, &self.trust_domain);
        let identity = identity.ok_or_else(|| no_role(&self.trust_domain))?;
        if identity.role != self.role {
            let what = format!("it is {identity}; expected a {}", self.role);
            return Err(not_this_role(Reason::WrongRole, what));
        }
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
