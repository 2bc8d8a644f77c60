//! Without privileges: IPv4 care-of addresses on the loopback interface.

use std::net::IpAddr;
use std::time::Duration;

use homeport_binding::Authentication;
use homeport_wire::Status;
use mobile_node::{
    AuthenticationConfig, CareOfConfig, Config, Error, Event, MobileNode, Mode, NodeEvent, Outcome,
    PingOutcome, PingResult, Stamped,
};

use crate::home_agent::{CORRESPONDENT, HOME, HOME_AGENT, HomeAgent, KEY, NAI, SPI};

const SECOND: Duration = Duration::from_secs(1);

fn local(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn config(agent: &HomeAgent, bids: &[u16]) -> Config {
    let mut config = Config::new(HOME, HOME_AGENT);
    config.home_agent_v4 = Some(*agent.udp.ip());
    config.home_agent_port = agent.udp.port();
    config.updates_per_second_max = 1000;
    config.request_timeout_ms = 5_000;
    for bid in bids {
        let last = u8::try_from(*bid).unwrap() + 1;
        config.care_of.push(CareOfConfig::new(*bid, local(last)));
    }
    config
}

async fn started(authentication: Authentication, bids: &[u16]) -> (HomeAgent, MobileNode) {
    let agent = HomeAgent::start(authentication).await;
    let mut config = config(&agent, bids);
    if authentication == Authentication::MnHa {
        config.authentication = Some(association());
    }
    let node = MobileNode::start(config).await.unwrap();
    (agent, node)
}

fn association() -> AuthenticationConfig {
    AuthenticationConfig { spi: SPI, key: KEY.to_owned(), nai: NAI.to_owned(), mesg_id: true }
}

async fn events_until(
    events: &mut mobile_node::Events,
    wanted: impl Fn(&Event) -> bool,
) -> Vec<Stamped> {
    let mut seen = Vec::new();
    let deadline = tokio::time::Instant::now() + 10 * SECOND;
    loop {
        let next = tokio::time::timeout_at(deadline, events.next()).await;
        let event = next.unwrap_or_else(|_| panic!("not in time, but {seen:#?}")).unwrap();
        let found = matches!(&event.event, NodeEvent::Protocol(event) if wanted(event));
        seen.push(event);
        if found {
            return seen;
        }
    }
}

#[tokio::test]
async fn register_ping_through_each_and_end() {
    for authentication in [Authentication::None, Authentication::MnHa] {
        for bulk in [false, true] {
            let (agent, node) = started(authentication, &[1, 2, 3]).await;
            let results = node.register(bulk).await.unwrap();
            assert_eq!(results.len(), 3);
            assert_eq!(agent.bids(), [1, 2, 3]);
            for bid in 1..=3 {
                let results = node.ping(CORRESPONDENT, Some(bid), 2, SECOND).await.unwrap();
                assert!(results.iter().all(PingResult::is_reply), "{results:?}");
            }
            assert_eq!(agent.state().echo_requests, 6);
            let refreshed = node.refresh(bulk).await.unwrap();
            assert_eq!(refreshed.len(), 3);
            if bulk {
                node.deregister_bulk(&[3, 2]).await.unwrap();
            } else {
                node.deregister(&[2, 3]).await.unwrap();
            }
            assert_eq!(agent.bids(), [1]);
            node.deregister(&[]).await.unwrap();
            assert_eq!(agent.bids(), [0_u16; 0]);
            node.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_life_overwrites_the_first_and_can_end_it_one_by_one() {
    let (agent, node) = started(Authentication::MnHa, &[1, 2]).await;
    node.register(true).await.unwrap();
    node.stop().await.unwrap();
    drop(node);
    // The sequence number starts anywhere: the home agent tells its own.
    let mut second = config(&agent, &[2, 3]);
    second.authentication = Some(association());
    let node = MobileNode::start(second.clone()).await.unwrap();
    node.register(false).await.unwrap();
    assert_eq!(agent.bids(), [2, 3]);
    node.stop().await.unwrap();
    let node = MobileNode::start(second).await.unwrap();
    node.adopt().await.unwrap();
    node.deregister(&[2]).await.unwrap();
    assert_eq!(agent.bids(), [3]);
    node.deregister(&[]).await.unwrap();
    assert_eq!(agent.bids(), [0_u16; 0]);
}

#[tokio::test]
async fn a_move_keeps_packets_flowing() {
    let (agent, node) = started(Authentication::None, &[1, 2]).await;
    node.register(true).await.unwrap();
    let mut events = node.events();
    let moved = node.move_care_of(1, local(77)).await.unwrap();
    assert!(matches!(moved[0].outcome, Outcome::Registered { .. }));
    events_until(&mut events, |event| matches!(event, Event::Moved { .. })).await;
    let results = node.ping(CORRESPONDENT, Some(1), 1, SECOND).await.unwrap();
    let reply = &results[0].outcome;
    assert!(matches!(reply, PingOutcome::Reply { path, .. } if path == "127.0.0.77"), "{reply:?}");
    assert_eq!(agent.bids(), [1, 2]);
    // And back: the old socket was closed, a new one is opened.
    node.move_care_of(1, local(2)).await.unwrap();
    let results = node.ping(CORRESPONDENT, Some(1), 1, SECOND).await.unwrap();
    assert!(results[0].is_reply());
}

#[tokio::test]
async fn the_home_address_answers_a_ping_from_outside() {
    let (agent, node) = started(Authentication::None, &[1]).await;
    node.register(false).await.unwrap();
    agent.ping_home().await;
    for _ in 0..100 {
        if agent.state().echo_replies == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no reply: {:?}", node.status().await);
}

#[tokio::test]
async fn what_the_home_agent_does_not_do_is_left_off() {
    let (agent, node) = started(Authentication::None, &[1, 2]).await;
    agent.change_policy(|prefix| prefix.bulk_allowed = false);
    node.register(true).await.unwrap();
    node.refresh(true).await.unwrap();
    assert_eq!(agent.bids(), [1, 2]);
    assert_eq!(node.status().await.unwrap().mode, Mode::Multiple { bulk: false });

    agent.change_policy(|prefix| prefix.multiple_care_of_allowed = false);
    let error = node.refresh(true).await.unwrap_err();
    let Error::Refused(results) = error else { panic!("{error}") };
    assert!(results.iter().any(|result| result.outcome.is_success()), "{results:?}");
    assert!(results.iter().any(|result| result.outcome == Outcome::SingleCareOf));
    assert_eq!(agent.bids(), [0]);
    let results = node.ping(CORRESPONDENT, None, 1, SECOND).await.unwrap();
    assert!(results[0].is_reply());
}

#[tokio::test]
async fn refusals_and_silence_are_told_apart() {
    let (agent, node) = started(Authentication::None, &[1]).await;
    agent.change_policy(|prefix| {
        prefix.home_agent_ipv4 = None;
        prefix.loopback_care_of_allowed = false;
    });
    let error = node.register(false).await.unwrap_err();
    let Error::Refused(results) = &error else { panic!("{error}") };
    let status = Status::MCOA_MALFORMED;
    assert_eq!(results[0].outcome, Outcome::Refused { status });
    assert!(error.to_string().contains("164"), "{error}");

    let mut config = config(&agent, &[1]);
    config.request_timeout_ms = 300;
    agent.state().mute = true;
    let node = MobileNode::start(config).await.unwrap();
    let error = node.register(false).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let results = node.ping(CORRESPONDENT, Some(1), 1, SECOND).await.unwrap();
    assert_eq!(results[0].outcome, PingOutcome::NotSent { reason: "no_binding" });
}

#[tokio::test]
async fn a_wrong_key_is_never_believed() {
    let agent = HomeAgent::start(Authentication::MnHa).await;
    let mut config = config(&agent, &[1]);
    config.request_timeout_ms = 1_000;
    config.authentication =
        Some(AuthenticationConfig { key: KEY.replace('1', "2"), ..association() });
    let node = MobileNode::start(config).await.unwrap();
    let error = node.register(false).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert_eq!(agent.bids(), [0_u16; 0]);
    let drops = node.status().await.unwrap().drops;
    assert!(drops.contains_key("authenticator"), "{drops:?}");
}

/// A failover as the cluster tests look at it: the home agent is silent for a while.
#[tokio::test]
async fn every_hundred_milliseconds_and_a_record_of_every_answer() {
    let (agent, node) = started(Authentication::MnHa, &[1, 2]).await;
    node.register(true).await.unwrap();
    node.refresh_every(Some(Duration::from_millis(100)), true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(550)).await;
    agent.state().mute = true;
    tokio::time::sleep(Duration::from_millis(600)).await;
    agent.state().mute = false;
    tokio::time::sleep(Duration::from_millis(550)).await;
    node.refresh_every(None, true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let journal = node.journal().await.unwrap();
    let refreshes: Vec<_> = journal.iter().filter(|update| update.bids == [1, 2]).collect();
    // Seventeen, on a machine that has nothing else to do.
    assert!((6..=18).contains(&refreshes.len()), "{refreshes:#?}");
    let unanswered: Vec<_> =
        refreshes.iter().filter(|update| update.acknowledgement.is_none()).collect();
    assert!((1..=8).contains(&unanswered.len()), "{unanswered:#?}");
    for update in &refreshes {
        assert!(update.acknowledgement.is_none() || update.is_accepted(), "{update:?}");
    }
    for pair in journal.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    let last = journal.iter().rev().find(|update| update.is_accepted()).unwrap();
    assert_eq!(agent.state().cache.home(HOME).unwrap().sequence.0, last.sequence);
    assert_eq!(node.status().await.unwrap().registered(), [1, 2]);
}

#[tokio::test]
async fn a_deleted_subscriber_is_told() {
    let (agent, node) = started(Authentication::None, &[1]).await;
    node.register(false).await.unwrap();
    let mut events = node.events();
    agent.delete_subscriber();
    assert!(matches!(node.refresh(false).await, Err(Error::Refused(_)) | Ok(_)));
    let seen = events_until(&mut events, |event| matches!(event, Event::Completed { .. })).await;
    for event in &seen {
        assert!(!event.to_string().contains('\n'));
        assert!(event.to_json().get("event").is_some());
    }
    node.stop().await.unwrap();
    while events.next().await.is_some() {}
    assert!(matches!(node.status().await, Err(Error::Ended)));
}
