//! What operators look at and do, against a store that says what the test wants.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream::BoxStream;
use homeport_api::admin::{
    self, alarms_server, audit_server, events_server, nodes_server, upgrades_server,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{assert_exit, run, text};

/// What must be in no bundle.
const CANARY: &str = "2001:db8:ca0a::1";

/// What it was asked, and what it says of its front-end.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    looks: u32,
    tampered: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("nobody panicked")
    }

    async fn start(&self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let endpoint = listener.local_addr().expect("has an address").to_string();
        let serving = Server::builder()
            .add_service(nodes_server::NodesServer::new(self.clone()))
            .add_service(alarms_server::AlarmsServer::new(self.clone()))
            .add_service(events_server::EventsServer::new(self.clone()))
            .add_service(audit_server::AuditServer::new(self.clone()))
            .add_service(upgrades_server::UpgradesServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        (endpoint, tokio::spawn(async move { serving.await.expect("serves") }))
    }

    fn front_end(&self) -> admin::Node {
        let mut script = self.script();
        script.looks += 1;
        let is_done = script.looks > 3;
        let state = if is_done { admin::DrainState::Drained } else { admin::DrainState::Draining };
        admin::Node {
            name: "front-ends/one:7201".to_owned(),
            role: admin::NodeRole::FrontEnd.into(),
            version: "0.1.0".to_owned(),
            connected_ms: 1_795_788_309_250,
            drain_state: state.into(),
            store_node_id: 2,
            connected: true,
            ..admin::Node::default()
        }
    }
}

#[tonic::async_trait]
impl nodes_server::Nodes for Fake {
    async fn list_nodes(
        &self,
        _: Request<admin::ListNodesRequest>,
    ) -> Result<Response<admin::ListNodesResponse>, Status> {
        let nodes = vec![self.front_end()];
        let silent_node_ids = vec![3];
        Ok(Response::new(admin::ListNodesResponse { nodes, silent_node_ids, ..Default::default() }))
    }

    async fn get_node(
        &self,
        _: Request<admin::GetNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        Ok(Response::new(self.front_end()))
    }

    async fn drain_node(
        &self,
        request: Request<admin::DrainNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        self.script().asked.push(format!("drain {}", request.into_inner().name));
        Ok(Response::new(self.front_end()))
    }

    async fn undrain_node(
        &self,
        request: Request<admin::UndrainNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        self.script().asked.push(format!("undrain {}", request.into_inner().name));
        Ok(Response::new(self.front_end()))
    }
}

#[tonic::async_trait]
impl alarms_server::Alarms for Fake {
    type WatchAlarmsStream = BoxStream<'static, Result<admin::WatchAlarmsResponse, Status>>;

    async fn list_alarms(
        &self,
        _: Request<admin::ListAlarmsRequest>,
    ) -> Result<Response<admin::ListAlarmsResponse>, Status> {
        let alarm = admin::Alarm {
            name: "session-lost@forwarders/edge-1".to_owned(),
            resource: "forwarders/edge-1".to_owned(),
            severity: admin::AlarmSeverity::Major.into(),
            text: "no connection\u{1b}[2J".to_owned(),
            raised_ms: 1_795_788_309_250,
            help: "docs/operations/alarms.md#session-lost".to_owned(),
            ..admin::Alarm::default()
        };
        Ok(Response::new(admin::ListAlarmsResponse { alarms: vec![alarm], ..Default::default() }))
    }

    async fn watch_alarms(
        &self,
        _: Request<admin::WatchAlarmsRequest>,
    ) -> Result<Response<Self::WatchAlarmsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn acknowledge_alarm(
        &self,
        request: Request<admin::AcknowledgeAlarmRequest>,
    ) -> Result<Response<admin::AcknowledgeAlarmResponse>, Status> {
        self.script().asked.push(format!("{:?}", request.into_inner()));
        Ok(Response::new(admin::AcknowledgeAlarmResponse {}))
    }

    async fn shelve_alarm(
        &self,
        request: Request<admin::ShelveAlarmRequest>,
    ) -> Result<Response<admin::ShelveAlarmResponse>, Status> {
        self.script().asked.push(format!("shelve for {}", request.into_inner().for_secs));
        Ok(Response::new(admin::ShelveAlarmResponse {}))
    }

