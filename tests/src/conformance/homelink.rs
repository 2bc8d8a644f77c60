//! Scripts of a real home link: hosts and routers on it, and the home agent's Neighbour Discovery
//! (RFC 6275 sections 10.3.1, 10.4.1).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::cast::CN;
use super::catalogue::Row;
use super::decode::{Acknowledgement, Body, Packet};
use super::home_net::{Frame, Mac, advertisement, solicitation, solicited_node, target_of};
use super::packet::{
    Mobility, Update, bid_with, bid6, flag, home_address_option, ipv6, link_layer, ping, protocol,
};
use super::stage::{PATIENCE, SILENCE, Stage};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// How long a change takes at most to every forwarder.
pub const SETTLING: Duration = Duration::from_millis(60);
/// Flags of a Neighbour Advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A Neighbour Advertisement, if it is one with a link-layer address.
struct Advertised {
    target: Ipv6Addr,
    flags: u8,
    to: IpAddr,
    mac: Vec<u8>,
    from: Mac,
}

fn advertised(frame: &Frame) -> Option<Advertised> {
    let (136, _, rest) = frame.packet.icmpv6()? else { return None };
    let mac = rest.get(22..28).filter(|_| rest.get(20..22) == Some(&[2, 1]))?.to_vec();
    let (target, to) = (target_of(&frame.packet)?, frame.packet.destination);
    Some(Advertised { target, flags: rest[0], to, mac, from: frame.from })
}

/// The target of a probe for duplicates: source `::`, hop limit 255, to the solicited-node group.
fn probe(frame: &Frame) -> Option<Ipv6Addr> {
    let (135, ..) = frame.packet.icmpv6()? else { return None };
    let target = target_of(&frame.packet)?;
    let packet = &frame.packet;
    let right = packet.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && packet.destination == IpAddr::V6(solicited_node(target))
        && packet.hop_limit == 255;
    right.then_some(target)
}

