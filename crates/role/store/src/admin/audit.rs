use bytes::Bytes;
use homeport_api::admin::audit_server::Audit;
use homeport_api::admin::upgrades_server::Upgrades;
use homeport_api::admin::{self as api};
use homeport_binding::AuditRecord;
use tonic::{Request, Response, Status};

use super::audited::{self, Caller};
use super::{page_size, read_barrier, write, wrong_token};
use crate::Store;

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Audit for Service {
    async fn list_audit_records(
        &self,
        request: Request<api::ListAuditRecordsRequest>,
    ) -> Result<Response<api::ListAuditRecordsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let token = &request.page_token;
        let before: u64 =
            if token.is_empty() { u64::MAX } else { token.parse().map_err(|_| wrong_token())? };
        read_barrier(&self.0, request.local).await?;
        let mut records: Vec<api::AuditRecord> = self.0.node.read(|machine| {
            let newest_first = machine.cache.audit_records().rev();
            let rest = newest_first.filter(|record| record.number < before);
            rest.take(size.saturating_add(1)).map(message_of).collect()
        });
        let more = records.len() > size;
        records.truncate(size);
        let last = records.last().filter(|_| more);
        let next_page_token = last.map(|last| last.number.to_string()).unwrap_or_default();
        Ok(Response::new(api::ListAuditRecordsResponse { records, next_page_token }))
    }
}

#[tonic::async_trait]
impl Upgrades for Service {
    async fn finish_upgrade(
        &self,
        request: Request<api::FinishUpgradeRequest>,
    ) -> Result<Response<api::FinishUpgradeResponse>, Status> {
        let finish = async |store: Store, caller: Caller, _| {
            let revision = audited::finish_upgrade(&store, &caller).await?;
            Ok(api::FinishUpgradeResponse { revision })
        };
        write(&self.0, request, finish).await
    }
}

fn message_of(record: &AuditRecord) -> api::AuditRecord {
    let note = record.note.clone();
    api::AuditRecord {
        number: record.number,
        at_ms: record.at.0,
        revision: record.revision,
        by: note.by,
        action: note.action,
        resource: note.resource,
        before: note.before,
        after: note.after,
        previous: Bytes::copy_from_slice(&record.previous),
        hash: Bytes::copy_from_slice(&record.hash),
    }
}
