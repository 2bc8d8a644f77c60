//! The golden packets: `tests/golden`.

use anyhow::{Context as _, Result, bail, ensure};
use homeport_wire::walk;

/// The IP packets of a capture, by its path under `tests/golden`; an Ethernet header is taken off.
///
/// # Errors
/// When the file is not a little-endian pcap of Ethernet or raw IP.
pub fn capture(path: &str) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::read(crate::root().join("tests/golden").join(path)).context("capture")?;
    let word = |at: usize| -> Result<usize> {
        let octets = file.get(at..at + 4).context("the capture is cut off")?;
        Ok(usize::try_from(u32::from_le_bytes(octets.try_into()?))?)
    };
    let link_header = match word(20)? {
        1 => 14,
        101 => 0,
        other => bail!("{path}: link type {other}"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let len = word(at + 8)?;
        let packet = file.get(at + 16 + link_header..at + 16 + len);
        packets.push(packet.context("the capture is cut off")?.to_vec());
        at += 16 + len;
    }
    Ok(packets)
}

/// A test vector's packet by its id (`V01`).
///
/// # Errors
/// When there is no such vector.
pub fn vector(id: &str) -> Result<Vec<u8>> {
    let path = crate::root().join("tests/golden/vectors/vectors.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let vector = vectors.iter().find(|vector| vector["id"] == id).context("no such vector")?;
    let digits: Vec<char> =
        vector["packet"].as_str().context("the vector has no packet")?.chars().collect();
    let octet = |pair: &[char]| {
        let pair: String = pair.iter().collect();
        u8::from_str_radix(&pair, 16).context("not hexadecimal")
    };
    digits.chunks(2).map(octet).collect()
}

/// An acknowledgement out of the vectors as a home agent without key management makes it: the
/// vectors have K set, here it is clear, and the one's complement of the checksum says so.
///
/// # Errors
/// When there is no such vector, or K is not set in it.
pub fn vector_without_k(id: &str) -> Result<Vec<u8>> {
    const K: u8 = 0x80;
    let mut packet = vector(id)?;
    let at = walk(&packet)?.upper_offset;
    let mobility_header = packet.get_mut(at..).context("the packet is cut off")?;
    let [_, _, _, _, high, low, _, flags, ..] = mobility_header else {
        bail!("the Mobility Header is cut off");
    };
    ensure!(*flags & K != 0, "K is not set");
    *flags &= !K;
    // K counts 0x0080 in the sum of sixteen-bit words; what is carried out comes back in.
    let sum = u32::from(u16::from_be_bytes([*high, *low])) + u32::from(K);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16))?;
    [*high, *low] = sum.to_be_bytes();
    Ok(packet)
}