impl Stage {
    /// The first frame that `read` knows.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn hear<T>(&self, what: &str, read: impl Fn(&Frame) -> Option<T>) -> Result<T> {
        let mut frames = self.frames.lock().await;
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            while let Some(frame) = frames.waiting.get(looked_at) {
                if let Some(value) = read(frame) {
                    frames.waiting.remove(looked_at);
                    return Ok(value);
                }
                looked_at += 1;
            }
            let Ok(frame) = tokio::time::timeout_at(end, frames.arrivals.recv()).await else {
                let came = frames.waiting.drain(..).map(|frame| summary(&frame));
                let came: Vec<String> = came.collect();
                bail!("no {what} on the home link; what came: [{}]", came.join("; "));
            };
            frames.waiting.push(frame.context("the inbox was closed")?);
        }
    }

    /// No frame that `is_it` is heard for a time.
    ///
    /// # Errors
    /// When one is.
    pub async fn hear_nothing(&self, time: Duration, is_it: impl Fn(&Frame) -> bool) -> Result<()> {
        let mut frames = self.frames.lock().await;
        let end = tokio::time::Instant::now() + time;
        loop {
            if let Some(frame) = frames.waiting.iter().find(|frame| is_it(frame)) {
                bail!("expected silence on the home link, but there came {}", summary(frame));
            }
            match tokio::time::timeout_at(end, frames.arrivals.recv()).await {
                Ok(frame) => frames.waiting.push(frame.context("the inbox was closed")?),
                Err(_elapsed) => return Ok(()),
            }
        }
    }

    /// Forgets what was heard until now.
    async fn forget_frames(&self) {
        let mut frames = self.frames.lock().await;
        while frames.arrivals.try_recv().is_ok() {}
        frames.waiting.clear();
    }

    /// The home agent's link-layer address, as its neighbours learn it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn agent_mac(&self) -> Result<Mac> {
        let mut advertisements = self.lab.link.advertisements();
        let started = std::time::Instant::now();
        while started.elapsed() < crate::PATIENCE {
            self.solicit_routers().await?;
            let wait = tokio::time::timeout(Duration::from_millis(500), async {
                loop {
                    let frame = advertisements.recv().await?;
                    if prefix_information(&frame.packet, self.home.agent).is_some() {
                        return anyhow::Ok(frame.from);
                    }
                }
            });
            if let Ok(mac) = wait.await {
                return mac;
            }
        }
        bail!("no Router Advertisement names {}", self.home.agent)
    }

    /// A Router Solicitation of a host.
    async fn solicit_routers(&self) -> Result<()> {
        let mut rest = vec![0; 4];
        rest.extend([1, 1]);
        rest.extend(self.lab.link.mac());
        let from = self.link_local_neighbour(CN);
        self.lab.link.neighbour(None, (from, ALL_ROUTERS), 133, &rest).await
    }

    /// A packet that the mobile node sends on its home link, and the answer on that link.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask_from_home<T>(
        &self,
        packet: &[u8],
        what: &str,
        read: impl Fn(&Packet) -> Option<T>,
    ) -> Result<T> {
        self.step().await;
        let mac = self.agent_mac().await?;
        self.lab.link.send(mac, packet).await?;
        let home = IpAddr::V6(self.hoa);
        self.hear(what, |f| read(&f.packet).filter(|_| f.packet.destination == home)).await
    }

    /// A Binding Update from the home address on the home link, with or without a Home Address option.
    ///
    /// # Errors
    /// When no answer comes, or with a routing header.
    pub async fn register_from_home(
        &self,
        update: &Update,
        option: bool,
    ) -> Result<Acknowledgement> {
        let header = update.header(self.hoa, self.home.agent, self.hoa);
        let (next, payload) = if option {
            let payload = home_address_option(self.hoa, protocol::MOBILITY, &header);
            (protocol::DESTINATION_OPTIONS, payload)
        } else {
            (protocol::MOBILITY, header)
        };
        let packet = ipv6(self.hoa, self.home.agent, next, &payload);
        let what = "a Binding Acknowledgement";
        let ba = self.ask_from_home(&packet, what, Packet::acknowledgement).await?;
        ensure!(ba.routing.is_none(), "its routing header names {:?}", ba.routing);
        Ok(ba)
    }

    /// Valid lifetime of the home prefix in the home agent's Router Advertisements, in seconds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn advertised_valid_lifetime(&self) -> Result<u32> {
        let mut advertisements = self.lab.link.advertisements();
        self.solicit_routers().await?;
        let find = async {
            loop {
                let frame = advertisements.recv().await?;
                if let Some(found) = prefix_information(&frame.packet, self.home.agent) {
                    return anyhow::Ok(found.1);
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.context("no Router Advertisement")?
    }

    /// Whether the home agent answers for an address; the host that asks is a correspondent node.
    ///
    /// # Errors
    /// When the interface refuses to send.
    pub async fn is_defended(&self, address: Ipv6Addr) -> Result<bool> {
        tokio::time::sleep(SETTLING).await;
        self.forget_frames().await;
        let asker = (self.link_local_neighbour(CN), solicited_node(address));
        let rest = solicitation(address, Some(self.lab.link.mac()));
        self.lab.link.neighbour(None, asker, 135, &rest).await?;
        let answers = |frame: &Frame| {
            advertised(frame).is_some_and(|a| a.target == address && a.flags & SOLICITED != 0)
        };
        Ok(self.hear_nothing(SILENCE, answers).await.is_err())
    }

    /// An unsolicited advertisement for the home address by another node than `before`.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn heard_from_another(&self, before: Mac) -> Result<Mac> {
        let started = std::time::Instant::now();
        loop {
            let another = |frame: &Frame| {
                let heard = advertised(frame)?;
                let is_it = heard.target == self.hoa && heard.flags & OVERRIDE != 0;
                (is_it && heard.from != before).then_some(heard.from)
            };
            match self.hear("advertisement of another", another).await {
                Err(_) if started.elapsed() < crate::PATIENCE => {}
                heard => return heard,
            }
        }
    }

    /// Who answers for an address.
    ///
    /// # Errors
    /// When the interface refuses to send.
    pub async fn defenders(&self, address: Ipv6Addr) -> Result<BTreeSet<Mac>> {
        self.forget_frames().await;
        let asker = (self.link_local_neighbour(CN), solicited_node(address));
        let rest = solicitation(address, Some(self.lab.link.mac()));
        self.lab.link.neighbour(None, asker, 135, &rest).await?;
        self.hear_nothing(SILENCE * 2, |_| false).await?;
        let frames = self.frames.lock().await;
        let answers = frames.waiting.iter().filter_map(advertised);
        let answers = answers.filter(|a| a.target == address && a.flags & SOLICITED != 0);
        Ok(answers.map(|answer| answer.from).collect())
    }
}

fn summary(frame: &Frame) -> String {
    match target_of(&frame.packet) {
        Some(target) => format!("{} for {target}", frame.packet.summary()),
        None => frame.packet.summary(),
    }
}

