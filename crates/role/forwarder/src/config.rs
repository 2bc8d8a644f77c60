//! Configuration, and what can be wrong with it.

use std::{
    net::{SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use homeport_forwarding::{
    Spread,
    limits::{SPREAD_WEIGHT_MAX, SPREAD_WEIGHTS_MAX},
};
use homeport_hostnet::Namespace;
use homeport_runtime::{
    config::{Configuration, Live, OpsConfig, Refusal, TelemetryConfig, schema},
    ops,
};
use homeport_tls::TlsConfig;
use homeport_wire::Bid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::limits;

/// Configuration of a forwarder.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name, for the store's list of subscribers and for logs.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Store replicas, `host:port`; any of them will do.
    #[schemars(with = "Vec<schema::HostPort>", length(min = 1, max = limits::ENDPOINTS_MAX))]
    pub stores: Vec<String>,
    /// Signalling front-ends, `host:port`; all of them are used, and of a name with several addresses each.
    #[schemars(with = "Vec<schema::HostPort>", length(min = 1, max = limits::ENDPOINTS_MAX))]
    pub front_ends: Vec<String>,
    /// A UDP socket for mobile nodes with IPv4 care-of addresses, where the TUN does not bring
    /// their datagrams. Several forwarders may share one address.
    pub udp: Option<UdpConfig>,
    /// A TUN device: needs CAP_NET_ADMIN.
    pub tun: Option<TunConfig>,
    /// The common case in the kernel; without, all packets take the TUN. It needs `tun`.
    #[serde(default)]
    pub xdp: Option<XdpConfig>,
    /// What is put on in front of packets for mobile nodes.
    #[serde(default)]
    pub tunnels: TunnelsConfig,
    /// How much signalling front-ends get.
    #[serde(default)]
    pub signalling: SignallingConfig,
    /// Cut off from every store for so long, this forwarder takes its routes and its fast path off, so
    /// that others have the traffic.
    #[serde(default = "headless_default")]
    #[schemars(range(min = *limits::HEADLESS_SECS.start(), max = *limits::HEADLESS_SECS.end()))]
    pub headless_secs: u64,
    /// What operators may see of single mobile nodes; without, nothing is shown.
    #[serde(default)]
    pub inspection: Option<InspectionConfig>,
    /// Mutual TLS; without, links are plain.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Metrics and health.
    #[serde(default)]
    pub ops: OpsConfig,
}

/// Signalling that front-ends get of those who send from no care-of address that is bound to them: registrations
/// from new addresses, and floods. What comes from a bound care-of address has a limit of its own, 200 a second for
/// each home address, so that no flood keeps a mobile node from its refreshes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignallingConfig {
    /// Packets a second of one /64 network, for IPv4 one /24 network; twice as many in a burst.
    #[schemars(range(min = 1, max = limits::SIGNALLING_PER_SECOND_MAX))]
    pub per_network_per_second: u32,
    /// Packets a second of all of them together.
    #[schemars(range(min = 1, max = limits::SIGNALLING_PER_SECOND_MAX))]
    pub overall_per_second: u32,
}

impl Default for SignallingConfig {
    fn default() -> Self {
        Self { per_network_per_second: 500, overall_per_second: 5000 }
    }
}

/// The service that shows packets and counters of single mobile nodes. Without `tls` it asks nobody who he is:
/// listen where only operators reach it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectionConfig {
    /// Where it is served, gRPC.
    #[schemars(with = "schema::Listen")]
    pub listen: SocketAddr,
    /// Traces at once; 0: none.
    #[serde(default = "traces_default")]
    #[schemars(range(max = limits::TRACES_MAX))]
    pub traces_max: Live,
    /// Home addresses whose packets are counted; 0: none are. Packets that XDP forwards are not among them.
    #[serde(default)]
    #[schemars(range(max = limits::HOME_ADDRESSES_COUNTED_MAX))]
    pub home_addresses_counted_max: u32,
}

fn traces_default() -> Live {
    Live::new(limits::TRACES_DEFAULT.into())
}

/// The UDP socket.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UdpConfig {
    /// Address and port; RFC 5555 says port 4191.
    #[schemars(with = "schema::Listen4")]
    pub listen: SocketAddrV4,
}

