//! `homeportctl audit`

use homeport_api::admin::{AuditRecord, ListAuditRecordsRequest, audit_client::AuditClient};
use homeport_binding::{AuditNote, AuditRecord as Entry, HASH_OCTETS, LogTime};
use serde_json::{Value, json};

use crate::{
    arguments::{AuditAction, Format, Page},
    cluster::{Cluster, Effect},
    failure::Failure,
    output::{self, Columns},
};

const COLUMNS: Columns = Columns {
    names: &["NUMBER", "AT", "BY", "ACTION", "RESOURCE", "BEFORE", "AFTER", "REVISION", "HASH"],
    narrow: 5,
};

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &AuditAction,
) -> Result<String, Failure> {
    match action {
        AuditAction::List(page) => {
            let records = list(cluster, *page).await?;
            Ok(output::list_of(format, COLUMNS, &records, rows, document))
        }
        AuditAction::Verify => {
            let all = Page { limit: u32::MAX };
            let records = list(cluster, all).await?;
            let verified = verify(&records).map_err(Failure::Checked)?;
            Ok(output::done(format, &verified))
        }
    }
}

pub(super) async fn list(cluster: &Cluster, page: Page) -> Result<Vec<AuditRecord>, Failure> {
    super::collect(page, async |page_size, page_token| {
        let request = ListAuditRecordsRequest { page_size, page_token, local: false };
        let call =
            async |channel| AuditClient::new(channel).list_audit_records(request.clone()).await;
        let list = cluster.call(Effect::Read, call).await?;
        Ok((list.records, list.next_page_token))
    })
    .await
}

/// Each record's hash is that of what it says, and the next one knows it. The newest comes first.
pub(super) fn verify(records: &[AuditRecord]) -> Result<String, String> {
    let mut next: Option<Entry> = None;
    for record in records {
        let number = record.number;
        let entry = entry(record).ok_or_else(|| format!("record {number} has no whole hash\n"))?;
        if entry.digest() != entry.hash {
            return Err(format!(
                "record {number} was changed: its hash is that of something else\n"
            ));
        }
        if let Some(next) = &next
            && (next.number != number.saturating_add(1) || next.previous != entry.hash)
        {
            return Err(format!("record {} does not follow record {number}\n", next.number));
        }
        next = Some(entry);
    }
    let newest = records.first().map(|newest| newest.number);
    let oldest = next.map(|oldest| oldest.number);
    Ok(match (oldest, newest) {
        (Some(oldest), Some(newest)) => format!("records {oldest} to {newest} are whole"),
        _ => "there is no record".to_owned(),
    })
}

fn entry(record: &AuditRecord) -> Option<Entry> {
    let hash = |octets: &[u8]| <[u8; HASH_OCTETS]>::try_from(octets).ok();
    let record = record.clone();
    Some(Entry {
        number: record.number,
        at: LogTime(record.at_ms),
        revision: record.revision,
        previous: hash(&record.previous)?,
        hash: hash(&record.hash)?,
        note: AuditNote {
            by: record.by,
            action: record.action,
            resource: record.resource,
            before: record.before,
            after: record.after,
        },
    })
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn rows(record: &AuditRecord) -> Vec<Vec<String>> {
    let text = |text: &String| output::or_dash(Some(text).filter(|text| !text.is_empty()));
    vec![vec![
        record.number.to_string(),
        output::moment(record.at_ms),
        record.by.clone(),
        record.action.clone(),
        record.resource.clone(),
        text(&record.before),
        text(&record.after),
        record.revision.to_string(),
        hexadecimal(&record.hash),
    ]]
}

pub(super) fn document(record: &AuditRecord) -> Value {
    json!({
        "number": record.number,
        "at_ms": record.at_ms,
        "revision": record.revision,
        "by": record.by,
        "action": record.action,
        "resource": record.resource,
        "before": record.before,
        "after": record.after,
        "previous": hexadecimal(&record.previous),
        "hash": hexadecimal(&record.hash),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: u64) -> Vec<AuditRecord> {
        let mut previous = [0; HASH_OCTETS];
        let mut records = Vec::new();
        for number in 1..=count {
            let mut record = AuditRecord {
                number,
                action: "CreateSubscriber".to_owned(),
                previous: previous.to_vec().into(),
                hash: previous.to_vec().into(),
                ..AuditRecord::default()
            };
            previous = entry(&record).expect("is whole").digest();
            record.hash = previous.to_vec().into();
            records.insert(0, record);
        }
        records
    }

    #[test]
    fn whoever_changes_or_takes_out_a_record_is_noticed() {
        assert_eq!(verify(&[]), Ok("there is no record".to_owned()));
        assert_eq!(verify(&chain(5)), Ok("records 1 to 5 are whole".to_owned()));
        assert_eq!(verify(&chain(5)[..3]), Ok("records 3 to 5 are whole".to_owned()));
        let mut changed = chain(5);
        changed[2].after = "something else".to_owned();
        assert!(verify(&changed).expect_err("is noticed").contains("record 3 was changed"));
        let mut missing = chain(5);
        missing.remove(2);
        assert!(verify(&missing).expect_err("is noticed").contains("4 does not follow record 2"));
        let mut cut = chain(2);
        cut[0].hash = vec![1, 2].into();
        assert!(verify(&cut).expect_err("is noticed").contains("no whole hash"));
    }
}
