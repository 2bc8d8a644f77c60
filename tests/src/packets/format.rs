//! The files: tables, cases and steps.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use anyhow::{Context as _, Result, bail};
use homeport_forwarding::{
    CareOf, Config, EcnMode, Flow, FlowAction, Forwarding, ForwardingBinding, HomeEntry,
    HomePrefix, Millis, MobileNetwork, MobileNetworkV4, Table,
};
use homeport_wire::{Bid, BidPriority, BinarySelector, Selector};
use serde::Deserialize;

use super::digits::Digits;

/// One behaviour: packets in turn, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// What it shows.
    pub rows: Vec<String>,
    /// The packets.
    pub steps: Vec<Step>,
    table: TableText,
    config: Config,
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Step {
    pub(super) at: Millis,
    pub(super) packet: Vec<u8>,
    pub(super) verdict: Verdict,
    pub(super) drops: Vec<String>,
    pub(super) out: Vec<Digits>,
    pub(super) to: Option<Ipv6Addr>,
    pub(super) xdp: Xdp,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Sent,
    Dropped,
    Answered,
    Punted,
    Delivered,
}

/// What the XDP program does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// The same as the core, octet for octet.
    Same,
    /// Nothing: the core gets it.
    Passed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<CaseText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseText {
    name: String,
    rows: Vec<String>,
    #[serde(default)]
    table: Option<String>,
    #[serde(default)]
    ecn: Option<String>,
    #[serde(default)]
    limit: Option<u8>,
    #[serde(default)]
    mtu: Option<u16>,
    step: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    at_ms: u64,
    #[serde(rename = "in")]
    packet: String,
    verdict: Verdict,
    #[serde(default)]
    drops: Vec<String>,
    #[serde(default)]
    out: Vec<String>,
    #[serde(default)]
    to: Option<Ipv6Addr>,
    xdp: Xdp,
}

