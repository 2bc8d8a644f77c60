//! The kernel's names of algorithms, as the suites that signalling may use.

use homeport_esp::{Keys, Suite};
use homeport_hostnet::Algorithms;

/// `None` for what Homeport does not do.
pub(crate) fn of(algorithms: &Algorithms) -> Option<(Suite, Keys)> {
    let (suite, keys) = match algorithms {
        Algorithms::Aead { name, key, icv_bits: 128 } if name == "rfc4106(gcm(aes))" => {
            let keys = Keys { encryption: key.octets().to_vec(), authentication: Vec::new() };
            (Suite::AesGcm16, keys)
        }
        Algorithms::Aead { .. } => return None,
        Algorithms::Separate {
            encryption,
            encryption_key,
            authentication,
            authentication_key,
            icv_bits,
        } => {
            let is_null = match encryption.as_str() {
                "cbc(aes)" => false,
                "ecb(cipher_null)" | "cipher_null" => true,
                _ => return None,
            };
            let suite = match (authentication.as_str(), icv_bits, is_null) {
                ("hmac(sha256)", 128, false) => Suite::AesCbcHmacSha256,
                ("hmac(sha384)", 192, false) => Suite::AesCbcHmacSha384,
                ("hmac(sha512)", 256, false) => Suite::AesCbcHmacSha512,
                ("hmac(sha256)", 128, true) => Suite::NullHmacSha256,
                ("hmac(sha384)", 192, true) => Suite::NullHmacSha384,
                ("hmac(sha512)", 256, true) => Suite::NullHmacSha512,
                _ => return None,
            };
            let keys = Keys {
                encryption: encryption_key.octets().to_vec(),
                authentication: authentication_key.octets().to_vec(),
            };
            (suite, keys)
        }
    };
    suite.check(&keys).is_ok().then_some((suite, keys))
}

#[cfg(test)]
mod tests {
    use homeport_hostnet::Secret;

    use super::*;

    fn separate(
        encryption: (&str, usize),
        authentication: (&str, usize),
        icv_bits: u32,
    ) -> Algorithms {
        Algorithms::Separate {
            encryption: encryption.0.to_owned(),
            encryption_key: Secret::new(vec![1; encryption.1]),
            authentication: authentication.0.to_owned(),
            authentication_key: Secret::new(vec![2; authentication.1]),
            icv_bits,
        }
    }

    fn aead(name: &str, len: usize, icv_bits: u32) -> Algorithms {
        Algorithms::Aead { name: name.to_owned(), key: Secret::new(vec![3; len]), icv_bits }
    }

    /// Names as Linux 6.1 lists what charon 5.9.8 has negotiated.
    #[test]
    fn suites_by_the_kernels_names() {
        let suite = |algorithms| of(&algorithms).map(|(suite, _)| suite);
        assert_eq!(suite(aead("rfc4106(gcm(aes))", 20, 128)), Some(Suite::AesGcm16));
        let rows = [
            (("cbc(aes)", 16), ("hmac(sha256)", 32), 128, Suite::AesCbcHmacSha256),
            (("cbc(aes)", 32), ("hmac(sha384)", 48), 192, Suite::AesCbcHmacSha384),
            (("cbc(aes)", 24), ("hmac(sha512)", 64), 256, Suite::AesCbcHmacSha512),
            (("ecb(cipher_null)", 0), ("hmac(sha256)", 32), 128, Suite::NullHmacSha256),
            (("ecb(cipher_null)", 0), ("hmac(sha384)", 48), 192, Suite::NullHmacSha384),
            (("ecb(cipher_null)", 0), ("hmac(sha512)", 64), 256, Suite::NullHmacSha512),
        ];
        for (encryption, authentication, bits, expected) in rows {
            assert_eq!(suite(separate(encryption, authentication, bits)), Some(expected));
        }
    }

    #[test]
    fn what_is_weaker_or_unknown_is_no_suite() {
        for refused in [
            aead("rfc4106(gcm(aes))", 20, 64),
            aead("rfc4106(gcm(aes))", 16, 128),
            aead("rfc7539esp(chacha20,poly1305)", 36, 128),
            separate(("cbc(aes)", 16), ("hmac(sha256)", 32), 96),
            separate(("cbc(aes)", 16), ("hmac(sha1)", 20), 96),
            separate(("cbc(des3_ede)", 24), ("hmac(sha256)", 32), 128),
            separate(("cbc(aes)", 17), ("hmac(sha256)", 32), 128),
        ] {
            assert_eq!(of(&refused), None, "{refused:?}");
        }
    }
}
