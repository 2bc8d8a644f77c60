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
    let request = RevokeBindingsRequest {
        home_address: home_address.to_string(),
        bids: bids.to_vec(),
        trigger: Some(trigger.into()),
    };
    let call =
        async |channel| RevocationsClient::new(channel).revoke_bindings(request.clone()).await;
    let revoked = cluster.call(Effect::Change, call).await?;
    let what = format!("revoking bindings of {home_address} from revision {}", revoked.revision);
    Ok(output::done(format, &what))
}