/// The TUN device.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TunConfig {
    /// Its name, at most 15 characters.
    #[serde(default = "name_default")]
    #[schemars(length(min = 1, max = 15))]
    pub name: String,
    /// Network namespace by name or path; without, the process's own.
    #[schemars(length(min = 1))]
    pub netns: Option<String>,
    /// Its MTU.
    #[serde(default = "mtu_default")]
    #[schemars(range(min = limits::MTU_MIN))]
    pub mtu: u16,
    /// Path MTU towards care-of addresses, until a path says less.
    #[serde(default = "mtu_default")]
    #[schemars(range(min = limits::MTU_MIN))]
    pub path_mtu: u16,
    /// Route home prefixes and home-agent addresses into the TUN as they appear; without, somebody
    /// else does.
    #[serde(default = "routes_default")]
    pub routes: bool,
    /// The Ethernet interface of a real home link: one forwarder at a time answers there for mobile nodes
    /// that are away, for home prefixes that say that they have a link. Needs CAP_NET_RAW.
    #[schemars(length(min = 1, max = 15))]
    pub home_link: Option<String>,
}

/// The fast path: an XDP program.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XdpConfig {
    /// How it is attached.
    #[serde(default)]
    pub mode: XdpMode,
    /// Interfaces, in the namespace of the TUN, on which packets for home addresses and tunnelled
    /// packets arrive.
    #[schemars(length(min = 1))]
    pub interfaces: Vec<String>,
    /// Home addresses that it has room for, 64 octets each and a quarter more; the others take the TUN.
    #[serde(default = "home_addresses_default")]
    #[schemars(range(min = 1))]
    pub home_addresses_max: u32,
    /// Directory, in a file system of type bpf, for what outlives the process; without,
    /// `/sys/fs/bpf/homeport-NAME` with the name of the forwarder. Empty: nothing outlives it.
    #[serde(default)]
    pub pin_dir: Option<PathBuf>,
    /// How long the program goes on by its table when no process looks after it.
    #[serde(default = "keep_default")]
    #[schemars(range(min = *limits::FAST_KEEP_SECS.start(), max = *limits::FAST_KEEP_SECS.end()))]
    pub keep_secs: u64,
    /// What becomes of it when the process ends in order.
    #[serde(default)]
    pub at_stop: AtStop,
}

/// What becomes of the fast path when the forwarder ends in order. One that is killed leaves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtStop {
    /// Nothing of it stays.
    #[default]
    Remove,
    /// It goes on for `keep_secs`, so that a restart loses no packet.
    Keep,
}

impl XdpConfig {
    /// XDP as it is when nothing more is said, on no interface yet.
    pub(crate) const fn by_default() -> Self {
        Self {
            mode: XdpMode::Auto,
            interfaces: vec![],
            home_addresses_max: home_addresses_default(),
            pin_dir: None,
            keep_secs: keep_default(),
            at_stop: AtStop::Remove,
        }
    }

    /// The TUN, which has all packets that the program leaves.
    pub(crate) fn place<'c>(&self, tun: Option<&'c TunConfig>) -> Result<&'c TunConfig, Refusal> {
        let absent = || Refusal::new("xdp", "has no TUN", "[tun] as well, for all other packets");
        let tun = tun.ok_or_else(absent)?;
        if self.interfaces.is_empty() {
            let expected = "the name of at least one interface";
            return Err(Refusal::new("xdp.interfaces", "is a list of 0", expected));
        }
        let relative = |dir: &&PathBuf| !dir.as_os_str().is_empty() && !dir.is_absolute();
        if let Some(dir) = self.pin_dir.as_ref().filter(relative) {
            let expected = "an absolute path, or \"\" to keep nothing";
            return Err(Refusal::new("xdp.pin_dir", format!("is {dir:?}"), expected));
        }
        Ok(tun)
    }
}

