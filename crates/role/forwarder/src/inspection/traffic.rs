//! How much of each mobile node comes, in a bounded table.

use std::{collections::HashMap, net::Ipv6Addr};

use homeport_api::inspection::{HomeTraffic, ListTrafficResponse, TrafficOrder};

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    packets: [u64; 2],
    octets: [u64; 2],
    dropped: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Traffic {
    max: usize,
    homes: HashMap<Ipv6Addr, Counts>,
    uncounted: u64,
}

impl Traffic {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, homes: HashMap::new(), uncounted: 0 }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.max > 0
    }

    /// Counts a packet that came for or from a home address.
    pub(crate) fn count(&mut self, home: Ipv6Addr, is_to_it: bool, octets: usize, dropped: bool) {
        if self.homes.len() >= self.max && !self.homes.contains_key(&home) {
            self.uncounted = self.uncounted.saturating_add(1);
            return;
        }
        let counts = self.homes.entry(home).or_default();
        let [to, from] = &mut counts.packets;
        *(if is_to_it { to } else { from }) += 1;
        let [to, from] = &mut counts.octets;
        *(if is_to_it { to } else { from }) += u64::try_from(octets).unwrap_or(0);
        counts.dropped += u64::from(dropped);
    }

    /// The first so many, most first.
    pub(crate) fn list(&self, order: TrafficOrder, limit: usize) -> ListTrafficResponse {
        let weight = |counts: &Counts| match order {
            TrafficOrder::Packets => counts.packets.iter().sum::<u64>(),
            TrafficOrder::Octets | TrafficOrder::Unspecified => counts.octets.iter().sum(),
        };
        let mut homes: Vec<_> = self.homes.iter().collect();
        homes.sort_unstable_by_key(|(home, counts)| (std::cmp::Reverse(weight(counts)), **home));
        let homes = homes.into_iter().take(limit).map(|(home, counts)| HomeTraffic {
            home_address: home.to_string(),
            to_mobile_node_packets: counts.packets[0],
            to_mobile_node_octets: counts.octets[0],
            from_mobile_node_packets: counts.packets[1],
            from_mobile_node_octets: counts.octets[1],
            dropped_packets: counts.dropped,
        });
        ListTrafficResponse {
            homes: homes.collect(),
            uncounted_packets: self.uncounted,
            has_fast_path: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)
    }

    #[test]
    fn the_table_is_bounded_and_in_order() {
        let mut traffic = Traffic::new(2);
        traffic.count(home(1), true, 1000, false);
        traffic.count(home(2), false, 100, true);
        traffic.count(home(2), true, 100, false);
        traffic.count(home(3), true, 9000, false);
        let names = |list: &ListTrafficResponse| -> Vec<String> {
            list.homes.iter().map(|it| it.home_address.clone()).collect()
        };
        let by_octets = traffic.list(TrafficOrder::Octets, 10);
        assert_eq!(names(&by_octets), [home(1).to_string(), home(2).to_string()]);
        assert_eq!(by_octets.uncounted_packets, 1);
        let by_packets = traffic.list(TrafficOrder::Packets, 1);
        assert_eq!(names(&by_packets), [home(2).to_string()]);
        let first = &by_packets.homes[0];
        assert_eq!((first.to_mobile_node_packets, first.from_mobile_node_packets), (1, 1));
        assert_eq!((first.from_mobile_node_octets, first.dropped_packets), (100, 1));
    }
}