    async fn comment_alarm(
        &self,
        request: Request<admin::CommentAlarmRequest>,
    ) -> Result<Response<admin::CommentAlarmResponse>, Status> {
        self.script().asked.push(format!("comment {}", request.into_inner().comment));
        Ok(Response::new(admin::CommentAlarmResponse {}))
    }

    async fn list_alarm_history(
        &self,
        _: Request<admin::ListAlarmHistoryRequest>,
    ) -> Result<Response<admin::ListAlarmHistoryResponse>, Status> {
        let change = admin::AlarmChange {
            number: 1,
            at_ms: 1_795_788_309_250,
            name: "session-lost@forwarders/edge-1".to_owned(),
            step: admin::AlarmStep::Raised.into(),
            text: "no connection".to_owned(),
            ..admin::AlarmChange::default()
        };
        let changes = vec![change];
        Ok(Response::new(admin::ListAlarmHistoryResponse { changes, ..Default::default() }))
    }
}

fn event(number: u32) -> admin::Event {
    admin::Event {
        revision: 7,
        number,
        at_ms: 1_795_788_309_250,
        kind: admin::EventKind::Refused.into(),
        home_address: CANARY.to_owned(),
        status: 135,
        text: "135 (sequence number out of window)".to_owned(),
        rfc_section: "RFC 6275 section 9.5.1".to_owned(),
        ..admin::Event::default()
    }
}

#[tonic::async_trait]
impl events_server::Events for Fake {
    type WatchEventsStream = BoxStream<'static, Result<admin::WatchEventsResponse, Status>>;

    async fn list_events(
        &self,
        request: Request<admin::ListEventsRequest>,
    ) -> Result<Response<admin::ListEventsResponse>, Status> {
        let request = request.into_inner();
        self.script().asked.push(format!(
            "events {} {}",
            request.home_address,
            request.since_ms > 0
        ));
        let events = vec![event(2), event(1)];
        Ok(Response::new(admin::ListEventsResponse { events, ..Default::default() }))
    }

    /// One more, and then the stream is broken off.
    async fn watch_events(
        &self,
        request: Request<admin::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let after = request.into_inner().after_revision;
        self.script().asked.push(format!("watch after {after:?}"));
        let revision = after.unwrap_or(0) + 1;
        let events = vec![admin::Event { revision, ..event(0) }];
        let message = admin::WatchEventsResponse { events, revision, ..Default::default() };
        let items = [Ok(message), Err(Status::unavailable("it ends"))];
        Ok(Response::new(Box::pin(futures_util::stream::iter(items))))
    }
}

#[tonic::async_trait]
impl audit_server::Audit for Fake {
    async fn list_audit_records(
        &self,
        _: Request<admin::ListAuditRecordsRequest>,
    ) -> Result<Response<admin::ListAuditRecordsResponse>, Status> {
        let note = homeport_binding::AuditNote {
            by: "192.0.2.7:40000".to_owned(),
            action: "DeleteSubscriber".to_owned(),
            resource: format!("Subscriber {CANARY}"),
            ..Default::default()
        };
        let mut entry = homeport_binding::AuditRecord {
            number: 1,
            at: homeport_binding::LogTime(1_795_788_309_250),
            revision: 5,
            note,
            previous: [0; 32],
            hash: [0; 32],
        };
        entry.hash = entry.digest();
        let by = if self.script().tampered { "somebody else" } else { &entry.note.by };
        let record = admin::AuditRecord {
            number: entry.number,
            at_ms: entry.at.0,
            revision: entry.revision,
            by: by.to_owned(),
            action: entry.note.action.clone(),
            resource: entry.note.resource.clone(),
            previous: entry.previous.to_vec().into(),
            hash: entry.hash.to_vec().into(),
            ..admin::AuditRecord::default()
        };
        let records = vec![record];
        Ok(Response::new(admin::ListAuditRecordsResponse { records, ..Default::default() }))
    }
}

