//! `validate_only`: what would be refused is, and nothing is written.

use homeport_api::admin::audit_client::AuditClient;
use homeport_api::admin::home_agents_client::HomeAgentsClient;
use homeport_api::admin::nodes_client::NodesClient;
use homeport_api::admin::revocations_client::RevocationsClient;
use homeport_api::admin::switch_home_agent_request::Target;
use homeport_api::admin::upgrades_client::UpgradesClient;
use homeport_api::admin::{
    AdvertiseHomePrefixRequest, AuditRecord, FinishUpgradeRequest, ListAuditRecordsRequest,
    RevokeBindingsRequest, SwitchHomeAgentRequest, UndrainNodeRequest, UpdateHomePrefixRequest,
};

use super::*;

const PREFIX: &str = "2001:db8:0:1::/64";

/// Newest first.
pub(super) async fn audit_records(channel: &Channel) -> Result<Vec<AuditRecord>> {
    let mut client = AuditClient::new(channel.clone());
    let list = client.list_audit_records(ListAuditRecordsRequest::default()).await?;
    Ok(list.into_inner().records)
}

/// Everything that can refuse a create refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn what_create_refuses_is_refused_and_what_it_takes_is_not_written() -> Result<()> {
    let cluster = Cluster::start().await?;
    let channel = cluster.leader_channel().await?;
    let mut a = Admin::new(channel.clone());
    a.create_prefix(prefix(PREFIX, "2001:db8:0:1::1")).await?;
    let before = audit_records(&channel).await?.len();
    for (at, (field, code, wrong)) in wrong::home_prefixes().into_iter().enumerate() {
        let home_prefix = Some(wrong);
        let request =
            CreateHomePrefixRequest { home_prefix, validate_only: true, ..Default::default() };
        let status = a.prefixes.create_home_prefix(request).await.err();
        let status = status.with_context(|| format!("row {at}, {field}, was accepted"))?;
        assert_eq!((status.code(), field_of(&status).as_deref()), (code, Some(field)), "row {at}");
    }
    let other = prefix("2001:db8:0:2::/64", "2001:db8:0:2::1");
    let request = CreateHomePrefixRequest {
        home_prefix: Some(other),
        validate_only: true,
        ..Default::default()
    };
    let dry = a.prefixes.create_home_prefix(request.clone()).await?.into_inner();
    assert_eq!((dry.prefix.as_str(), dry.revision), ("2001:db8:0:2::/64", 0));
    assert_eq!(dry.lifetime_max_secs, 3600, "defaults are filled in");
    assert_eq!(a.get_prefix("2001:db8:0:2::/64").await.unwrap_err().code(), Code::NotFound);
    // The same as is written then.
    let real = CreateHomePrefixRequest { validate_only: false, ..request };
    let real = a.prefixes.create_home_prefix(real).await?.into_inner();
    assert_eq!(HomePrefix { revision: 0, ..real }, dry);

    let subscriber =
        Subscriber { home_address: "2001:db8:0:1::100".to_owned(), ..Default::default() };
    let request = CreateSubscriberRequest {
        subscriber: Some(subscriber.clone()),
        validate_only: true,
        ..Default::default()
    };
    let dry = a.subscribers.create_subscriber(request.clone()).await?.into_inner();
    assert_eq!((dry.home_address, dry.revision), (subscriber.home_address.clone(), 0));
    assert_eq!(a.get_subscriber("2001:db8:0:1::100").await.unwrap_err().code(), Code::NotFound);
    a.create_subscriber(subscriber).await?;
    let status = a.subscribers.create_subscriber(request).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    // The second home prefix and the subscriber, and no more.
    assert_eq!(audit_records(&channel).await?.len(), before + 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_writes_are_tried_as_well() -> Result<()> {
    let cluster = Cluster::start().await?;
    let channel = cluster.leader_channel().await?;
    let mut a = Admin::new(channel.clone());
    a.create_prefix(prefix(PREFIX, "2001:db8:0:1::1")).await?;
    let home_address = "2001:db8:0:1::100".to_owned();
    a.create_subscriber(Subscriber { home_address: home_address.clone(), ..Default::default() })
        .await?;
    let before = audit_records(&channel).await?.len();
    let validate_only = true;

    let home_prefix = HomePrefix {
        prefix: PREFIX.to_owned(),
        lifetime_max_secs: 40,
        home_agent: "2001:db8:0:1::2".to_owned(),
        ..Default::default()
    };
    let mut update = UpdateHomePrefixRequest {
        home_prefix: Some(home_prefix),
        update_mask: vec!["lifetime_max_secs".to_owned()],
        validate_only,
        ..Default::default()
    };
    let updated = a.prefixes.update_home_prefix(update.clone()).await?.into_inner();
    assert_eq!((updated.lifetime_max_secs, updated.revision), (40, 0));
    assert_eq!(a.get_prefix(PREFIX).await?.lifetime_max_secs, 3600);
    update.update_mask = vec!["home_agent".to_owned()];
    let status = a.prefixes.update_home_prefix(update).await.unwrap_err();
    assert_eq!(field_of(&status).as_deref(), Some("home_agent"));

    let delete =
        DeleteHomePrefixRequest { prefix: PREFIX.to_owned(), validate_only, ..Default::default() };
    let status = a.prefixes.delete_home_prefix(delete).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "its subscriber needs it");
    let advertise = AdvertiseHomePrefixRequest {
        prefix: PREFIX.to_owned(),
        validate_only,
        ..Default::default()
    };
    let status = a.prefixes.advertise_home_prefix(advertise).await.unwrap_err();
    assert!(status.message().contains("prefix_discovery_allowed"), "{status}");
    let delete = DeleteSubscriberRequest {
        home_address: home_address.clone(),
        validate_only,
        ..Default::default()
    };
    a.subscribers.delete_subscriber(delete).await?;
    a.get_subscriber(&home_address).await.context("it is still there")?;

    let revoke = RevokeBindingsRequest { home_address, validate_only, ..Default::default() };
    let mut revocations = RevocationsClient::new(channel.clone());
    let status = revocations.revoke_bindings(revoke).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "it has no bindings");
    let target = Some(Target::Prefix(PREFIX.to_owned()));
    let switch = SwitchHomeAgentRequest { target, validate_only, ..Default::default() };
    let asked = HomeAgentsClient::new(channel.clone()).switch_home_agent(switch).await?;
    assert_eq!(asked.into_inner().home_addresses, 0);
    let name = "forwarders/nobody".to_owned();
    let undrain = UndrainNodeRequest { name, validate_only, ..Default::default() };
    let status = NodesClient::new(channel.clone()).undrain_node(undrain).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let finish = FinishUpgradeRequest { validate_only, ..Default::default() };
    let finished = UpgradesClient::new(channel.clone()).finish_upgrade(finish).await?;
    assert_eq!(finished.into_inner().revision, 0);

    assert_eq!(audit_records(&channel).await?.len(), before, "nothing of it was written");
    // A replica that does not lead names the one that does.
    let leader = cluster.leader().await?;
    let follower = (1..=3).find(|id| *id != leader).context("there are three")?;
    let other = cluster.channel(follower).await?;
    let request = CreateHomePrefixRequest {
        home_prefix: Some(prefix("2001:db8:0:2::/64", "2001:db8:0:2::1")),
        validate_only,
        ..Default::default()
    };
    let status = Admin::new(other).prefixes.create_home_prefix(request).await.unwrap_err();
    assert!(status.metadata().get("homeport-leader").is_some(), "{status}");
    Ok(())
}

