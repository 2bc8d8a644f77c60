//! `homeportctl home-agents`

use homeport_api::admin::{
    SwitchHomeAgentRequest, home_agents_client::HomeAgentsClient, switch_home_agent_request::Target,
};

use crate::{
    arguments::{Format, HomeAgentAction},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &HomeAgentAction,
) -> Result<String, Failure> {
    let HomeAgentAction::Switch(switch) = action;
    let target = switch.target.clone();
    // What is neither is for the store to refuse.
    let is_prefix = target.contains('/');
    let (validate_only, request_id) = cluster.marks();
    let request = SwitchHomeAgentRequest {
        target: Some(if is_prefix { Target::Prefix(target) } else { Target::HomeAddress(target) }),
        addresses: switch.addresses.iter().map(ToString::to_string).collect(),
        time_left_secs: switch.time_left_secs,
        validate_only,
        request_id,
    };
    let call =
        async |channel| HomeAgentsClient::new(channel).switch_home_agent(request.clone()).await;
    let asked = cluster.call(Effect::Change, call).await?;
    let (count, secs) = (asked.home_addresses, asked.last_after_secs);
    Ok(output::done(format, &format!("asking {count} mobile nodes to leave, the last in {secs} s")))
}
