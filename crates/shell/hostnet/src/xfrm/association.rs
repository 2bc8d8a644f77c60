//! A security association as the kernel tells it.

use std::{fmt, net::Ipv6Addr};

use netlink_packet_xfrm::{
    AF_INET6, IPPROTO_ESP, UserSaInfo, XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, XFRM_STATE_ESN,
    XfrmAttrs, XfrmMessage,
};

/// Key octets, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// With these octets.
    #[must_use]
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// By what packets are encrypted and authenticated; names are the kernel's, as in `/proc/crypto`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Algorithms {
    /// Both in one, such as `rfc4106(gcm(aes))`; the salt stands behind the key.
    Aead {
        /// Name.
        name: String,
        /// Key and salt.
        key: Secret,
        /// Bits of the integrity check value.
        icv_bits: u32,
    },
    /// One after the other, such as `cbc(aes)` and `hmac(sha256)`.
    Separate {
        /// Name of the encryption; `ecb(cipher_null)` for none.
        encryption: String,
        /// Its key.
        encryption_key: Secret,
        /// Name of the authentication.
        authentication: String,
        /// Its key.
        authentication_key: Secret,
        /// Bits of the integrity check value.
        icv_bits: u32,
    },
}

/// An ESP association between two IPv6 addresses, for one direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelAssociation {
    /// Who sends.
    pub source: Ipv6Addr,
    /// Who receives, and has chosen the index.
    pub destination: Ipv6Addr,
    /// Security Parameters Index.
    pub spi: u32,
    /// What binds associations and policies together; the same for both directions, and after a rekey.
    pub reqid: u32,
    /// Tunnel mode; else transport mode.
    pub is_tunnel: bool,
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    pub has_extended_numbers: bool,
    /// Packets of the anti-replay window; 0 for none, as for the direction in which this host sends.
    pub replay_window: u32,
    /// Algorithms and keys.
    pub algorithms: Algorithms,
}

/// `None` when it is about something else, or not of use: another protocol, another mode, no keys.
pub(super) fn read(message: &XfrmMessage) -> Option<KernelAssociation> {
    let (XfrmMessage::AddSa(message) | XfrmMessage::UpdateSa(message)) = message else {
        return None;
    };
    let info: &UserSaInfo = &message.user_sa_info;
    if info.family != AF_INET6 || info.id.proto != IPPROTO_ESP {
        return None;
    }
    let is_tunnel = match info.mode {
        XFRM_MODE_TRANSPORT => false,
        XFRM_MODE_TUNNEL => true,
        _ => return None,
    };
    let (mut aead, mut encryption, mut authentication) = (None, None, None);
    let mut replay_window = u32::from(info.replay_window);
    for attribute in &message.nlas {
        match attribute {
            XfrmAttrs::EncryptionAlgAead(it) => {
                aead =
                    Some((name(&it.alg_name), secret(&it.alg_key, it.alg_key_len), it.alg_icv_len));
            }
            XfrmAttrs::EncryptionAlg(it) => {
                encryption = Some((name(&it.alg_name), secret(&it.alg_key, it.alg_key_len)));
            }
            XfrmAttrs::AuthenticationAlgTrunc(it) => {
                let key = secret(&it.alg_key, it.alg_key_len);
                authentication = Some((name(&it.alg_name), key, it.alg_trunc_len));
            }
            // Windows of more than 32, and all of those with extended numbers, stand here.
            XfrmAttrs::ReplayStateEsn(it) => replay_window = it.replay_window,
            _ => {}
        }
    }
    let algorithms = match (aead, encryption, authentication) {
        (Some((name, key, icv_bits)), None, None) => Algorithms::Aead { name, key: key?, icv_bits },
        (None, Some((encryption, encryption_key)), Some((authentication, key, icv_bits))) => {
            let (encryption_key, authentication_key) = (encryption_key?, key?);
            Algorithms::Separate {
                encryption,
                encryption_key,
                authentication,
                authentication_key,
                icv_bits,
            }
        }
        _ => return None,
    };
    Some(KernelAssociation {
        source: info.saddr.to_ipv6(),
        destination: info.id.daddr.to_ipv6(),
        spi: info.id.spi,
        reqid: info.reqid,
        is_tunnel,
        has_extended_numbers: info.flags & XFRM_STATE_ESN != 0,
        replay_window,
        algorithms,
    })
}

