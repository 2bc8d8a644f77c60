//! Scripts of mobile routers (RFC 3963): what passes between nodes in a mobile network and the rest of
//! the world, also where one mobile node is behind another.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};

use super::catalogue::Row;
use super::decode::Packet;
use super::packet::{
    Mobility, Update, echo, flag, home_address_option, icmpv6, ipv6, ping, protocol, type_2_routing,
};
use super::stage::{PATIENCE, Stage};

/// A packet of this kind between a node in a mobile network and somebody elsewhere.
fn packet(kind: &str, from: Ipv6Addr, to: Ipv6Addr, home: Ipv6Addr) -> Result<Vec<u8>> {
    let mobility = |kind: u8, (from, to): (Ipv6Addr, Ipv6Addr)| {
        // Long enough for every type: its data and an unknown option.
        let len = match kind {
            0 => 2,
            5 | 6 => 6,
            1 | 2 => 10,
            _ => 18,
        };
        Mobility::new(kind, &vec![0; len], &[]).emit(from, to)
    };
    let destination_options = protocol::DESTINATION_OPTIONS;
    let numbered = |prefix: &str| kind.strip_prefix(prefix)?.parse::<u8>().ok();
    Ok(match kind {
        "bu" => {
            let header = mobility(5, (home, to));
            let payload = home_address_option(home, protocol::MOBILITY, &header);
            ipv6(from, to, destination_options, &payload)
        }
        "ba" => {
            let header = mobility(6, (from, home));
            let payload = type_2_routing(home, protocol::MOBILITY, &header);
            ipv6(from, to, protocol::ROUTING, &payload)
        }
        "mps" | "echo-hao" => {
            let kind = if kind == "mps" { 146 } else { 128 };
            let message = icmpv6(home, to, kind, 0, &echo(1, 1, &[0; 8]));
            let payload = home_address_option(home, protocol::ICMPV6, &message);
            ipv6(from, to, destination_options, &payload)
        }
        "mpa" | "echo-rh2" => {
            let kind = if kind == "mpa" { 147 } else { 129 };
            let message = icmpv6(from, home, kind, 0, &echo(1, 1, &[0; 8]));
            let payload = type_2_routing(home, protocol::ICMPV6, &message);
            ipv6(from, to, protocol::ROUTING, &payload)
        }
        "error" => {
            let mut rest = vec![0; 4];
            rest.extend(ping(to, from, 1, 1));
            ipv6(from, to, protocol::ICMPV6, &icmpv6(from, to, 1, 0, &rest))
        }
        _ => match (numbered("mh"), numbered("icmp")) {
            (Some(kind), _) => ipv6(from, to, protocol::MOBILITY, &mobility(kind, (from, to))),
            (None, Some(kind)) => {
                let message = icmpv6(from, to, kind, 0, &echo(1, 1, &[0; 8]));
                ipv6(from, to, protocol::ICMPV6, &message)
            }
            (None, None) => bail!("a packet of kind {kind:?}"),
        },
    })
}

/// The same octets, apart from the hop limit.
fn same(got: &[u8], sent: &[u8]) -> bool {
    let zip = got.iter().zip(sent).enumerate();
    got.len() == sent.len() && zip.into_iter().all(|(at, (got, sent))| at == 7 || got == sent)
}

/// Out of the mobile network through the reverse tunnel, and in again through the tunnel.
pub async fn carried(stage: &Stage, row: &Row) -> Result<()> {
    stage.accepted(&stage.update(15), stage.coa(1)).await?;
    let (inside, outside) = (stage.fixed_node(1), stage.path_router());
    let visitor_home = stage.foreign_home();
    if let Some(kind) = row.get("up") {
        stage.step().await;
        let inner = packet(kind, inside, outside, visitor_home)?;
        stage.send(&ipv6(stage.coa(1), stage.home.agent, protocol::IPV6, &inner)).await?;
        let delivered = |packet: &Packet| same(&packet.octets, &inner).then_some(());
        stage.receive(&format!("{kind} out of the tunnel"), PATIENCE, delivered).await?;
    }
    if let Some(kind) = row.get("down") {
        stage.step().await;
        let sent = packet(kind, outside, inside, visitor_home)?;
        stage.send(&sent).await?;
        let tunnelled = |packet: &Packet| {
            let inner = packet.tunnelled()?;
            same(&inner.octets, &sent).then_some(packet.destination)
        };
        let what = format!("{kind} in the tunnel");
        let (to, _) = stage.receive(&what, PATIENCE, tunnelled).await?;
        ensure!(to == IpAddr::V6(stage.coa(1)), "{kind} went to {to}");
    }
    Ok(())
}

/// A mobile node or a mobile router whose care-of address is in the mobile network of this one.
struct Nested<'s> {
    stage: &'s Stage,
    home: Ipv6Addr,
    care_of: Ipv6Addr,
    is_router: bool,
}

