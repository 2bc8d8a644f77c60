//! End to end in network namespaces. Needs root, `tshark`, `tcpdump` and `ping`; says so where it may not.

use anyhow::Result;
use homeport_tests::netns::moves::{self, Moves};
use homeport_tests::netns::{self, Case};

#[tokio::test(flavor = "multi_thread")]
async fn signalling_goes_in_esp() -> Result<()> {
    netns::test(Case::Ipsec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn handover_and_deregistration_under_a_kernels_ping() -> Result<()> {
    netns::test(Case::Handover).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_care_of_addresses_one_moves_one_goes() -> Result<()> {
    netns::test(Case::Multiple).await
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_tunnels_are_dropped_and_counted() -> Result<()> {
    netns::test(Case::Spoofed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn home_address_option_is_believed_with_a_binding_only() -> Result<()> {
    netns::test(Case::BindingProof).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_care_of_address_that_is_not_known_to_be_the_nodes() -> Result<()> {
    netns::test(Case::CareOfVerification).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_bids_registers_and_moves() -> Result<()> {
    netns::test(Case::Plain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_care_of_addresses_go_in_udp() -> Result<()> {
    netns::test(Case::Ipv4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_forwarder_is_replaced_and_comes_back_with_the_same_table() -> Result<()> {
    netns::test(Case::ForwarderKill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_forwarder_costs_no_packet_of_xdp() -> Result<()> {
    netns::test(Case::ForwarderKillByXdp).await
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_forwarder_costs_no_packet() -> Result<()> {
    netns::test(Case::ForwarderDrain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_front_end_costs_no_data() -> Result<()> {
    netns::test(Case::FrontEndKill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_behind_a_mobile_router_are_reached() -> Result<()> {
    netns::test(Case::MobileRouter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_goes_by_another_link() -> Result<()> {
    netns::test(Case::FlowBindings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_of_several_bids_arrives_at_each() -> Result<()> {
    netns::test(Case::FlowCopies).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_home_address_by_ipv6_and_in_udp() -> Result<()> {
    netns::test(Case::Ipv4Home).await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_bindings_are_gone_at_both_ends() -> Result<()> {
    netns::test(Case::Revocation).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_leaves_for_another_home_agent_when_told() -> Result<()> {
    netns::test(Case::Switch).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_refreshes_when_it_is_reminded() -> Result<()> {
    netns::test(Case::RefreshRequest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_finds_its_home_agent_and_asks_for_the_prefix() -> Result<()> {
    netns::test(Case::Discovery).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv4_tunnels_need_no_udp() -> Result<()> {
    netns::test(Case::Bare).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_to_search_finds_the_same_home_agent() -> Result<()> {
    netns::test(Case::Search).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_hears_of_a_home_prefix_that_changes() -> Result<()> {
    netns::test(Case::PrefixChange).await
}

/// `cargo xtask moves` makes more of them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_where_a_node_was() -> Result<()> {
    moves::test(Moves { moves: 500, xdp: false, seed: 1 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn xdp_sends_nothing_to_where_a_node_was() -> Result<()> {
    moves::test(Moves { moves: 500, xdp: true, seed: 2 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kernels_reach_each_other_through_each_kind_of_tunnel() -> Result<()> {
    netns::test(Case::Tunnels).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kernels_reach_each_other_through_tunnels_of_xdp() -> Result<()> {
    netns::test(Case::TunnelsByXdp).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_link_is_taken_over_when_its_defender_dies_or_ends() -> Result<()> {
    netns::test(Case::HomeLink).await
}

/// One second of each kind; `cargo xtask flood` has a minute.
#[tokio::test(flavor = "multi_thread")]
async fn honest_nodes_are_served_under_floods_of_each_kind() -> Result<()> {
    netns::flood::test(std::time::Duration::from_secs(1)).await
}
