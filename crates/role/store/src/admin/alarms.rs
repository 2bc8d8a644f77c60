use std::cmp::Reverse;

use futures_util::stream::BoxStream;
use homeport_api::admin::alarms_server::Alarms;
use homeport_api::admin::{self as api};
use homeport_binding::{
    Alarm, AlarmAct, AlarmChange, AlarmKey, AlarmStep, BindingCache, Command, LogTime, Mark,
    Operation, Severity,
};
use homeport_runtime::Shutdown;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::audited::Caller;
use super::bindings::now;
use super::{execute, invalid, not_found, page_size, read_barrier, watching, write, wrong_token};
use crate::streams::stream;
use crate::{Store, limits};

pub(crate) struct Service(pub(crate) Store, pub(crate) Shutdown);

/// Longest time for which an alarm is put aside.
const SHELVED_SECS_MAX: u32 = 30 * 86_400;

#[tonic::async_trait]
impl Alarms for Service {
    type WatchAlarmsStream = BoxStream<'static, Result<api::WatchAlarmsResponse, Status>>;

    async fn list_alarms(
        &self,
        request: Request<api::ListAlarmsRequest>,
    ) -> Result<Response<api::ListAlarmsResponse>, Status> {
        let request = request.into_inner();
        let (size, skipped) = (page_size(request.page_size)?, place(&request.page_token)?);
        read_barrier(&self.0, request.local).await?;
        let (mut alarms, revision, moment) = self.0.node.read(|machine| {
            (all(&machine.cache), machine.cache.revision(), now(machine.cache.now()))
        });
        alarms.retain(|alarm| request.shelved_too || alarm.shelved_until_ms <= moment.0);
        let (alarms, next_page_token) = page(alarms, size, skipped);
        Ok(Response::new(api::ListAlarmsResponse { alarms, next_page_token, revision }))
    }

    async fn watch_alarms(
        &self,
        _request: Request<api::WatchAlarmsRequest>,
    ) -> Result<Response<Self::WatchAlarmsStream>, Status> {
        let (store, place) = (self.0.clone(), watching(&self.0)?);
        let stream = stream("alarms", &self.1, |out| async move {
            let _place = place;
            watch(store, out).await;
        });
        Ok(Response::new(stream))
    }

    async fn acknowledge_alarm(
        &self,
        request: Request<api::AcknowledgeAlarmRequest>,
    ) -> Result<Response<api::AcknowledgeAlarmResponse>, Status> {
        write(&self.0, request, acknowledge).await
    }

    async fn shelve_alarm(
        &self,
        request: Request<api::ShelveAlarmRequest>,
    ) -> Result<Response<api::ShelveAlarmResponse>, Status> {
        write(&self.0, request, shelve).await
    }

    async fn comment_alarm(
        &self,
        request: Request<api::CommentAlarmRequest>,
    ) -> Result<Response<api::CommentAlarmResponse>, Status> {
        write(&self.0, request, comment).await
    }

    async fn list_alarm_history(
        &self,
        request: Request<api::ListAlarmHistoryRequest>,
    ) -> Result<Response<api::ListAlarmHistoryResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let before = match place(&request.page_token)? {
            0 => u64::MAX,
            before => u64::try_from(before).unwrap_or(u64::MAX),
        };
        read_barrier(&self.0, request.local).await?;
        let mut changes: Vec<api::AlarmChange> = self.0.node.read(|machine| {
            let newest_first = machine.cache.alarm_history().rev();
            let rest = newest_first.filter(|change| change.number < before);
            rest.take(size.saturating_add(1)).map(change_message).collect()
        });
        let more = changes.len() > size;
        changes.truncate(size);
        let last = changes.last().filter(|_| more);
        let next_page_token = last.map(|last| last.number.to_string()).unwrap_or_default();
        Ok(Response::new(api::ListAlarmHistoryResponse { changes, next_page_token }))
    }
}

async fn acknowledge(
    store: Store,
    caller: Caller,
    request: api::AcknowledgeAlarmRequest,
) -> Result<api::AcknowledgeAlarmResponse, Status> {
    let (by, comment) = (caller.by.clone(), request.comment);
    act(&store, &caller, &request.name, AlarmAct::Acknowledge { by, comment }).await?;
    Ok(api::AcknowledgeAlarmResponse {})
}

async fn shelve(
    store: Store,
    caller: Caller,
    request: api::ShelveAlarmRequest,
) -> Result<api::ShelveAlarmResponse, Status> {
    let for_secs = request.for_secs;
    if for_secs > SHELVED_SECS_MAX {
        let message = format!("{for_secs} is not in 0..={SHELVED_SECS_MAX}");
        return Err(invalid("for_secs", &message));
    }
    let for_ms = u64::from(for_secs).saturating_mul(1000);
    let (by, comment) = (caller.by.clone(), request.comment);
    act(&store, &caller, &request.name, AlarmAct::Shelve { by, comment, for_ms }).await?;
    Ok(api::ShelveAlarmResponse {})
}

async fn comment(
    store: Store,
    caller: Caller,
    request: api::CommentAlarmRequest,
) -> Result<api::CommentAlarmResponse, Status> {
    let (by, comment) = (caller.by.clone(), request.comment);
    act(&store, &caller, &request.name, AlarmAct::Comment { by, comment }).await?;
    Ok(api::CommentAlarmResponse {})
}

