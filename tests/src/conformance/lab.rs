//! A running cluster, and the rest of the Internet: a TUN in the namespace of its router, from which the
//! suite sends packets as everybody out there, and on which it gets what is sent to them.
//!
//! Addresses say whose they are: `2001:db8:c1:N::/64` to `2001:db8:cf:N::/64` and eight addresses of
//! 198.18.0.0/15 belong to case number N, and its inbox gets what is sent to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::security_associations_client::SecurityAssociationsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSecurityAssociationRequest,
    CreateSubscriberRequest, HomePrefix, SecurityAssociation, Subscriber,
};
use homeport_hostnet::{Namespace, Network, Route, Tun, write_sysctl};
use serde::Deserialize;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

use super::cast::{HOME_ADDRESSES4, NETWORK_GROUPS};
use super::decode::{Packet, decode};
use super::home_net::HomeNet;
use super::steps::Steps;
use crate::dev::{DevCluster, Member};
use crate::eventually;
use crate::netns::Figure;

/// The suite's interface in the router's namespace.
const INTERFACE: &str = "everybody";
/// Its MTU: that of Ethernet.
const MTU: u16 = 1500;
/// Everybody's IPv6 addresses.
const EVERYBODY: &str = "2001:db8:c0::/44";
/// Everybody's IPv4 addresses (RFC 2544).
const EVERYBODY_IPV4: &str = "198.18.0.0/15";
/// Third group of the home prefixes behind each forwarder.
const HOME_GROUPS: [u16; 2] = [0x40, 0x41];
/// Third octet of the pools of IPv4 home addresses behind each forwarder, and the fifteen after it.
const POOLS: [u8; 2] = [128, 144];

/// Preference of the home agent in its Router Advertisements.
pub const PREFERENCE: u16 = 10;

/// A packet, or what is wrong with it.
pub type Arrived = Result<Packet, String>;

/// What of `endpoints.json` only this suite uses.
#[derive(Debug, Deserialize)]
struct Laboratory {
    udp: std::net::SocketAddr,
    namespaces: Namespaces,
    forwarders: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    netns: String,
}

#[derive(Debug, Deserialize)]
struct Namespaces {
    router: String,
}

/// What a home prefix allows; each value that occurs gets home prefixes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// MN-HA option of RFC 4285, else everything is believed.
    pub authenticated: bool,
    /// ESP in transport mode.
    pub ipsec: bool,
    /// RFC 5648.
    pub multiple_care_of: bool,
    /// Several BID options in one Binding Update.
    pub bulk: bool,
    /// A home binding beside foreign ones.
    pub home_and_foreign: bool,
    /// No other router on the home link.
    pub only_router: bool,
    /// Bindings of a home address.
    pub bindings_max: u32,
    /// Prefix length of the pool of IPv4 home addresses; 0 for none.
    pub pool_bits: u8,
    /// Data to IPv4 care-of addresses goes in UDP without NAT too.
    pub force_udp: bool,
    /// A link stands behind the prefix.
    pub real: bool,
    /// Seconds that the prefix is valid; 0 for ever.
    pub valid_secs: u32,
}

impl Policy {
    /// Everything allowed.
    pub const OPEN: Self = Self {
        authenticated: false,
        ipsec: false,
        multiple_care_of: true,
        bulk: true,
        home_and_foreign: true,
        only_router: false,
        bindings_max: 8,
        pool_bits: 0,
        force_udp: true,
        real: false,
        valid_secs: 0,
    };
}

/// A home prefix.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    /// Its first address.
    pub prefix: Ipv6Addr,
    /// The home agent.
    pub agent: Ipv6Addr,
    /// The home agent over IPv4.
    pub agent4: Ipv4Addr,
}

/// How much is done in the cases that could go on for as long as one lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Home addresses of the case about scale.
    pub home_addresses: u32,
    /// How long bindings are refreshed in the case about memory.
    pub refreshing: Duration,
    /// Between two of these refreshes.
    pub refresh_interval: Duration,
}

