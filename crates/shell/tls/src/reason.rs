//! Why a handshake is refused, in a word: the label of a counter, and what is said about it.

use std::{fmt, io};

use rustls::{CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// What came is no TLS.
    Plaintext,
    /// The peer knows no TLS 1.3.
    OldVersion,
    /// The peer has shown no certificate.
    NoCertificate,
    /// The peer's certificate is not valid any more.
    Expired,
    /// The peer's certificate is not valid yet.
    NotYetValid,
    /// No authority that is trusted for its role has signed it.
    UnknownAuthority,
    /// The certificate names no role of this trust domain.
    NoRole,
    /// The certificate is of another role than the one that was dialled.
    WrongRole,
    /// Something else is wrong with the certificate.
    BadCertificate,
    /// The peer has refused this process's certificate.
    RefusedByPeer,
    /// It took too long.
    Timeout,
    /// The connection was closed before the handshake was over, as by a probe of the port.
    Closed,
    /// Anything else.
    Other,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Plaintext,
        Self::OldVersion,
        Self::NoCertificate,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownAuthority,
        Self::NoRole,
        Self::WrongRole,
        Self::BadCertificate,
        Self::RefusedByPeer,
        Self::Timeout,
        Self::Closed,
        Self::Other,
    ];

    /// The label.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::OldVersion => "old_version",
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownAuthority => "unknown_authority",
            Self::NoRole => "no_role",
            Self::WrongRole => "wrong_role",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// What an operator does about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Plaintext => "the peer needs a section [tls], homeportctl the flag --tls-cert",
            Self::OldVersion => "the peer must speak TLS 1.3",
            Self::NoCertificate => "the peer needs tls.certificate_file, homeportctl --tls-cert",
            Self::Expired => "give the peer a new certificate; if it has one, look at both clocks",
            Self::NotYetValid => "look at the clocks of both hosts",
            Self::UnknownAuthority => {
                "sign the peer's certificate by an authority of this process's tls.ca_file, or the one of that role"
            }
            Self::NoRole => "the peer's certificate needs one URI spiffe://TRUST-DOMAIN/ROLE/NAME",
            Self::WrongRole => {
                "what is dialled is of another role: look at addresses and certificates"
            }
            Self::BadCertificate => "make the peer's certificate anew",
            Self::RefusedByPeer => "the peer's log and its tls_handshakes_refused say why",
            Self::Timeout | Self::Closed | Self::Other => "the peer's log may say more",
        }
    }

    /// Why a handshake failed.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return Self::of(error);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other,
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Plaintext,
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::OldVersion,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(wrong) => Self::of_certificate(wrong),
            Error::AlertReceived(_) => Self::RefusedByPeer,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::Other(OtherError(other)) => {
                other.downcast_ref::<NotThisRole>().map_or(Self::BadCertificate, |it| it.reason)
            }
            _ => Self::BadCertificate,
        }
    }
}

/// What is wrong with a certificate whose signatures are right.
#[derive(Debug)]
pub(crate) struct NotThisRole {
    pub(crate) reason: Reason,
    pub(crate) what: String,
}

impl fmt::Display for NotThisRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for NotThisRole {}
