//! The wire of the real home link: a bridge between the forwarders and one host, which stands for the
//! mobile node at home, for correspondent nodes, and for other routers there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_hostnet::{Ethernet, Namespace, Network, TemporaryNamespace, write_sysctl};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::decode::{Packet, decode};
use super::packet::{icmpv6, ipv6, protocol};
use crate::dev::{DevCluster, kill};
use crate::eventually;

/// The forwarders' interface on the link.
const PORT: &str = "home";
/// Router Advertisements that wait for whoever listens.
const ADVERTISEMENTS_WAITING_MAX: usize = 256;

/// A link-layer address.
pub type Mac = [u8; 6];

/// A packet on the link, and who sent it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Link-layer source.
    pub from: Mac,
    /// What it carries.
    pub packet: Packet,
}

type Inboxes = Mutex<BTreeMap<u16, mpsc::UnboundedSender<Frame>>>;

/// The link.
pub struct HomeNet {
    ethernet: Arc<Ethernet>,
    inboxes: Arc<Inboxes>,
    owned: Arc<Mutex<BTreeSet<Ipv6Addr>>>,
    advertisements: broadcast::Sender<Frame>,
    reader: JoinHandle<()>,
    forwarders: Vec<Mac>,
    _link: TemporaryNamespace,
    _host: TemporaryNamespace,
}

impl Drop for HomeNet {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl HomeNet {
    /// Builds it, and starts the forwarders again with a home link.
    ///
    /// # Errors
    /// When the host refuses, or they do not come up.
    pub async fn build(cluster: &DevCluster, namespaces: &[String]) -> Result<Self> {
        let link = TemporaryNamespace::create("homeport-link")?;
        let host = TemporaryNamespace::create("homeport-host")?;
        let network = Network::open(&link.namespace())?;
        let mut ports = vec!["host".to_owned()];
        let edges = namespaces.iter().map(|name| Namespace::Named(name.clone()));
        for (at, edge) in edges.enumerate() {
            let port = format!("port-{}", at + 1);
            network.add_veth(&port, PORT, &edge).await?;
            Network::open(&edge)?.link_up(PORT).await?;
            ports.push(port);
        }
        // Nobody else has its link-local address.
        write_sysctl(&host.namespace(), "net/ipv6/conf/default/accept_dad", "0")?;
        network.add_veth("host", "link", &host.namespace()).await?;
        Network::open(&host.namespace())?.link_up("link").await?;
        bridge(link.name(), &ports)?;
        // The link-local address comes some time after the link is up.
        let ethernet = eventually("a link-local address", async || {
            Ok(Ethernet::open(&host.namespace(), "link")?)
        });
        let ethernet = Arc::new(ethernet.await?);
        let (inboxes, owned): (Arc<Inboxes>, Arc<Mutex<BTreeSet<Ipv6Addr>>>) = Default::default();
        let (advertisements, _) = broadcast::channel(ADVERTISEMENTS_WAITING_MAX);
        let reader = tokio::spawn(read(
            Arc::clone(&ethernet),
            Arc::clone(&inboxes),
            Arc::clone(&owned),
            advertisements.clone(),
        ));
        put_on_link(cluster).await?;
        let mut forwarders = Vec::new();
        for name in namespaces {
            forwarders.push(Ethernet::open(&Namespace::Named(name.clone()), PORT)?.address());
        }
        let (_link, _host) = (link, host);
        Ok(Self { ethernet, inboxes, owned, advertisements, reader, forwarders, _link, _host })
    }

    /// The host's link-layer address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.ethernet.address()
    }

    /// The forwarders' link-layer addresses there.
    #[must_use]
    pub fn forwarders(&self) -> &[Mac] {
        &self.forwarders
    }

    /// Opens the inbox of a case; solicitations for `owned` addresses are answered from now on.
    pub fn inbox(&self, case: u16, owned: &[Ipv6Addr]) -> mpsc::UnboundedReceiver<Frame> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(case, sender);
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).extend(owned);
        receiver
    }

    /// Router Advertisements from now on.
    #[must_use]
    pub fn advertisements(&self) -> broadcast::Receiver<Frame> {
        self.advertisements.subscribe()
    }

    /// Sends a packet to a link-layer address.
    ///
    /// # Errors
    /// When the interface refuses it.
    pub async fn send(&self, to: Mac, packet: &[u8]) -> Result<()> {
        Ok(self.ethernet.send(to, packet).await?)
    }

    /// Sends an ICMPv6 message with hop limit 255, to the group of its destination where that is one.
    ///
    /// # Errors
    /// When the interface refuses it.
    pub async fn neighbour(
        &self,
        to: Option<Mac>,
        (from, destination): (Ipv6Addr, Ipv6Addr),
        kind: u8,
        rest: &[u8],
    ) -> Result<()> {
        let [.., a, b, c, d] = destination.octets();
        let to = to.unwrap_or([0x33, 0x33, a, b, c, d]);
        self.send(to, &neighbour_packet(from, destination, kind, rest)).await
    }
}

