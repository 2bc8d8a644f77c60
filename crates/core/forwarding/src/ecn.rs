//! Explicit Congestion Notification through tunnels (RFC 6040).

/// The two ECN bits of a traffic class.
const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// What a tunnel's entry writes into the ECN field of the outer header (RFC 6040 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EcnMode {
    /// The inner one's: the other end passes congestion marks on, as RFC 6040 demands.
    #[default]
    Normal,
    /// None: for mobile nodes whose tunnels lose marks.
    Compatibility,
}

/// Traffic class of the outer header (RFC 6040 §4.1, figure 3). DSCP is copied in either mode.
pub(crate) const fn encapsulated(mode: EcnMode, inner: u8) -> u8 {
    match mode {
        EcnMode::Normal => inner,
        EcnMode::Compatibility => inner & !ECN,
    }
}

/// Traffic class of the inner packet once it has left the tunnel (RFC 6040 §4.2, figure 4); `None`
/// when the packet must be dropped, because congestion was marked on a transport that cannot see
/// marks. DSCP stays the inner one: the outer one belongs to the network that the tunnel crosses.
pub(crate) const fn decapsulated(outer: u8, inner: u8) -> Option<u8> {
    let ecn = match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => return None,
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        (kept, _) => kept,
    };
    Some(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_figure_3() {
        for inner in [NOT_ECT, ECT_0, ECT_1, CE] {
            assert_eq!(encapsulated(EcnMode::Normal, 0xb8 | inner), 0xb8 | inner);
            assert_eq!(encapsulated(EcnMode::Compatibility, 0xb8 | inner), 0xb8 | NOT_ECT);
        }
    }

    #[test]
    fn every_cell_of_figure_4() {
        const DROP: Option<u8> = None;
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer in the same order.
        let order = [NOT_ECT, ECT_0, ECT_1, CE];
        let figure = [
            [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), DROP],
            [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
            [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
            [Some(CE), Some(CE), Some(CE), Some(CE)],
        ];
        for (inner, row) in order.into_iter().zip(figure) {
            for (outer, expected) in order.into_iter().zip(row) {
                assert_eq!(decapsulated(outer, inner), expected, "{outer:02b} over {inner:02b}");
            }
        }
    }

    #[test]
    fn the_inner_dscp_survives() {
        assert_eq!(decapsulated(0xb8 | CE, 0x28 | ECT_0), Some(0x28 | CE));
    }
}