impl Nested<'_> {
    /// Sends a packet through the outer mobile router.
    async fn send(&self, inner: &[u8]) -> Result<()> {
        let (from, to) = (self.stage.coa(1), self.stage.home.agent);
        self.stage.send(&ipv6(from, to, protocol::IPV6, inner)).await
    }

    /// What comes for the inner care-of address through the tunnel to the outer mobile router.
    async fn receive<T>(&self, what: &str, read: impl Fn(&Packet) -> Option<T>) -> Result<T> {
        let (to, inside) = (IpAddr::V6(self.stage.coa(1)), IpAddr::V6(self.care_of));
        let in_tunnel = |packet: &Packet| {
            let inner = packet.tunnelled().filter(|_| packet.destination == to)?;
            read(inner).filter(|_| inner.destination == inside)
        };
        Ok(self.stage.receive(what, PATIENCE, in_tunnel).await?.0)
    }

    async fn register(&self) -> Result<()> {
        self.stage.step().await;
        let mut update = Update::new(7);
        if self.is_router {
            update.flags |= flag::R;
        }
        self.send(&self.stage.packet_of(&update, self.care_of, self.home)).await?;
        let ba = self.receive("the inner Binding Acknowledgement", Packet::acknowledgement);
        let ba = ba.await?;
        ensure!(ba.status == 0, "BA {} for the inner node", ba.status);
        ensure!(ba.routing == Some(self.home), "its routing header names {:?}", ba.routing);
        Ok(())
    }

    /// A message of the mobile node with its home address, and the type that answers it.
    async fn ask_with_home_address(&self, kind: u8, answer: u8) -> Result<()> {
        self.stage.step().await;
        let agent = self.stage.home.agent;
        let message = icmpv6(self.home, agent, kind, 0, &echo(3, 0, &[]));
        let payload = home_address_option(self.home, protocol::ICMPV6, &message);
        self.send(&ipv6(self.care_of, agent, protocol::DESTINATION_OPTIONS, &payload)).await?;
        let what = format!("an ICMPv6 message of type {answer} with a routing header");
        self.receive(&what, |packet| {
            let (kind, ..) = packet.icmpv6()?;
            (kind == answer && packet.routing == Some(self.home)).then_some(())
        })
        .await
    }

    async fn discover(&self) -> Result<()> {
        self.stage.step().await;
        let anycast = super::discovery::anycast(self.stage);
        let flags = if self.is_router { 0x8000_u16 } else { 0 };
        let message = icmpv6(self.care_of, anycast, 144, 0, &echo(3, flags, &[]));
        self.send(&ipv6(self.care_of, anycast, protocol::ICMPV6, &message)).await?;
        let what = "the Home Agent Address Discovery Reply";
        let rest = self.receive(what, |packet| {
            let (kind, _, rest) = packet.icmpv6()?;
            (kind == 145).then(|| rest.to_vec())
        });
        let list = rest.await?.get(4..).context("a short reply")?.to_vec();
        let own = self.stage.home.agent.octets();
        ensure!(list.chunks(16).any(|address| address == own), "it lists {list:02x?}");
        Ok(())
    }

    /// A fixed node behind the inner mobile router and somebody else, both ways.
    async fn fixed(&self, with: Ipv6Addr) -> Result<()> {
        let (stage, node) = (self.stage, self.stage.fixed_node(4));
        stage.step().await;
        let up = ping(node, with, 5, 1);
        let inner = ipv6(self.care_of, stage.home.agent, protocol::IPV6, &up);
        self.send(&inner).await?;
        let down = if with == stage.home.agent {
            None
        } else {
            let delivered = |packet: &Packet| same(&packet.octets, &up).then_some(());
            stage.receive("the fixed node's packet", PATIENCE, delivered).await?;
            let down = ping(with, node, 5, 2);
            stage.send(&down).await?;
            Some(down)
        };
        let what = "the packet in two tunnels";
        self.receive(what, |packet| {
            let innermost = packet.tunnelled()?;
            let reply = || matches!(innermost.icmpv6(), Some((129, 0, _)));
            let is_it = down.as_ref().map_or_else(reply, |down| same(&innermost.octets, down));
            is_it.then_some(())
        })
        .await
    }
}

/// One mobile node behind another, at the same home agent.
pub async fn nested(stage: &Stage, row: &Row) -> Result<()> {
    stage.accepted(&stage.update(15), stage.coa(1)).await?;
    let (home, care_of) = (stage.other_home(1), stage.fixed_node(1));
    let nested = Nested { stage, home, care_of, is_router: row.has("router") };
    if nested.is_router {
        stage.own_network(home, 4).await?;
    }
    let what = row.get("what").context("what")?;
    if what == "discover" {
        return nested.discover().await;
    }
    nested.register().await?;
    match what {
        "register" => Ok(()),
        "echo" => nested.ask_with_home_address(128, 129).await,
        "solicit" => nested.ask_with_home_address(146, 147).await,
        "fixed-to-agent" => nested.fixed(stage.home.agent).await,
        "fixed-to-cn" => nested.fixed(stage.cn()).await,
        other => bail!("what={other}"),
    }
}
