//! A real home link: store and front-end, with the test in the part of the forwarders that may defend
//! the link. The feed asks them to look for duplicates, and they answer by commands.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, HomePrefix, Subscriber,
};
use homeport_api::binding::Home;
use homeport_api::convert::home_of;
use homeport_binding::{Command, Detected, Ipv6Prefix, Outcome, Probe, RefusalKind};
use homeport_tests::feed::Watch;
use homeport_tests::submit::Submitter;
use homeport_tests::updates::{HOME_AGENT, Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually};
use homeport_wire::{BuFlags, Status};

/// A cluster that serves a real home link, and its feed as a forwarder reads it.
struct Stage {
    cluster: Cluster,
    front_end: FrontEnd,
    feed: Watch,
}

impl Stage {
    async fn new() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let home_prefix = HomePrefix {
            prefix: link()?.to_string(),
            home_agent: HOME_AGENT.to_string(),
            authentication: Authentication::None.into(),
            real_home_link: true,
            home_agent_preference: 9,
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        let mut operator = HomePrefixesClient::new(cluster.leader_channel().await?);
        let created = operator.create_home_prefix(request).await?.into_inner();
        // A replica that is not the leader: it outlives the leader in one of the tests.
        let leader = cluster.leader().await?;
        let other = (1..=3).find(|id| *id != leader).context("no other replica")?;
        let mut feed = Watch::start(cluster.channel(other).await?, "defender").await?;
        let picture = feed.reach(created.revision).await?;
        let told = picture.home_prefixes.values().next().context("no home prefix")?;
        assert_eq!((told.real_home_link, told.home_agent_preference), (true, 9));
        let front_end = cluster.front_end().await?;
        Ok(Self { cluster, front_end, feed })
    }

    /// Reads the feed until what it says of a home address is as wanted.
    async fn told(
        &mut self,
        home_address: Ipv6Addr,
        mut is_wanted: impl FnMut(Option<&Home>) -> bool,
    ) -> Result<Option<Home>> {
        loop {
            let home = self.feed.picture().homes.get(&home_address);
            if is_wanted(home) {
                return Ok(home.cloned());
            }
            self.feed.next().await?;
        }
    }

    /// The request to probe for a home address, other than `known`.
    async fn asked(&mut self, home_address: Ipv6Addr, known: Option<&Probe>) -> Result<Probe> {
        let known = known.map(|probe| probe.request_id.to_vec());
        let is_new = |home: Option<&Home>| {
            let probe = home.and_then(|home| home.probe.as_ref());
            probe.is_some_and(|probe| Some(&probe.request_id[..]) != known.as_deref())
        };
        let home = self.told(home_address, is_new).await?.context("no home")?;
        assert_eq!(home.bindings, [], "a probe beside bindings");
        let (_, home) = home_of(home)?;
        home.probe.context("no probe")
    }

    async fn command(&self, command: Command) -> Result<Outcome> {
        let mut submitter = Submitter::open(self.cluster.leader_channel().await?).await?;
        Ok(submitter.command(command).await?.outcome)
    }

    async fn found(&self, home_address: Ipv6Addr, probe: &Probe, duplicate: bool) -> Result<()> {
        let found = Detected { home_address, request_id: probe.request_id, duplicate };
        let outcome = self.command(Command::DuplicateAddressDetection(found)).await?;
        assert_eq!(outcome, Outcome::Done);
        Ok(())
    }

    /// Asks for the lease as a forwarder does, on a stream that stays open.
    async fn defend(&self, asker: &mut Asker) -> Result<Outcome> {
        let mut stream = match asker.stream.take() {
            Some(stream) => stream,
            None => Submitter::open(self.cluster.leader_channel().await?).await?,
        };
        let forwarder = asker.name.to_owned();
        let command = Command::DefendHomeLink { prefix: link()?, forwarder };
        let outcome = stream.command(command).await?.outcome;
        asker.stream = Some(stream);
        Ok(outcome)
    }