/// A table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableText {
    prefixes: Vec<PrefixText>,
    home: Vec<HomeText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrefixText {
    prefix: String,
    home_agent: Ipv6Addr,
    home_agent_v4: Option<Ipv4Addr>,
    pool_v4: Option<String>,
    #[serde(default)]
    real_home_link: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HomeText {
    address: Ipv6Addr,
    bindings: Vec<BindingText>,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    networks_v4: Vec<String>,
    #[serde(default)]
    flows: Vec<FlowText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingText {
    bid: Option<u16>,
    care_of: String,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    verified: u64,
    ends_ms: Option<u64>,
    #[serde(default)]
    home: bool,
    #[serde(default)]
    unverified: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowText {
    fid: u16,
    priority: u16,
    destination_port: u16,
    #[serde(default)]
    bids: Vec<u16>,
    #[serde(default)]
    discard: bool,
}

/// The named tables.
pub(super) fn tables(text: &str) -> Result<BTreeMap<String, TableText>> {
    Ok(toml::from_str(text)?)
}

/// The cases of a file.
pub(super) fn cases(text: &str, tables: &BTreeMap<String, TableText>) -> Result<Vec<Case>> {
    let file: File = toml::from_str(text)?;
    file.case
        .into_iter()
        .map(|case| {
            let name = case.name.clone();
            read(case, tables).context(name)
        })
        .collect()
}

fn read(case: CaseText, tables: &BTreeMap<String, TableText>) -> Result<Case> {
    let table = case.table.as_deref().unwrap_or("plain");
    let table = tables.get(table).with_context(|| format!("no table {table}"))?.clone();
    let mut config = Config { encapsulation_limit: case.limit, ..Config::default() };
    config.ecn = match case.ecn.as_deref() {
        None => EcnMode::Normal,
        Some("compatibility") => EcnMode::Compatibility,
        Some(other) => bail!("no mode {other}"),
    };
    config.path_mtu = case.mtu.unwrap_or(config.path_mtu);
    let step = |step: StepText| {
        Ok(Step {
            at: Millis(step.at_ms),
            packet: Digits::read(&step.packet)?.octets()?,
            verdict: step.verdict,
            drops: step.drops,
            out: step.out.iter().map(|text| Digits::read(text)).collect::<Result<_>>()?,
            to: step.to,
            xdp: step.xdp,
        })
    };
    let steps = case.step.into_iter().map(step).collect::<Result<_>>()?;
    Ok(Case { name: case.name, rows: case.rows, steps, table, config })
}

impl Case {
    /// A core with the table of the case.
    pub(super) fn forwarding(&self) -> Result<Forwarding> {
        let mut forwarding = Forwarding::new(self.config);
        let table: &mut Table = forwarding.table_mut();
        for prefix in &self.table.prefixes {
            let (network, prefix_len) = split(&prefix.prefix)?;
            let pool = prefix.pool_v4.as_deref().map(network_v4).transpose()?;
            table.set_prefix(HomePrefix {
                prefix: network,
                prefix_len,
                home_agent: prefix.home_agent,
                home_agent_v4: prefix.home_agent_v4,
                pool_v4: pool,
                real_home_link: prefix.real_home_link,
            });
        }
        for home in &self.table.home {
            let agent = self.table.prefixes.first().context("no prefix")?.home_agent;
            table.set_home(home.address, Some(home.entry(agent)?)).context("the table is full")?;
        }
        Ok(forwarding)
    }
}

impl HomeText {
    fn entry(&self, agent: Ipv6Addr) -> Result<HomeEntry> {
        let bindings = self.bindings.iter().map(BindingText::binding).collect::<Result<_>>()?;
        let mut entry = HomeEntry::new(agent, bindings);
        for network in &self.networks {
            let (prefix, prefix_len) = split(network)?;
            entry.networks.push(MobileNetwork { prefix, prefix_len });
        }
        for network in &self.networks_v4 {
            entry.networks_v4.push(network_v4(network)?);
        }
        for flow in &self.flows {
            let port = flow.destination_port;
            let destination_port = Some(port..=port);
            let action = if flow.discard {
                FlowAction::Discard
            } else {
                FlowAction::Forward(flow.bids.iter().map(|bid| Bid(*bid)).collect())
            };
            let selector = BinarySelector::Ipv6(Selector { destination_port, ..Selector::ANY });
            entry.flows.push(Flow { fid: flow.fid, priority: flow.priority, selector, action });
        }
        Ok(entry)
    }
}

impl BindingText {
    /// In force for days unless it says otherwise; no refresh is asked for.
    fn binding(&self) -> Result<ForwardingBinding> {
        const LONG_MS: u64 = 1_000_000_000;
        let care_of = if let Ok(address) = self.care_of.parse() {
            CareOf::V6(address)
        } else if let Ok(address) = self.care_of.parse() {
            CareOf::V4Direct(address)
        } else {
            let end: SocketAddrV4 = self.care_of.parse().context("a care-of address")?;
            CareOf::V4 { address: *end.ip(), port: end.port() }
        };
        Ok(ForwardingBinding {
            bid: self.bid.map(Bid),
            care_of,
            priority: BidPriority::new(self.priority),
            verified: self.verified,
            ends: Millis(self.ends_ms.unwrap_or(LONG_MS)),
            lifetime_ms: 0,
            home: self.home,
            unverified: self.unverified,
        })
    }
}

fn split(text: &str) -> Result<(Ipv6Addr, u8)> {
    let (prefix, len) = text.split_once('/').context("a prefix has a length")?;
    Ok((prefix.parse()?, len.parse()?))
}

fn network_v4(text: &str) -> Result<MobileNetworkV4> {
    let (prefix, len) = text.split_once('/').context("a prefix has a length")?;
    Ok(MobileNetworkV4 { prefix: prefix.parse()?, prefix_len: len.parse()? })
}