impl Extent {
    /// All that the cases are about.
    pub const FULL: Self = Self {
        home_addresses: 1_000_000,
        refreshing: Duration::from_secs(3600),
        refresh_interval: Duration::from_secs(4),
    };
    /// Refreshes for less than half a minute, but so much faster that there are as many.
    pub const ORDINARY: Self = Self {
        refreshing: Duration::from_secs(24),
        refresh_interval: Duration::from_millis(20),
        ..Self::FULL
    };
}

impl Default for Extent {
    fn default() -> Self {
        Self::ORDINARY
    }
}

/// The cluster and the TUN.
pub struct Lab {
    /// The processes.
    pub cluster: DevCluster,
    /// How much is done.
    pub extent: Extent,
    figures: Mutex<Vec<Figure>>,
    /// Where the leader may be killed.
    pub steps: Arc<Steps>,
    /// The home agent's UDP port.
    pub udp_port: u16,
    /// The real home link.
    pub link: HomeNet,
    tun: Arc<Tun>,
    inboxes: Arc<Mutex<BTreeMap<u16, mpsc::UnboundedSender<Arrived>>>>,
    homes: AsyncMutex<BTreeMap<(Policy, usize), Home>>,
    leader: AsyncMutex<Option<Channel>>,
    replicas: AsyncMutex<BTreeMap<String, Channel>>,
    router: Namespace,
    reader: JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Lab {
    /// Becomes everybody else around a cluster with links.
    ///
    /// # Errors
    /// When its network is not as it should be.
    pub async fn start(cluster: DevCluster, steps: Arc<Steps>, extent: Extent) -> Result<Self> {
        let file = std::fs::read_to_string(cluster.data_dir().join("endpoints.json"))?;
        let laboratory: Laboratory =
            serde_json::from_str(&file).context("endpoints.json of a laboratory")?;
        let router = Namespace::Named(laboratory.namespaces.router);
        let tun = Arc::new(Tun::open(&router, INTERFACE, MTU)?);
        for place in ["all", "default", INTERFACE] {
            write_sysctl(&router, &format!("net/ipv4/conf/{place}/rp_filter"), "0")?;
        }
        let network = Network::open(&router)?;
        for everybody in [EVERYBODY, EVERYBODY_IPV4] {
            network.replace_route(&Route::to(everybody.parse()?).device(INTERFACE)).await?;
        }
        for (side, groups) in HOME_GROUPS.iter().zip(NETWORK_GROUPS).enumerate() {
            for group in [*groups.0, groups.1] {
                let prefix = format!("2001:db8:{group:x}::/48");
                let via: IpAddr = format!("2001:db8:ff:{}::2", side + 1).parse()?;
                let link = format!("forwarder-{}", side + 1);
                let route = Route::to(prefix.parse()?).via(via).device(&link);
                network.replace_route(&route).await?;
            }
            let agents = format!("198.51.{}.0/24", 101 + side);
            let homes = format!("198.51.{}.0/23", HOME_ADDRESSES4[side]);
            let pools = format!("198.51.{}.0/20", POOLS[side]);
            for prefix in [agents, homes, pools] {
                let via: IpAddr = format!("172.31.{}.2", side + 1).parse()?;
                let link = format!("forwarder-{}", side + 1);
                network.replace_route(&Route::to(prefix.parse()?).via(via).device(&link)).await?;
            }
        }
        let inboxes = Arc::default();
        let reader = tokio::spawn(read(Arc::clone(&tun), Arc::clone(&inboxes)));
        let udp_port = laboratory.udp.port();
        let namespaces: Vec<String> =
            laboratory.forwarders.into_iter().map(|edge| edge.netns).collect();
        let link = HomeNet::build(&cluster, &namespaces).await.context("the home link")?;
        Ok(Self {
            cluster,
            extent,
            figures: Mutex::default(),
            link,
            steps,
            udp_port,
            tun,
            inboxes,
            homes: AsyncMutex::default(),
            leader: AsyncMutex::default(),
            replicas: AsyncMutex::default(),
            router,
            reader,
        })
    }

    /// Notes a measured value.
    pub fn figure(&self, name: &'static str, value: f64, unit: &'static str) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.push(Figure { name, value, unit });
    }

