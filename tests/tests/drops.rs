//! Every packet that a front-end is given is answered or counted under a reason, on the page that
//! operators watch.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::Authentication;
use homeport_api::signalling::UdpOuter;
use homeport_tests::updates::{CARE_OF, HOME_AGENT, Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, eventually, ops, udp_outer};
use homeport_wire::options::kind;
use homeport_wire::{
    Bid, BidOption, BindingUpdate, BuFlags, Lifetime, Message, MobilityOption, OptionsBuilder,
    PacketBuilder, PseudoHeader, Sequence, checksum, mobility_packet, protocol,
};

const MN: Ipv6Addr = home_address(0x100);
/// Octets before the Mobility Header: IPv6 header and Home Address option.
const MH: usize = 64;

/// A Binding Update with these options.
fn with_options(fill: impl FnOnce(&mut OptionsBuilder)) -> Vec<u8> {
    let mut options = BindingUpdate::builder();
    fill(&mut options);
    let flags = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION);
    let (sequence, lifetime, options) = (Sequence(1), Lifetime(9), options.finish());
    let message = Message::BindingUpdate(BindingUpdate { sequence, flags, lifetime, options });
    mobility_packet(CARE_OF, HOME_AGENT, Some(MN), None, &message.emit(MN, HOME_AGENT))
}

/// A good Binding Update, whose Mobility Header is spoilt under a right checksum.
fn spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let packet = Update::new(MN, 1).packet();
    let mut mh = packet[MH..].to_vec();
    spoil(&mut mh);
    mh[4..6].fill(0);
    let sum = checksum(PseudoHeader::mobility(MN, HOME_AGENT), &mh);
    mh[4..6].copy_from_slice(&sum.to_be_bytes());
    mobility_packet(CARE_OF, HOME_AGENT, Some(MN), None, &mh)
}

fn good() -> Update {
    Update::new(MN, 1)
}

type Row = (&'static str, Vec<u8>);

/// RFC 6275 §9.2 and §9.5.1, and what this home agent does not serve: silence.
fn silent() -> Vec<Row> {
    let whole = good().packet();
    let cut = whole[..whole.len() - 1].to_vec();
    let flipped = |at: usize, bits: u8| {
        let mut packet = good().packet();
        packet[at] ^= bits;
        packet
    };
    let with = |change: fn(Update) -> Update| change(good()).packet();
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let routed = mobility_packet(CARE_OF, HOME_AGENT, None, Some(MN), &whole[MH..]);
    vec![
        ("truncated", Vec::new()),
        ("truncated", cut),
        ("ip_version", flipped(0, 0x20)),
        ("checksum", flipped(MH + 8, 0x01)),
        ("checksum", flipped(30, 0x01)),
        ("option_overrun", spoilt(|mh| mh[12..14].copy_from_slice(&[3, 200]))),
        (
            "malformed_option",
            with_options(|options| {
                let (kind, data) = (kind::ALTERNATE_CARE_OF, &[0; 4][..]);
                options.push(&MobilityOption::Malformed { kind, data });
            }),
        ),
        (
            "nonce_indices",
            with_options(|options| {
                options.push(&MobilityOption::NonceIndices { home: 1, care_of: 2 });
            }),
        ),
        ("source_not_unicast", with(|u| Update { care_of: "ff0e::1".parse().unwrap_or(MN), ..u })),
        ("home_address_not_routable", Update { home_address: link_local, ..good() }.packet()),
        ("care_of_not_routable", Update { care_of: link_local, ..good() }.packet()),
        ("home_address_option_missing", good().packet_in_udp()),
        (
            "home_agent_not_served",
            with(|u| Update {
                home_address: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2),
                home_agent: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1),
                ..u
            }),
        ),
        ("correspondent_unsupported", Update { flags: BuFlags::default(), ..good() }.packet()),
        ("foreign_routing_header", routed),
        // An acknowledgement is for a mobile node.
        ("not_for_home_agent", spoilt(|mh| mh[2] = 6)),
        ("not_signalling", PacketBuilder::new(CARE_OF, HOME_AGENT).build(protocol::UDP, &[0; 8])),
    ]
}

/// What is answered by an error (RFC 6275 §9.2).
fn answered_by_errors() -> Vec<Row> {
    vec![
        ("unknown_mh_type", spoilt(|mh| mh[2] = 99)),
        ("payload_proto", spoilt(|mh| mh[0] = protocol::UDP)),
        (
            "header_len",
            spoilt(|mh| {
                mh.truncate(8);
                mh[1] = 0;
            }),
        ),
    ]
}