    async fn granted(&self, asker: &mut Asker) -> Result<()> {
        match self.defend(asker).await? {
            Outcome::Done => Ok(()),
            other => bail!("{} got {other:?}", asker.name),
        }
    }

    async fn in_use(&self, asker: &mut Asker) -> Result<()> {
        match self.defend(asker).await? {
            Outcome::Refused(refusal) => {
                assert_eq!((refusal.kind, &*refusal.field), (RefusalKind::InUse, "forwarder"));
                Ok(())
            }
            other => bail!("{} got {other:?}", asker.name),
        }
    }

    /// Binding Updates that waited for the defender, by what came of it.
    async fn waited(&self, how: &str) -> Result<f64> {
        let sample = format!("homeport_store_waits_for_defender_total{{reason=\"{how}\"}}");
        self.cluster.metric(&sample).await
    }

    async fn send(&mut self, update: &Update) -> Result<u64> {
        self.front_end.send(&update.packet(), None).await
    }

    /// The next acknowledgement: ticket, status and sequence number.
    async fn answer(&mut self) -> Result<(u64, u8, u16)> {
        let answer = self.front_end.receive(PATIENCE).await?;
        let acknowledged = acknowledgement(&answer.packet)?;
        Ok((answer.ticket, acknowledged.status(), acknowledged.message.sequence.0))
    }

    async fn drops(&self, reason: &str) -> Result<f64> {
        let sample = format!("homeport_signalling_drops_total{{reason=\"{reason}\"}}");
        self.front_end.metric(&sample).await
    }
}

/// A forwarder that wants to defend the link.
struct Asker {
    name: &'static str,
    stream: Option<Submitter>,
}

impl Asker {
    const fn new(name: &'static str) -> Self {
        Self { name, stream: None }
    }
}

fn link() -> Result<Ipv6Prefix> {
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
    Ipv6Prefix::new(address, 64).context("host bits")
}

fn is_bound(home: Option<&Home>) -> bool {
    home.is_some_and(|home| !home.bindings.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_binding_is_acknowledged_when_nobody_else_has_the_address() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let plain = Update::new(mn, 1);
    let first = Update { flags: plain.flags.with(BuFlags::LINK_LOCAL), ..plain };
    let ticket = stage.send(&first).await?;
    let probe = stage.asked(mn, None).await?;
    ensure!(probe.link_local && probe.verdict.is_none());
    assert_eq!(stage.cluster.status(stage.cluster.leader().await?).await?.bindings, 0);
    // A forwarder that starts now is asked too: it may be the defender by the time it is due.
    let mut late = Watch::start(stage.cluster.leader_channel().await?, "late").await?;
    let picture = late.reach(stage.feed.picture().revision).await?;
    assert_eq!(picture.homes.get(&mn), stage.feed.picture().homes.get(&mn));
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 1));
    let home = stage.told(mn, is_bound).await?.context("no home")?;
    assert_eq!((home.probe, home.link_local), (None, true));
    // While the binding is in force nobody looks again.
    let ticket = stage.send(&Update { sequence: 2, ..first.clone() }).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 2));
    let ticket = stage.send(&Update { sequence: 3, lifetime: 0, ..first.clone() }).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 3));
    stage.told(mn, |home| home.is_none()).await?;
    // The next first binding is one again.
    let ticket = stage.send(&Update { sequence: 4, ..first }).await?;
    let again = stage.asked(mn, None).await?;
    ensure!(again.request_id != probe.request_id);
    stage.found(mn, &again, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_address_is_refused() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let ticket = stage.send(&Update::new(mn, 1)).await?;
    let probe = stage.asked(mn, None).await?;
    ensure!(!probe.link_local);
    stage.found(mn, &probe, true).await?;
    assert_eq!(stage.answer().await?, (ticket, Status::DAD_FAILED.0, 1));
    stage.told(mn, |home| home.is_none()).await?;
    assert_eq!(stage.cluster.status(stage.cluster.leader().await?).await?.bindings, 0);
    // Once the other one has gone the address is free.
    let ticket = stage.send(&Update::new(mn, 2)).await?;
    let probe = stage.asked(mn, Some(&probe)).await?;
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_retransmission_is_answered() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let mut probe = None;
    let mut ticket = 0;
    for sequence in 1..=3 {
        ticket = stage.send(&Update::new(mn, sequence)).await?;
        let older = probe.replace(stage.asked(mn, probe.as_ref()).await?);
        if let Some(older) = older {
            // What was found for an older one is void.
            stage.found(mn, &older, true).await?;
        }
    }
    let probe = probe.context("no probe")?;
    // One that was delayed on its way has no part in it.
    stage.send(&Update::new(mn, 2)).await?;
    eventually("the older ones to be given up", async || {
        ensure!(stage.drops("superseded").await? == 3.0);
        Ok(())
    })
    .await?;
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 3));
    stage.told(mn, is_bound).await?;
    // Had an older one been answered, it would have been before this.
    let ticket = stage.send(&Update::new(mn, 4)).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_detection_outlives_the_leader() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let leader = stage.cluster.leader().await?;
    let ticket = stage.send(&Update::new(mn, 1)).await?;
    let probe = stage.asked(mn, None).await?;
    stage.cluster.stop_replica(leader).await?;
    ensure!(stage.cluster.leader().await? != leader);
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 1));
    stage.told(mn, is_bound).await?;
    // And once more when the result is there but nobody has asked for it.
    let other = home_address(0x200);
    stage.cluster.start_replica(leader);
    let ticket = stage.send(&Update::new(other, 1)).await?;
    let probe = stage.asked(other, None).await?;
    stage.found(other, &probe, true).await?;
    stage.cluster.stop_replica(leader).await?;
    assert_eq!(stage.answer().await?, (ticket, Status::DAD_FAILED.0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_defender_nothing_is_answered_until_somebody_has_looked() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    stage.send(&Update::new(mn, 1)).await?;
    let probe = stage.asked(mn, None).await?;
    eventually("the front-end to give up", async || {
        ensure!(stage.drops("detection_timeout").await? == 1.0);
        Ok(())
    })
    .await?;
    stage.found(mn, &probe, false).await?;
    // The mobile node sends it again, as it does: what was found holds for that.
    let ticket = stage.send(&Update::new(mn, 2)).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 2));
    Ok(())
}

