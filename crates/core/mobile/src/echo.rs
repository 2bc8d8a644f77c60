//! Echo Requests for the home address that come to a care-of address by a type 2 routing header. The home
//! agent asks so whether the node is there, before it sends packets to an address that it knows by name only
//! (RFC 5648 §10).

use core::net::Ipv6Addr;

use homeport_wire::{Icmpv6, PacketBuilder, Walk, protocol};

use crate::event::{DropReason, Transmit};
use crate::node::MobileNode;

/// ICMPv6 type of an Echo Request.
const ECHO_REQUEST: u8 = 128;

impl MobileNode {
    /// RFC 4443 §4.2: from where it came to, with the home address in a Home Address option (RFC 6275 §11.3.1).
    /// The answer is as long as the question.
    pub(crate) fn echo_requested(
        &mut self,
        care_of: Ipv6Addr,
        walked: &Walk<'_>,
    ) -> Result<(), DropReason> {
        let message = Icmpv6::parse(walked.payload, walked.pseudo_header())?;
        let Icmpv6::EchoRequest { identifier, sequence, data } = message else {
            return Err(DropReason::UnexpectedMessage);
        };
        let (home, agent) = (self.settings.home_address, self.settings.home_agent);
        let reply = Icmpv6::EchoReply { identifier, sequence, data }.emit(home, agent);
        let packet = PacketBuilder::new(care_of, agent)
            .home_address_option(Some(home))
            .build(protocol::ICMPV6, &reply);
        self.send(Transmit::Ipv6 { from: care_of, packet });
        Ok(())
    }
}

/// True for what [`MobileNode::echo_requested`] takes.
pub(crate) fn is_echo_request(walked: &Walk<'_>) -> bool {
    walked.upper == protocol::ICMPV6 && walked.payload.first() == Some(&ECHO_REQUEST)
}