async fn counted(front_end: &FrontEnd, family: &str, reason: &str) -> Result<f64> {
    let sample = format!("homeport_signalling_{family}_total{{reason=\"{reason}\"}}");
    front_end.metric(&sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_is_answered_or_counted_under_its_reason() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let applied = async || -> Result<u64> {
        Ok(cluster.status(cluster.leader().await?).await?.applied_index)
    };
    let before = applied().await?;
    for (at, (reason, packet)) in silent().into_iter().enumerate() {
        let known = counted(&front_end, "drops", reason).await?;
        front_end.send(&packet, None).await?;
        eventually(&format!("row {at}, {reason}"), async || {
            ensure!(counted(&front_end, "drops", reason).await? == known + 1.0);
            Ok(())
        })
        .await?;
    }
    for (reason, packet) in answered_by_errors() {
        let answer = front_end.ask(&packet, None).await?;
        ensure!(acknowledgement(&answer.packet).is_err() && answer.revision == 0, "{reason}");
        assert_eq!(counted(&front_end, "errors_sent", reason).await?, 1.0, "{reason}");
    }
    // Nothing of that has reached the log; a change of leader may add an entry of its own.
    ensure!(applied().await? <= before + 3);
    // An outer address that is none; one that the store finds to be no care-of address.
    let outer = |peer| udp_outer((peer, 40_001), ([198, 51, 100, 1].into(), 4191));
    let short = UdpOuter { peer_address: vec![1, 2, 3].into(), ..outer([192, 0, 2, 1].into()) };
    let loopback = outer([127, 0, 0, 2].into());
    for (reason, outer) in [("punt_invalid", short), ("care_of_not_routable", loopback)] {
        let known = counted(&front_end, "drops", reason).await?;
        front_end.send(&good().packet_in_udp(), Some(outer)).await?;
        eventually(reason, async || {
            ensure!(counted(&front_end, "drops", reason).await? == known + 1.0);
            Ok(())
        })
        .await?;
    }
    assert_eq!(cluster.status(cluster.leader().await?).await?.home_addresses, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_add_up() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mut sent = 0.0;
    for (_, packet) in silent().into_iter().chain(answered_by_errors()) {
        front_end.send(&packet, None).await?;
        sent += 1.0;
    }
    let packet = good().packet();
    for len in 0..=packet.len() {
        front_end.send(&packet[..len], None).await?;
        sent += 1.0;
    }
    let malformed = BidOption::v6(Bid(0), CARE_OF);
    let bids = [BidOption::v6(Bid(2), CARE_OF), malformed].to_vec();
    for sequence in [2, 2, 3] {
        front_end
            .send(&Update { bids: bids.clone(), ..Update::new(MN, sequence) }.packet(), None)
            .await?;
        sent += 1.0;
    }
    eventually("all packets to be accounted for", async || {
        let mut sum = 0.0;
        for family in ["drops", "errors_sent", "acknowledgements"] {
            sum +=
                ops::sum(front_end.ops(), &format!("homeport_signalling_{family}_total")).await?;
        }
        let packets = front_end.metric("homeport_signalling_packets_total").await?;
        ensure!(packets == sent && sum == sent, "{sum} of {packets} of {sent}");
        Ok(())
    })
    .await?;
    let acknowledged = "homeport_signalling_registration_seconds_count{detection=\"no\"}";
    let acknowledgements =
        ops::sum(front_end.ops(), "homeport_signalling_acknowledgements_total").await?;
    assert_eq!(front_end.metric(acknowledged).await?, acknowledgements);
    Ok(())
}

/// RFC 4443 §2.4: errors are limited in rate, and what is not sent is counted.
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_limited_in_rate() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut front_end = cluster.front_end().await?;
    let (_, packet) = answered_by_errors().into_iter().next().context("no such packet")?;
    let flood = 3 * homeport_front_end::limits::ERRORS_PER_SECOND_MAX;
    for _ in 0..flood {
        front_end.send(&packet, None).await?;
    }
    eventually("the flood to be counted", async || {
        let sent = counted(&front_end, "errors_sent", "unknown_mh_type").await?;
        let limited = counted(&front_end, "drops", "error_rate_limited").await?;
        ensure!(sent + limited == f64::from(flood), "{sent} and {limited}");
        ensure!(limited > 0.0 && sent > 0.0);
        Ok(())
    })
    .await
}
