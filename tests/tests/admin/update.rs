//! Home prefixes are changed while they are served.

use homeport_api::admin::{AdvertiseHomePrefixRequest, UpdateHomePrefixRequest};

use super::*;

const PREFIX: &str = "2001:db8:0:1::/64";

impl Admin {
    async fn update(&mut self, record: HomePrefix, mask: &[&str]) -> Result<HomePrefix, Status> {
        let update_mask = mask.iter().map(ToString::to_string).collect();
        let home_prefix = Some(HomePrefix { prefix: PREFIX.to_owned(), ..record });
        let request = UpdateHomePrefixRequest { home_prefix, update_mask, ..Default::default() };
        self.prefixes.update_home_prefix(request).await.map(tonic::Response::into_inner)
    }

    async fn advertise(&mut self, prefix: &str) -> Result<(), Status> {
        let request = AdvertiseHomePrefixRequest {
            prefix: prefix.to_owned(),
            within_secs: None,
            ..Default::default()
        };
        self.prefixes.advertise_home_prefix(request).await.map(drop)
    }
}

/// Every field but those that only a new record has: with another value than the default.
fn others() -> (HomePrefix, Vec<&'static str>) {
    let record = HomePrefix {
        multiple_care_of_allowed: Some(false),
        bulk_allowed: Some(false),
        home_and_foreign_allowed: Some(false),
        bindings_per_home_address_max: 3,
        lifetime_max_secs: 40,
        only_router: true,
        loopback_care_of_allowed: true,
        valid_lifetime_secs: Some(86_400),
        preferred_lifetime_secs: Some(14_400),
        force_udp_encapsulation: Some(false),
        force_udp_requests_allowed: Some(false),
        nat_keepalive_secs: 30,
        ipv4_pool: "198.51.100.0/24".to_owned(),
        mobile_networks_allowed: Some(false),
        flow_bindings_per_home_address_max: Some(3),
        home_agent_discovery_allowed: true,
        prefix_discovery_allowed: true,
        home_agent_preference: 7,
        prefix_advertisement_delay_min_secs: Some(1),
        prefix_advertisement_delay_max_secs: Some(60),
        care_of_verification: Some(false),
        ..HomePrefix::default()
    };
    let names = vec![
        "multiple_care_of_allowed",
        "bulk_allowed",
        "home_and_foreign_allowed",
        "bindings_per_home_address_max",
        "lifetime_max_secs",
        "only_router",
        "loopback_care_of_allowed",
        "valid_lifetime_secs",
        "preferred_lifetime_secs",
        "force_udp_encapsulation",
        "force_udp_requests_allowed",
        "nat_keepalive_secs",
        "ipv4_pool",
        "mobile_networks_allowed",
        "flow_bindings_per_home_address_max",
        "home_agent_discovery_allowed",
        "prefix_discovery_allowed",
        "home_agent_preference",
        "prefix_advertisement_delay_min_secs",
        "prefix_advertisement_delay_max_secs",
        "care_of_verification",
    ];
    (record, names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_prefix_is_changed_field_by_field_while_mobile_nodes_are_registered() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    let answer = front_end.ask(&Update::new(mn, 1).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);

    let before = admin.get_prefix(PREFIX).await?;
    let same = admin.update(before.clone(), &["only_router", "home_agent"]).await?;
    assert_eq!(same, HomePrefix { revision: same.revision, ..before.clone() });
    ensure!(same.revision > before.revision);
    let (record, names) = others();
    let changed = admin.update(record.clone(), &names).await?;
    let expected = HomePrefix {
        prefix: before.prefix.clone(),
        home_agent: before.home_agent.clone(),
        home_agent_ipv4: before.home_agent_ipv4.clone(),
        authentication: before.authentication,
        revision: changed.revision,
        ..record
    };
    assert_eq!(changed, expected);
    assert_eq!(admin.get_prefix(PREFIX).await?, changed);
    // What is named and not set has its default again; what is not named stays.
    let nothing = HomePrefix::default();
    let names = ["lifetime_max_secs", "bulk_allowed", "care_of_verification"];
    let cleared = admin.update(nothing.clone(), &names).await?;
    let expected = HomePrefix {
        lifetime_max_secs: 3600,
        bulk_allowed: Some(true),
        care_of_verification: Some(true),
        revision: cleared.revision,
        ..changed
    };
    assert_eq!(cleared, expected);
    ensure!(admin.list_bindings(0, "").await?.0 == [mn.to_string()], "its bindings are gone");

    // What stays as long as the home prefix is named, and so is what is no field at all.
    let text = |text: &str| text.to_owned();
    let rows = [
        ("home_agent", HomePrefix { home_agent: text("2001:db8:0:1::2"), ..nothing.clone() }),
        ("home_agent_ipv4", nothing.clone()),
        ("authentication", HomePrefix { authentication: 2, ..nothing.clone() }),
        ("real_home_link", HomePrefix { real_home_link: true, ..nothing.clone() }),
        ("ipv4_pool", HomePrefix { ipv4_pool: text("198.51.100.0/25"), ..nothing.clone() }),
        (
            "bindings_per_home_address_max",
            HomePrefix { bindings_per_home_address_max: 65, ..nothing.clone() },
        ),
        (
            "preferred_lifetime_secs",
            HomePrefix { preferred_lifetime_secs: Some(86_401), ..nothing.clone() },
        ),
    ];
    for (field, record) in rows {
        let refused = admin.update(record, &[field]).await.err().context(field)?;
        assert_eq!(
            (refused.code(), field_of(&refused).as_deref()),
            (Code::InvalidArgument, Some(field))
        );
    }
    for mask in [&["prefix"][..], &["revision"], &["lifetime"], &[]] {
        let refused = admin.update(cleared.clone(), mask).await.err().context("accepted")?;
        assert_eq!(field_of(&refused).as_deref(), Some("update_mask"), "{mask:?}");
    }
    assert_eq!(admin.get_prefix(PREFIX).await?, cleared);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_of_different_fields_all_count() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let channel = cluster.leader_channel().await?;
    let updates = ["only_router", "prefix_discovery_allowed"].map(|field| {
        let mut admin = Admin::new(channel.clone());
        let record = HomePrefix {
            only_router: true,
            prefix_discovery_allowed: true,
            ..HomePrefix::default()
        };
        async move { admin.update(record, &[field]).await }
    });
    let [one, two] = updates;
    let (one, two) = tokio::join!(one, two);
    one?;
    two?;
    let after = Admin::new(channel).get_prefix(PREFIX).await?;
    ensure!(after.only_router && after.prefix_discovery_allowed, "{after:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_told_is_refused_and_followers_name_the_leader() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let router = HomePrefix { only_router: true, ..HomePrefix::default() };
    let missing = admin.update(router.clone(), &["only_router"]).await.err().context("updated")?;
    assert_eq!((missing.code(), field_of(&missing).as_deref()), (Code::NotFound, Some("prefix")));
    let nothing = UpdateHomePrefixRequest::default();
    let refused = admin.prefixes.update_home_prefix(nothing).await.err().context("updated")?;
    assert_eq!(field_of(&refused).as_deref(), Some("home_prefix"));
    cluster.create_home_prefix(Authentication::None).await?;
    for (prefix, code) in [
        ("x", Code::InvalidArgument),
        ("2001:db8:9::/64", Code::NotFound),
        (PREFIX, Code::InvalidArgument),
    ] {
        let refused = admin.advertise(prefix).await.err().context("advertised")?;
        assert_eq!(
            (refused.code(), field_of(&refused).as_deref()),
            (code, Some("prefix")),
            "{prefix}"
        );
    }
    let leader = cluster.leader().await?;
    for follower in (1..=3).filter(|id| *id != leader) {
        let mut admin = Admin::new(cluster.channel(follower).await?);
        let update = admin.update(router.clone(), &["only_router"]).await.map(drop);
        for refused in [update, admin.advertise(PREFIX).await] {
            let status = refused.err().context("a follower has changed it")?;
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
            ensure!(status.metadata().contains_key("homeport-leader"));
        }
    }
    Ok(())
}
