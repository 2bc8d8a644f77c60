//! What operators are told, and what is kept of what they do.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::alarms_client::AlarmsClient;
use homeport_api::admin::audit_client::AuditClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::events_client::EventsClient;
use homeport_api::admin::nodes_client::NodesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    AcknowledgeAlarmRequest, Alarm, AlarmStep, AuditRecord, Authentication, CommentAlarmRequest,
    CreateSubscriberRequest, DeleteSubscriberRequest, DrainNodeRequest, DrainState, Event,
    EventKind, ListAlarmHistoryRequest, ListAlarmsRequest, ListAuditRecordsRequest,
    ListEventsRequest, ListNodesRequest, Node, NodeRole, ShelveAlarmRequest, Subscriber,
    TransferLeadershipRequest, UndrainNodeRequest, WatchAlarmsRequest, WatchEventsRequest,
};
use homeport_api::drains;
use homeport_api::signalling::PuntRequest;
use homeport_api::signalling::signalling_client::SignallingClient;
use homeport_binding::{AuditNote, AuditRecord as Entry, LogTime};
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, PATIENCE, eventually};
use homeport_wire::{Bid, BidOption};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

/// A key that must be seen nowhere.
const CANARY: [u8; 16] = *b"canary-key-16-oc";

async fn records(channel: Channel) -> Result<Vec<AuditRecord>> {
    let mut client = AuditClient::new(channel);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuditRecordsRequest { page_size: 2, page_token, local: false };
        let page = client.list_audit_records(request).await?.into_inner();
        all.extend(page.records);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn digest(record: &AuditRecord) -> Vec<u8> {
    let record = record.clone();
    let entry = Entry {
        number: record.number,
        at: LogTime(record.at_ms),
        revision: record.revision,
        previous: record.previous.as_ref().try_into().unwrap(),
        hash: [0; 32],
        note: AuditNote {
            by: record.by,
            action: record.action,
            resource: record.resource,
            before: record.before,
            after: record.after,
        },
    };
    entry.digest().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_leaves_a_record_that_holds_no_key_and_outlives_the_leader() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let mut subscribers = SubscribersClient::new(cluster.leader_channel().await?);
    let subscriber = Subscriber {
        home_address: "2001:db8:0:1::100".to_owned(),
        nai: "mn1@example.com".to_owned(),
        spi: 256,
        key: CANARY.to_vec().into(),
        ..Subscriber::default()
    };
    let create = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    subscribers.create_subscriber(create.clone()).await?;
    // What is refused was not done.
    ensure!(subscribers.create_subscriber(create).await.is_err());
    let home_address = "2001:db8:0:1::100".to_owned();
    subscribers
        .delete_subscriber(DeleteSubscriberRequest { home_address, ..Default::default() })
        .await?;

    let all = records(cluster.leader_channel().await?).await?;
    let told: Vec<_> = all.iter().map(|it| (it.action.as_str(), it.resource.as_str())).collect();
    let expected = [
        ("DeleteSubscriber", "Subscriber 2001:db8:0:1::100"),
        ("CreateSubscriber", "Subscriber 2001:db8:0:1::100"),
        ("CreateHomePrefix", "HomePrefix 2001:db8:0:1::/64"),
    ];
    assert_eq!(told, expected);
    let created = &all[1];
    assert!(created.by.starts_with("127.0.0.1:"), "{created:?}");
    assert!(created.before.is_empty() && created.after.contains("mn1@example.com"), "{created:?}");
    assert!(created.after.contains("key_present: true"), "{created:?}");
    assert!(all[0].before.contains("mn1@example.com") && all[0].after.is_empty());
    let text = format!("{all:?}");
    assert!(!text.contains("canary") && !text.contains("99, 97, 110, 97"), "{text}");
    for record in &all {
        assert_eq!(record.hash, digest(record), "{record:?}");
    }
    assert!(all.windows(2).all(|pair| pair[0].previous == pair[1].hash));
    assert_eq!(all[2].previous, vec![0; 32]);
    let leader = cluster.leader().await?;
    cluster.stop_replica(leader).await?;
    assert_eq!(records(cluster.leader_channel().await?).await?, all);
    Ok(())
}

async fn events(channel: Channel, request: ListEventsRequest) -> Result<Vec<Event>> {
    Ok(EventsClient::new(channel).list_events(request).await?.into_inner().events)
}

async fn update(front_end: &mut FrontEnd, update: &Update, status: u8) -> Result<u64> {
    let answer = front_end.ask(&update.packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), status);
    Ok(answer.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_mobile_node_is_told_with_status_and_section() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    let at = |care_of: &str, sequence| -> Result<Update> {
        let bids = vec![BidOption::v6(Bid(1), care_of.parse()?)];
        Ok(Update { bids, ..Update::new(mn, sequence) })
    };
    let first = update(&mut front_end, &at("2001:db8:a::11", 1)?, 0).await?;
    update(&mut front_end, &at("2001:db8:a::11", 2)?, 0).await?;
    update(&mut front_end, &at("2001:db8:b::22", 3)?, 0).await?;
    // Too old.
    update(&mut front_end, &at("2001:db8:b::22", 3)?, 135).await?;
    let other = home_address(0x101);
    update(&mut front_end, &Update::new(other, 1), 0).await?;
    update(&mut front_end, &Update { lifetime: 0, ..Update::new(mn, 4) }, 0).await?;

    let of_it = ListEventsRequest { home_address: mn.to_string(), ..Default::default() };
    let all = events(cluster.leader_channel().await?, of_it.clone()).await?;
    let kinds: Vec<EventKind> = all.iter().map(Event::kind).collect();
    use EventKind::{Deregistered, Moved, Refused, Registered};
    assert_eq!(kinds, [Deregistered, Refused, Moved, Registered], "{all:?}");
    let refused = &all[1];
    assert_eq!((refused.status, refused.rfc_section.as_str()), (135, "RFC 6275 section 9.5.1"));
    assert_eq!(refused.text, "135 (sequence number out of window)");
    assert_eq!(all[2].care_of_address, "2001:db8:b::22");
    assert_eq!((all[3].care_of_address.as_str(), all[3].revision), ("2001:db8:a::11", first));
    let only = ListEventsRequest { kinds: vec![Refused.into()], ..Default::default() };
    let told = events(cluster.leader_channel().await?, only).await?;
    assert_eq!(told, std::slice::from_ref(refused));
    let page = ListEventsRequest { page_size: 3, ..of_it.clone() };
    let mut client = EventsClient::new(cluster.leader_channel().await?);
    let first_page = client.list_events(page.clone()).await?.into_inner();
    let page = ListEventsRequest { page_token: first_page.next_page_token, ..page };
    let second_page = client.list_events(page).await?.into_inner();
    assert_eq!([first_page.events, second_page.events].concat(), all);

    // Whoever watches goes on at any replica.
    let leader = cluster.leader().await?;
    let follower = (1..=3).find(|id| *id != leader).context("has two more")?;
    let request = WatchEventsRequest {
        after_revision: Some(first),
        home_address: mn.to_string(),
        kinds: Vec::new(),
    };
    let mut client = EventsClient::new(cluster.channel(follower).await?);
    let mut stream = client.watch_events(request).await?.into_inner();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = tokio::time::timeout(PATIENCE, stream.message()).await??;
        let message = message.context("the stream has ended")?;
        ensure!(!message.events_lost && message.revision >= first);
        seen.extend(message.events);
    }
    seen.reverse();
    assert_eq!(seen, all[..3]);
    let lost = WatchEventsRequest { after_revision: Some(0), ..Default::default() };
    let mut stream = client.watch_events(lost).await?.into_inner();
    let message = stream.message().await?.context("the stream has ended")?;
    assert!(!message.events_lost, "nothing is forgotten yet");
    Ok(())
}

