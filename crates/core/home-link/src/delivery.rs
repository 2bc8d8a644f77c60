//! Link-layer addresses of neighbours, for packets to mobile nodes that are at home.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::limits;
use crate::link::LinkLayerAddress;
use crate::reason::DropReason;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Neighbour {
    link_layer_address: LinkLayerAddress,
    heard_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Asked {
    packets: VecDeque<Vec<u8>>,
    solicitations_left: u8,
    next_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delivery {
    neighbours: BTreeMap<Ipv6Addr, Neighbour>,
    by_age: BTreeSet<(u64, Ipv6Addr)>,
    asked: BTreeMap<Ipv6Addr, Asked>,
    waiting: usize,
}

/// What is due for a neighbour that has not answered.
pub(crate) enum Due {
    Solicit(Ipv6Addr),
    /// Nobody answered: these packets cannot be delivered.
    GiveUp(VecDeque<Vec<u8>>),
}

impl Delivery {
    /// Notes who has `address`; packets that waited for that are handed out.
    pub(crate) fn learn(
        &mut self,
        now_ms: u64,
        address: Ipv6Addr,
        link_layer_address: LinkLayerAddress,
    ) -> VecDeque<Vec<u8>> {
        if let Some(old) = self.neighbours.remove(&address) {
            self.by_age.remove(&(old.heard_ms, address));
        } else if self.neighbours.len() >= limits::NEIGHBOURS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.neighbours.remove(&oldest);
        }
        self.neighbours.insert(address, Neighbour { link_layer_address, heard_ms: now_ms });
        self.by_age.insert((now_ms, address));
        let packets = self.asked.remove(&address).map(|asked| asked.packets).unwrap_or_default();
        self.waiting = self.waiting.saturating_sub(packets.len());
        packets
    }

    pub(crate) fn find(&self, now_ms: u64, address: Ipv6Addr) -> Option<LinkLayerAddress> {
        let neighbour = self.neighbours.get(&address)?;
        let age_ms = now_ms.saturating_sub(neighbour.heard_ms);
        (age_ms < limits::NEIGHBOUR_AGE_MS).then_some(neighbour.link_layer_address)
    }

    /// Keeps a packet until its destination is known.
    pub(crate) fn wait(
        &mut self,
        now_ms: u64,
        address: Ipv6Addr,
        packet: Vec<u8>,
    ) -> Result<(), DropReason> {
        if self.waiting >= limits::WAITING_PACKETS_MAX {
            return Err(DropReason::Full);
        }
        let asked = self.asked.entry(address).or_insert_with(|| Asked {
            packets: VecDeque::new(),
            solicitations_left: limits::SOLICITATIONS,
            next_ms: now_ms,
        });
        asked.packets.push_back(packet);
        self.waiting = self.waiting.saturating_add(1);
        Ok(())
    }

    pub(crate) fn next_due(&mut self, now_ms: u64) -> Option<Due> {
        let (address, asked) = self.asked.iter_mut().find(|(_, asked)| asked.next_ms <= now_ms)?;
        let address = *address;
        if asked.solicitations_left > 0 {
            asked.solicitations_left = asked.solicitations_left.saturating_sub(1);
            asked.next_ms = now_ms.saturating_add(limits::RETRANSMISSION_MS);
            return Some(Due::Solicit(address));
        }
        let lost = self.asked.remove(&address).map(|asked| asked.packets).unwrap_or_default();
        self.waiting = self.waiting.saturating_sub(lost.len());
        Some(Due::GiveUp(lost))
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.asked.values().map(|asked| asked.next_ms).min()
    }
}
