use crate::error::KeyError;
use crate::keys::Keys;

/// Encryption and integrity of a security association, only as pairs that are safe together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Suite {
    /// AES-GCM with an ICV of 16 octets (RFC 4106). Never with keys that are set by hand: an IV that comes
    /// twice gives the key away (RFC 4106 §3.1).
    AesGcm16,
    /// AES-CBC (RFC 3602) and HMAC-SHA2-256-128 (RFC 4868).
    AesCbcHmacSha256,
    /// AES-CBC and HMAC-SHA2-384-192.
    AesCbcHmacSha384,
    /// AES-CBC and HMAC-SHA2-512-256.
    AesCbcHmacSha512,
    /// Integrity alone (RFC 2410), HMAC-SHA2-256-128.
    NullHmacSha256,
    /// Integrity alone, HMAC-SHA2-384-192.
    NullHmacSha384,
    /// Integrity alone, HMAC-SHA2-512-256.
    NullHmacSha512,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AesGcm16,
        Self::AesCbcHmacSha256,
        Self::AesCbcHmacSha384,
        Self::AesCbcHmacSha512,
        Self::NullHmacSha256,
        Self::NullHmacSha384,
        Self::NullHmacSha512,
    ];

    /// As operators write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcm16 => "aes-gcm-16",
            Self::AesCbcHmacSha256 => "aes-cbc-hmac-sha2-256",
            Self::AesCbcHmacSha384 => "aes-cbc-hmac-sha2-384",
            Self::AesCbcHmacSha512 => "aes-cbc-hmac-sha2-512",
            Self::NullHmacSha256 => "null-hmac-sha2-256",
            Self::NullHmacSha384 => "null-hmac-sha2-384",
            Self::NullHmacSha512 => "null-hmac-sha2-512",
        }
    }

    /// The suite of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// A counter is the IV, so that a number which is used twice breaks it.
    #[must_use]
    pub const fn has_counter_iv(self) -> bool {
        matches!(self, Self::AesGcm16)
    }

    /// Octets of the IV that is sent.
    pub(crate) const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm16 => 8,
            Self::AesCbcHmacSha256 | Self::AesCbcHmacSha384 | Self::AesCbcHmacSha512 => 16,
            Self::NullHmacSha256 | Self::NullHmacSha384 | Self::NullHmacSha512 => 0,
        }
    }

    /// Octets of the ICV: half of the digest (RFC 4868 §2.3).
    pub(crate) const fn icv_len(self) -> usize {
        match self {
            Self::AesGcm16 | Self::AesCbcHmacSha256 | Self::NullHmacSha256 => 16,
            Self::AesCbcHmacSha384 | Self::NullHmacSha384 => 24,
            Self::AesCbcHmacSha512 | Self::NullHmacSha512 => 32,
        }
    }

    /// What is encrypted is a multiple of this many octets: at least four (RFC 4303 §2.4).
    pub(crate) const fn block_len(self) -> usize {
        match self {
            Self::AesCbcHmacSha256 | Self::AesCbcHmacSha384 | Self::AesCbcHmacSha512 => 16,
            Self::AesGcm16 | Self::NullHmacSha256 | Self::NullHmacSha384 | Self::NullHmacSha512 => {
                4
            }
        }
    }

    /// Octets of the key of the ICV: those of the digest (RFC 4868 §2.1.1).
    const fn authentication_key_len(self) -> usize {
        match self {
            Self::AesGcm16 => 0,
            _ => self.icv_len().saturating_mul(2),
        }
    }

    /// Whether the keys have the length that the suite takes.
    ///
    /// # Errors
    /// With the length that would do.
    pub fn check(self, keys: &Keys) -> Result<(), KeyError> {
        let suite = self.name();
        let got = keys.encryption.len();
        let (fits, expected) = match self {
            Self::AesGcm16 => (
                matches!(got, 20 | 28 | 36),
                "20, 28 or 36: the key of 16, 24 or 32 and the salt of 4 octets behind it",
            ),
            Self::AesCbcHmacSha256 | Self::AesCbcHmacSha384 | Self::AesCbcHmacSha512 => {
                (matches!(got, 16 | 24 | 32), "16, 24 or 32")
            }
            Self::NullHmacSha256 | Self::NullHmacSha384 | Self::NullHmacSha512 => {
                (got == 0, "none")
            }
        };
        if !fits {
            return Err(KeyError::Encryption { suite, got, expected });
        }
        let (got, expected) = (keys.authentication.len(), self.authentication_key_len());
        if got != expected {
            return Err(KeyError::Authentication { suite, got, expected });
        }
        Ok(())
    }
}