async fn alarms(channel: Channel, shelved_too: bool) -> Result<Vec<Alarm>> {
    let request = ListAlarmsRequest { shelved_too, ..Default::default() };
    Ok(AlarmsClient::new(channel).list_alarms(request).await?.into_inner().alarms)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_gone_is_an_alarm_that_stays_acknowledged_whoever_leads() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let leader = cluster.leader().await?;
    let (gone, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.stop_replica(gone).await?;
    let name = format!("replica-unreachable@stores/{gone}");
    let find = async |cluster: &Cluster| -> Result<Option<Alarm>> {
        let all = alarms(cluster.leader_channel().await?, true).await?;
        Ok(all.into_iter().find(|alarm| alarm.name == name))
    };
    let raised =
        eventually("the alarm", async || find(&cluster).await?.context("it is not raised")).await?;
    assert_eq!(raised.help, "docs/operations/alarms.md#replica-unreachable");
    assert_eq!((raised.cleared_ms, &raised.acknowledged), (None, &None));

    let mut client = AlarmsClient::new(cluster.leader_channel().await?);
    let mut watched = client.watch_alarms(WatchAlarmsRequest {}).await?.into_inner();
    let first = watched.message().await?.context("the stream has ended")?;
    ensure!(first.alarms.iter().any(|alarm| alarm.name == name && alarm.acknowledged.is_none()));
    let comment = "disk ordered".to_owned();
    let acknowledge = AcknowledgeAlarmRequest {
        name: name.clone(),
        comment: comment.clone(),
        ..Default::default()
    };
    client.acknowledge_alarm(acknowledge).await?;
    let then = tokio::time::timeout(PATIENCE, watched.message()).await??;
    let then = then.context("the stream has ended")?;
    ensure!(then.alarms.iter().any(|alarm| alarm.name == name && alarm.acknowledged.is_some()));
    client
        .comment_alarm(CommentAlarmRequest { name: name.clone(), comment, ..Default::default() })
        .await?;
    let shelve =
        |for_secs| ShelveAlarmRequest { name: name.clone(), for_secs, ..Default::default() };
    client.shelve_alarm(shelve(3600)).await?;
    let shown = alarms(cluster.leader_channel().await?, false).await?;
    assert!(shown.iter().all(|alarm| alarm.name != name), "{shown:?}");
    client.shelve_alarm(shelve(0)).await?;
    let unknown = AcknowledgeAlarmRequest { name: "no@thing".to_owned(), ..Default::default() };
    let status = client.acknowledge_alarm(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_FOUND");

    let transfer = TransferLeadershipRequest { node_id: other, ..Default::default() };
    ClusterClient::new(cluster.leader_channel().await?).transfer_leadership(transfer).await?;
    let kept = find(&cluster).await?.context("it is gone")?;
    assert_eq!(kept.acknowledged.context("nobody has")?.comment, "disk ordered");
    cluster.start_replica(gone);
    eventually("it to leave the list, for somebody has acknowledged it", async || {
        ensure!(find(&cluster).await?.is_none());
        Ok(())
    })
    .await?;
    let mut client = AlarmsClient::new(cluster.leader_channel().await?);
    let history = client.list_alarm_history(ListAlarmHistoryRequest::default()).await?.into_inner();
    let of_it = history.changes.iter().filter(|change| change.name == name);
    let mut steps: Vec<AlarmStep> = of_it.map(|change| change.step()).collect();
    steps.reverse();
    use AlarmStep::{Acknowledged, Cleared, Commented, Raised, Shelved, Unshelved};
    assert_eq!(steps, [Raised, Acknowledged, Commented, Shelved, Unshelved, Cleared]);
    eventually("the new leader to say so", async || {
        let kinds = vec![EventKind::LeaderChanged.into()];
        let led = ListEventsRequest { kinds, ..Default::default() };
        let led = events(cluster.leader_channel().await?, led).await?;
        ensure!(led.iter().any(|event| event.resource == format!("stores/{other}")), "{led:?}");
        Ok(())
    })
    .await
}

async fn nodes(channel: Channel) -> Result<Vec<Node>> {
    Ok(NodesClient::new(channel).list_nodes(ListNodesRequest::default()).await?.into_inner().nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_front_end_answers_what_comes_and_says_when_nothing_does() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let leader = cluster.leader().await?;
    let follower = (1..=3).find(|id| *id != leader).context("has two more")?;
    let front_ends = async || -> Result<Vec<Node>> {
        let all = nodes(cluster.channel(follower).await?).await?;
        Ok(all.into_iter().filter(|node| node.role() == NodeRole::FrontEnd).collect())
    };
    let first = eventually("the front-end to be seen", async || {
        let seen = front_ends().await?.pop().context("it is not there")?;
        // It asks one replica after the other who leads.
        ensure!(seen.store_node_id == leader, "{seen:?}");
        Ok(seen)
    })
    .await?;
    assert_eq!(first.drain_state(), DrainState::Serving);
    assert_eq!(first.version, env!("CARGO_PKG_VERSION"));
    let all = nodes(cluster.channel(follower).await?).await?;
    let stores: Vec<_> = all
        .iter()
        .filter(|node| node.role() == NodeRole::Store)
        .map(|node| (node.name.as_str(), node.raft_role == "leader", node.connected))
        .collect();
    let names: Vec<String> = (1..=3).map(|id| format!("stores/{id}")).collect();
    let expected: Vec<_> =
        (1..).zip(&names).map(|(id, name)| (name.as_str(), id == leader, true)).collect();
    assert_eq!(stores, expected);

    let mut client = NodesClient::new(cluster.leader_channel().await?);
    let drain = DrainNodeRequest { name: first.name.clone(), ..Default::default() };
    let status = client.drain_node(drain.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "it is the last one: {status}");
    let mut second = cluster.front_end().await?;
    eventually("the other front-end to be seen", async || {
        ensure!(front_ends().await?.len() == 2);
        Ok(())
    })
    .await?;
    // A forwarder that understands it is told, and what it has sent already is answered.
    let listen = format!("http://{}", front_end.listen());
    let channel = Channel::from_shared(listen)?.connect().await?;
    let (packets, requests) = mpsc::channel(8);
    let mut request = Request::new(ReceiverStream::new(requests));
    drains::understand(request.metadata_mut());
    let mut answers = SignallingClient::new(channel).punt(request).await?.into_inner();
    // A busy machine may not confirm who leads in time.
    eventually("the drain", async || Ok(client.clone().drain_node(drain.clone()).await?)).await?;
    let told = tokio::time::timeout(PATIENCE, answers.message()).await??.context("it has ended")?;
    assert_eq!(told.draining, Some(true));
    let packet = Update::new(home_address(0x100), 1).packet().into();
    packets.send(PuntRequest { ticket: 7, packet, ..Default::default() }).await?;
    let answer =
        tokio::time::timeout(PATIENCE, answers.message()).await??.context("it has ended")?;
    assert_eq!(answer.ticket, 7);
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    // From one that does not the stream is taken.
    match front_end.receive(PATIENCE).await {
        Err(error) => ensure!(error.to_string().contains("closed the stream"), "{error}"),
        Ok(answer) => bail!("{answer:?}"),
    }
    eventually("it to be drained", async || {
        let all = front_ends().await?;
        let node = all.into_iter().find(|node| node.name == first.name).context("it is gone")?;
        ensure!(node.drain_state() == DrainState::Drained, "{node:?}");
        Ok(())
    })
    .await?;
    update(&mut second, &Update::new(home_address(0x101), 1), 0).await?;
    client
        .undrain_node(UndrainNodeRequest { name: first.name.clone(), ..Default::default() })
        .await?;
    let told = tokio::time::timeout(PATIENCE, answers.message()).await??.context("it has ended")?;
    assert_eq!(told.draining, Some(false));
    let kinds = vec![EventKind::NodeDrained.into(), EventKind::NodeUndrained.into()];
    let told = ListEventsRequest { kinds, ..Default::default() };
    assert_eq!(events(cluster.leader_channel().await?, told).await?.len(), 2);
    Ok(())
}