/// Tunnels to mobile nodes. What is not as by default keeps XDP from sending packets into them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TunnelsConfig {
    /// How many tunnels more a packet may enter on its way (RFC 2473 §6.6); without, only
    /// what a packet says itself counts.
    #[serde(default)]
    pub encapsulation_limit: Option<u8>,
    /// Congestion marks of outer headers (RFC 6040 §4.3).
    #[serde(default)]
    pub ecn: TunnelEcn,
    /// Spread flows over the bindings of the best priority. The same on all forwarders: else they
    /// choose differently.
    #[serde(default)]
    pub spread: bool,
    /// With `spread`: bindings that get more flows than others.
    #[serde(default)]
    #[schemars(length(max = SPREAD_WEIGHTS_MAX))]
    pub weights: Vec<WeightConfig>,
}

/// The weight of a binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightConfig {
    /// Its identifier, BID.
    pub bid: u16,
    /// So many times the flows of a binding without weight.
    #[schemars(range(min = 1, max = SPREAD_WEIGHT_MAX))]
    pub weight: u8,
}

impl TunnelsConfig {
    /// How flows are spread, if they are.
    pub(crate) fn spread(&self) -> Result<Option<Spread>, Refusal> {
        let mut spread = Spread::default();
        for (place, WeightConfig { bid, weight }) in self.weights.iter().enumerate() {
            let is_possible = (1..=SPREAD_WEIGHT_MAX).contains(weight);
            if !self.spread || !is_possible || !spread.set_weight(Bid(*bid), *weight) {
                let wrong = format!("is weight {weight} of BID {bid}");
                let expected = format!(
                    "1 to {SPREAD_WEIGHT_MAX}, of at most {SPREAD_WEIGHTS_MAX} BIDs, and tunnels.spread = true"
                );
                return Err(Refusal::new(format!("tunnels.weights[{place}]"), wrong, expected));
            }
        }
        Ok(self.spread.then_some(spread))
    }
}

/// What is put into the ECN field of outer headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TunnelEcn {
    /// The inner one's.
    #[default]
    Normal,
    /// None: for mobile nodes that lose marks.
    Compatibility,
}

impl From<TunnelEcn> for homeport_forwarding::EcnMode {
    fn from(ecn: TunnelEcn) -> Self {
        match ecn {
            TunnelEcn::Normal => Self::Normal,
            TunnelEcn::Compatibility => Self::Compatibility,
        }
    }
}

/// How the XDP program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver where that works, else behind it, else not at all.
    #[default]
    Auto,
    /// In the driver; it is an error where that does not work.
    Native,
    /// Behind the driver, with any driver.
    Generic,
    /// Not at all.
    None,
}

const fn home_addresses_default() -> u32 {
    limits::FAST_HOME_ADDRESSES_DEFAULT
}

const fn keep_default() -> u64 {
    limits::FAST_KEEP_SECS_DEFAULT
}

const fn headless_default() -> u64 {
    limits::HEADLESS_SECS_DEFAULT
}

fn name_default() -> String {
    "hp0".to_owned()
}

const fn mtu_default() -> u16 {
    limits::PATH_MTU_DEFAULT
}

const fn routes_default() -> bool {
    true
}

impl TunConfig {
    /// A TUN as it is when nothing more is said.
    pub(crate) fn by_default() -> Self {
        Self {
            name: name_default(),
            netns: None,
            mtu: mtu_default(),
            path_mtu: mtu_default(),
            routes: routes_default(),
            home_link: None,
        }
    }

    pub(crate) fn namespace(&self) -> Namespace {
        self.netns.as_deref().map_or(Namespace::Current, Namespace::from)
    }
}

impl Config {
    /// Where the fast path has what outlives the process; `None`: nowhere.
    pub(crate) fn pin_dir(&self) -> Option<PathBuf> {
        let configured = self.xdp.as_ref().and_then(|xdp| xdp.pin_dir.clone());
        let dir = configured.unwrap_or_else(|| {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            let name: String = self.name.chars().map(plain).collect();
            PathBuf::from(format!("{}/homeport-{name}", limits::FAST_PIN_PLACE))
        });
        (!dir.as_os_str().is_empty()).then_some(dir)
    }

    /// How long it goes on without a store.
    pub(crate) const fn headless(&self) -> Duration {
        Duration::from_secs(self.headless_secs)
    }

    /// The home agent's UDP port.
    pub(crate) fn udp_port(&self) -> u16 {
        let configured = self.udp.as_ref().map(|udp| udp.listen.port()).filter(|port| *port != 0);
        configured.unwrap_or(homeport_wire::MOBILITY_UDP_PORT)
    }
}

