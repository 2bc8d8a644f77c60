//! The binding feed, as forwarders and screens see it.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::{Authentication, CreateHomePrefixRequest, DeleteHomePrefixRequest};
use homeport_api::binding::care_of_address::Address;
use homeport_store::limits::{FEED_SUBSCRIBERS_MAX, SUBSCRIBER_NAME_LEN_MAX};
use homeport_tests::feed::{Picture, Watch};
use homeport_tests::submit::{Submitter, registration};
use homeport_tests::updates::{CARE_OF, Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, eventually};
use homeport_wire::{Bid, BidOption};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// A cluster with the home prefix of the golden packets, and a front-end.
async fn served() -> Result<(Cluster, FrontEnd)> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let front_end = cluster.front_end().await?;
    Ok((cluster, front_end))
}

/// Sends an update that is accepted; its revision.
async fn accept(front_end: &mut FrontEnd, update: &Update) -> Result<u64> {
    let answer = front_end.ask(&update.packet(), None).await?;
    let seen = acknowledgement(&answer.packet)?;
    ensure!(seen.message.status.is_accepted(), "status {}", seen.status());
    Ok(answer.revision)
}

async fn follower(cluster: &Cluster) -> Result<u64> {
    let leader = cluster.leader().await?;
    Ok(if leader == 1 { 2 } else { 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscriber_gets_a_snapshot_and_then_each_change() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let (here, gone) = (home_address(0x100), home_address(0x101));
    accept(&mut front_end, &Update::new(here, 5)).await?;
    accept(&mut front_end, &Update::new(gone, 5)).await?;
    let revision = accept(&mut front_end, &Update { lifetime: 0, ..Update::new(gone, 6) }).await?;
    let mut watch = Watch::start(cluster.leader_channel().await?, "first").await?;
    let first = watch.next().await?;
    ensure!(first.snapshot_begin, "no snapshot for who has nothing");
    let picture = watch.reach(revision).await?.clone();
    assert_eq!(picture.revision, revision);
    // Who is gone is not in it, although the store remembers its sequence number.
    assert_eq!(picture.homes.keys().collect::<Vec<_>>(), [&here]);
    let prefixes: Vec<_> = picture.home_prefixes.keys().map(|(a, len)| (*a, *len)).collect();
    assert_eq!(prefixes, [("2001:db8:0:1::".parse()?, 64)]);
    assert_eq!(picture.homes[&here].bindings.len(), 1);
    // A change: one home address, and the revision that the acknowledgement waits for.
    let bids = vec![BidOption::v6(Bid(1), CARE_OF)];
    let revision = accept(&mut front_end, &Update { bids, ..Update::new(gone, 7) }).await?;
    watch.reach(revision).await?;
    assert_eq!((watch.picture().revision, watch.changes), (revision, 2));
    assert_eq!(watch.picture().homes[&gone].bindings[0].bid, Some(1));
    assert_eq!(watch.picture().homes[&gone].revision, revision);
    // One that is refused changes nothing but the revision.
    let answer = front_end.ask(&Update::new(gone, 7).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 135);
    watch.reach(answer.revision).await?;
    assert_eq!((watch.changes, watch.snapshots), (2, 1));
    // A de-registration removes, a deleted home prefix too.
    let revision = accept(&mut front_end, &Update { lifetime: 0, ..Update::new(gone, 8) }).await?;
    ensure!(!watch.reach(revision).await?.homes.contains_key(&gone));
    let revision = accept(&mut front_end, &Update { lifetime: 0, ..Update::new(here, 8) }).await?;
    ensure!(watch.reach(revision).await?.homes.is_empty());
    let request =
        DeleteHomePrefixRequest { prefix: "2001:db8:0:1::/64".to_owned(), ..Default::default() };
    let leader = cluster.leader_channel().await?;
    HomePrefixesClient::new(leader).delete_home_prefix(request).await?;
    watch.reach(revision + 1).await?;
    ensure!(watch.picture().home_prefixes.is_empty());
    assert_eq!(watch.snapshots, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_feed_says_that_it_lives() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let revision = accept(&mut front_end, &Update::new(home_address(0x100), 1)).await?;
    for id in 1..=3 {
        let mut watch = Watch::start(cluster.channel(id).await?, "quiet").await?;
        watch.reach(revision).await?;
        let (mut picture, since) = (watch.picture().clone(), watch.log_time_ms());
        let mark = watch.next().await?;
        ensure!(!mark.snapshot_begin && mark.homes.is_empty() && mark.home_prefixes.is_empty());
        // What the leader notes of nodes that come moves the revision, and no binding.
        ensure!(mark.revision >= revision, "{} after {revision}", mark.revision);
        ensure!(mark.log_time_ms > since, "the time stands still");
        picture.revision = mark.revision;
        assert_eq!(*watch.picture(), picture);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_resumes_without_snapshot_at_any_replica() -> Result<()> {
    let (mut cluster, mut front_end) = served().await?;
    let names: Vec<Ipv6Addr> = (0x100..0x105).map(home_address).collect();
    for name in &names {
        accept(&mut front_end, &Update::new(*name, 1)).await?;
    }
    let revision = accept(&mut front_end, &Update::new(names[0], 2)).await?;
    let mut watch = Watch::start(cluster.leader_channel().await?, "resuming").await?;
    let before = watch.reach(revision).await?.clone();
    drop(watch);
    accept(&mut front_end, &Update::new(names[1], 2)).await?;
    let newest = accept(&mut front_end, &Update::new(names[1], 3)).await?;
    let revision =
        accept(&mut front_end, &Update { lifetime: 0, ..Update::new(names[2], 2) }).await?;
    // Another leader, and the old one back on its disk.
    let old = cluster.leader().await?;
    cluster.stop_replica(old).await?;
    cluster.leader().await?;
    cluster.start_replica(old);
    for id in 1..=3 {
        eventually("the replica to catch up", async || {
            ensure!(cluster.status(id).await?.applied_index >= revision);
            Ok(())
        })
        .await?;
        let mut watch = Watch::resume(cluster.channel(id).await?, "back", before.clone()).await?;
        watch.reach(revision).await?;
        assert_eq!(watch.snapshots, 0, "replica {id}");
        // What changed twice comes once, in its latest state.
        assert_eq!(watch.changes, 2, "replica {id}");
        assert_eq!(watch.picture().homes[&names[1]].revision, newest);
        ensure!(!watch.picture().homes.contains_key(&names[2]));
        // Nothing was missed: nothing comes but the revision.
        let now = watch.picture().clone();
        let mut again = Watch::resume(cluster.channel(id).await?, "again", now.clone()).await?;
        again.reach(now.revision).await?;
        assert_eq!((again.snapshots, again.changes), (0, 0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_a_replica_has_not_seen_gets_a_snapshot() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let revision = accept(&mut front_end, &Update::new(home_address(0x100), 1)).await?;
    for id in 1..=3 {
        for ahead in [revision + 1000, u64::MAX] {
            // Left over from another cluster, or from a log that was lost: all of it is void.
            let mut stale = Picture { revision: ahead, ..Picture::default() };
            stale.homes.insert(home_address(0x666), Default::default());
            let mut watch = Watch::resume(cluster.channel(id).await?, "ahead", stale).await?;
            let first = watch.next().await?;
            ensure!(first.snapshot_begin);
            let picture = watch.reach(revision).await?;
            assert_eq!(picture.homes.keys().collect::<Vec<_>>(), [&home_address(0x100)]);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_by_the_logs_time_is_removed_everywhere() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let (short, mixed) = (home_address(0x100), home_address(0x101));
    let option = |bid, host| BidOption::v6(Bid(bid), Ipv6Addr::from_bits(host));
    let base = "2001:db8:b::".parse::<Ipv6Addr>()?.to_bits();
    let long = Update { bids: vec![option(1, base + 1)], ..Update::new(mixed, 1) };
    accept(&mut front_end, &long).await?;
    let brief = Update { bids: vec![option(2, base + 2)], lifetime: 1, ..Update::new(mixed, 2) };
    accept(&mut front_end, &brief).await?;
    let revision = accept(&mut front_end, &Update { lifetime: 1, ..Update::new(short, 1) }).await?;
    let mut watches = Vec::new();
    for id in 1..=3 {
        let mut watch = Watch::start(cluster.channel(id).await?, "patient").await?;
        watch.reach(revision).await?;
        watches.push(watch);
    }
    for watch in &mut watches {
        let home = watch.picture().homes[&short].clone();
        let ends_ms = home.bindings[0].ends_ms;
        assert_eq!(ends_ms - home.bindings[0].verified_ms, 4000);
        while watch.picture().homes.contains_key(&short) {
            watch.next().await?;
        }
        ensure!(watch.log_time_ms() >= ends_ms, "it was removed before its end");
        while watch.picture().homes[&mixed].bindings.len() > 1 {
            watch.next().await?;
        }
        assert_eq!(watch.picture().homes[&mixed].bindings[0].bid, Some(1));
        assert_eq!(watch.snapshots, 1);
    }
    // Replicas that stand at one revision say the same of it.
    let reached = watches.iter().map(|watch| watch.picture().revision).max().unwrap_or(0);
    for watch in &mut watches {
        watch.reach(reached).await?;
    }
    assert_eq!(watches[0].picture(), watches[1].picture());
    assert_eq!(watches[0].picture(), watches[2].picture());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_revisions_have_equal_content_on_every_replica() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    // One subscriber of each replica is there from the start, one comes when all is done.
    let mut early = Vec::new();
    for id in 1..=3 {
        early.push(Watch::start(cluster.channel(id).await?, "early").await?);
    }
    let second = homeport_api::admin::HomePrefix {
        prefix: "2001:db8:5::/64".to_owned(),
        home_agent: "2001:db8:5::1".to_owned(),
        authentication: Authentication::MnHa.into(),
        ..Default::default()
    };
    let request = CreateHomePrefixRequest { home_prefix: Some(second), ..Default::default() };
    HomePrefixesClient::new(cluster.leader_channel().await?).create_home_prefix(request).await?;
    let mut revision = 0;
    for round in 1..=4_u16 {
        for host in 0..12_u16 {
            let care_of = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, round, host + 1);
            let lifetime = if (host + round) % 5 == 0 { 0 } else { 225 };
            let bids = match host % 3 {
                0 => Vec::new(),
                1 => vec![BidOption::v6(Bid(round), care_of)],
                _ => [1, 2].map(|bid| BidOption::v6(Bid(bid), care_of)).to_vec(),
            };
            let update = Update {
                lifetime,
                bids,
                care_of,
                ..Update::new(home_address(0x100 + host), round)
            };
            let answer = front_end.ask(&update.packet(), None).await?;
            acknowledgement(&answer.packet)?;
            revision = answer.revision;
        }
    }
    let mut pictures = Vec::new();
    for (id, mut watch) in (1..=3).zip(early) {
        pictures.push(watch.reach(revision).await?.clone());
        let mut late = Watch::start(cluster.channel(id).await?, "late").await?;
        pictures.push(late.reach(revision).await?.clone());
    }
    ensure!(pictures[0].homes.len() > 5 && pictures[0].home_prefixes.len() == 2);
    for picture in &pictures {
        assert_eq!(*picture, pictures[0]);
    }
    Ok(())
}

/// A connection that takes little until somebody reads.
async fn narrow_channel(cluster: &Cluster, id: u64) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", cluster.address(id)))?;
    let narrow = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    Ok(narrow.connect().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_gets_the_latest_state_and_not_every_change() -> Result<()> {
    const HOMES: u16 = 600;
    const ROUNDS: u16 = 25;
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let leader = cluster.leader().await?;
    let mut submitter = Submitter::open(cluster.channel(leader).await?).await?;
    let revisions = submitter.policy_revisions(home_address(1)).await?;
    let mut slow = Watch::start(narrow_channel(&cluster, leader).await?, "slow").await?;
    slow.reach(1).await?;
    // It reads no further for now, while every home changes again and again.
    let mut request_id = 0;
    let mut newest = Vec::new();
    for round in 1..=ROUNDS {
        let registrations: Vec<_> = (0..HOMES)
            .map(|host| {
                request_id += 1;
                registration(home_address(0x100 + host), round, request_id, revisions)
            })
            .collect();
        let verdicts = submitter.register_all(registrations).await?;
        newest = verdicts.iter().map(|verdict| verdict.revision).collect();
    }
    let revision = newest.iter().copied().max().unwrap_or(0);
    let status = cluster.status(leader).await?;
    assert_eq!(status.bindings, u64::from(HOMES));
    let sent = status.feed_subscribers.iter().find(|s| s.name == "slow").map(|s| s.sent_revision);
    ensure!(sent.is_some_and(|sent| sent < revision), "the slow subscriber was not slow");
    let picture = slow.reach(revision).await?;
    assert_eq!(picture.homes.values().map(|home| home.revision).collect::<Vec<_>>(), newest);
    let all = usize::from(HOMES) * usize::from(ROUNDS);
    let read = slow.changes;
    ensure!(read < all / 2, "{read} changes of {all} were kept for the slow subscriber");
    assert_eq!(slow.snapshots, 1, "it was not forgotten either");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_lists_subscribers_and_places_are_limited() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let id = follower(&cluster).await?;
    let names = async || -> Result<Vec<String>> {
        let status = cluster.status(id).await?;
        Ok(status.feed_subscribers.into_iter().map(|subscriber| subscriber.name).collect())
    };
    let mut watch = Watch::start(cluster.channel(id).await?, "forwarder-1").await?;
    let long = format!("\n{}", "n".repeat(100));
    let other = Watch::start(cluster.channel(id).await?, &long).await?;
    assert_eq!(names().await?, ["forwarder-1".to_owned(), "n".repeat(SUBSCRIBER_NAME_LEN_MAX)]);
    drop(other);
    eventually("the subscriber to be gone", async || {
        ensure!(names().await? == ["forwarder-1"]);
        Ok(())
    })
    .await?;
    let revision = accept(&mut front_end, &Update::new(home_address(0x100), 1)).await?;
    watch.reach(revision).await?;
    eventually("the revision that was sent", async || {
        let subscribers = cluster.status(id).await?.feed_subscribers;
        ensure!(subscribers.iter().all(|s| s.sent_revision >= revision));
        Ok(())
    })
    .await?;
    // One connection carries at most 200 streams at once.
    let mut many = Vec::new();
    let mut channel = cluster.channel(id).await?;
    for n in 1..FEED_SUBSCRIBERS_MAX {
        if n % 150 == 0 {
            channel = cluster.channel(id).await?;
        }
        many.push(Watch::start(channel.clone(), "one of many").await?);
    }
    let refused = Watch::start(cluster.channel(id).await?, "one too many").await.err();
    let status = refused.and_then(|error| error.downcast::<tonic::Status>().ok());
    assert_eq!(status.map(|status| status.code()), Some(Code::ResourceExhausted));
    many.truncate(10);
    eventually("a place", async || {
        Watch::start(cluster.channel(id).await?, "late").await.map(drop)
    })
    .await?;
    // Whoever was there is served on.
    let revision = accept(&mut front_end, &Update::new(home_address(0x100), 2)).await?;
    watch.reach(revision).await?;
    Ok(())
}

/// The address that a forwarder tunnels to, for each form.
#[tokio::test(flavor = "multi_thread")]
async fn care_of_addresses_come_as_they_are_stored() -> Result<()> {
    let (cluster, mut front_end) = served().await?;
    let mut watch = Watch::start(cluster.leader_channel().await?, "care-of").await?;
    let outer = homeport_tests::udp_outer(
        ([203, 0, 113, 9].into(), 40_001),
        ([198, 51, 100, 1].into(), 4191),
    );
    let bids = vec![BidOption::v4(Bid(3), [192, 0, 2, 44].into())];
    let update = Update { bids, ..Update::new(home_address(0x100), 1) };
    let answer = front_end.ask(&update.packet_in_udp(), Some(outer)).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let home = watch.reach(answer.revision).await?.homes[&home_address(0x100)].clone();
    let care_of = home.bindings[0].care_of.as_ref().and_then(|care_of| care_of.address.as_ref());
    let Some(Address::Ipv4(ipv4)) = care_of else {
        anyhow::bail!("not an IPv4 care-of address: {care_of:?}")
    };
    assert_eq!((ipv4.address.to_vec(), ipv4.port), (vec![203, 0, 113, 9], 40_001));
    assert_eq!(ipv4.announced.to_vec(), [192, 0, 2, 44]);
    Ok(())
}
