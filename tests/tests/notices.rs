//! Binding Revocation, Home Agent Switch and Mobile Prefix Advertisements through a running cluster: an operator asks, a mobile
//! node is told by way of a front-end and a forwarder, and what it answers counts. The test is the
//! forwarder and the mobile node.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::home_agents_client::HomeAgentsClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::revocations_client::RevocationsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::switch_home_agent_request::Target;
use homeport_api::admin::{
    AdvertiseHomePrefixRequest, Authentication, CreateSubscriberRequest, GetHomeBindingsRequest,
    HomePrefix, RevocationTrigger, RevokeBindingsRequest, Subscriber, SwitchHomeAgentRequest,
    SwitchHomeAgentResponse, UpdateHomePrefixRequest,
};
use homeport_api::signalling::{PuntResponse, UdpOuter};
use homeport_binding::Key;
use homeport_signalling::mn_ha_authenticator;
use homeport_tests::golden::vector;
use homeport_tests::updates::{CARE_OF, HOME_AGENT, Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually, udp_outer};
use homeport_wire::{
    Bid, BidCareOf, BidOption, BindingRevocation, BindingRevocationAcknowledgement, Icmpv6,
    Message, MobilityOption, PseudoHeader, RevocationFlags, RevocationStatus, Status as BaStatus,
    mobility_packet, walk, with_checksum_zeroed,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

const SECOND_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1);
const KEY: [u8; 16] = *b"0123456789abcdef";
const SPI: u32 = 0x100;

/// V01's mobile node: BIDs 1 to 3.
async fn registered() -> Result<(Cluster, FrontEnd)> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let answer = front_end.ask(&vector("V01")?, None).await?;
    ensure!(acknowledgement(&answer.packet)?.status() == 0);
    Ok((cluster, front_end))
}

async fn revoke(channel: Channel, home_address: &str, bids: &[u32]) -> Result<u64, Status> {
    let (home_address, bids) = (home_address.to_owned(), bids.to_vec());
    let request = RevokeBindingsRequest { home_address, bids, trigger: None, ..Default::default() };
    let revoked = RevocationsClient::new(channel).revoke_bindings(request).await?;
    Ok(revoked.into_inner().revision)
}

async fn switch(
    channel: Channel,
    target: Target,
    addresses: &[&str],
    time_left_secs: Option<u32>,
) -> Result<SwitchHomeAgentResponse, Status> {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let request = SwitchHomeAgentRequest {
        target: Some(target),
        addresses,
        time_left_secs,
        ..Default::default()
    };
    HomeAgentsClient::new(channel).switch_home_agent(request).await.map(Response::into_inner)
}

fn one(home_address: Ipv6Addr) -> Target {
    Target::HomeAddress(home_address.to_string())
}

async fn bids(cluster: &Cluster, home_address: Ipv6Addr) -> Result<Vec<u32>> {
    let request = GetHomeBindingsRequest { home_address: home_address.to_string(), local: false };
    let mut client = BindingsClient::new(cluster.leader_channel().await?);
    let home = client.get_home_bindings(request).await?.into_inner();
    Ok(home.bindings.iter().filter_map(|binding| binding.bid).collect())
}

async fn become_bids(cluster: &Cluster, expected: &[u32]) -> Result<()> {
    eventually(&format!("bindings {expected:?}"), async || {
        let now = bids(cluster, home_address(0x100)).await?;
        ensure!(now == expected, "{now:?}");
        Ok(())
    })
    .await
}

/// The next packet that answers nothing.
async fn told(front_end: &mut FrontEnd) -> Result<PuntResponse> {
    let told = front_end.receive(PATIENCE).await?;
    ensure!(told.ticket == 0, "it answers a packet");
    ensure!(told.revision == 0, "it waits for nothing");
    Ok(told)
}