impl Configuration for Config {
    const ROLE: &'static str = "forwarder";

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn telemetry_mut(&mut self) -> &mut TelemetryConfig {
        &mut self.telemetry
    }

    fn refusals(&self) -> Vec<Refusal> {
        let port = match (&self.tun, &self.udp) {
            (None, None) => Err(no_port()),
            _ => Ok(()),
        };
        let xdp = self.xdp.as_ref().filter(|xdp| xdp.mode != XdpMode::None);
        let tried = [
            port,
            endpoints("stores", &self.stores).map(drop),
            endpoints("front_ends", &self.front_ends).map(drop),
            self.tunnels.spread().map(drop),
            xdp.map_or(Ok(()), |xdp| xdp.place(self.tun.as_ref()).map(drop)),
        ];
        let tls = TlsConfig::refusals(self.tls.as_ref(), homeport_tls::Role::Forwarder);
        tried.into_iter().filter_map(Result::err).chain(tls).collect()
    }

    fn take(&self, new: &Self) {
        if let (Some(running), Some(new)) = (&self.inspection, &new.inspection) {
            running.traces_max.take(&new.traces_max);
        }
    }
}

/// No packet could come in.
pub(crate) fn no_port() -> Refusal {
    Refusal::new("tun", "is missing, and so is udp", "at least one of [tun] and [udp]")
}

/// Why a forwarder ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys that contradict each other, or a peer that cannot be dialled.
    #[error(transparent)]
    Config(#[from] Refusal),
    /// The host refused a device, a socket or a route.
    #[error("{key}: {source}")]
    Host {
        /// The key that asks for it.
        key: &'static str,
        /// What the host says.
        source: homeport_hostnet::Error,
    },
    /// The fast path that is asked for cannot be had.
    #[error("xdp: {source}; set xdp.mode to auto to go on without it")]
    FastPath {
        /// Why.
        source: homeport_fastpath::Error,
    },
    /// The inspection cannot be served.
    #[error("inspection.listen: {address}: {source}")]
    InspectionListen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operations port.
    #[error(transparent)]
    Ops(#[from] ops::OpsError),
}

/// A peer's address, and how it is dialled.
pub(crate) type Peer = (String, Endpoint);

pub(crate) fn endpoints(key: &'static str, addresses: &[String]) -> Result<Vec<Peer>, Refusal> {
    let count = addresses.len();
    if count == 0 || count > limits::ENDPOINTS_MAX {
        let expected = format!("a list of 1 to {} entries", limits::ENDPOINTS_MAX);
        return Err(Refusal::new(key, format!("is a list of {count}"), expected));
    }
    addresses.iter().map(|address| Ok((address.clone(), endpoint(key, address)?))).collect()
}

pub(crate) fn endpoint(key: &'static str, address: &str) -> Result<Endpoint, Refusal> {
    let wrong = |error| {
        let wrong = format!("has {address:?}, which cannot be dialled: {error}");
        Refusal::new(key, wrong, "a host and port, such as \"store-1:7101\"")
    };
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(wrong)?
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(10)))
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnels(spread: bool, weights: &[(u16, u8)]) -> TunnelsConfig {
        let weights =
            weights.iter().map(|(bid, weight)| WeightConfig { bid: *bid, weight: *weight });
        TunnelsConfig { spread, weights: weights.collect(), ..TunnelsConfig::default() }
    }

    #[test]
    fn weights_are_of_what_is_spread() {
        assert_eq!(tunnels(false, &[]).spread().unwrap(), None);
        let plain = tunnels(true, &[]).spread().unwrap();
        assert_eq!(plain, Some(Spread::default()));
        assert_ne!(tunnels(true, &[(1, 16)]).spread().unwrap(), plain);
        let nine: Vec<(u16, u8)> = (1..=9).map(|bid| (bid, 2)).collect();
        for (spread, weights) in
            [(false, &[(1, 2)][..]), (true, &[(1, 0)]), (true, &[(1, 17)]), (true, &nine)]
        {
            let error = tunnels(spread, weights).spread().unwrap_err().to_string();
            assert!(error.starts_with("tunnels.weights["), "{error}");
        }
    }
}
