//! `[[flow]]`: flow bindings as they stand in the configuration.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use homeport_mobile::{Flow, limits};
use homeport_wire::{Bid, BinarySelector, Selector};
use ipnet::IpNet;
use serde::Deserialize;

use super::{ConfigFault, fault};

/// One flow: which packets from correspondent nodes, and which bindings they shall take. Packets of
/// the node go the same way. Keys that are absent match everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowConfig {
    /// Names the flow, 1 to 65535.
    pub fid: u16,
    /// Lower is matched earlier, 1 to 65535.
    pub priority: u16,
    /// The bindings, best first; the home agent sends a copy to each.
    pub bids: Vec<u16>,
    /// The correspondent nodes: an address or a prefix.
    pub source: Option<IpOrNet>,
    /// The node's side: an address or a prefix.
    pub destination: Option<IpOrNet>,
    /// The correspondent's ports: `80` or `80-90`.
    pub source_port: Option<Ports>,
    /// The node's ports.
    pub destination_port: Option<Ports>,
    /// Protocol number: 6 TCP, 17 UDP, 58 ICMPv6.
    pub protocol: Option<u8>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
    /// Match IPv4 packets, when no address says so.
    #[serde(default)]
    pub ipv4: bool,
}

/// An address, or a prefix with its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum IpOrNet {
    /// One address.
    Ip(IpAddr),
    /// All of a prefix.
    Net(IpNet),
}

/// A port, or the first and the last of several.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Ports {
    /// One port.
    One(u16),
    /// `first-last`.
    Range(String),
}

impl IpOrNet {
    fn net(self) -> IpNet {
        match self {
            Self::Ip(address) => IpNet::from(address),
            Self::Net(net) => net,
        }
    }
}

impl Ports {
    fn range(&self) -> Option<RangeInclusive<u16>> {
        match self {
            Self::One(port) => Some(*port..=*port),
            Self::Range(text) => {
                let (first, last) = text.split_once('-')?;
                let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                (first <= last).then_some(first..=last)
            }
        }
    }
}

/// Checks the flows and gives what the machine takes.
pub(super) fn flows(configs: &[FlowConfig]) -> Result<Vec<Flow>, ConfigFault> {
    if configs.len() > limits::FLOWS_MAX {
        return Err(fault("flow", format!("has {} items", configs.len()), "at most 64"));
    }
    let (mut fids, mut priorities) = (BTreeSet::new(), BTreeSet::new());
    let mut flows = Vec::new();
    for (at, config) in configs.iter().enumerate() {
        let key = |field: &str| format!("flow[{at}].{field}");
        for (field, value, seen) in
            [("fid", config.fid, &mut fids), ("priority", config.priority, &mut priorities)]
        {
            if value == 0 || !seen.insert(value) {
                let wrong = format!("is {value}");
                return Err(fault(key(field), wrong, "1 to 65535, another in each flow"));
            }
        }
        if !(1..=limits::FLOW_BIDS_MAX).contains(&config.bids.len()) || config.bids.contains(&0) {
            let wrong = format!("is {:?}", config.bids);
            return Err(fault(key("bids"), wrong, "1 to 8 numbers from 1 to 65535"));
        }
        flows.push(Flow {
            fid: config.fid,
            priority: config.priority,
            selector: selector(config, &key)?,
            bids: config.bids.iter().copied().map(Bid).collect(),
        });
    }
    Ok(flows)
}

fn selector(
    config: &FlowConfig,
    key: &impl Fn(&str) -> String,
) -> Result<BinarySelector, ConfigFault> {
    let ports = |field: &str, ports: &Option<Ports>| match ports.as_ref().map(Ports::range) {
        Some(None) => Err(fault(key(field), format!("is {ports:?}"), "80 or \"80-90\"")),
        Some(range) => Ok(range),
        None => Ok(None),
    };
    if let Some(dscp) = config.dscp.filter(|dscp| *dscp > 63) {
        return Err(fault(key("dscp"), format!("is {dscp}"), "0 to 63"));
    }
    let rest: Selector<()> = Selector {
        source_port: ports("source_port", &config.source_port)?,
        destination_port: ports("destination_port", &config.destination_port)?,
        traffic_class: config.dscp.map(|dscp| dscp << 2..=dscp << 2),
        protocol: config.protocol.map(|protocol| protocol..=protocol),
        ..Selector::ANY
    };
    let source = config.source.map(IpOrNet::net);
    let destination = config.destination.map(IpOrNet::net);
    match (source, destination) {
        (Some(IpNet::V4(_)), Some(IpNet::V6(_))) | (Some(IpNet::V6(_)), Some(IpNet::V4(_))) => {
            let wrong = "is of another family than the source";
            Err(fault(key("destination"), wrong, "both IPv6 or both IPv4"))
        }
        (Some(IpNet::V4(_)), _) | (_, Some(IpNet::V4(_))) => Ok(ipv4(rest, source, destination)),
        (None, None) if config.ipv4 => Ok(ipv4(rest, None, None)),
        _ => {
            let range = |net| match net {
                Some(IpNet::V6(net)) => Some(net.network()..=net.broadcast()),
                _ => None,
            };
            Ok(BinarySelector::Ipv6(with(rest, range(source), range(destination))))
        }
    }
}

fn ipv4(rest: Selector<()>, source: Option<IpNet>, destination: Option<IpNet>) -> BinarySelector {
    let range = |net| match net {
        Some(IpNet::V4(net)) => Some(net.network()..=net.broadcast()),
        _ => None,
    };
    BinarySelector::Ipv4(with(rest, range(source), range(destination)))
}

/// The selector with addresses.
fn with<A>(
    rest: Selector<()>,
    source: Option<RangeInclusive<A>>,
    destination: Option<RangeInclusive<A>>,
) -> Selector<A> {
    Selector {
        source,
        destination,
        spi: rest.spi,
        flow_label: rest.flow_label,
        source_port: rest.source_port,
        destination_port: rest.destination_port,
        traffic_class: rest.traffic_class,
        protocol: rest.protocol,
    }
}