/// Flags of the advertisement and valid lifetime of the prefix whose field holds this address (RFC 6275
/// section 7.2).
fn prefix_information(packet: &Packet, agent: Ipv6Addr) -> Option<(u8, u32)> {
    let (134, _, rest) = packet.icmpv6()? else { return None };
    let mut options = rest.get(12..)?;
    while let [kind, len, ..] = options {
        let option = options.get(..8 * usize::from(*len)).filter(|o| !o.is_empty())?;
        // R is set: the field is a whole address.
        if *kind == 3 && option.get(16..32)? == agent.octets() && option[3] & 0x20 != 0 {
            let valid = option[4..8].try_into().map(u32::from_be_bytes).ok()?;
            return Some((rest[1], valid));
        }
        options = &options[option.len()..];
    }
    None
}

fn first_update(stage: &Stage, row: &Row, sequence: u16) -> Update {
    let mut update = stage.update(sequence);
    if row.has("l") {
        update.flags |= flag::L;
    }
    if row.get("a") == Some("0") {
        update.flags &= !flag::A;
    }
    update
}

/// Duplicate Address Detection of the home address.
pub async fn dad(stage: &Stage, row: &Row) -> Result<()> {
    stage.step().await;
    let update = first_update(stage, row, 15);
    stage.agent_mac().await?;
    stage.forget_frames().await;
    stage.send(&stage.packet(&update, stage.coa(1))).await?;
    if row.has("home-in-network") {
        stage.hear_nothing(Duration::from_millis(1500), |frame| probe(frame).is_some()).await?;
    } else {
        let mut wanted = vec![stage.hoa];
        if row.has("l") {
            wanted.push(stage.link_local_home());
        }
        for target in wanted {
            let what = format!("probe for {target}");
            stage.hear(&what, |frame| (probe(frame)? == target).then_some(())).await?;
        }
    }
    let claimed = match row.get("claim") {
        Some("global") => Some(stage.hoa),
        Some("link-local") => Some(stage.link_local_home()),
        _ => None,
    };
    if let Some(claimed) = claimed {
        let mac = stage.lab.link.mac();
        let rest = advertisement(OVERRIDE, claimed, mac);
        stage.lab.link.neighbour(None, (claimed, ALL_NODES), 136, &rest).await?;
    }
    let read = Packet::acknowledgement;
    let (ba, _) = stage.receive("a Binding Acknowledgement", PATIENCE, read).await?;
    if row.has("fails") {
        ensure!(ba.status == 134, "BA {}, expected 134", ba.status);
        return stage.is_unbound(stage.coa(1)).await;
    }
    stage.is_accepted(&ba, &update)?;
    stage.is_bound(stage.coa(1)).await
}

/// R in what the home agent says for the mobile node (RFC 3963 section 6.2).
fn router_flag(stage: &Stage) -> u8 {
    if stage.is_router { ROUTER } else { 0 }
}

/// Unsolicited Neighbour Advertisements after the first registration.
pub async fn first_advertisement(stage: &Stage, row: &Row) -> Result<()> {
    let update = first_update(stage, row, 15);
    stage.forget_frames().await;
    stage.accepted(&update, stage.coa(1)).await?;
    let agent = stage.agent_mac().await?;
    if row.has("home-in-network") {
        let about = |frame: &Frame| advertised(frame).is_some_and(|a| a.target == stage.hoa);
        return stage.hear_nothing(Duration::from_secs(1), about).await;
    }
    let mut wanted = vec![stage.hoa];
    if row.has("l") {
        wanted.push(stage.link_local_home());
    }
    for target in wanted {
        let what = format!("unsolicited advertisement for {target}");
        let heard = stage.hear(&what, |f| advertised(f).filter(|a| a.target == target)).await?;
        ensure!(heard.to == IpAddr::V6(ALL_NODES), "it goes to {}", heard.to);
        ensure!(heard.flags == OVERRIDE | router_flag(stage), "its flags are {:02x}", heard.flags);
        ensure!(heard.mac == agent && heard.from == agent, "it names {:02x?}", heard.mac);
    }
    Ok(())
}

/// Neighbour Solicitations for what is and what is not defended.
pub async fn solicit(stage: &Stage, row: &Row) -> Result<()> {
    let update = first_update(stage, row, 15);
    stage.accepted(&update, stage.coa(1)).await?;
    let target = match row.get("target") {
        Some("global") => stage.hoa,
        Some("link-local") => stage.link_local_home(),
        Some("other-global") => stage.neighbour(0xdd),
        Some("other-link-local") => stage.link_local_neighbour(0xdd),
        other => bail!("target {other:?}"),
    };
    let answered = row.has("answered");
    // The forwarder that defends the link may be another than that which sent the BA.
    tokio::time::sleep(SETTLING).await;
    ask(stage, row, target, answered).await?;
    if row.has("again") {
        let mut end = first_update(stage, row, 16).lifetime(0);
        end.flags |= flag::A;
        stage.accepted(&end, stage.coa(1)).await?;
        tokio::time::sleep(SETTLING).await;
        ask(stage, row, target, false).await.context("after the de-registration")?;
    }
    Ok(())
}