/// The sequence number of a packet that is a vector in all but that and the checksum.
fn sequence_like(packet: &[u8], vector: &[u8]) -> Result<u16> {
    const CHECKSUM: usize = 40 + 24 + 4;
    const SEQUENCE: usize = 40 + 24 + 8;
    let mut same = packet.to_vec();
    ensure!(packet.len() == vector.len(), "another length");
    for at in [CHECKSUM, SEQUENCE] {
        same[at..at + 2].copy_from_slice(&vector[at..at + 2]);
    }
    ensure!(same == vector, "it differs elsewhere");
    let seen = walk(packet)?;
    Message::parse(seen.payload, seen.pseudo_header())?;
    Ok(u16::from_be_bytes([packet[SEQUENCE], packet[SEQUENCE + 1]]))
}

/// A Binding Revocation Acknowledgement; in UDP without Home Address option.
fn answer(sequence: u16, key: Option<[u8; 16]>, in_udp: bool) -> Vec<u8> {
    let mn = home_address(0x100);
    let mut options = BindingRevocation::builder();
    if key.is_some() {
        options.push_authentication(1, SPI, 12);
    }
    let acknowledgement = BindingRevocationAcknowledgement {
        status: RevocationStatus::SUCCESS,
        sequence,
        flags: RevocationFlags::default(),
        options: options.finish(),
    };
    let mut message =
        Message::BindingRevocation(BindingRevocation::Acknowledgement(acknowledgement));
    if let Some(key) = key {
        let octets = message.emit_unchecked();
        message = message.with_authenticator(&mn_ha_authenticator(&Key(key), CARE_OF, mn, &octets));
    }
    let octets = message.emit(mn, HOME_AGENT);
    if in_udp {
        mobility_packet(mn, HOME_AGENT, None, None, &octets)
    } else {
        mobility_packet(CARE_OF, HOME_AGENT, Some(mn), None, &octets)
    }
}