/// The front-end checks it again, and it is the same Binding Update all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_provisioned_while_it_waits() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let ticket = stage.send(&Update::new(mn, 1)).await?;
    let probe = stage.asked(mn, None).await?;
    let subscriber = Subscriber {
        home_address: mn.to_string(),
        multiple_care_of_allowed: Some(false),
        ..Subscriber::default()
    };
    let request = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    let mut operator = SubscribersClient::new(stage.cluster.leader_channel().await?);
    operator.create_subscriber(request).await?;
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?, (ticket, 0, 1));
    Ok(())
}

/// The deadline is for the store; Duplicate Address Detection takes longer than it needs to be.
#[tokio::test(flavor = "multi_thread")]
async fn the_detection_may_take_longer_than_the_deadline() -> Result<()> {
    let mut stage = Stage::new().await?;
    let deadline = Duration::from_millis(1000);
    stage.front_end = stage.cluster.front_end_with_deadline(1000).await?;
    // On a slow machine the store may be late as well: then another mobile node tries.
    let mut host = 0x100;
    eventually("an answer", async || {
        host += 1;
        let mn = home_address(host);
        let ticket = stage.send(&Update::new(mn, 1)).await?;
        let probe = stage.asked(mn, None).await?;
        tokio::time::sleep(deadline.mul_f32(1.5)).await;
        stage.found(mn, &probe, false).await?;
        let answer = stage.front_end.receive(deadline * 2).await?;
        ensure!(answer.ticket == ticket);
        assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_moves_when_its_holder_falls_silent() -> Result<()> {
    let stage = Stage::new().await?;
    let (mut one, mut two) = (Asker::new("one"), Asker::new("two"));
    // One holds it, and goes on as long as it renews it, for longer than a lease.
    for _ in 0..4 {
        eventually("one to hold it against two", async || {
            stage.granted(&mut one).await?;
            stage.in_use(&mut two).await
        })
        .await?;
    }
    eventually("two to get it", async || stage.granted(&mut two).await).await?;
    eventually("two to hold it against one", async || {
        stage.granted(&mut two).await?;
        stage.in_use(&mut one).await
    })
    .await
}

/// A process that is killed: its kernel ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_free_when_the_stream_of_its_holder_ends() -> Result<()> {
    let stage = Stage::new().await?;
    let (mut one, mut two) = (Asker::new("one"), Asker::new("two"));
    let given_back = "homeport_store_home_link_leases_given_back_total";
    eventually("two to get it at its first question", async || {
        stage.granted(&mut one).await?;
        let before = stage.cluster.metric(given_back).await?;
        // Two is kept waiting for less long than a lease lasts.
        let (asked, ()) = tokio::join!(stage.granted(&mut two), async { drop(one.stream.take()) });
        asked?;
        ensure!(stage.cluster.metric(given_back).await? > before, "it ran out");
        Ok(())
    })
    .await?;
    // A newer stream of the same forwarder: the end of the older one says nothing.
    let old = two.stream.take();
    eventually("two to go on", async || stage.granted(&mut two).await).await?;
    drop(old);
    eventually("two to hold it against one", async || {
        stage.granted(&mut two).await?;
        stage.in_use(&mut one).await
    })
    .await
}

/// A forwarder that ends in peace.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_given_back_is_free_at_once() -> Result<()> {
    let stage = Stage::new().await?;
    let (mut one, mut two) = (Asker::new("one"), Asker::new("two"));
    eventually("two to get it at its first question", async || {
        stage.granted(&mut one).await?;
        let forwarder = one.name.to_owned();
        let release = Command::ReleaseHomeLink { prefix: link()?, forwarder };
        let released = one.stream.as_mut().context("no stream")?.command(release).await?;
        assert_eq!(released.outcome, Outcome::Done);
        stage.granted(&mut two).await
    })
    .await
}

/// RFC 6275 section 10.4.1: who reads that it is back home is not contradicted by a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_deregistration_is_acknowledged_when_the_defender_has_left_the_address() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mn = home_address(0x100);
    let mut one = Asker::new("one");
    stage.send(&Update::new(mn, 1)).await?;
    let mut probe = stage.asked(mn, None).await?;
    stage.found(mn, &probe, false).await?;
    assert_eq!(stage.answer().await?.1, 0);
    assert_eq!(stage.waited("no_defender").await?, 0.0, "it is away: nobody has to leave anything");

    let mut sequence = 1;
    let mut comes_home = async |stage: &mut Stage| {
        // What was found once holds while it is asked for.
        sequence += 2;
        stage.send(&Update { lifetime: 0, ..Update::new(mn, sequence - 1) }).await?;
        let left = stage.answer().await?;
        assert_eq!(left.1, 0);
        stage.send(&Update::new(mn, sequence)).await?;
        // The feed may not have told yet that the last one is over.
        probe = stage.asked(mn, Some(&probe)).await?;
        stage.found(mn, &probe, false).await?;
        anyhow::Ok(stage.answer().await?.1)
    };
    assert_eq!(comes_home(&mut stage).await?, 0);
    assert_eq!(stage.waited("no_defender").await?, 1.0);

    eventually("one to defend the link", async || stage.granted(&mut one).await).await?;
    assert_eq!(comes_home(&mut stage).await?, 0);
    let known = async |stage: &Stage| {
        anyhow::Ok(stage.waited("late").await? + stage.waited("no_defender").await?)
    };
    assert_eq!(known(&stage).await?, 2.0, "a defender that says nothing is not waited for longer");

    // It has settled more than there is to come.
    one.stream.as_mut().context("no stream")?.settled(u64::MAX).await?;
    eventually("the defender to have left it", async || {
        stage.granted(&mut one).await?;
        assert_eq!(comes_home(&mut stage).await?, 0);
        ensure!(stage.waited("left").await? > 0.0);
        Ok(())
    })
    .await
}