async fn ask(stage: &Stage, row: &Row, target: Ipv6Addr, answered: bool) -> Result<()> {
    stage.step().await;
    let agent = stage.agent_mac().await?;
    stage.forget_frames().await;
    let asker = stage.link_local_neighbour(CN);
    let mac = row.has("slla").then(|| stage.lab.link.mac());
    let kind = row.get("kind").context("kind")?;
    let (ends, rest, to) = match kind {
        "multicast" => ((asker, solicited_node(target)), solicitation(target, mac), None),
        "unicast" => ((asker, target), solicitation(target, mac), Some(agent)),
        "dad" => {
            let ends = (Ipv6Addr::UNSPECIFIED, solicited_node(target));
            (ends, solicitation(target, None), None)
        }
        other => bail!("kind {other}"),
    };
    stage.lab.link.neighbour(to, ends, 135, &rest).await?;
    let (destination, flags) = if kind == "dad" {
        (ALL_NODES, router_flag(stage))
    } else {
        (asker, SOLICITED | router_flag(stage))
    };
    let right =
        |a: &Advertised| a.target == target && a.to == IpAddr::V6(destination) && a.flags == flags;
    if !answered {
        // What is said unasked has O set.
        let any = |a: &Advertised| a.target == target && a.flags & OVERRIDE == 0;
        return stage.hear_nothing(SILENCE, |f| advertised(f).is_some_and(|a| any(&a))).await;
    }
    let what = format!("advertisement for {target} with flags {flags:02x} to {destination}");
    let heard = stage.hear(&what, |frame| advertised(frame).filter(right)).await?;
    ensure!(heard.mac == agent && heard.from == agent, "it names {:02x?}", heard.mac);
    Ok(())
}

/// A correspondent node on the home link pings a link-local home address.
pub async fn link_local_ping(stage: &Stage, _row: &Row) -> Result<()> {
    stage.accepted(&stage.update(15).and(flag::L), stage.coa(1)).await?;
    stage.step().await;
    let agent = stage.agent_mac().await?;
    let (from, to) = (stage.link_local_neighbour(CN), stage.link_local_home());
    stage.lab.link.send(agent, &ping(from, to, 1, 1)).await?;
    let told = |frame: &Frame| {
        let to = frame.packet.destination == IpAddr::V6(from);
        matches!(frame.packet.icmpv6(), Some((1, 3, _))).then_some(()).filter(|()| to)
    };
    stage.hear("Destination Unreachable with code 3", told).await?;
    stage.silence(SILENCE, |packet| packet.tunnelled().is_some()).await
}

/// A home binding beside foreign ones (RFC 5648 section 5.6).
pub async fn home_binding(stage: &Stage, row: &Row) -> Result<()> {
    let only_router = row.get("policy") == Some("only-router");
    stage.accepted(&stage.update(1).with(bid6(1, stage.coa(1))), stage.coa(1)).await?;
    ensure!(stage.is_defended(stage.hoa).await?, "it is not defended before");
    let mac = stage.lab.link.mac();
    let home = bid_with(2, 0, 0x80, super::packet::CareOf::V6(stage.hoa));
    let mut update = stage.update(2).with(home);
    if !row.has("without_lla") {
        update = update.with(link_layer(mac));
    }
    // Nothing but the home binding, so that packets take it.
    update.flags |= flag::O;
    let ba = stage.register_from_home(&update, false).await?;
    let accepted = if only_router { 0 } else { 5 };
    if row.has("without_lla") && !only_router {
        ensure!(ba.status >= 128, "BA {} without a link-layer address", ba.status);
        return stage.is_bound(stage.coa(1)).await;
    }
    ensure!(ba.status == accepted, "BA {}, expected {accepted}", ba.status);
    ensure!(ba.bids().len() == 1, "BIDs {:?}", ba.bid_statuses());
    let defended = stage.is_defended(stage.hoa).await?;
    ensure!(defended != only_router, "defended afterwards: {defended}");
    if only_router {
        return Ok(());
    }
    // The home agent writes the link-layer header itself; a HoT stands for data.
    let data = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9];
    let header = Mobility::new(3, &data, &[]).emit(stage.cn(), stage.hoa);
    stage.send(&ipv6(stage.cn(), stage.hoa, protocol::MOBILITY, &header)).await?;
    stage
        .hear("the packet for the home address", |frame| {
            matches!(&frame.packet.body, Body::Mobility(mh) if mh.kind == 3).then_some(())
        })
        .await
}
