//! What the store says of alarms, events and nodes.

use futures_util::stream::Empty;
use homeport_api::admin::{self, alarms_server, events_server, nodes_server};
use tonic::{Request, Response, Status};

use super::Script;

/// One alarm that lasts, one that has ended, and one that is put aside.
pub(super) fn alarms() -> Vec<admin::Alarm> {
    let mark = |comment: &str| admin::AlarmMark {
        by: "192.0.2.1".to_owned(),
        at_ms: 1_700_000_000_000,
        comment: comment.to_owned(),
    };
    let alarm = |kind: &str, resource: &str, severity: admin::AlarmSeverity| admin::Alarm {
        name: format!("{kind}@{resource}"),
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        severity: severity.into(),
        text: format!("{resource} is not well"),
        raised_ms: 1_700_000_000_000,
        help: format!("docs/operations/alarms.md#{kind}"),
        ..admin::Alarm::default()
    };
    let shelved_until_ms = u64::MAX;
    vec![
        alarm("session-lost", "forwarders/edge-1", admin::AlarmSeverity::Major),
        admin::Alarm {
            cleared_ms: Some(1_700_000_060_000),
            acknowledged: Some(mark("seen")),
            ..alarm("leader-changed", "cluster", admin::AlarmSeverity::Warning)
        },
        admin::Alarm {
            shelved: Some(mark("")),
            shelved_until_ms,
            ..alarm("disk-low", "stores/2", admin::AlarmSeverity::Critical)
        },
    ]
}

/// Newest first.
pub(super) fn events() -> Vec<admin::Event> {
    let event = |kind: admin::EventKind, home: &str| admin::Event {
        revision: 120,
        at_ms: 1_700_000_000_000,
        kind: kind.into(),
        home_address: home.to_owned(),
        ..admin::Event::default()
    };
    let refused = admin::Event {
        status: 135,
        text: "sequence number 7 is not newer".to_owned(),
        rfc_section: "RFC 6275 section 9.5.1".to_owned(),
        ..event(admin::EventKind::Refused, "2001:db8:0:1::100")
    };
    let left = admin::Event {
        resource: "forwarders/edge-1".to_owned(),
        ..event(admin::EventKind::NodeLeft, "")
    };
    vec![refused, left, event(admin::EventKind::Registered, "2001:db8:0:1::200")]
}

#[tonic::async_trait]
impl alarms_server::Alarms for Script {
    type WatchAlarmsStream = Empty<Result<admin::WatchAlarmsResponse, Status>>;

    async fn list_alarms(
        &self,
        request: Request<admin::ListAlarmsRequest>,
    ) -> Result<Response<admin::ListAlarmsResponse>, Status> {
        assert!(request.into_inner().shelved_too, "all are shown");
        let alarms = self.alarms.clone();
        self.listed(admin::ListAlarmsResponse { alarms, ..Default::default() })
    }

    async fn watch_alarms(
        &self,
        _: Request<admin::WatchAlarmsRequest>,
    ) -> Result<Response<Self::WatchAlarmsStream>, Status> {
        Err(Status::permission_denied("the page asks by itself"))
    }

    async fn acknowledge_alarm(
        &self,
        request: Request<admin::AcknowledgeAlarmRequest>,
    ) -> Result<Response<admin::AcknowledgeAlarmResponse>, Status> {
        let told = request.into_inner();
        self.done.push(format!("acknowledge {} ({})", told.name, told.comment));
        Ok(Response::new(admin::AcknowledgeAlarmResponse {}))
    }

    async fn shelve_alarm(
        &self,
        request: Request<admin::ShelveAlarmRequest>,
    ) -> Result<Response<admin::ShelveAlarmResponse>, Status> {
        let told = request.into_inner();
        self.done.push(format!("shelve {} for {} s", told.name, told.for_secs));
        Ok(Response::new(admin::ShelveAlarmResponse {}))
    }

    async fn comment_alarm(
        &self,
        _: Request<admin::CommentAlarmRequest>,
    ) -> Result<Response<admin::CommentAlarmResponse>, Status> {
        Err(Status::permission_denied("the page must not write"))
    }

