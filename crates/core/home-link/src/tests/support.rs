use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    Icmpv6, NeighbourAdvertisement, NeighbourFlags, NeighbourOption, NeighbourOptions,
    NeighbourSolicitation, PacketBuilder, PrefixFlags, PrefixInformation, PseudoHeader, protocol,
    walk,
};

use crate::{HomeLink, LinkLayerAddress, Output, Settings};

pub(super) const OWN: LinkLayerAddress = [2, 0, 0, 0, 0, 1];
pub(super) const ASKER: LinkLayerAddress = [2, 0, 0, 0, 0, 9];
pub(super) const REQUEST: [u8; 16] = [7; 16];

pub(super) fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(super) fn home() -> Ipv6Addr {
    ip("2001:db8:0:1::100")
}

pub(super) fn home_agent() -> Ipv6Addr {
    ip("2001:db8:0:1::1")
}

pub(super) fn settings() -> Settings {
    Settings {
        link_layer_address: OWN,
        link_local: ip("fe80::1"),
        home_agent: home_agent(),
        prefixes: [PrefixInformation {
            prefix_len: 64,
            flags: PrefixFlags::ON_LINK
                .with(PrefixFlags::AUTONOMOUS)
                .with(PrefixFlags::ROUTER_ADDRESS),
            valid_secs: 86_400,
            preferred_secs: 14_400,
            prefix: home_agent(),
        }]
        .into(),
        preference: 10,
        ..Settings::default()
    }
}

/// The defender of the link, with its first announcements and advertisement already out.
pub(super) fn defender() -> HomeLink {
    let mut link = HomeLink::new(settings());
    link.set_defender(0, true);
    for now_ms in [0, 1000, 2000, 3000] {
        while link.poll(now_ms).is_some() {}
    }
    link
}

/// Everything that is due, frames taken apart.
pub(super) fn sent(link: &mut HomeLink, now_ms: u64) -> Vec<Sent> {
    let mut found = Vec::new();
    while let Some(output) = link.poll(now_ms) {
        if let Output::Frame { destination, packet } = output {
            found.push(Sent::new(destination, &packet));
        }
    }
    found
}

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) to_link: LinkLayerAddress,
    pub(super) from: Ipv6Addr,
    pub(super) to: Ipv6Addr,
    pub(super) hop_limit: u8,
    pub(super) octets: Vec<u8>,
}

impl Sent {
    fn new(to_link: LinkLayerAddress, packet: &[u8]) -> Self {
        let walked = walk(packet).unwrap();
        Self {
            to_link,
            from: walked.header.source,
            to: walked.header.destination,
            hop_limit: walked.header.hop_limit,
            octets: walked.payload.to_vec(),
        }
    }

    pub(super) fn message(&self) -> Icmpv6<'_> {
        Icmpv6::parse(&self.octets, PseudoHeader::icmpv6(self.from, self.to)).unwrap()
    }

    pub(super) fn advertisement(&self) -> Option<NeighbourAdvertisement<'_>> {
        match self.message() {
            Icmpv6::NeighbourAdvertisement(message) => Some(message),
            _ => None,
        }
    }
}

pub(super) fn packet(from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, message: &Icmpv6<'_>) -> Vec<u8> {
    PacketBuilder::new(from, to)
        .hop_limit(hop_limit)
        .build(protocol::ICMPV6, &message.emit(from, to))
}

pub(super) fn solicitation(from: &str, to: &str, target: Ipv6Addr, with_address: bool) -> Vec<u8> {
    let own = [NeighbourOption::SourceLinkLayer(&ASKER)];
    let options = if with_address { &own[..] } else { &[] };
    let message = Icmpv6::NeighbourSolicitation(NeighbourSolicitation {
        target,
        options: NeighbourOptions::of(options),
    });
    packet(ip(from), ip(to), 255, &message)
}

pub(super) fn objection(target: Ipv6Addr) -> Vec<u8> {
    let message = Icmpv6::NeighbourAdvertisement(NeighbourAdvertisement {
        flags: NeighbourFlags::OVERRIDE,
        target,
        options: NeighbourOptions::of(&[NeighbourOption::TargetLinkLayer(&ASKER)]),
    });
    packet(target, ip("ff02::1"), 255, &message)
}
