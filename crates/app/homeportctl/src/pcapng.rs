//! Writes pcapng (draft-ietf-opsawg-pcapng): one interface of raw IP packets, a comment with each.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Packets begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;
const OPTION_COMMENT: u16 = 1;

/// A file that is whole after each packet.
#[derive(Debug)]
pub(crate) struct Pcapng<W> {
    out: W,
}

impl<W: Write> Pcapng<W> {
    /// Begins the file. Times are microseconds, which is what readers take without an option.
    pub(crate) fn begin(mut out: W, snap_octets: u32) -> io::Result<Self> {
        let mut body = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        // Version 1.0, and no length of the section.
        body.extend([1, 0, 0, 0]);
        body.extend([0xff; 8]);
        block(&mut out, SECTION_HEADER, &body)?;
        let mut body = LINKTYPE_RAW.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(snap_octets.to_le_bytes());
        block(&mut out, INTERFACE, &body)?;
        Ok(Self { out })
    }

    pub(crate) fn packet(
        &mut self,
        time_us: u64,
        octets: &[u8],
        length_octets: u32,
        comment: &str,
    ) -> io::Result<()> {
        let captured = u32::try_from(octets.len()).map_err(io::Error::other)?;
        let [high, low] = [time_us >> 32, time_us & 0xffff_ffff];
        let mut body = vec![0; 4];
        for word in [high, low] {
            body.extend(u32::try_from(word).map_err(io::Error::other)?.to_le_bytes());
        }
        body.extend(captured.to_le_bytes());
        body.extend(length_octets.max(captured).to_le_bytes());
        body.extend(octets);
        pad(&mut body);
        let text = comment.as_bytes();
        body.extend(OPTION_COMMENT.to_le_bytes());
        body.extend(u16::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes());
        body.extend(text);
        pad(&mut body);
        // The end of the options.
        body.extend([0; 4]);
        block(&mut self.out, ENHANCED_PACKET, &body)
    }
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// In one piece, so that a file that is cut off ends between two blocks.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 12).map_err(io::Error::other)?.to_le_bytes();
    let mut octets = kind.to_le_bytes().to_vec();
    octets.extend(len);
    octets.extend(body);
    octets.extend(len);
    out.write_all(&octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_padded_and_say_their_length_twice() {
        let mut file = Vec::new();
        let mut pcapng = Pcapng::begin(&mut file, 96).expect("writes");
        pcapng.packet(0x1_0000_0002, &[0x60; 41], 1500, "sent").expect("writes");
        let mut kinds = Vec::new();
        let mut rest = &file[..];
        let word = |octets: &[u8]| u32::from_le_bytes(octets[..4].try_into().expect("four"));
        while !rest.is_empty() {
            let len = usize::try_from(word(&rest[4..])).expect("is small");
            assert_eq!(len % 4, 0);
            assert_eq!(word(&rest[len - 4..]), word(&rest[4..]));
            kinds.push(word(rest));
            if word(rest) == ENHANCED_PACKET {
                let words: Vec<u32> = (2..7).map(|at| word(&rest[at * 4..])).collect();
                assert_eq!(words, [0, 1, 2, 41, 1500]);
                assert_eq!(&rest[28 + 44..28 + 52], b"\x01\0\x04\0sent");
            }
            rest = &rest[len..];
        }
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE, ENHANCED_PACKET]);
    }
}