/// Joins these ports of a namespace.
fn bridge(namespace: &str, ports: &[String]) -> Result<()> {
    let ip = |arguments: &[&str]| -> Result<()> {
        let mut command = std::process::Command::new("ip");
        let status = command.args(["-n", namespace, "link"]).args(arguments).status();
        ensure!(status.context("iproute2")?.success(), "ip link {arguments:?}");
        Ok(())
    };
    // Every port gets every multicast: nobody here speaks MLD for the groups that matter.
    ip(&["add", "bridge", "type", "bridge", "mcast_snooping", "0"])?;
    for port in ports {
        ip(&["set", port, "master", "bridge"])?;
        ip(&["set", port, "up"])?;
    }
    ip(&["set", "bridge", "up"])
}

/// An ICMPv6 message with hop limit 255.
fn neighbour_packet(from: Ipv6Addr, to: Ipv6Addr, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = ipv6(from, to, protocol::ICMPV6, &icmpv6(from, to, kind, 0, rest));
    packet[7] = 255;
    packet
}

/// Rest of a Neighbour Solicitation, with the asker's link-layer address or without.
#[must_use]
pub fn solicitation(target: Ipv6Addr, asker: Option<Mac>) -> Vec<u8> {
    neighbour_message(0, target, 1, asker)
}

/// Rest of a Neighbour Advertisement: R, S and O are 0x80, 0x40 and 0x20.
#[must_use]
pub fn advertisement(flags: u8, target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    neighbour_message(flags, target, 2, Some(mac))
}

fn neighbour_message(flags: u8, target: Ipv6Addr, kind: u8, mac: Option<Mac>) -> Vec<u8> {
    let mut rest = vec![flags, 0, 0, 0];
    rest.extend(target.octets());
    if let Some(mac) = mac {
        rest.extend([kind, 1]);
        rest.extend(mac);
    }
    rest
}

/// Solicited-node group of an address (RFC 4291 section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(address) & 0xff_ffff;
    Ipv6Addr::from(0xff02_0000_0000_0000_0000_0001_ff00_0000 | low)
}

/// Target of a Neighbour Solicitation or Advertisement.
#[must_use]
pub fn target_of(packet: &Packet) -> Option<Ipv6Addr> {
    let (135 | 136, 0, rest) = packet.icmpv6()? else { return None };
    let target: [u8; 16] = rest.get(4..20)?.try_into().ok()?;
    Some(target.into())
}

/// Gives each frame to the case that it concerns, and answers for the addresses of our hosts.
async fn read(
    ethernet: Arc<Ethernet>,
    inboxes: Arc<Inboxes>,
    owned: Arc<Mutex<BTreeSet<Ipv6Addr>>>,
    advertisements: broadcast::Sender<Frame>,
) {
    let mut octets = vec![0; 4096];
    while let Ok((from, packet)) = ethernet.recv(&mut octets).await {
        let Ok(packet) = decode(packet) else { continue };
        let frame = Frame { from, packet };
        if matches!(frame.packet.icmpv6(), Some((134, ..))) {
            // Nobody need listen.
            drop(advertisements.send(frame));
            continue;
        }
        if let Some(answer) = answer(&frame, &owned, ethernet.address()) {
            drop(ethernet.send(from, &answer).await);
        }
        let Some(case) = case_of(&frame.packet) else { continue };
        let inboxes = inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inboxes.get(&case) {
            drop(inbox.send(frame));
        }
    }
}

fn answer(frame: &Frame, owned: &Mutex<BTreeSet<Ipv6Addr>>, mac: Mac) -> Option<Vec<u8>> {
    let (135, ..) = frame.packet.icmpv6()? else { return None };
    let target = target_of(&frame.packet)?;
    let asker = frame.packet.source6().filter(|asker| !asker.is_unspecified())?;
    let is_owned = owned.lock().unwrap_or_else(PoisonError::into_inner).contains(&target);
    is_owned.then(|| neighbour_packet(target, asker, 136, &advertisement(0x60, target, mac)))
}

/// The case that a packet on the link belongs to: by the target of Neighbour Discovery, else by its
/// destination. The last group of its interface identifier is the number of the case, or it lies in one
/// of the mobile networks of the case.
fn case_of(packet: &Packet) -> Option<u16> {
    let std::net::IpAddr::V6(destination) = packet.destination else { return None };
    let address = target_of(packet).unwrap_or(destination);
    let groups = address.segments();
    if groups[..2] == [0x2001, 0xdb8] && super::cast::NETWORK_GROUPS.contains(&groups[2]) {
        return Some(groups[3] / 4);
    }
    matches!(groups[6], 0xa0..=0xff | 0x0c).then_some(groups[7])
}

/// Names the link in the forwarders' configuration and kills them: who dies is started again.
async fn put_on_link(cluster: &DevCluster) -> Result<()> {
    let forwarders = cluster.endpoints()?.forwarders;
    for forwarder in &forwarders {
        let file = cluster.data_dir().join(format!("{}.toml", forwarder.name));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(text.contains("[tun]"), "no TUN in {}", file.display());
        std::fs::write(&file, text.replace("[tun]", &format!("[tun]\nhome_link = \"{PORT}\"")))?;
        kill(forwarder)?;
    }
    for before in &forwarders {
        eventually(&before.name, async || {
            let now = cluster.endpoints()?.forwarders;
            let now = now.iter().find(|forwarder| forwarder.name == before.name);
            let now = now.context("it is gone")?;
            ensure!(now.pid.is_some() && now.pid != before.pid, "it is not up again");
            crate::ops::page(now.ops, "/readyz").await.map(drop)
        })
        .await?;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}
