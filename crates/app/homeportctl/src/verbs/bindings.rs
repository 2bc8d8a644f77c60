//! `homeportctl bindings`

use homeport_api::admin::{
    Binding, FlowBinding, GetHomeBindingsRequest, HomeBindings, ListHomeBindingsRequest,
    bindings_client::BindingsClient,
};
use serde_json::{Value, json};

use crate::{
    arguments::{BindingAction, Format},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
    verbs::revocation,
};

pub(super) const COLUMNS: [&str; 10] = [
    "HOME-ADDRESS",
    "SEQUENCE",
    "BID",
    "CARE-OF",
    "UDP-PORT",
    "NAT",
    "PRIORITY",
    "HOME",
    "VERIFIED",
    "LEFT",
];

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    action: &BindingAction,
) -> Result<String, Failure> {
    match action {
        BindingAction::Get { home_address, local } => {
            let home_address = home_address.to_string();
            let request = GetHomeBindingsRequest { home_address, local: *local };
            let call = async |channel| {
                BindingsClient::new(channel).get_home_bindings(request.clone()).await
            };
            let found = cluster.call(Effect::Read, call).await?;
            Ok(output::one(format, &COLUMNS, &found, rows, document))
        }
        BindingAction::Revoke { home_address, bids, trigger } => {
            revocation::run(cluster, format, *home_address, bids, *trigger).await
        }
        BindingAction::List { listing, local } => {
            let found = super::collect(listing.page, async |page_size, page_token| {
                let (filter, order_by) = (listing.filter.clone(), listing.order_by.clone());
                let local = *local;
                let request =
                    ListHomeBindingsRequest { page_size, page_token, local, filter, order_by };
                let call = async |channel| {
                    BindingsClient::new(channel).list_home_bindings(request.clone()).await
                };
                let list = cluster.call(Effect::Read, call).await?;
                Ok((list.homes, list.next_page_token))
            });
            Ok(output::list(format, &COLUMNS, &found.await?, rows, document))
        }
    }
}

/// One row for each binding; a home address without any has one row of dashes.
pub(super) fn rows(home: &HomeBindings) -> Vec<Vec<String>> {
    let own = || [home.home_address.clone(), home.sequence.to_string()];
    if home.bindings.is_empty() {
        let dashes = vec!["-".to_owned(); COLUMNS.len() - own().len()];
        return vec![[own().to_vec(), dashes].concat()];
    }
    home.bindings.iter().map(|binding| [own().to_vec(), binding_cells(binding)].concat()).collect()
}

fn binding_cells(binding: &Binding) -> Vec<String> {
    vec![
        output::or_dash(binding.bid),
        binding.care_of_address.clone(),
        output::or_dash(Some(binding.udp_port).filter(|port| *port != 0)),
        output::yes_no(binding.behind_nat),
        output::or_dash(Some(binding.priority).filter(|priority| *priority != 0)),
        output::yes_no(binding.home),
        output::yes_no(!binding.unverified),
        format!("{} s", binding.remaining_secs),
    ]
}

pub(super) fn document(home: &HomeBindings) -> Value {
    let bindings: Vec<Value> = home.bindings.iter().map(binding_document).collect();
    json!({
        "home_address": home.home_address,
        "home_agent": home.home_agent,
        "sequence": home.sequence,
        "revision": home.revision,
        "mobile_router": home.mobile_router,
        "mobile_networks": home.mobile_networks,
        "ipv4_home_address": home.ipv4_home_address,
        "flows": home.flows.iter().map(flow_document).collect::<Vec<_>>(),
        "bindings": bindings,
    })
}

fn flow_document(flow: &FlowBinding) -> Value {
    json!({
        "fid": flow.fid,
        "priority": flow.priority,
        "bids": flow.bids,
        "active": flow.active,
        "selector": flow.selector,
    })
}

fn binding_document(binding: &Binding) -> Value {
    json!({
        "bid": binding.bid,
        "care_of_address": binding.care_of_address,
        "udp_port": binding.udp_port,
        "behind_nat": binding.behind_nat,
        "priority": binding.priority,
        "home": binding.home,
        "remaining_secs": binding.remaining_secs,
        "ends_ms": binding.ends_ms,
        "registered_ms": binding.registered_ms,
        "verified_ms": binding.verified_ms,
        "unverified": binding.unverified,
    })
}
