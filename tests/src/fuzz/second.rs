//! A second decoder, written from the figures of the RFCs and not from the first one: plain offsets
//! into the octets, no shared code. It knows less, and what it knows must agree.

/// What stands where in an IPv6 packet for this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) source: [u8; 16],
    pub(super) destination: [u8; 16],
    pub(super) upper: u8,
    pub(super) upper_at: usize,
    pub(super) end: usize,
    /// Place and value.
    pub(super) home_address: Option<(usize, [u8; 16])>,
    pub(super) routed_to: Option<[u8; 16]>,
}

fn at<const N: usize>(octets: &[u8], offset: usize) -> Option<[u8; N]> {
    octets.get(offset..offset + N)?.try_into().ok()
}

fn word(octets: &[u8], offset: usize) -> Option<u16> {
    at(octets, offset).map(u16::from_be_bytes)
}

/// RFC 8200 §3, §4; RFC 6275 §6.3, §6.4. `None` for what a host must not process.
pub(super) fn packet(octets: &[u8]) -> Option<Seen> {
    if octets.first()? / 16 != 6 {
        return None;
    }
    let end = 40 + usize::from(word(octets, 4)?);
    let octets = octets.get(..end)?;
    let mut seen = Seen {
        source: at(octets, 8)?,
        destination: at(octets, 24)?,
        upper: octets[6],
        upper_at: 40,
        end,
        home_address: None,
        routed_to: None,
    };
    // At most eight headers, hop-by-hop options only as the first.
    let mut headers = 0;
    while let 0 | 43 | 60 = seen.upper {
        headers += 1;
        if headers > 9 || seen.upper == 0 && headers > 1 {
            return None;
        }
        let begin = seen.upper_at;
        let len = 8 * (usize::from(*octets.get(begin + 1)?) + 1);
        let header = octets.get(begin..begin + len)?;
        if seen.upper == 43 {
            routing(&mut seen, header)?;
        } else {
            options(&mut seen, header, begin)?;
        }
        seen.upper = header[0];
        seen.upper_at = begin + len;
    }
    Some(seen)
}

fn routing(seen: &mut Seen, header: &[u8]) -> Option<()> {
    if header[3] == 0 {
        return Some(());
    }
    let is_known = header[2] == 2 && header[3] == 1 && header[1] == 2 && seen.routed_to.is_none();
    if !is_known {
        return None;
    }
    seen.routed_to = at(header, 8);
    Some(())
}

fn options(seen: &mut Seen, header: &[u8], begin: usize) -> Option<()> {
    let is_destination = seen.upper == 60;
    let mut offset = 2;
    let mut count = 0;
    while offset < header.len() {
        let kind = header[offset];
        if kind == 0 {
            offset += 1;
            continue;
        }
        let len = usize::from(*header.get(offset + 1)?);
        let data = header.get(offset + 2..offset + 2 + len)?;
        if kind != 1 {
            count += 1;
            if count > 32 {
                return None;
            }
            if is_destination && kind == 0xc9 {
                if seen.home_address.is_some() {
                    return None;
                }
                seen.home_address = Some((begin + offset, data.try_into().ok()?));
            } else if kind >= 0x40 {
                return None;
            }
        }
        offset += 2 + len;
    }
    Some(())
}

/// A Mobility Header: type, where its options begin, and each option as place, type and length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeenMobility {
    pub(super) mh_type: u8,
    pub(super) options_at: usize,
    pub(super) options: Vec<(usize, u8, usize)>,
}

/// RFC 6275 §6.1.1, §9.2: `octets` are the whole upper layer.
pub(super) fn mobility(
    octets: &[u8],
    source: [u8; 16],
    destination: [u8; 16],
) -> Option<SeenMobility> {
    let len = 8 * (usize::from(*octets.get(1)?) + 1);
    if octets.len() != len || octets[0] != 59 || !sums_up(octets, source, destination) {
        return None;
    }
    let mh_type = octets[2];
    let options_at = match mh_type {
        0 => 8,
        1 | 2 => 16,
        3 | 4 | 7 => 24,
        5 | 6 => 12,
        12 => 8 + 16 * usize::from(octets[6]),
        13 => 12,
        16 if matches!(octets[6], 1 | 2) => 12,
        _ => return None,
    };
    let mut options = Vec::new();
    let mut offset = options_at;
    if offset > len {
        return None;
    }
    while offset < len {
        let kind = octets[offset];
        if kind == 0 {
            offset += 1;
            continue;
        }
        let data_len = usize::from(*octets.get(offset + 1)?);
        if kind != 1 {
            options.push((offset, kind, data_len));
        }
        offset += 2 + data_len;
    }
    (offset == len && options.len() <= 340).then_some(SeenMobility { mh_type, options_at, options })
}

/// RFC 1071 over the pseudo-header of RFC 8200 §8.1, next header 135.
fn sums_up(octets: &[u8], source: [u8; 16], destination: [u8; 16]) -> bool {
    let words = |octets: &[u8]| -> u64 {
        octets.chunks(2).map(|pair| u64::from(pair[0]) * 256 + u64::from(pair[1])).sum()
    };
    let len = u64::try_from(octets.len()).expect("a packet");
    let mut sum = words(&source) + words(&destination) + len + 135 + words(octets);
    while sum > 0xffff {
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    sum == 0xffff
}

/// The lengths that an option may have (the tables of RFC 6275 §6.2 and of the later RFCs);
/// `None` when the type is not known.
pub(super) fn has_right_length(kind: u8, len: usize) -> Option<bool> {
    Some(match kind {
        2 => len == 2,
        3 => len == 16,
        4 | 28 => len == 4,
        5 => len == 12,
        6 => len == 18,
        7 | 8 => len >= 1,
        9 | 19 => len >= 5,
        10 => len == 8,
        29..=32 => len == 6,
        35 => matches!(len, 4 | 8 | 20),
        44 => len.is_multiple_of(2),
        45 => len >= 6,
        _ => return None,
    })
}

/// A range of a selector: offset of the start, of the end, and octets of each.
pub(super) type SeenRange = (usize, usize, usize);

/// RFC 6088 §3: octets behind format and reserved octet. Offsets of the fields by their place in
/// the figure; `None` when flags and octets do not agree.
pub(super) fn selector(format: u8, octets: &[u8]) -> Option<Vec<Option<SeenRange>>> {
    let widths: &[usize] = match format {
        1 => &[4, 4, 4, 2, 2, 1, 1],
        2 => &[16, 16, 4, 4, 2, 2, 1, 1],
        _ => return None,
    };
    let flags = u32::from_be_bytes(at(octets, 0)?);
    let mut offset = 4;
    let mut fields = Vec::new();
    for (place, width) in widths.iter().copied().enumerate() {
        let is_set = |bit: usize| flags & (0x8000_0000 >> bit) != 0;
        let (start, end) = (is_set(2 * place), is_set(2 * place + 1));
        if !start && end {
            return None;
        }
        fields.push(start.then(|| {
            let from = offset;
            let to = if end { offset + width } else { offset };
            offset = to + width;
            (from, to, width)
        }));
    }
    (offset == octets.len()).then_some(fields)
}
