//! `homeportctl alarms`

use homeport_api::admin::{
    AcknowledgeAlarmRequest, Alarm, AlarmChange, AlarmMark, AlarmSeverity, AlarmStep,
    CommentAlarmRequest, ListAlarmHistoryRequest, ListAlarmsRequest, ShelveAlarmRequest,
    alarms_client::AlarmsClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{AlarmAction, Format, Page},
    cluster::{Cluster, Effect},
    failure::Failure,
    output::{self, Columns},
};

const COLUMNS: Columns = Columns {
    names: &[
        "SEVERITY",
        "ALARM",
        "STATE",
        "RAISED",
        "TEXT",
        "HELP",
        "CLEARED",
        "ACKNOWLEDGED-BY",
        "COMMENT",
        "SHELVED-UNTIL",
    ],
    narrow: 6,
};

const HISTORY: Columns =
    Columns { names: &["AT", "ALARM", "WHAT", "SEVERITY", "BY", "TEXT", "REVISION"], narrow: 6 };

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &AlarmAction,
) -> Result<String, Failure> {
    let (validate_only, request_id) = cluster.marks();
    match action {
        AlarmAction::List { page, all } => {
            let alarms = list(cluster, *page, *all).await?;
            Ok(output::list_of(format, COLUMNS, &alarms, rows, document))
        }
        AlarmAction::Ack { name, comment } => {
            let (name, comment) = (name.clone(), comment.clone());
            let request =
                AcknowledgeAlarmRequest { name: name.clone(), comment, validate_only, request_id };
            let call =
                async |channel| AlarmsClient::new(channel).acknowledge_alarm(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("acknowledged {name}")))
        }
        AlarmAction::Shelve { name, duration, comment } => {
            let for_secs = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
            let (name, comment) = (name.clone(), comment.clone());
            let request = ShelveAlarmRequest {
                name: name.clone(),
                comment,
                for_secs,
                validate_only,
                request_id,
            };
            let call =
                async |channel| AlarmsClient::new(channel).shelve_alarm(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            let what = if for_secs == 0 { "shown again" } else { "shelved" };
            Ok(output::done(format, &format!("{what}: {name}")))
        }
        AlarmAction::Comment { name, comment } => {
            let (name, comment) = (name.clone(), comment.clone());
            let request =
                CommentAlarmRequest { name: name.clone(), comment, validate_only, request_id };
            let call =
                async |channel| AlarmsClient::new(channel).comment_alarm(request.clone()).await;
            cluster.call(Effect::Change, call).await?;
            Ok(output::done(format, &format!("commented {name}")))
        }
        AlarmAction::History(page) => {
            let changes = history(cluster, *page).await?;
            Ok(output::list_of(format, HISTORY, &changes, change_rows, change_document))
        }
    }
}

pub(super) async fn list(
    cluster: &Cluster,
    page: Page,
    shelved_too: bool,
) -> Result<Vec<Alarm>, Failure> {
    super::collect(page, async |page_size, page_token| {
        let request = ListAlarmsRequest { page_size, page_token, shelved_too, local: false };
        let call = async |channel| AlarmsClient::new(channel).list_alarms(request.clone()).await;
        let list = cluster.call(Effect::Read, call).await?;
        Ok((list.alarms, list.next_page_token))
    })
    .await
}

pub(super) async fn history(cluster: &Cluster, page: Page) -> Result<Vec<AlarmChange>, Failure> {
    super::collect(page, async |page_size, page_token| {
        let request = ListAlarmHistoryRequest { page_size, page_token, local: false };
        let call =
            async |channel| AlarmsClient::new(channel).list_alarm_history(request.clone()).await;
        let list = cluster.call(Effect::Read, call).await?;
        Ok((list.changes, list.next_page_token))
    })
    .await
}

pub(super) fn severity(severity: AlarmSeverity) -> &'static str {
    match severity {
        AlarmSeverity::Critical => "critical",
        AlarmSeverity::Major => "major",
        AlarmSeverity::Minor => "minor",
        AlarmSeverity::Warning => "warning",
        AlarmSeverity::Unspecified => "-",
    }
}

fn rows(alarm: &Alarm) -> Vec<Vec<String>> {
    let mark = alarm.acknowledged.as_ref();
    let state = match (alarm.cleared_ms, mark) {
        (Some(_), _) => "cleared",
        (None, Some(_)) => "acknowledged",
        (None, None) => "active",
    };
    vec![vec![
        severity(alarm.severity()).to_owned(),
        alarm.name.clone(),
        state.to_owned(),
        output::moment(alarm.raised_ms),
        alarm.text.clone(),
        alarm.help.clone(),
        output::or_dash(alarm.cleared_ms.map(output::moment)),
        output::or_dash(mark.map(|mark| mark.by.clone())),
        output::or_dash(mark.map(|mark| &mark.comment).filter(|text| !text.is_empty())),
        output::or_dash(Some(alarm.shelved_until_ms).filter(|ms| *ms != 0).map(output::moment)),
    ]]
}

fn mark_document(mark: &AlarmMark) -> Value {
    json!({ "by": mark.by, "at_ms": mark.at_ms, "comment": mark.comment })
}

pub(super) fn document(alarm: &Alarm) -> Value {
    json!({
        "name": alarm.name,
        "resource": alarm.resource,
        "kind": alarm.kind,
        "specific_problem": alarm.specific_problem,
        "severity": alarm.severity().as_str_name(),
        "text": alarm.text,
        "raised_ms": alarm.raised_ms,
        "cleared_ms": alarm.cleared_ms,
        "acknowledged": alarm.acknowledged.as_ref().map(mark_document),
        "shelved": alarm.shelved.as_ref().map(mark_document),
        "shelved_until_ms": alarm.shelved_until_ms,
        "revision": alarm.revision,
        "help": alarm.help,
    })
}

fn step(step: AlarmStep) -> &'static str {
    match step {
        AlarmStep::Raised => "raised",
        AlarmStep::Changed => "changed",
        AlarmStep::Cleared => "cleared",
        AlarmStep::Acknowledged => "acknowledged",
        AlarmStep::Shelved => "shelved",
        AlarmStep::Unshelved => "unshelved",
        AlarmStep::Commented => "commented",
        AlarmStep::Unspecified => "-",
    }
}

fn change_rows(change: &AlarmChange) -> Vec<Vec<String>> {
    vec![vec![
        output::moment(change.at_ms),
        change.name.clone(),
        step(change.step()).to_owned(),
        severity(change.severity()).to_owned(),
        output::or_dash(Some(&change.by).filter(|by| !by.is_empty())),
        change.text.clone(),
        change.revision.to_string(),
    ]]
}

pub(super) fn change_document(change: &AlarmChange) -> Value {
    json!({
        "number": change.number,
        "at_ms": change.at_ms,
        "revision": change.revision,
        "name": change.name,
        "severity": change.severity().as_str_name(),
        "step": change.step().as_str_name(),
        "by": change.by,
        "text": change.text,
    })
}
