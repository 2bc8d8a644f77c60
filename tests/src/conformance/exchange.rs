//! What passes between the mobile node, the home agent and the correspondent node.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::{GetHomeBindingsRequest, HomeBindings};
use tonic::Code;

use super::decode::{Acknowledgement, Body, Packet};
use super::dual::update_in_udp;
use super::packet::{Update, echo, flag, home_address_option, icmpv6, ipv6, ping, protocol};
use super::stage::{PATIENCE, Proof, SENDS_MAX, SILENCE, Stage};
use crate::dev::Member;

impl Stage {
    /// Sends a Binding Update from a care-of address and gives the answer to it.
    ///
    /// # Errors
    /// When none comes, or not to that address with this home address in a type 2 routing header.
    pub async fn register(&self, update: &Update, from: Ipv6Addr) -> Result<Acknowledgement> {
        self.register_of(update, from, self.hoa).await
    }

    /// The same for another home address.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub async fn register_of(
        &self,
        update: &Update,
        from: Ipv6Addr,
        home: Ipv6Addr,
    ) -> Result<Acknowledgement> {
        self.step().await;
        let packet = self.packet_of(update, from, home);
        let answer = self.ask(&packet, "a Binding Acknowledgement", |packet| {
            let to = packet.destination == IpAddr::V6(from);
            packet.acknowledgement().filter(|_| to)
        });
        let (ba, packet) = answer.await?;
        ensure!(packet.source == IpAddr::V6(self.home.agent), "it came from {}", packet.source);
        ensure!(ba.routing == Some(home), "its routing header names {:?}", ba.routing);
        ensure!(ba.sequence == update.sequence || ba.status == 135, "its sequence {}", ba.sequence);
        Ok(ba)
    }

    /// Sends a Binding Update over UDP and gives the answer.
    ///
    /// # Errors
    /// When none comes, or not in UDP to that end.
    pub async fn register_udp(
        &self,
        update: &Update,
        from: (Ipv4Addr, u16),
    ) -> Result<Acknowledgement> {
        self.register_udp_of(update, from, self.hoa).await
    }

    /// The same for another home address.
    ///
    /// # Errors
    /// As [`Self::register_udp`].
    pub async fn register_udp_of(
        &self,
        update: &Update,
        from: (Ipv4Addr, u16),
        home: Ipv6Addr,
    ) -> Result<Acknowledgement> {
        self.step().await;
        let packet = update_in_udp(self, update, from, home);
        let (ba, packet) =
            self.ask(&packet, "a Binding Acknowledgement in UDP", Packet::acknowledgement).await?;
        let Body::Udp { source, destination, .. } = packet.body else {
            bail!("the acknowledgement is not in UDP")
        };
        ensure!(packet.destination == IpAddr::V4(from.0), "it went to {}", packet.destination);
        ensure!(
            (source, destination) == (self.lab.udp_port, from.1),
            "ports {source} {destination}"
        );
        ensure!(ba.routing.is_none(), "a routing header in UDP");
        Ok(ba)
    }

    /// What the store holds of the home address: BID and care-of address.
    ///
    /// # Errors
    /// When the leader does not say.
    pub async fn stored(&self) -> Result<BTreeSet<(Option<u32>, String)>> {
        let bindings = self.homes().await?.bindings.into_iter();
        Ok(bindings.map(|binding| (binding.bid, binding.care_of_address)).collect())
    }

    async fn homes(&self) -> Result<HomeBindings> {
        let home_address = self.hoa.to_string();
        crate::eventually("the leader's bindings", async || {
            let request =
                GetHomeBindingsRequest { home_address: home_address.clone(), local: false };
            let mut client = BindingsClient::new(self.lab.leader().await?);
            match client.get_home_bindings(request).await {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) if status.code() == Code::NotFound => Ok(HomeBindings::default()),
                Err(status) => {
                    self.lab.forget_leader().await;
                    bail!("{}", status.message())
                }
            }
        })
        .await
    }

    /// Seconds that the leader leaves to the plain binding.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remaining_secs(&self) -> Result<u32> {
        let homes = self.homes().await?;
        Ok(homes.bindings.first().context("no binding")?.remaining_secs)
    }

    /// BIDs of the home address as one replica shows them from its own state.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stored_at(&self, store: &Member) -> Result<BTreeSet<u32>> {
        let request = GetHomeBindingsRequest { home_address: self.hoa.to_string(), local: true };
        let mut client = BindingsClient::new(self.lab.replica(store).await?);
        match client.get_home_bindings(request).await {
            Ok(answer) => {
                let bindings = answer.into_inner().bindings.into_iter();
                Ok(bindings.filter_map(|binding| binding.bid).collect())
            }
            Err(status) if status.code() == Code::NotFound => Ok(BTreeSet::new()),
            Err(status) => bail!("{}", status.message()),
        }
    }

    /// Sends a packet until an answer comes that `read` knows.
    async fn ask<T>(
        &self,
        packet: &[u8],
        what: &str,
        read: impl Fn(&Packet) -> Option<T>,
    ) -> Result<(T, Packet)> {
        let mut sends = 0;
        loop {
            self.send(packet).await?;
            sends += 1;
            match self.receive(what, PATIENCE, &read).await {
                // Only a process that was just killed excuses silence.
                Err(_) if self.retransmits && sends < SENDS_MAX => {}
                answer => return answer,
            }
        }
    }

    /// Registers, and insists on success.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn accepted(&self, update: &Update, from: Ipv6Addr) -> Result<Acknowledgement> {
        let ba = self.register(update, from).await?;
        self.is_accepted(&ba, update)?;
        Ok(ba)
    }

    /// Success as RFC 6275 section 10.3.1 wants it; for a mobile router status 0 (RFC 3963).
    ///
    /// # Errors
    /// When it is not.
    pub fn is_accepted(&self, ba: &Acknowledgement, update: &Update) -> Result<()> {
        let good = ba.status == 0 || (ba.status == 1 && !self.is_router);
        ensure!(good, "BA {}, expected 0", ba.status);
        ensure!(ba.sequence == update.sequence, "BA sequence {}", ba.sequence);
        ensure!(ba.lifetime <= update.lifetime, "BA lifetime {}", ba.lifetime);
        ensure!(update.lifetime == 0 || ba.lifetime > 0, "BA lifetime 0");
        let (asked, got) = (update.flags & flag::R != 0, ba.flags & 0x40 != 0);
        ensure!(asked == got, "BA R={}, BU R={}", u8::from(got), u8::from(asked));
        Ok(())
    }

    /// Registers, and insists on this status.
    ///
    /// # Errors
    /// When it is another.
    pub async fn refused(
        &self,
        update: &Update,
        from: Ipv6Addr,
        status: u8,
    ) -> Result<Acknowledgement> {
        let ba = self.register(update, from).await?;
        ensure!(ba.status == status, "BA {}, expected {status}", ba.status);
        Ok(ba)
    }

    /// The binding proof.
    ///
    /// # Errors
    /// When neither answer comes.
    pub async fn proof(&self, from: Ipv6Addr) -> Result<Proof> {
        self.proof_of(from, self.hoa).await
    }

    /// The same for another home address.
    ///
    /// # Errors
    /// As [`Self::proof`].
    pub async fn proof_of(&self, from: Ipv6Addr, home: Ipv6Addr) -> Result<Proof> {
        self.step().await;
        self.prove(from, home).await
    }

    /// The binding proof, without a step before it.
    ///
    /// # Errors
    /// As [`Self::proof`].
    pub async fn prove(&self, from: Ipv6Addr, home: Ipv6Addr) -> Result<Proof> {
        let identifier = self.next_echo().await;
        let rest = echo(identifier, 1, b"binding proof");
        let message = icmpv6(home, self.home.agent, 128, 0, &rest);
        let payload = home_address_option(home, protocol::ICMPV6, &message);
        let packet = ipv6(from, self.home.agent, protocol::DESTINATION_OPTIONS, &payload);
        let known = |packet: &Packet| {
            let reply = packet.icmpv6().is_some_and(|(kind, code, got)| {
                (kind, code) == (129, 0) && got == rest && packet.routing == Some(home)
            });
            let to = packet.destination == IpAddr::V6(from);
            match packet.binding_error() {
                _ if !to => None,
                Some((1, named)) if named == home => Some(Proof::Unbound),
                _ => reply.then_some(Proof::Bound),
            }
        };
        // Errors are limited in rate, so one that is missing is asked for again.
        let mut sends = 0;
        loop {
            self.send(&packet).await?;
            sends += 1;
            match self.receive("a binding proof", Duration::from_millis(1200), known).await {
                Err(_) if sends < SENDS_MAX => {}
                answer => return answer.map(|(proof, _)| proof),
            }
        }
    }

    /// Insists on a binding of this care-of address.
    ///
    /// # Errors
    /// When there is none.
    pub async fn is_bound(&self, from: Ipv6Addr) -> Result<()> {
        let proof = self.proof(from).await?;
        ensure!(proof == Proof::Bound, "binding proof from {from} is BE 1, expected a binding");
        Ok(())
    }

    /// Insists that this care-of address has no binding.
    ///
    /// # Errors
    /// When it has.
    pub async fn is_unbound(&self, from: Ipv6Addr) -> Result<()> {
        let proof = self.proof(from).await?;
        ensure!(proof == Proof::Unbound, "binding proof from {from} found a binding");
        Ok(())
    }

    /// An identifier for an Echo Request.
    pub async fn next_echo(&self) -> u16 {
        let mut inbox = self.inbox.lock().await;
        inbox.echoes += 1;
        inbox.echoes
    }

    /// The home agent answers a ping.
    ///
    /// # Errors
    /// When it does not.
    pub async fn echo_agent(&self, from: Ipv6Addr) -> Result<()> {
        let identifier = self.next_echo().await;
        self.send(&ping(from, self.home.agent, identifier, 1)).await?;
        let rest = echo(identifier, 1, b"conformance");
        self.receive("an Echo Reply of the home agent", Duration::from_millis(500), |packet| {
            let (kind, _, got) = packet.icmpv6()?;
            (kind == 129 && got == rest && packet.source == IpAddr::V6(self.home.agent))
                .then_some(())
        })
        .await?;
        Ok(())
    }

    /// The correspondent node pings `to`; gives the outer packet that brings it to a care-of address.
    ///
    /// # Errors
    /// When it does not come, or was changed on the way.
    pub async fn ping_through(&self, to: Ipv6Addr) -> Result<Packet> {
        self.step().await;
        let identifier = self.next_echo().await;
        let sent = ping(self.cn(), to, identifier, 7);
        self.send(&sent).await?;
        let what = "the tunnelled Echo Request";
        let (inner, outer) = self
            .receive(what, PATIENCE, |packet| {
                let inner = packet.tunnelled()?;
                let (_, _, rest) = inner.icmpv6()?;
                rest.starts_with(&identifier.to_be_bytes()).then(|| inner.octets.clone())
            })
            .await?;
        let same =
            inner.iter().zip(&sent).enumerate().all(|(at, (got, sent))| at == 7 || got == sent);
        ensure!(same && inner.len() == sent.len(), "the inner packet was changed");
        Ok(outer)
    }

    /// The correspondent node reaches the home address through this care-of address.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reached_at(&self, care_of: Ipv6Addr) -> Result<()> {
        self.network_reached_at(self.hoa, care_of).await
    }

    /// The same for any address of the mobile node's.
    ///
    /// # Errors
    /// When it does not.
    pub async fn network_reached_at(&self, to: Ipv6Addr, care_of: Ipv6Addr) -> Result<()> {
        let outer = self.ping_through(to).await?;
        let ends = (outer.source, outer.destination);
        let expected = (IpAddr::V6(self.home.agent), IpAddr::V6(care_of));
        ensure!(ends == expected, "tunnelled from {} to {}, expected to {care_of}", ends.0, ends.1);
        Ok(())
    }

    /// Nothing of the correspondent node's ping to `to` comes through a tunnel.
    ///
    /// # Errors
    /// When it does.
    pub async fn not_tunnelled(&self, to: Ipv6Addr) -> Result<()> {
        self.step().await;
        let identifier = self.next_echo().await;
        self.send(&ping(self.cn(), to, identifier, 7)).await?;
        self.silence(SILENCE, |packet| {
            let rest = packet.tunnelled().and_then(Packet::icmpv6).map(|(_, _, rest)| rest);
            rest.is_some_and(|rest| rest.starts_with(&identifier.to_be_bytes()))
        })
        .await
    }

    /// `inner` comes out of a tunnel from this care-of address and is delivered.
    ///
    /// # Errors
    /// When it is not.
    pub async fn reversed(&self, care_of: Ipv6Addr, source: Ipv6Addr) -> Result<()> {
        self.step().await;
        let identifier = self.reverse(care_of, source).await?;
        self.receive("the packet out of the reverse tunnel", PATIENCE, |packet| {
            let (kind, _, rest) = packet.icmpv6()?;
            let same = kind == 128 && rest.starts_with(&identifier.to_be_bytes());
            (same && packet.source == IpAddr::V6(source)).then_some(())
        })
        .await?;
        Ok(())
    }

    /// A packet in a tunnel from this care-of address is dropped without a word.
    ///
    /// # Errors
    /// When anything comes.
    pub async fn not_reversed(&self, care_of: Ipv6Addr, source: Ipv6Addr) -> Result<()> {
        self.step().await;
        let identifier = self.reverse(care_of, source).await?;
        self.silence(SILENCE, |packet| {
            let (to, rest) = (packet.destination, packet.icmpv6().map(|(_, _, rest)| rest));
            let delivered = rest.is_some_and(|rest| rest.starts_with(&identifier.to_be_bytes()));
            delivered || to == IpAddr::V6(care_of)
        })
        .await
    }

    async fn reverse(&self, care_of: Ipv6Addr, source: Ipv6Addr) -> Result<u16> {
        let identifier = self.next_echo().await;
        let inner = ping(source, self.cn(), identifier, 9);
        self.send(&ipv6(care_of, self.home.agent, protocol::IPV6, &inner)).await?;
        Ok(identifier)
    }

    /// A router on the path answers a tunnel packet with Time Exceeded, and the source of the inner
    /// packet is told (RFC 2473 section 8.2).
    ///
    /// # Errors
    /// When it is not, or the inner packet is not quoted.
    pub async fn time_exceeded(&self, outer: &Packet) -> Result<()> {
        self.step().await;
        let mut rest = vec![0; 4];
        rest.extend(&outer.octets);
        let message = icmpv6(self.path_router(), self.home.agent, 3, 0, &rest);
        let (from, to) = (self.path_router(), self.home.agent);
        self.send(&ipv6(from, to, protocol::ICMPV6, &message)).await?;
        let what = "a Destination Unreachable with code 3";
        let (quoted, answer) = self
            .receive(what, PATIENCE, |packet| {
                let (kind, code, rest) = packet.icmpv6()?;
                ((kind, code) == (1, 3)).then(|| rest.to_vec())
            })
            .await?;
        let inner = outer.tunnelled().context("no inner packet")?;
        ensure!(answer.destination == inner.source, "it went to {}", answer.destination);
        let quoted = quoted.get(4..).unwrap_or_default();
        let differs = |(at, (got, sent)): (usize, (&u8, &u8))| at != 7 && got != sent;
        let different = quoted.iter().zip(&inner.octets).enumerate().any(differs);
        ensure!(quoted.len() == inner.octets.len() && !different, "it quotes something else");
        Ok(())
    }
}