#[tonic::async_trait]
impl upgrades_server::Upgrades for Fake {
    async fn finish_upgrade(
        &self,
        _: Request<admin::FinishUpgradeRequest>,
    ) -> Result<Response<admin::FinishUpgradeResponse>, Status> {
        self.script().asked.push("finish-upgrade".to_owned());
        Ok(Response::new(admin::FinishUpgradeResponse { revision: 9 }))
    }
}

#[tokio::test]
async fn a_drain_is_waited_for_and_lists_come_wide_and_as_csv() {
    let fake = Fake::default();
    let (endpoint, _server) = fake.start().await;
    let drained = run(&[&endpoint], &["node", "drain", "front-ends/one:7201"]).await;
    assert_exit(&drained, 0);
    let table = text(&drained.stdout);
    let row = "front-ends/one:7201  front-end  up     drained  0.1.0    -         -    2026-11-27T14:05:09.250Z";
    assert!(table.contains(row) && !table.contains("UNDER-WAY"), "{table}");
    assert_eq!(fake.script().asked, ["drain front-ends/one:7201"]);
    fake.script().looks = 0;
    let drain = ["node", "drain", "front-ends/one:7201", "--wait-secs", "0"];
    let at_once = run(&[&endpoint], &drain).await;
    assert_exit(&at_once, 0);
    assert!(text(&at_once.stdout).contains("draining"));
    assert_exit(&run(&[&endpoint], &["node", "undrain", "front-ends/one:7201"]).await, 0);
    assert_eq!(fake.script().asked.last().map(String::as_str), Some("undrain front-ends/one:7201"));
    let listed = run(&[&endpoint], &["node", "list", "-o", "wide"]).await;
    assert!(text(&listed.stdout).contains("UNDER-WAY"));
    assert!(text(&listed.stderr).contains("replica 3 does not answer"));
    let csv = text(&run(&[&endpoint], &["node", "list", "-o", "csv"]).await.stdout);
    let (header, row) = csv.split_once("\r\n").expect("has lines");
    assert!(header.starts_with("NAME,ROLE,STATE,DRAIN,"), "{csv}");
    assert!(row.starts_with("front-ends/one:7201,front-end,up,drained,0.1.0,,"), "{csv}");
}

#[tokio::test]
async fn alarms_are_shown_acknowledged_and_shelved() {
    let fake = Fake::default();
    let (endpoint, _server) = fake.start().await;
    let listed = text(&run(&[&endpoint], &["alarms", "list"]).await.stdout);
    let row = "major     session-lost@forwarders/edge-1  active  2026-11-27T14:05:09.250Z  no connection\u{fffd}[2J";
    assert!(listed.contains(row) && listed.contains("alarms.md#session-lost"), "{listed}");
    let name = "session-lost@forwarders/edge-1";
    assert_exit(&run(&[&endpoint], &["alarms", "ack", name, "--comment", "seen"]).await, 0);
    assert_exit(&run(&[&endpoint], &["alarms", "shelve", name, "--for", "8h"]).await, 0);
    assert_exit(&run(&[&endpoint], &["alarms", "comment", name, "looked"]).await, 0);
    assert_exit(&run(&[&endpoint], &["alarms", "shelve", name, "--for", "soon"]).await, 2);
    let asked = fake.script().asked.clone();
    assert!(asked[0].contains(name) && asked[0].contains("seen"), "{asked:?}");
    assert_eq!(asked[1..], ["shelve for 28800", "comment looked"]);
    let history = text(&run(&[&endpoint], &["alarms", "history"]).await.stdout);
    assert!(history.contains(&format!("{name}  raised")), "{history}");
    assert_exit(&run(&[&endpoint], &["raft", "finish-upgrade"]).await, 0);
    assert_eq!(fake.script().asked.last().map(String::as_str), Some("finish-upgrade"));
}