    /// What was measured.
    pub fn take_figures(&self) -> Vec<Figure> {
        std::mem::take(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends packets for an address to this forwarder, whatever its prefix says.
    ///
    /// # Errors
    /// When the router's namespace refuses the route.
    pub async fn route(&self, address: Ipv6Addr, side: usize) -> Result<()> {
        self.route_to(&format!("{address}/128"), side).await
    }

    async fn route_to(&self, prefix: &str, side: usize) -> Result<()> {
        let via: IpAddr = format!("2001:db8:ff:{}::2", side + 1).parse()?;
        let route = Route::to(prefix.parse()?);
        let route = route.via(via).device(&format!("forwarder-{}", side + 1));
        Ok(Network::open(&self.router)?.replace_route(&route).await?)
    }

    /// Sends packets for a whole home prefix to this forwarder.
    ///
    /// # Errors
    /// When the router's namespace refuses the route.
    pub async fn route_home(&self, home: &Home, side: usize) -> Result<()> {
        self.route_to(&format!("{}/64", home.prefix), side).await
    }

    /// A connection to this replica.
    ///
    /// # Errors
    /// When it is down.
    pub async fn replica(&self, store: &Member) -> Result<Channel> {
        let mut replicas = self.replicas.lock().await;
        if let Some(channel) = replicas.get(&store.name) {
            return Ok(channel.clone());
        }
        let channel = channel_to(store).await?;
        replicas.insert(store.name.clone(), channel.clone());
        Ok(channel)
    }

    /// Opens the inbox of a case.
    pub fn inbox(&self, case: u16) -> mpsc::UnboundedReceiver<Arrived> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(case, sender);
        receiver
    }

    /// Sends a packet as whoever its source names.
    ///
    /// # Errors
    /// When the interface refuses it.
    pub async fn send(&self, packet: &[u8]) -> Result<()> {
        Ok(self.tun.send(packet).await?)
    }

    /// The home prefix of this policy behind the forwarder of this case.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn home(&self, policy: Policy, case: u16) -> Result<Home> {
        let side = usize::from(case % 2);
        let mut homes = self.homes.lock().await;
        if let Some(home) = homes.get(&(policy, side)) {
            return Ok(*home);
        }
        let at = u16::try_from(homes.len() + 1)?;
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, HOME_GROUPS[side], at, 0, 0, 0, 0);
        let agent = Ipv6Addr::from(u128::from(prefix) | 1);
        let agent4 = Ipv4Addr::new(198, 51, 101 + u8::try_from(side)?, u8::try_from(at)?);
        let authentication = match policy {
            Policy { ipsec: true, .. } => Authentication::Ipsec,
            Policy { authenticated: true, .. } => Authentication::MnHa,
            _ => Authentication::None,
        };
        let home_prefix = HomePrefix {
            prefix: format!("{prefix}/64"),
            home_agent: agent.to_string(),
            home_agent_ipv4: agent4.to_string(),
            authentication: authentication.into(),
            multiple_care_of_allowed: Some(policy.multiple_care_of),
            bulk_allowed: Some(policy.bulk),
            home_and_foreign_allowed: Some(policy.home_and_foreign),
            bindings_per_home_address_max: policy.bindings_max,
            only_router: policy.only_router,
            home_agent_discovery_allowed: true,
            prefix_discovery_allowed: true,
            ipv4_pool: match policy.pool_bits {
                0 => String::new(),
                bits => format!("198.51.{}.0/{bits}", usize::from(POOLS[side]) + homes.len() % 16),
            },
            force_udp_encapsulation: Some(policy.force_udp),
            real_home_link: policy.real,
            home_agent_preference: if policy.real { PREFERENCE.into() } else { 0 },
            valid_lifetime_secs: (policy.valid_secs > 0).then_some(policy.valid_secs),
            preferred_lifetime_secs: (policy.valid_secs > 0).then_some(policy.valid_secs),
            // The cases speak of the RFCs' rules packet by packet; nothing answers for them meanwhile. What
            // becomes of addresses that nobody has verified is told in network namespaces.
            care_of_verification: Some(false),
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        self.ask_leader("home prefix", async |channel| {
            HomePrefixesClient::new(channel).create_home_prefix(request.clone()).await.map(drop)
        })
        .await?;
        let home = Home { prefix, agent, agent4 };
        homes.insert((policy, side), home);
        Ok(home)
    }

