use thiserror::Error;

/// Why octets are no ESP packet of this security association. Each is dropped and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EspError {
    /// Shorter than its header, IV, trailer and ICV, or no multiple of the cipher's block.
    #[error("too short for its suite, or no multiple of the cipher's block")]
    Length,
    /// The ICV is not that of these octets under this key (RFC 4303 §3.4.4).
    #[error("the ICV is wrong")]
    Integrity,
    /// The padding is not 1, 2, 3 ... or longer than what was sent (RFC 4303 §2.4).
    #[error("the padding is not 1, 2, 3 ...")]
    Padding,
    /// A packet with Next Header 59, which is to be discarded (RFC 4303 §2.6).
    #[error("a dummy packet")]
    Dummy,
    /// What is protected is no IPv6 packet, or too long for one.
    #[error("no IPv6 packet, or too long for one")]
    Packet,
}

impl EspError {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Length, Self::Integrity, Self::Padding, Self::Dummy, Self::Packet];

    /// Name for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "esp_length",
            Self::Integrity => "esp_integrity",
            Self::Padding => "esp_padding",
            Self::Dummy => "esp_dummy",
            Self::Packet => "esp_packet",
        }
    }
}

/// A key does not fit its suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KeyError {
    /// Of the encryption key.
    #[error("the encryption key has {got} octets; {suite} takes {expected}")]
    Encryption {
        /// The suite's name.
        suite: &'static str,
        /// Octets of the key.
        got: usize,
        /// What would do.
        expected: &'static str,
    },
    /// Of the key for the ICV.
    #[error("the authentication key has {got} octets; {suite} takes {expected}")]
    Authentication {
        /// The suite's name.
        suite: &'static str,
        /// Octets of the key.
        got: usize,
        /// What would do.
        expected: usize,
    },
}