#[tokio::test]
async fn events_are_told_in_their_order_and_followed_from_stream_to_stream() {
    let fake = Fake::default();
    let (endpoint, _server) = fake.start().await;
    let listed = run(&[&endpoint], &["events", CANARY, "--since", "10m", "-o", "json"]).await;
    assert_exit(&listed, 0);
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("is JSON");
    assert_eq!((&json[0]["number"], &json[1]["number"]), (&1.into(), &2.into()));
    assert_eq!(json[0]["rfc_section"], "RFC 6275 section 9.5.1");
    assert_eq!(fake.script().asked, [format!("events {CANARY} true")]);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_homeportctl"));
    command.args(["--endpoint", &endpoint, "events", "--follow"]).kill_on_drop(true);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("runs");
    let out = child.stdout.take().expect("is a pipe");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
    for _ in 0..4 {
        let line = lines.next_line().await.expect("reads").expect("goes on");
        let expected = format!(
            "2026-11-27T14:05:09.250Z  refused  {CANARY}  135  135 (sequence number out of window)  \
             RFC 6275 section 9.5.1  "
        );
        assert!(line.starts_with(&expected), "{line}");
    }
    // Whoever has seen enough ends it.
    drop(lines);
    assert_eq!(child.wait().await.expect("ends").code(), Some(0));
    let asked = fake.script().asked.clone();
    assert!(asked.contains(&"watch after Some(7)".to_owned()), "{asked:?}");
    assert!(asked.contains(&"watch after Some(8)".to_owned()), "{asked:?}");
}

#[tokio::test]
async fn the_record_of_writes_is_shown_and_whoever_changed_it_is_noticed() {
    let fake = Fake::default();
    let (endpoint, _server) = fake.start().await;
    let listed = text(&run(&[&endpoint], &["audit", "list"]).await.stdout);
    assert!(listed.contains("192.0.2.7:40000  DeleteSubscriber  Subscriber "), "{listed}");
    let whole = run(&[&endpoint], &["audit", "verify"]).await;
    assert_exit(&whole, 0);
    assert_eq!(text(&whole.stdout), "records 1 to 1 are whole\n");
    fake.script().tampered = true;
    let changed = run(&[&endpoint], &["audit", "verify"]).await;
    assert_exit(&changed, 4);
    assert!(text(&changed.stdout).contains("record 1 was changed"), "{}", text(&changed.stdout));
}

/// This store does not even say how it is: the checks say so, and the bundle holds what there is.
#[tokio::test]
async fn checks_name_their_sections_and_a_bundle_says_who_nobody_is() {
    let fake = Fake::default();
    let (endpoint, _server) = fake.start().await;
    let checked = run(&[&endpoint], &["check"]).await;
    assert_exit(&checked, 4);
    let found = text(&checked.stdout);
    assert!(found.contains("FAILED   store-reachable: "), "{found}");
    assert!(found.contains("see docs/operations/checks.md#store-reachable\n"), "{found}");
    assert!(found.contains("ok       audit-chain: records 1 to 1 are whole\n"), "{found}");
    let json = run(&[&endpoint], &["check", "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("is JSON");
    assert_eq!(json[0]["check"], "store-reachable");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bundle.json");
    let name = file.to_str().expect("is text");
    let written = run(&[&endpoint], &["support-bundle", name]).await;
    assert_exit(&written, 0);
    assert!(text(&written.stdout).contains("neither keys nor addresses"));
    let bundle = std::fs::read_to_string(&file).expect("is there");
    assert!(!bundle.contains(CANARY), "{bundle}");
    let json: serde_json::Value = serde_json::from_str(&bundle).expect("is JSON");
    for part in ["status", "checks", "nodes", "alarms", "alarm_history", "events", "audit_records"]
    {
        assert!(json["parts"][part].is_array(), "{part}: {bundle}");
    }
    assert_eq!(json["parts"]["events"][0]["rfc_section"], "RFC 6275 section 9.5.1");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_exit(&run(&[&endpoint], &["support-bundle", name]).await, 2);
    let other = folder.path().join("all.json");
    let name = other.to_str().expect("is text");
    let all = ["support-bundle", name, "--include-subscribers"];
    assert_exit(&run(&[&endpoint], &all).await, 0);
    assert!(std::fs::read_to_string(&other).expect("is there").contains(CANARY));
}

#[tokio::test]
async fn a_shell_completes_the_command_line() {
    let script = run(&[], &["completion", "bash"]).await;
    assert_exit(&script, 0);
    let script = text(&script.stdout);
    assert!(script.contains("homeportctl") && script.contains("support-bundle"), "{script}");
}