    async fn list_alarm_history(
        &self,
        request: Request<admin::ListAlarmHistoryRequest>,
    ) -> Result<Response<admin::ListAlarmHistoryResponse>, Status> {
        let change = |step: admin::AlarmStep| admin::AlarmChange {
            number: 1,
            at_ms: 1_700_000_000_000,
            name: self.alarms[0].name.clone(),
            severity: self.alarms[0].severity,
            step: step.into(),
            by: self.alarms[0].text.clone(),
            ..admin::AlarmChange::default()
        };
        let (step, next) = match request.into_inner().page_token.as_str() {
            "" => (admin::AlarmStep::Acknowledged, "more"),
            _ => (admin::AlarmStep::Raised, ""),
        };
        let (changes, next_page_token) = (vec![change(step)], next.to_owned());
        self.listed(admin::ListAlarmHistoryResponse { changes, next_page_token })
    }
}

#[tonic::async_trait]
impl events_server::Events for Script {
    type WatchEventsStream = Empty<Result<admin::WatchEventsResponse, Status>>;

    async fn list_events(
        &self,
        request: Request<admin::ListEventsRequest>,
    ) -> Result<Response<admin::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let mut events = self.events.clone();
        let wanted = &request.home_address;
        events.retain(|event| wanted.is_empty() || event.home_address == *wanted);
        let next_page_token = if request.page_token.is_empty() { "119.0" } else { "" }.to_owned();
        self.listed(admin::ListEventsResponse { events, next_page_token, forgotten_revision: 0 })
    }

    async fn watch_events(
        &self,
        _: Request<admin::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        Err(Status::permission_denied("the page asks by itself"))
    }
}

/// Those that are connected to this replica: one was at another until now.
pub(super) fn front_ends(node_id: u64) -> Vec<admin::Node> {
    let front_end = |name: &str, connected_ms, state: admin::DrainState| admin::Node {
        name: format!("front-ends/{name}"),
        role: admin::NodeRole::FrontEnd.into(),
        connected_ms,
        drain_state: state.into(),
        store_node_id: node_id,
        connected: true,
        under_way: 3,
        drainable: true,
        ..admin::Node::default()
    };
    let moved = front_end("host-1", 1_700_000_000_000 + node_id, admin::DrainState::Draining);
    match node_id {
        1 => {
            let forwarder = admin::Node {
                name: "forwarders/edge-9".to_owned(),
                role: admin::NodeRole::Forwarder.into(),
                drainable: false,
                ..front_end("", 1_700_000_000_000, admin::DrainState::Serving)
            };
            let other = front_end("host-2", 1_700_000_000_000, admin::DrainState::Serving);
            vec![other, moved, forwarder]
        }
        _ => vec![moved],
    }
}

#[tonic::async_trait]
impl nodes_server::Nodes for Script {
    async fn list_nodes(
        &self,
        request: Request<admin::ListNodesRequest>,
    ) -> Result<Response<admin::ListNodesResponse>, Status> {
        assert!(request.into_inner().local, "each replica is asked for itself");
        let this = admin::Node {
            name: "stores/1".to_owned(),
            role: admin::NodeRole::Store.into(),
            ..admin::Node::default()
        };
        let nodes = self.front_ends.iter().cloned().chain([this]).collect();
        self.listed(admin::ListNodesResponse { nodes, ..Default::default() })
    }

    async fn get_node(
        &self,
        _: Request<admin::GetNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        Err(Status::not_found("the page lists them"))
    }

    async fn drain_node(
        &self,
        request: Request<admin::DrainNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        let name = request.into_inner().name;
        if name == "front-ends/last" {
            return Err(Status::failed_precondition("it is the last front-end that serves"));
        }
        self.done.push(format!("drain {name}"));
        Ok(Response::new(admin::Node::default()))
    }

    async fn undrain_node(
        &self,
        request: Request<admin::UndrainNodeRequest>,
    ) -> Result<Response<admin::Node>, Status> {
        self.done.push(format!("undrain {}", request.into_inner().name));
        Ok(Response::new(admin::Node::default()))
    }
}