async fn counted(front_end: &FrontEnd, sample: &str, value: f64) -> Result<()> {
    eventually(&format!("{sample} {value}"), async || {
        let now = front_end.metric(sample).await?;
        ensure!(now == value, "{now}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indication_and_its_answer_end_the_named_bindings() -> Result<()> {
    let (cluster, mut front_end) = registered().await?;
    revoke(cluster.leader_channel().await?, "2001:db8:0:1::100", &[2, 3]).await?;
    let indication = told(&mut front_end).await?;
    ensure!(indication.outer.is_none());
    let sequence = sequence_like(&indication.packet, &vector("V20")?)?;
    ensure!(bids(&cluster, home_address(0x100)).await? == [1, 2, 3], "marked, not removed");

    let refused = Update { bids: vec![bid(2)], ..Update::new(home_address(0x100), 0x1002) };
    let ba = acknowledgement(&front_end.ask(&refused.packet(), None).await?.packet)?;
    ensure!(ba.message.status == BaStatus::ADMINISTRATIVELY_PROHIBITED, "{ba:?}");

    front_end.send(&answer(sequence.wrapping_add(1), None, false), None).await?;
    let unknown = "homeport_signalling_drops_total{reason=\"unknown_revocation\"}";
    counted(&front_end, unknown, 1.0).await?;
    ensure!(bids(&cluster, home_address(0x100)).await? == [1, 2, 3], "that was no answer to it");
    front_end.send(&answer(sequence, None, false), None).await?;
    become_bids(&cluster, &[1]).await?;
    counted(&front_end, "homeport_signalling_revocations_acknowledged_total", 1.0).await?;
    let again = Update { bids: vec![bid(2)], ..Update::new(home_address(0x100), 0x1003) };
    let ba = acknowledgement(&front_end.ask(&again.packet(), None).await?.packet)?;
    ensure!(ba.status() == 167, "the revocation is over, the binding is gone: {ba:?}");
    Ok(())
}

fn bid(bid: u16) -> BidOption {
    BidOption {
        bid: Bid(bid),
        status: BaStatus::ACCEPTED,
        home: false,
        priority: homeport_wire::BidPriority::UNSET,
        care_of: BidCareOf::Absent,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_all_is_sent_twice_and_then_removed() -> Result<()> {
    let (cluster, mut front_end) = registered().await?;
    revoke(cluster.leader_channel().await?, "2001:db8:0:1::100", &[]).await?;
    let first = told(&mut front_end).await?;
    let second = told(&mut front_end).await?;
    ensure!(first == second, "the same indication again");
    let seen = walk(&first.packet)?;
    ensure!(seen.header.destination == CARE_OF);
    ensure!(seen.routing_home_address == Some(home_address(0x100)));
    let Message::BindingRevocation(BindingRevocation::Indication(indication)) =
        Message::parse(seen.payload, seen.pseudo_header())?
    else {
        bail!("no indication");
    };
    ensure!(indication.options.iter().next().is_none(), "none is all");
    become_bids(&cluster, &[]).await?;
    counted(&front_end, "homeport_signalling_notices_total{kind=\"revocation\"}", 2.0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_key_is_told_and_heard_only_with_it() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let mn = home_address(0x100);
    let subscriber = Subscriber {
        home_address: mn.to_string(),
        spi: SPI,
        key: KEY.to_vec().into(),
        ..Subscriber::default()
    };
    let request = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    let channel = cluster.leader_channel().await?;
    SubscribersClient::new(channel.clone()).create_subscriber(request).await?;
    let mut front_end = cluster.front_end().await?;
    let association =
        homeport_tests::updates::Association { nai: "", spi: SPI, key: KEY, message_id: None };
    let update = Update { association: Some(association), ..Update::new(mn, 1) };
    let ba = acknowledgement(&front_end.ask(&update.packet(), None).await?.packet)?;
    ensure!(ba.status() == 0, "{ba:?}");

    revoke(channel, "2001:db8:0:1::100", &[]).await?;
    let packet = told(&mut front_end).await?.packet;
    let seen = walk(&packet)?;
    let expected = mn_ha_authenticator(&Key(KEY), CARE_OF, mn, &with_checksum_zeroed(seen.payload));
    ensure!(seen.payload.ends_with(&expected), "not authentic");
    let Message::BindingRevocation(BindingRevocation::Indication(indication)) =
        Message::parse(seen.payload, seen.pseudo_header())?
    else {
        bail!("no indication");
    };
    let last = indication.options.iter().last();
    ensure!(matches!(last, Some(MobilityOption::Authentication { subtype: 1, spi: SPI, .. })));
    let sequence = indication.sequence;

    for (key, reason) in
        [(None, "authentication_missing"), (Some([0; 16]), "authentication_failed")]
    {
        front_end.send(&answer(sequence, key, false), None).await?;
        let sample = format!("homeport_signalling_drops_total{{reason=\"{reason}\"}}");
        counted(&front_end, &sample, 1.0).await?;
    }
    front_end.send(&answer(sequence, Some(KEY), false), None).await?;
    counted(&front_end, "homeport_signalling_revocations_acknowledged_total", 1.0).await
}

/// A front-end that nobody sends packets to must find the leader all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_front_end_follows_the_leader() -> Result<()> {
    let (mut cluster, mut front_end) = registered().await?;
    for bid in [2, 3] {
        let old = cluster.leader().await?;
        cluster.stop_replica(old).await?;
        cluster.leader().await?;
        // What is due before a front-end has come is lost: the revocation ends and is asked for again.
        let told = eventually("a notice", async || {
            let trigger = Some(RevocationTrigger::OutOfSync.into());
            let home_address = "2001:db8:0:1::100".to_owned();
            let request = RevokeBindingsRequest {
                home_address,
                bids: vec![bid],
                trigger,
                ..Default::default()
            };
            let channel = cluster.leader_channel().await?;
            match RevocationsClient::new(channel).revoke_bindings(request).await {
                Ok(_) => {}
                Err(status) if status.code() == Code::FailedPrecondition => {}
                Err(status) => return Err(status.into()),
            }
            front_end.receive(Duration::from_millis(500)).await
        })
        .await?;
        ensure!(told.ticket == 0);
        let walked = walk(&told.packet)?;
        ensure!(walked.header.source == HOME_AGENT);
        cluster.start_replica(old);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_told_through_the_tunnel_until_the_node_leaves() -> Result<()> {
    let (cluster, mut front_end) = registered().await?;
    let mn = home_address(0x100);
    let channel = cluster.leader_channel().await?;
    let asked = switch(channel, one(mn), &["2001:db8:0:1::2"], Some(63)).await?;
    ensure!((asked.home_addresses, asked.last_after_secs) == (1, 0), "{asked:?}");
    let told = told(&mut front_end).await?;
    ensure!(told.outer.is_none());
    // Binding Refresh Advice of V23 is 60 s: of 63 s there are sixty left, in units of four.
    ensure!(told.packet == vector("V23")?, "not the vector");

    let renewal = Update { bids: vec![bid(1)], ..Update::new(mn, 0x1002) };
    let ba = acknowledgement(&front_end.ask(&renewal.packet(), None).await?.packet)?;
    ensure!(ba.message.status == BaStatus::ADMINISTRATIVELY_PROHIBITED, "{ba:?}");
    ensure!(bids(&cluster, mn).await? == [1, 2, 3], "served until the lifetime ends");
    let leave = Update { lifetime: 0, ..Update::new(mn, 0x1003) };
    let ba = acknowledgement(&front_end.ask(&leave.packet(), None).await?.packet)?;
    ensure!(ba.status() == 0, "{ba:?}");
    counted(&front_end, "homeport_signalling_notices_total{kind=\"switch\"}", 1.0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_of_a_home_prefix_are_asked_one_after_the_other() -> Result<()> {
    let (cluster, mut front_end) = registered().await?;
    let over_ipv4: UdpOuter =
        udp_outer((Ipv4Addr::new(203, 0, 113, 7), 40_001), (Ipv4Addr::new(198, 51, 100, 1), 4191));
    let second = Update::new(home_address(0x101), 7);
    let answer = front_end.ask(&second.packet_in_udp(), Some(over_ipv4.clone())).await?;
    ensure!(acknowledgement(&answer.packet)?.status() == 0);
    let left = Update { lifetime: 0, ..Update::new(home_address(0x102), 8) };
    front_end.ask(&Update::new(home_address(0x102), 7).packet(), None).await?;
    front_end.ask(&left.packet(), None).await?;

    let channel = cluster.leader_channel().await?;
    let prefix = Target::Prefix("2001:db8:0:1::/64".to_owned());
    let asked = switch(channel.clone(), prefix, &["2001:db8:0:2::1"], None).await?;
    ensure!((asked.home_addresses, asked.last_after_secs) == (2, 1), "{asked:?}");
    let first = told(&mut front_end).await?;
    ensure!(first.outer.is_none());
    ensure!(walk(&first.packet)?.header.destination == CARE_OF, "through the tunnel");
    let second = told(&mut front_end).await?;
    ensure!(second.outer == Some(over_ipv4), "over IPv4 signalling is in UDP");
    let seen = walk(&second.packet)?;
    ensure!(seen.header.destination == home_address(0x101));
    let pseudo = PseudoHeader::mobility(HOME_AGENT, home_address(0x101));
    let Message::HomeAgentSwitch(message) = Message::parse(seen.payload, pseudo)? else {
        bail!("no switch");
    };
    ensure!(message.addresses == [SECOND_AGENT] && message.options.iter().next().is_none());
    let empty = Target::Prefix("2001:db8:0:1:8000::/65".to_owned());
    ensure!(switch(channel, empty, &[], None).await?.home_addresses == 0);
    Ok(())
}

const HOME_PREFIX: &str = "2001:db8:0:1::/64";

/// V36's lifetimes, other ones before, and no delay.
async fn change_lifetimes(cluster: &Cluster, valid: u32, preferred: u32) -> Result<()> {
    let home_prefix = HomePrefix {
        prefix: HOME_PREFIX.to_owned(),
        valid_lifetime_secs: Some(valid),
        preferred_lifetime_secs: Some(preferred),
        prefix_discovery_allowed: true,
        prefix_advertisement_delay_min_secs: Some(0),
        prefix_advertisement_delay_max_secs: Some(0),
        ..HomePrefix::default()
    };
    let update_mask = [
        "valid_lifetime_secs",
        "preferred_lifetime_secs",
        "prefix_discovery_allowed",
        "prefix_advertisement_delay_min_secs",
        "prefix_advertisement_delay_max_secs",
    ];
    let update_mask = update_mask.map(ToOwned::to_owned).to_vec();
    let request = UpdateHomePrefixRequest {
        home_prefix: Some(home_prefix),
        update_mask,
        ..Default::default()
    };
    HomePrefixesClient::new(cluster.leader_channel().await?).update_home_prefix(request).await?;
    Ok(())
}

/// Valid and preferred lifetime of a Mobile Prefix Advertisement, and its identifier.
fn advertised(packet: &[u8]) -> Result<(u32, u32, u16)> {
    let seen = walk(packet)?;
    let message = Icmpv6::parse(seen.payload, seen.pseudo_header())?;
    let Icmpv6::MobilePrefixAdvertisement { identifier, options, .. } = message else {
        bail!("{message:?}");
    };
    let prefix = options.prefixes().next().context("no prefix")?;
    Ok((prefix.valid_secs, prefix.preferred_secs, identifier))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_lifetimes_is_advertised_until_the_node_solicits() -> Result<()> {
    let (cluster, mut front_end) = registered().await?;
    change_lifetimes(&cluster, 600_000, 600_000).await?;
    let first = told(&mut front_end).await?;
    ensure!(first.outer.is_none());
    let seen = walk(&first.packet)?;
    ensure!(seen.header.destination == CARE_OF);
    ensure!(seen.routing_home_address == Some(home_address(0x100)));
    ensure!(advertised(&first.packet)? == (600_000, 600_000, 0));
    ensure!(told(&mut front_end).await? == first, "the same again");
    // It says what is true when it leaves, and so does the answer.
    change_lifetimes(&cluster, 86_400, 14_400).await?;
    loop {
        let packet = told(&mut front_end).await?.packet;
        if advertised(&packet)? == (86_400, 14_400, 0) {
            break;
        }
        ensure!(packet == first.packet, "neither the old nor the new");
    }
    let answer = front_end.ask(&vector("V35")?, None).await?;
    ensure!(answer.packet == vector("V36")?, "not the vector");
    let quiet = front_end.receive(Duration::from_secs(4)).await;
    ensure!(quiet.is_err(), "it is told after its answer: {quiet:?}");
    ensure!(bids(&cluster, home_address(0x100)).await? == [1, 2, 3]);
    let sent = "homeport_signalling_notices_total{kind=\"prefix_advertisement\"}";
    ensure!(front_end.metric(sent).await? >= 3.0);
    Ok(())
}

/// Also over UDP, and whoever leads then.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_home_prefix_advertised_and_another_leader_goes_on() -> Result<()> {
    let (mut cluster, mut front_end) = registered().await?;
    let over_ipv4: UdpOuter =
        udp_outer((Ipv4Addr::new(203, 0, 113, 7), 40_001), (Ipv4Addr::new(198, 51, 100, 1), 4191));
    let second = Update::new(home_address(0x101), 7);
    let answer = front_end.ask(&second.packet_in_udp(), Some(over_ipv4.clone())).await?;
    ensure!(acknowledgement(&answer.packet)?.status() == 0);
    change_lifetimes(&cluster, 86_400, 14_400).await?;
    for _ in 0..2 {
        told(&mut front_end).await?;
    }
    let advertise = AdvertiseHomePrefixRequest {
        prefix: HOME_PREFIX.to_owned(),
        within_secs: Some(0),
        ..Default::default()
    };
    let channel = cluster.leader_channel().await?;
    HomePrefixesClient::new(channel).advertise_home_prefix(advertise).await?;
    let old = cluster.leader().await?;
    cluster.stop_replica(old).await?;
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 2 {
        let told = told(&mut front_end).await?;
        ensure!(advertised(&told.packet)? == (86_400, 14_400, 0));
        let in_udp = told.outer.is_some();
        ensure!(told.outer.is_none_or(|outer| outer == over_ipv4));
        let seen = walk(&told.packet)?;
        let to = if in_udp { home_address(0x101) } else { CARE_OF };
        ensure!(seen.header.destination == to);
        heard.insert(in_udp);
    }
    Ok(())
}

/// The field that a refusal names.
fn field<T: std::fmt::Debug>(refused: Result<T, Status>, code: Code) -> Result<String> {
    let Err(status) = refused else { bail!("accepted: {refused:?}") };
    ensure!(status.code() == code, "{status}");
    let details = status.get_details_bad_request().context("no details")?;
    let violation = details.field_violations.first().context("no field")?;
    ensure!(status.message() == format!("{}: {}", violation.field, violation.description));
    Ok(violation.field.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_field() -> Result<()> {
    use Code::{FailedPrecondition, InvalidArgument, NotFound};
    let (cluster, _front_end) = registered().await?;
    let channel = cluster.leader_channel().await?;
    let mn = "2001:db8:0:1::100";
    let rows = [
        ("2001:db8:0:1::", vec![], NotFound, "home_address"),
        ("mn1", vec![], InvalidArgument, "home_address"),
        (mn, vec![9], NotFound, "bids"),
        (mn, vec![0], InvalidArgument, "bids"),
        (mn, vec![65_536], InvalidArgument, "bids"),
    ];
    for (home_address, bids, code, expected) in rows {
        let refused = revoke(channel.clone(), home_address, &bids).await;
        ensure!(field(refused, code)? == expected, "{home_address} {bids:?}");
    }
    for trigger in [-1, 2, 128, 300] {
        let trigger = Some(trigger);
        let request = RevokeBindingsRequest {
            home_address: mn.to_owned(),
            bids: vec![],
            trigger,
            ..Default::default()
        };
        let refused = RevocationsClient::new(channel.clone()).revoke_bindings(request).await;
        ensure!(field(refused, InvalidArgument)? == "trigger", "{trigger:?}");
    }

    let prefix = |text: &str| Target::Prefix(text.to_owned());
    let node = || Target::HomeAddress(mn.to_owned());
    let rows = [
        (node(), "2001:db8:0:1::1", None, InvalidArgument, "addresses"),
        (node(), "somewhere", None, InvalidArgument, "addresses"),
        (node(), "ff02::1", None, InvalidArgument, "addresses"),
        (prefix("2001:db8:0:1::/64"), "ff02::1", None, InvalidArgument, "addresses"),
        (node(), "2001:db8:0:2::1", Some(3), InvalidArgument, "time_left_secs"),
        (node(), "2001:db8:0:2::1", Some(262_141), InvalidArgument, "time_left_secs"),
        (one(home_address(0x999)), "2001:db8:0:2::1", None, NotFound, "home_address"),
        (prefix("2001:db8:0:1::1/64"), "2001:db8:0:2::1", None, InvalidArgument, "prefix"),
        (prefix("2001:db8:0:2::/64"), "2001:db8:0:2::1", None, NotFound, "prefix"),
        (prefix("2001:db8::/32"), "2001:db8:0:2::1", None, NotFound, "prefix"),
    ];
    for (target, address, time_left, code, expected) in rows {
        let refused = switch(channel.clone(), target.clone(), &[address], time_left).await;
        ensure!(field(refused, code)? == expected, "{target:?} {address} {time_left:?}");
    }
    let request = SwitchHomeAgentRequest::default();
    let refused = HomeAgentsClient::new(channel.clone()).switch_home_agent(request).await;
    ensure!(field(refused, InvalidArgument)? == "target");

    revoke(channel.clone(), mn, &[1]).await?;
    let refused = revoke(channel.clone(), mn, &[2]).await;
    ensure!(field(refused, FailedPrecondition)? == "home_address");
    let refused = switch(channel, node(), &["2001:db8:0:2::1"], None).await;
    ensure!(field(refused, FailedPrecondition)? == "home_address");
    Ok(())
}
