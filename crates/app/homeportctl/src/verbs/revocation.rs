//! `homeportctl bindings revoke`

use std::net::Ipv6Addr;

use homeport_api::admin::{
    RevocationTrigger, RevokeBindingsRequest, revocations_client::RevocationsClient,
};

use crate::{
    arguments::{Format, Trigger},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

pub(super) async fn run(
    cluster: &Cluster,
    format: Format,
    home_address: Ipv6Addr,
    bids: &[u32],
    trigger: Trigger,
) -> Result<String, Failure> {
    let trigger = match trigger {
        Trigger::Unspecified => RevocationTrigger::Unspecified,
        Trigger::Administrative => RevocationTrigger::Administrative,
        Trigger::UserSessionEnded => RevocationTrigger::UserSessionEnded,
        Trigger::AccessSessionEnded => RevocationTrigger::AccessSessionEnded,
        Trigger::OutOfSync => RevocationTrigger::OutOfSync,
    };
    let (validate_only, request_id) = cluster.marks();
    let request = RevokeBindingsRequest {
        home_address: home_address.to_string(),
        bids: bids.to_vec(),
        trigger: Some(trigger.into()),
        validate_only,
        request_id,
    };
    let call =
        async |channel| RevocationsClient::new(channel).revoke_bindings(request.clone()).await;
    let revoked = cluster.call(Effect::Change, call).await?;
    let what = match revoked.revision {
        // Of a dry run.
        0 => format!("revoking bindings of {home_address}"),
        revision => format!("revoking bindings of {home_address} from revision {revision}"),
    };
    Ok(output::done(format, &what))
}