    /// Creates a subscriber.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<()> {
        let request =
            CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
        self.ask_leader("subscriber", async |channel| {
            SubscribersClient::new(channel).create_subscriber(request.clone()).await.map(drop)
        })
        .await
    }

    /// Creates a security association.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn associate(&self, association: SecurityAssociation) -> Result<()> {
        let security_association = Some(association);
        let request =
            CreateSecurityAssociationRequest { security_association, ..Default::default() };
        self.ask_leader("security association", async |channel| {
            let mut client = SecurityAssociationsClient::new(channel);
            client.create_security_association(request.clone()).await.map(drop)
        })
        .await
    }

    /// Asks the leader, whoever that is by now; what exists already is fine.
    async fn ask_leader(
        &self,
        what: &str,
        ask: impl AsyncFn(Channel) -> Result<(), tonic::Status>,
    ) -> Result<()> {
        let mut refused = None;
        let asked = eventually(what, async || match ask(self.leader().await?).await {
            Ok(()) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status)
                if !leads_no_more(&status)
                    && matches!(
                        status.code(),
                        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound
                    ) =>
            {
                refused = Some(anyhow!("{what}: {}", status.message()));
                Ok(())
            }
            Err(status) => {
                *self.leader.lock().await = None;
                bail!("{what}: {}", status.message())
            }
        });
        asked.await?;
        refused.map_or(Ok(()), Err)
    }

    /// A connection to the leader.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<Channel> {
        let mut known = self.leader.lock().await;
        if let Some(channel) = known.as_ref() {
            return Ok(channel.clone());
        }
        let channel = channel_to(&self.cluster.leader().await?).await?;
        *known = Some(channel.clone());
        Ok(channel)
    }

    /// Forgets who led: somebody was killed.
    pub async fn forget_leader(&self) {
        *self.leader.lock().await = None;
    }
}

/// The replica that was asked does not lead, or not any more.
pub fn leads_no_more(status: &tonic::Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message().contains("does not lead")
}

/// A connection to a process.
///
/// # Errors
/// When it does not answer.
pub async fn channel_to(member: &Member) -> Result<Channel> {
    crate::dev::channel_with(member, Duration::from_secs(5)).await
}

/// Gives each packet to the case whose address it is for.
async fn read(tun: Arc<Tun>, inboxes: Arc<Mutex<BTreeMap<u16, mpsc::UnboundedSender<Arrived>>>>) {
    let mut packet = vec![0; usize::from(MTU) * 4];
    while let Ok(len) = tun.recv(&mut packet).await {
        let octets = &packet[..len];
        let Some(case) = case_of(octets) else { continue };
        let arrived = decode(octets).map_err(|error| format!("{error:#}: {octets:02x?}"));
        let inboxes = inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inboxes.get(&case) {
            // A case that has ended needs nothing any more.
            drop(inbox.send(arrived));
        }
    }
}

/// The case that a packet's destination belongs to.
fn case_of(octets: &[u8]) -> Option<u16> {
    let pair = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    match octets.first()? >> 4 {
        6 => (0xc0..=0xcf).contains(&pair(28)?).then_some(pair(30)?),
        4 => Some(pair(18)? / 8),
        _ => None,
    }
}
