//! Binding Refresh Requests: a binding that carries data and nears its end (RFC 6275 §9.5.5,
//! RFC 5648 §6.4).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{BidOption, BindingRefreshRequest, Message, MobilityOption, mobility_packet};

use crate::action::Action;
use crate::entry::Millis;
use crate::forwarding::Forwarding;

impl Forwarding {
    /// Data goes through a binding. The request names every binding of the home address that needs
    /// a refresh; it is for the home address itself and so goes through a tunnel.
    pub(crate) fn carried(
        &mut self,
        now: Millis,
        home_address: Ipv6Addr,
        index: usize,
        out: &mut Vec<Action>,
    ) {
        let times_max = self.config.refresh_requests_max;
        let Some(home) = self.table.home_mut(home_address) else { return };
        let agent = home.entry.home_agent;
        let Some(bids) = home.carries(now, index, times_max) else { return };
        let mut options = BindingRefreshRequest::builder();
        for bid in bids {
            options.push(&MobilityOption::BindingIdentifier(BidOption::refresh(bid)));
        }
        let options = options.finish();
        let request = Message::BindingRefreshRequest(BindingRefreshRequest { options });
        let mobility_header = request.emit(agent, home_address);
        let octets = mobility_packet(agent, home_address, None, None, &mobility_header);
        self.originate(now, &octets, out);
    }
}