async fn act(store: &Store, caller: &Caller, name: &str, act: AlarmAct) -> Result<(), Status> {
    let Some(key) = key_of(name) else {
        let message = format!("{name:?} is no alarm's; see homeportctl alarms list");
        return Err(invalid("name", &message));
    };
    read_barrier(store, false).await?;
    let is_known =
        store.node.read(|machine| machine.cache.alarms().any(|(known, _)| *known == key));
    if !is_known {
        let message = format!("no alarm {name}; see homeportctl alarms list");
        return Err(not_found("name", &("Alarm", name.to_owned()), &message));
    }
    let operation = Operation::Alarm { key, act };
    execute(store, caller, Command::Operate(operation)).await.map(drop)
}

/// First as it is, then after each change.
async fn watch(store: Store, out: mpsc::Sender<api::WatchAlarmsResponse>) {
    let mut applied = store.node.applied();
    let mut sent: Option<Vec<api::Alarm>> = None;
    loop {
        applied.borrow_and_update();
        let (alarms, revision) =
            store.node.read(|machine| (all(&machine.cache), machine.cache.revision()));
        if sent.as_ref() != Some(&alarms) {
            let message = api::WatchAlarmsResponse { alarms: alarms.clone(), revision };
            if out.send(message).await.is_err() {
                return;
            }
            sent = Some(alarms);
        }
        // Binding Updates change no alarm, and come in thousands.
        tokio::time::sleep(limits::WATCH_INTERVAL).await;
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
    }
}

/// The worst first, then the newest; what has ended comes last.
fn all(cache: &BindingCache) -> Vec<api::Alarm> {
    let mut alarms: Vec<(&AlarmKey, &Alarm)> = cache.alarms().collect();
    alarms.sort_by_key(|(_, it)| (it.cleared.is_some(), it.severity, Reverse(it.raised)));
    alarms.into_iter().map(|(key, alarm)| message_of(key, alarm)).collect()
}

fn page(alarms: Vec<api::Alarm>, size: usize, skipped: usize) -> (Vec<api::Alarm>, String) {
    let end = skipped.saturating_add(size);
    let token = if alarms.len() > end { end.to_string() } else { String::new() };
    (alarms.into_iter().skip(skipped).take(size).collect(), token)
}

fn place(token: &str) -> Result<usize, Status> {
    if token.is_empty() { Ok(0) } else { token.parse().map_err(|_| wrong_token()) }
}

/// "session-lost@forwarders/edge-1", and "#" with a specific problem.
pub(super) fn name_of(key: &AlarmKey) -> String {
    let AlarmKey { resource, kind, specific_problem } = key;
    if specific_problem.is_empty() {
        format!("{kind}@{resource}")
    } else {
        format!("{kind}@{resource}#{specific_problem}")
    }
}

fn key_of(name: &str) -> Option<AlarmKey> {
    let (kind, rest) = name.split_once('@')?;
    let (resource, specific_problem) = rest.split_once('#').unwrap_or((rest, ""));
    Some(AlarmKey {
        resource: resource.to_owned(),
        kind: kind.to_owned(),
        specific_problem: specific_problem.to_owned(),
    })
}

fn message_of(key: &AlarmKey, alarm: &Alarm) -> api::Alarm {
    let shelf = alarm.shelved.as_ref();
    api::Alarm {
        name: name_of(key),
        resource: key.resource.clone(),
        kind: key.kind.clone(),
        specific_problem: key.specific_problem.clone(),
        severity: severity(alarm.severity).into(),
        text: alarm.text.clone(),
        raised_ms: alarm.raised.0,
        cleared_ms: alarm.cleared.map(|LogTime(ms)| ms),
        acknowledged: alarm.acknowledged.as_ref().map(mark),
        shelved: shelf.map(|shelf| mark(&shelf.mark)),
        shelved_until_ms: shelf.map_or(0, |shelf| shelf.until.0),
        revision: alarm.revision,
        help: format!("docs/operations/alarms.md#{}", key.kind),
    }
}

fn mark(mark: &Mark) -> api::AlarmMark {
    api::AlarmMark { by: mark.by.clone(), at_ms: mark.at.0, comment: mark.comment.clone() }
}

fn severity(severity: Severity) -> api::AlarmSeverity {
    match severity {
        Severity::Critical => api::AlarmSeverity::Critical,
        Severity::Major => api::AlarmSeverity::Major,
        Severity::Minor => api::AlarmSeverity::Minor,
        Severity::Warning => api::AlarmSeverity::Warning,
    }
}

fn change_message(change: &AlarmChange) -> api::AlarmChange {
    let step = match change.step {
        AlarmStep::Raised => api::AlarmStep::Raised,
        AlarmStep::Changed => api::AlarmStep::Changed,
        AlarmStep::Cleared => api::AlarmStep::Cleared,
        AlarmStep::Acknowledged => api::AlarmStep::Acknowledged,
        AlarmStep::Shelved => api::AlarmStep::Shelved,
        AlarmStep::Unshelved => api::AlarmStep::Unshelved,
        AlarmStep::Commented => api::AlarmStep::Commented,
    };
    api::AlarmChange {
        number: change.number,
        at_ms: change.at.0,
        revision: change.revision,
        name: name_of(&change.key),
        severity: severity(change.severity).into(),
        step: step.into(),
        by: change.by.clone(),
        text: change.text.clone(),
    }
}