/// Octets up to the first that is zero.
fn name(field: &[u8]) -> String {
    let name = field.split(|octet| *octet == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Attributes are padded to four octets; the length in bits says where the key ends.
fn secret(octets: &[u8], bits: u32) -> Option<Secret> {
    let len = usize::try_from(bits.div_ceil(8)).ok()?;
    octets.get(..len).map(|key| Secret(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use netlink_packet_xfrm::XFRM_MSG_NEWSA;
    use rtnetlink::packet_core::ParseableParametrized as _;

    use super::*;

    const HOME_ADDRESS: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    const HOME_AGENT: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    /// `struct xfrm_usersa_info` by its offsets in `linux/xfrm.h`, as x86-64 lays it out.
    fn info(mode: u8, window: u8, flags: u8) -> Vec<u8> {
        let mut octets = vec![0; 224];
        octets[56..72].copy_from_slice(&HOME_AGENT);
        octets[72..76].copy_from_slice(&0xcac5_bc61_u32.to_be_bytes());
        octets[76] = 50;
        octets[80..96].copy_from_slice(&HOME_ADDRESS);
        octets[208..212].copy_from_slice(&101_u32.to_ne_bytes());
        octets[212..214].copy_from_slice(&10_u16.to_ne_bytes());
        octets[214..217].copy_from_slice(&[mode, window, flags]);
        octets
    }

    fn attribute(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let len = u16::try_from(body.len() + 4).expect("short");
        let mut octets = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        octets.extend(body);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn algorithm(name: &str) -> [u8; 64] {
        let mut field = [0; 64];
        field[..name.len()].copy_from_slice(name.as_bytes());
        field
    }

    fn parse(octets: &[u8]) -> Option<KernelAssociation> {
        read(&XfrmMessage::parse_with_param(octets, XFRM_MSG_NEWSA).expect("a message"))
    }

    #[test]
    fn aes_gcm_in_transport_mode() {
        let bits = [160_u32.to_ne_bytes(), 128_u32.to_ne_bytes()].concat();
        let aead = attribute(18, &[&algorithm("rfc4106(gcm(aes))"), &bits, &[7; 20]]);
        let found = parse(&[info(0, 32, 0), aead].concat()).expect("an association");
        let expected = KernelAssociation {
            source: HOME_ADDRESS.into(),
            destination: HOME_AGENT.into(),
            spi: 0xcac5_bc61,
            reqid: 101,
            is_tunnel: false,
            has_extended_numbers: false,
            replay_window: 32,
            algorithms: Algorithms::Aead {
                name: "rfc4106(gcm(aes))".to_owned(),
                key: Secret(vec![7; 20]),
                icv_bits: 128,
            },
        };
        assert_eq!(found, expected);
        assert!(!format!("{found:?}").contains('7'), "{found:?}");
    }

    #[test]
    fn aes_cbc_with_extended_numbers_and_a_long_window() {
        let cipher = attribute(2, &[&algorithm("cbc(aes)"), &128_u32.to_ne_bytes(), &[1; 16]]);
        // The kernel tells the authentication twice; without the truncation it is half of it.
        let plain = attribute(1, &[&algorithm("hmac(sha256)"), &256_u32.to_ne_bytes(), &[2; 32]]);
        let bits = [256_u32.to_ne_bytes(), 128_u32.to_ne_bytes()].concat();
        let truncated = attribute(20, &[&algorithm("hmac(sha256)"), &bits, &[2; 32]]);
        let esn: Vec<u8> = [4_u32, 0, 0, 0, 0, 128, 0, 0, 0, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let esn = attribute(23, &[&esn]);
        let octets = [info(1, 0, 0x80), cipher, plain, truncated, esn].concat();
        let found = parse(&octets).expect("an association");
        assert!(found.is_tunnel && found.has_extended_numbers);
        assert_eq!(found.replay_window, 128);
        let expected = Algorithms::Separate {
            encryption: "cbc(aes)".to_owned(),
            encryption_key: Secret(vec![1; 16]),
            authentication: "hmac(sha256)".to_owned(),
            authentication_key: Secret(vec![2; 32]),
            icv_bits: 128,
        };
        assert_eq!(found.algorithms, expected);
    }

    #[test]
    fn what_is_no_esp_with_keys_is_passed_over() {
        assert_eq!(parse(&info(0, 32, 0)), None, "no keys");
        let bits = [160_u32.to_ne_bytes(), 128_u32.to_ne_bytes()].concat();
        let aead = attribute(18, &[&algorithm("rfc4106(gcm(aes))"), &bits, &[7; 20]]);
        assert_eq!(parse(&[info(4, 32, 0), aead.clone()].concat()), None, "BEET");
        let mut ah = info(0, 32, 0);
        ah[76] = 51;
        assert_eq!(parse(&[ah, aead.clone()].concat()), None, "AH");
        let mut ipv4 = info(0, 32, 0);
        ipv4[212..214].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(parse(&[ipv4, aead].concat()), None, "IPv4");
    }
}
