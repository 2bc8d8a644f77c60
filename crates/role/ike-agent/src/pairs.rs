//! Which associations there are: what the kernel holds, keys and all, joined with what the daemon says of
//! whose they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use homeport_hostnet::{KernelAssociation, Protected};

use crate::{
    charon::{Child, IkeAssociation},
    suite,
};

/// The Mobility Header, ICMPv6, and any protocol, in a selector.
pub(crate) const MOBILITY: u8 = 135;
pub(crate) const ICMPV6: u8 = 58;
const ANY: u8 = 0;

/// Two associations that protect signalling between a mobile node and its home agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    pub(crate) home_address: Ipv6Addr,
    pub(crate) home_agent: Ipv6Addr,
    /// Of the selector; 0 is any.
    pub(crate) protocol: u8,
    pub(crate) reqid: u32,
    /// Order in which the daemon has made them.
    pub(crate) age: u32,
    /// What the mobile node sends.
    pub(crate) inbound: KernelAssociation,
    /// What the home agent sends.
    pub(crate) outbound: KernelAssociation,
    /// The IKE association under which they were negotiated.
    pub(crate) ike_id: u32,
}

impl Pair {
    pub(crate) fn protected(&self) -> Protected {
        Protected {
            local: self.home_agent,
            remote: self.home_address,
            protocol: self.protocol,
            reqid: self.reqid,
        }
    }
}

/// Pairs by home address and inbound SPI, and how many children of the daemon were passed over, by reason.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) pairs: BTreeMap<(Ipv6Addr, u32), Pair>,
    pub(crate) passed_over: BTreeMap<&'static str, u64>,
}

/// Joins them. A child counts once the kernel has both of its associations: the daemon installs what it sends
/// by last, when the peer has the new keys for certain.
pub(crate) fn join(
    kernel: Vec<KernelAssociation>,
    daemon: Vec<IkeAssociation>,
    max: usize,
) -> Found {
    let mut by_index: BTreeMap<u32, Vec<KernelAssociation>> = BTreeMap::new();
    for association in kernel {
        by_index.entry(association.spi).or_default().push(association);
    }
    let mut found = Found::default();
    for ike in &daemon {
        for child in ike.child_sas.values() {
            match pair(&by_index, ike, child) {
                Ok(Some(pair)) if found.pairs.len() < max => {
                    found.pairs.insert((pair.home_address, pair.inbound.spi), pair);
                }
                Ok(Some(_)) => *found.passed_over.entry("too_many").or_default() += 1,
                Ok(None) => {}
                Err(reason) => *found.passed_over.entry(reason).or_default() += 1,
            }
        }
    }
    let shared = shared_reqids(&found.pairs);
    found.pairs.retain(|_, pair| {
        let is_its_own = !shared.contains(&pair.reqid);
        if !is_its_own {
            *found.passed_over.entry("reqid_shared").or_default() += 1;
        }
        is_its_own
    });
    found
}

/// The daemon finds what has moved by the reqid alone: with one for two mobile nodes both would move.
fn shared_reqids(pairs: &BTreeMap<(Ipv6Addr, u32), Pair>) -> BTreeSet<u32> {
    let mut owners: BTreeMap<u32, Ipv6Addr> = BTreeMap::new();
    let shared = pairs
        .values()
        .filter(|pair| *owners.entry(pair.reqid).or_insert(pair.home_address) != pair.home_address);
    shared.map(|pair| pair.reqid).collect()
}

/// `None` while it is being made or has ended; the reason when it is of no use.
fn pair(
    kernel: &BTreeMap<u32, Vec<KernelAssociation>>,
    ike: &IkeAssociation,
    child: &Child,
) -> Result<Option<Pair>, &'static str> {
    let index = |text: &Option<String>| {
        text.as_deref().and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    let (Some(inbound), Some(outbound)) = (index(&child.spi_in), index(&child.spi_out)) else {
        return Ok(None);
    };
    let of_index = |spi: u32| kernel.get(&spi).map_or(&[][..], Vec::as_slice);
    let pairs = of_index(inbound).iter().flat_map(|inbound| {
        let back = of_index(outbound).iter();
        back.filter(|it| (it.source, it.destination) == (inbound.destination, inbound.source))
            .map(move |outbound| (inbound, outbound))
    });
    let Some((inbound, outbound)) = pairs.into_iter().next() else {
        return Ok(None);
    };
    if inbound.is_tunnel || outbound.is_tunnel {
        return Err("tunnel_mode");
    }
    if child.reqid == 0 || inbound.reqid != child.reqid || outbound.reqid != child.reqid {
        return Err("reqid_differs");
    }
    let suites = (suite::of(&inbound.algorithms), suite::of(&outbound.algorithms));
    match suites {
        (Some((one, _)), Some((other, _))) if one == other => {}
        _ => return Err("suite_unknown"),
    }
    let (home_address, home_agent) = (inbound.source, inbound.destination);
    let protocol = match (child.local_ts.as_slice(), child.remote_ts.as_slice()) {
        ([local], [remote]) => {
            let (local, remote) = (selector(local), selector(remote));
            match (local, remote) {
                (Some((agent, one)), Some((home, other)))
                    if (agent, home) == (home_agent, home_address) && one == other =>
                {
                    one
                }
                _ => return Err("selector_other"),
            }
        }
        _ => return Err("selector_other"),
    };
    Ok(Some(Pair {
        home_address,
        home_agent,
        protocol,
        reqid: child.reqid,
        age: child.id,
        inbound: inbound.clone(),
        outbound: outbound.clone(),
        ike_id: ike.id,
    }))
}

/// Address and protocol of `2001:db8:a::1/128[mobility-header]`, of one address and a whole protocol that
/// signalling uses.
fn selector(text: &str) -> Option<(Ipv6Addr, u8)> {
    let (subnet, protocol) = match text.strip_suffix(']').and_then(|it| it.split_once('[')) {
        Some((subnet, "mobility-header" | "ipv6-mh" | "135")) => (subnet, MOBILITY),
        Some((subnet, "ipv6-icmp" | "58")) => (subnet, ICMPV6),
        Some(_) => return None,
        None => (text, ANY),
    };
    let address = subnet.strip_suffix("/128")?.parse().ok()?;
    Some((address, protocol))
}

#[cfg(test)]
mod tests;
