//! What the Echo Request carries that a home agent sends to a care-of address, to see whether the mobile
//! node is there (RFC 5648 §10). No RFC gives it a form: an Echo Reply repeats whatever it is.
//!
//! Eight octets by which such a reply is known among others, then the nonce. With IPv6 header, type 2
//! routing header and ICMPv6 header that makes a packet of 96 octets.

/// "hp-careo": no ping of an operating system begins so.
const MAGIC: [u8; 8] = *b"hp-careo";
/// Octets of the data.
const LEN: usize = 24;

/// The data of an Echo Request with this nonce.
#[must_use]
pub fn data(nonce: [u8; 16]) -> [u8; LEN] {
    let mut data = [0; LEN];
    data.iter_mut().zip(MAGIC.into_iter().chain(nonce)).for_each(|(to, from)| *to = from);
    data
}

/// The nonce in the data of an Echo Reply; `None` when it answers something else.
#[must_use]
pub fn nonce(data: &[u8]) -> Option<[u8; 16]> {
    data.strip_prefix(&MAGIC)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_found_in_the_answer_and_nowhere_else() {
        let nonce_sent = *b"0123456789abcdef";
        let sent = data(nonce_sent);
        assert_eq!(&sent, b"hp-careo0123456789abcdef");
        assert_eq!(nonce(&sent), Some(nonce_sent));
        assert_eq!(nonce(sent.get(..23).unwrap_or_default()), None);
        assert_eq!(nonce(&[&sent[..], b"!"].concat()), None);
        assert_eq!(nonce(b"another ping, as long as"), None);
    }
}