/// Of a home address that has bindings.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_and_a_switch_are_tried_and_nobody_is_told() -> Result<()> {
    let cluster = Cluster::start().await?;
    let channel = cluster.leader_channel().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    let answer = front_end.ask(&Update::new(mn, 1).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let validate_only = true;
    let revoke = |bids: Vec<u32>, validate_only| RevokeBindingsRequest {
        home_address: mn.to_string(),
        bids,
        validate_only,
        ..Default::default()
    };
    let mut revocations = RevocationsClient::new(channel.clone());
    let tried = revocations.revoke_bindings(revoke(vec![], true)).await?.into_inner();
    assert_eq!(tried.revision, 0);
    let status = revocations.revoke_bindings(revoke(vec![77], true)).await.unwrap_err();
    assert_eq!(field_of(&status).as_deref(), Some("bids"));
    let target = Some(Target::Prefix(PREFIX.to_owned()));
    let switch = SwitchHomeAgentRequest { target, validate_only, ..Default::default() };
    let asked = HomeAgentsClient::new(channel.clone()).switch_home_agent(switch).await?;
    assert_eq!(asked.into_inner().home_addresses, 1);
    // Had one of them been done, this would be refused.
    let done = revocations.revoke_bindings(revoke(vec![], false)).await?.into_inner();
    assert!(done.revision > 0);
    let status = revocations.revoke_bindings(revoke(vec![], true)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "it is under way");
    Ok(())
}
