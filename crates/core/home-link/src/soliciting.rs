//! Router Solicitations for the Home Agents List (RFC 4861 §6.3.7, RFC 6275 §10.5.1): who comes to the link
//! does not wait half an hour for what the others advertise.

use crate::limits;
use crate::link::LinkLayerAddress;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Soliciting {
    left: u8,
    next_ms: u64,
}

impl Soliciting {
    /// After a delay that is another one for each node.
    pub(crate) fn start(&mut self, now_ms: u64, own: LinkLayerAddress) {
        let [.., a, b] = own;
        let spread = u64::from(u16::from_be_bytes([a, b])).wrapping_mul(0x9e37_79b9);
        let most = limits::ROUTER_SOLICITATION_DELAY_MAX_MS;
        let delay_ms = spread.checked_rem(most).unwrap_or(0);
        *self =
            Self { left: limits::ROUTER_SOLICITATIONS, next_ms: now_ms.saturating_add(delay_ms) };
    }

    /// A router has spoken: enough, if it was asked before.
    pub(crate) const fn heard(&mut self) {
        if self.left < limits::ROUTER_SOLICITATIONS {
            self.left = 0;
        }
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        (self.left > 0).then_some(self.next_ms)
    }

    /// True once for each that is due.
    pub(crate) fn is_due(&mut self, now_ms: u64) -> bool {
        if self.deadline_ms().is_none_or(|next| next > now_ms) {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.next_ms = now_ms.saturating_add(limits::ROUTER_SOLICITATION_INTERVAL_MS);
        true
    }
}
