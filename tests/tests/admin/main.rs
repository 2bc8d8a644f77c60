//! The admin API over gRPC, as operators and `homeportctl` meet it.

mod find;
mod repeats;
mod update;
mod validate;
mod wrong;

use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, DeleteHomePrefixRequest,
    DeleteSubscriberRequest, GetHomeBindingsRequest, GetHomePrefixRequest, GetSubscriberRequest,
    HomePrefix, ListHomeBindingsRequest, ListHomePrefixesRequest, ListSubscribersRequest,
    Subscriber,
};
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, eventually};
use homeport_wire::{Bid, BidOption};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

const KEY: [u8; 16] = *b"0123456789abcdef";

/// The clients of one replica.
#[derive(Clone)]
struct Admin {
    prefixes: HomePrefixesClient<Channel>,
    subscribers: SubscribersClient<Channel>,
    bindings: BindingsClient<Channel>,
}

impl Admin {
    fn new(channel: Channel) -> Self {
        Self {
            prefixes: HomePrefixesClient::new(channel.clone()),
            subscribers: SubscribersClient::new(channel.clone()),
            bindings: BindingsClient::new(channel),
        }
    }

    async fn of_leader(cluster: &Cluster) -> Result<Self> {
        Ok(Self::new(cluster.leader_channel().await?))
    }

    async fn create_prefix(&mut self, home_prefix: HomePrefix) -> Result<HomePrefix, Status> {
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        self.prefixes.create_home_prefix(request).await.map(Response::into_inner)
    }

    async fn get_prefix(&mut self, prefix: &str) -> Result<HomePrefix, Status> {
        let request = GetHomePrefixRequest { prefix: prefix.to_owned() };
        self.prefixes.get_home_prefix(request).await.map(Response::into_inner)
    }

    async fn delete_prefix(&mut self, prefix: &str) -> Result<(), Status> {
        let request = DeleteHomePrefixRequest { prefix: prefix.to_owned(), ..Default::default() };
        self.prefixes.delete_home_prefix(request).await.map(drop)
    }

    async fn list_prefixes(&mut self, size: u32, token: &str) -> Result<(Vec<String>, String)> {
        let request = ListHomePrefixesRequest { page_size: size, page_token: token.to_owned() };
        let page = self.prefixes.list_home_prefixes(request).await?.into_inner();
        let names = page.home_prefixes.into_iter().map(|prefix| prefix.prefix);
        Ok((names.collect(), page.next_page_token))
    }

    async fn create_subscriber(&mut self, subscriber: Subscriber) -> Result<Subscriber, Status> {
        let request =
            CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
        self.subscribers.create_subscriber(request).await.map(Response::into_inner)
    }

    async fn get_subscriber(&mut self, home_address: &str) -> Result<Subscriber, Status> {
        let request = GetSubscriberRequest { home_address: home_address.to_owned() };
        self.subscribers.get_subscriber(request).await.map(Response::into_inner)
    }

    async fn delete_subscriber(&mut self, home_address: &str) -> Result<(), Status> {
        let request =
            DeleteSubscriberRequest { home_address: home_address.to_owned(), ..Default::default() };
        self.subscribers.delete_subscriber(request).await.map(drop)
    }

    async fn list_subscribers(&mut self, size: u32, token: &str) -> Result<(Vec<String>, String)> {
        let page_token = token.to_owned();
        let request = ListSubscribersRequest { page_size: size, page_token, ..Default::default() };
        let page = self.subscribers.list_subscribers(request).await?.into_inner();
        let names = page.subscribers.into_iter().map(|subscriber| subscriber.home_address);
        Ok((names.collect(), page.next_page_token))
    }

    async fn list_bindings(&mut self, size: u32, token: &str) -> Result<(Vec<String>, String)> {
        let page_token = token.to_owned();
        let request = ListHomeBindingsRequest { page_size: size, page_token, ..Default::default() };
        let page = self.bindings.list_home_bindings(request).await?.into_inner();
        let names = page.homes.into_iter().map(|home| home.home_address);
        Ok((names.collect(), page.next_page_token))
    }
}

fn prefix(prefix: &str, home_agent: &str) -> HomePrefix {
    HomePrefix {
        prefix: prefix.to_owned(),
        home_agent: home_agent.to_owned(),
        authentication: Authentication::None.into(),
        ..HomePrefix::default()
    }
}

/// The field that the details name, which the text names too.
fn field_of(status: &Status) -> Option<String> {
    let details = status.get_details_bad_request()?;
    let violation = details.field_violations.first()?;
    let text = format!("{}: {}", violation.field, violation.description);
    assert_eq!(status.message(), text);
    assert!(!violation.description.is_empty());
    // Programs go by the reason, and people are sent to its section.
    let info = status.get_details_error_info()?;
    assert_eq!(
        (info.domain.as_str(), info.metadata.get("field")),
        ("homeport", Some(&violation.field))
    );
    let help = format!("docs/operations/errors.md#{}", info.reason.to_ascii_lowercase());
    assert_eq!(status.get_details_help()?.links.first()?.url, help);
    if matches!(status.code(), Code::NotFound | Code::AlreadyExists) {
        let resource = status.get_details_resource_info()?;
        assert!(resource.resource_type.starts_with("homeport.admin.v1."), "{resource:?}");
        assert!(!resource.resource_name.is_empty(), "{resource:?}");
    }
    Some(violation.field.clone())
}

/// Walks all pages of a list.
async fn all_pages(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<String>, String)>,
    size: usize,
) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (names, next) = page(token).await?;
        ensure!(names.len() == size || next.is_empty(), "a page in the middle is not full");
        ensure!(!names.is_empty() || all.is_empty(), "an empty last page");
        all.extend(names);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn home_prefixes_are_created_read_listed_and_deleted() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    ensure!(admin.list_prefixes(0, "").await? == (Vec::new(), String::new()));
    let created = admin.create_prefix(prefix("2001:db8:1::/64", "2001:db8:1::1")).await?;
    let defaults = HomePrefix {
        multiple_care_of_allowed: Some(true),
        bulk_allowed: Some(true),
        home_and_foreign_allowed: Some(true),
        bindings_per_home_address_max: 8,
        lifetime_max_secs: 3600,
        valid_lifetime_secs: Some(u32::MAX),
        preferred_lifetime_secs: Some(u32::MAX),
        force_udp_encapsulation: Some(true),
        force_udp_requests_allowed: Some(true),
        nat_keepalive_secs: 110,
        mobile_networks_allowed: Some(true),
        flow_bindings_per_home_address_max: Some(16),
        prefix_advertisement_delay_min_secs: Some(600),
        prefix_advertisement_delay_max_secs: Some(86_400),
        care_of_verification: Some(true),
        revision: created.revision,
        ..prefix("2001:db8:1::/64", "2001:db8:1::1")
    };
    assert_eq!(created, defaults);
    ensure!(created.revision > 0);
    let set = HomePrefix {
        home_agent_ipv4: "198.51.100.1".to_owned(),
        authentication: Authentication::MnHa.into(),
        multiple_care_of_allowed: Some(false),
        bulk_allowed: Some(false),
        home_and_foreign_allowed: Some(false),
        bindings_per_home_address_max: 64,
        lifetime_max_secs: 262_140,
        only_router: true,
        loopback_care_of_allowed: true,
        valid_lifetime_secs: Some(86_400),
        preferred_lifetime_secs: Some(14_400),
        force_udp_encapsulation: Some(false),
        force_udp_requests_allowed: Some(false),
        nat_keepalive_secs: 30,
        ipv4_pool: "198.51.100.0/24".to_owned(),
        mobile_networks_allowed: Some(false),
        flow_bindings_per_home_address_max: Some(0),
        home_agent_discovery_allowed: true,
        prefix_discovery_allowed: true,
        real_home_link: true,
        home_agent_preference: 65_535,
        prefix_advertisement_delay_min_secs: Some(0),
        prefix_advertisement_delay_max_secs: Some(60),
        care_of_verification: Some(false),
        ..prefix("2001:db8:2::/64", "2001:db8:2::1")
    };
    let created = admin.create_prefix(set.clone()).await?;
    assert_eq!(created, HomePrefix { revision: created.revision, ..set });
    // However it is written, it is the same prefix.
    assert_eq!(admin.get_prefix("2001:0DB8:2:0::/64").await?, created);
    for n in 3..=6 {
        let record = prefix(&format!("2001:db8:{n}::/64"), &format!("2001:db8:{n}::1"));
        admin.create_prefix(record).await?;
    }
    let names: Vec<String> = (1..=6).map(|n| format!("2001:db8:{n}::/64")).collect();
    for size in [1, 2, 4, 6, 7] {
        let page = async |token: String| {
            admin.list_prefixes(u32::try_from(size).unwrap_or(0), &token).await
        };
        assert_eq!(all_pages(page, size).await?, names, "pages of {size}");
    }
    admin.delete_prefix("2001:db8:3::/64").await?;
    let gone = admin.get_prefix("2001:db8:3::/64").await.err().context("it is still there")?;
    assert_eq!((gone.code(), field_of(&gone).as_deref()), (Code::NotFound, Some("prefix")));
    // A token stays good when what it names is gone.
    let (rest, _) = admin.list_prefixes(0, "2001:db8:3::/64").await?;
    assert_eq!(rest, names[3..]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_created_read_listed_and_deleted_and_keep_their_keys() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let first = Subscriber {
        home_address: "2001:db8:0:1::100".to_owned(),
        nai: "mn1@example.com".to_owned(),
        spi: 256,
        key: KEY.to_vec().into(),
        message_id_required: true,
        multiple_care_of_allowed: Some(false),
        bulk_allowed: Some(true),
        bindings_per_home_address_max: Some(64),
        mobile_networks_allowed: Some(false),
        flow_bindings_per_home_address_max: Some(64),
        ..Subscriber::default()
    };
    let created = admin.create_subscriber(first.clone()).await?;
    let expected = Subscriber {
        key: Vec::new().into(),
        key_present: true,
        revision: created.revision,
        ..first.clone()
    };
    assert_eq!(created, expected);
    ensure!(created.revision > 0);
    assert_eq!(admin.get_subscriber("2001:db8:0:1:0::100").await?, created);
    // Nor does an error give the key away.
    let again = admin.create_subscriber(first.clone()).await.err().context("created twice")?;
    assert_eq!(again.code(), Code::AlreadyExists);
    let told = format!("{again:?} {:?}", again.details());
    ensure!(!told.contains("0123456789abcdef") && !told.contains("48, 49, 50, 51"));
    for n in 0x101..=0x106 {
        let home_address = home_address(n).to_string();
        admin.create_subscriber(Subscriber { home_address, ..first.clone() }).await?;
    }
    let names: Vec<String> = (0x100..=0x106).map(|n| home_address(n).to_string()).collect();
    for size in [1, 3, 7, 8] {
        let page = async |token: String| {
            admin.list_subscribers(u32::try_from(size).unwrap_or(0), &token).await
        };
        assert_eq!(all_pages(page, size).await?, names, "pages of {size}");
    }
    let listed = admin.subscribers.list_subscribers(ListSubscribersRequest::default()).await?;
    for subscriber in listed.into_inner().subscribers {
        ensure!(subscriber.key.is_empty() && subscriber.key_present);
    }
    admin.delete_subscriber("2001:db8:0:1::100").await?;
    let gone = admin.get_subscriber("2001:db8:0:1::100").await.err().context("still there")?;
    assert_eq!((gone.code(), field_of(&gone).as_deref()), (Code::NotFound, Some("home_address")));
    Ok(())
}

/// What only one subscriber can own.
#[tokio::test(flavor = "multi_thread")]
async fn networks_and_ipv4_addresses_of_subscribers() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let router = Subscriber {
        home_address: "2001:db8:0:1::100".to_owned(),
        mobile_networks: vec!["2001:db8:200::/64".to_owned(), "2001:db8:100::/56".to_owned()],
        mobile_networks_explicit: true,
        ipv4_home_address: "198.51.100.64/28".to_owned(),
        ..Subscriber::default()
    };
    let created = admin.create_subscriber(router).await?;
    assert_eq!(created.mobile_networks, ["2001:db8:100::/56", "2001:db8:200::/64"]);
    assert!(created.mobile_networks_explicit);
    assert_eq!(created.ipv4_home_address, "198.51.100.64/28");
    assert_eq!(admin.get_subscriber("2001:db8:0:1::100").await?, created);
    let guest = Subscriber {
        home_address: "2001:db8:300::7".to_owned(),
        home_prefix: "2001:db8:0:1::/64".to_owned(),
        mobile_networks: vec!["2001:db8:300::/56".to_owned()],
        ipv4_home_address: "198.51.100.80".to_owned(),
        ..Subscriber::default()
    };
    let created = admin.create_subscriber(guest.clone()).await?;
    assert_eq!(created, Subscriber { revision: created.revision, ..guest.clone() });
    let other = |networks: &str, ipv4: &str| Subscriber {
        home_address: "2001:db8:0:1::101".to_owned(),
        mobile_networks: vec![networks.to_owned()],
        ipv4_home_address: ipv4.to_owned(),
        ..Subscriber::default()
    };
    let rows = [
        ("mobile_networks", other("2001:db8:100:ff::/64", "")),
        ("mobile_networks", other("2001:db8::/32", "")),
        ("ipv4_home_address", other("2001:db8:400::/64", "198.51.100.65")),
        ("ipv4_home_address", other("2001:db8:400::/64", "198.51.100.80/31")),
    ];
    for (field, subscriber) in rows {
        let told = admin.create_subscriber(subscriber).await.err().context("taken")?;
        assert_eq!(told.code(), Code::InvalidArgument, "{told}");
        assert_eq!(field_of(&told).as_deref(), Some(field), "{told}");
    }
    let told = admin.delete_prefix("2001:db8:0:1::/64").await.err().context("in use")?;
    assert_eq!(
        (told.code(), field_of(&told).as_deref()),
        (Code::FailedPrecondition, Some("prefix"))
    );
    // What is given back can be had by another.
    admin.delete_subscriber("2001:db8:0:1::100").await?;
    admin.create_subscriber(other("2001:db8:100:ff::/64", "198.51.100.65")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_refused_by_name() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::MnHa).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let existing = Subscriber {
        home_address: "2001:db8:0:1::100".to_owned(),
        spi: 256,
        key: KEY.to_vec().into(),
        ..Subscriber::default()
    };
    admin.create_subscriber(existing).await?;
    let before = cluster.status(cluster.leader().await?).await?;
    for (field, code, record) in wrong::home_prefixes() {
        let row = format!("{field}: {record:?}");
        let status = admin.create_prefix(record).await.err().context(row.clone())?;
        assert_eq!((status.code(), field_of(&status).as_deref()), (code, Some(field)), "{row}");
    }
    for (field, code, record) in wrong::subscribers() {
        let row = format!("{field}: {record:?}");
        let status = admin.create_subscriber(record).await.err().context(row.clone())?;
        assert_eq!((status.code(), field_of(&status).as_deref()), (code, Some(field)), "{row}");
    }
    assert_eq!(admin.list_prefixes(0, "").await?.0, ["2001:db8:0:1::/64"]);
    assert_eq!(admin.list_subscribers(0, "").await?.0, ["2001:db8:0:1::100"]);
    let after = cluster.status(cluster.leader().await?).await?;
    assert_eq!((before.home_addresses, before.bindings), (after.home_addresses, after.bindings));
    // What those rows are spoilt versions of is accepted.
    let good = prefix("2001:db8:9::/64", "2001:db8:9::1");
    let ipv4 = "127.0.0.1".to_owned();
    let loopback = HomePrefix { home_agent_ipv4: ipv4, loopback_care_of_allowed: true, ..good };
    admin.create_prefix(loopback).await?;
    // Where nobody is authenticated a subscriber needs no key.
    let home_address = "2001:db8:9::100".to_owned();
    let created =
        admin.create_subscriber(Subscriber { home_address, ..Subscriber::default() }).await?;
    ensure!(!created.key_present);
    Ok(())
}

/// The rest of the calls, each with what is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_by_name() -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut a = Admin::of_leader(&cluster).await?;
    let (invalid, missing) = (Code::InvalidArgument, Code::NotFound);
    let page = |page_size, page_token: &str| (page_size, page_token.to_owned());
    let mut seen = Vec::new();
    let mut see = |row: &'static str, code, result: Result<(), Status>| {
        seen.push((row, code, result));
    };
    let nothing = CreateHomePrefixRequest { home_prefix: None, ..Default::default() };
    see("home_prefix", invalid, a.prefixes.create_home_prefix(nothing).await.map(drop));
    let nothing = CreateSubscriberRequest { subscriber: None, ..Default::default() };
    see("subscriber", invalid, a.subscribers.create_subscriber(nothing).await.map(drop));
    see("prefix", invalid, a.get_prefix("x").await.map(drop));
    see("prefix", missing, a.get_prefix("2001:db8:5::/64").await.map(drop));
    see("prefix", invalid, a.delete_prefix("2001:db8:5::1/64").await);
    see("prefix", missing, a.delete_prefix("2001:db8:5::/64").await);
    see("home_address", invalid, a.get_subscriber("x").await.map(drop));
    see("home_address", missing, a.get_subscriber("2001:db8:5::1").await.map(drop));
    see("home_address", invalid, a.delete_subscriber("192.0.2.1").await);
    see("home_address", missing, a.delete_subscriber("2001:db8:5::1").await);
    for (text, code) in [("x", invalid), ("2001:db8:5::1", missing)] {
        let request = GetHomeBindingsRequest { home_address: text.to_owned(), local: false };
        see("home_address", code, a.bindings.get_home_bindings(request).await.map(drop));
    }
    for (field, (page_size, page_token)) in
        [("page_size", page(1001, "")), ("page_token", page(0, "next"))]
    {
        let request = ListHomePrefixesRequest { page_size, page_token: page_token.clone() };
        see(field, invalid, a.prefixes.list_home_prefixes(request).await.map(drop));
        let token = page_token.clone();
        let request = ListSubscribersRequest { page_size, page_token: token, ..Default::default() };
        see(field, invalid, a.subscribers.list_subscribers(request).await.map(drop));
        let request = ListHomeBindingsRequest { page_size, page_token, ..Default::default() };
        see(field, invalid, a.bindings.list_home_bindings(request).await.map(drop));
    }
    for (at, (field, code, result)) in seen.into_iter().enumerate() {
        let status = result.err().with_context(|| format!("row {at}, {field}, was accepted"))?;
        let named = field_of(&status);
        assert_eq!((status.code(), named.as_deref()), (code, Some(field)), "row {at}: {status}");
    }
    Ok(())
}

type Call<'c> = Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'c>>;

type NamedCall = (&'static str, fn(&mut Admin) -> Call<'_>);

/// Every write and every linearizable read.
fn calls_for_leaders() -> [NamedCall; 9] {
    [
        ("create prefix", |a| {
            let record = prefix("2001:db8:9::/64", "2001:db8:9::1");
            Box::pin(async { a.create_prefix(record).await.map(drop) })
        }),
        ("delete prefix", |a| Box::pin(a.delete_prefix("2001:db8:0:1::/64"))),
        ("get prefix", |a| Box::pin(async { a.get_prefix("2001:db8:0:1::/64").await.map(drop) })),
        ("list prefixes", |a| {
            let request = ListHomePrefixesRequest::default();
            Box::pin(async { a.prefixes.list_home_prefixes(request).await.map(drop) })
        }),
        ("create subscriber", |a| {
            let home_address = "2001:db8:0:1::200".to_owned();
            let record = Subscriber { home_address, ..Subscriber::default() };
            Box::pin(async { a.create_subscriber(record).await.map(drop) })
        }),
        ("delete subscriber", |a| Box::pin(a.delete_subscriber("2001:db8:0:1::100"))),
        ("list subscribers", |a| {
            let request = ListSubscribersRequest::default();
            Box::pin(async { a.subscribers.list_subscribers(request).await.map(drop) })
        }),
        ("get bindings", |a| {
            let home_address = "2001:db8:0:1::100".to_owned();
            let request = GetHomeBindingsRequest { home_address, local: false };
            Box::pin(async { a.bindings.get_home_bindings(request).await.map(drop) })
        }),
        ("list bindings", |a| {
            let request = ListHomeBindingsRequest::default();
            Box::pin(async { a.bindings.list_home_bindings(request).await.map(drop) })
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_name_the_leader_and_answer_local_reads() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    let answer = front_end.ask(&Update::new(mn, 1).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let leader = cluster.leader().await?;
    for follower in (1..=3).filter(|id| *id != leader) {
        eventually("the follower to catch up", async || {
            ensure!(cluster.status(follower).await?.applied_index >= answer.revision);
            Ok(())
        })
        .await?;
        let mut admin = Admin::new(cluster.channel(follower).await?);
        for (name, call) in calls_for_leaders() {
            let status = call(&mut admin).await.err().with_context(|| name.to_owned())?;
            assert_eq!(status.code(), Code::FailedPrecondition, "{name}: {status}");
            let named = status.metadata().get("homeport-leader");
            let expected = cluster.address(leader).to_string();
            assert_eq!(named.and_then(|value| value.to_str().ok()), Some(&*expected), "{name}");
        }
        let request = GetHomeBindingsRequest { home_address: mn.to_string(), local: true };
        let home = admin.bindings.get_home_bindings(request).await?.into_inner();
        assert_eq!((home.sequence, home.bindings.len()), (1, 1));
        assert_eq!(home.revision, answer.revision);
        let request = ListHomeBindingsRequest { local: true, ..ListHomeBindingsRequest::default() };
        let list = admin.bindings.list_home_bindings(request).await?.into_inner();
        assert_eq!(list.homes.len(), 1);
        ensure!(list.revision >= answer.revision);
        let status = cluster.status(follower).await?;
        assert_eq!((status.role.as_str(), status.leader_id), ("follower", leader));
        assert_eq!((status.home_addresses, status.bindings), (1, 1));
    }
    let status = cluster.status(leader).await?;
    assert_eq!((status.role.as_str(), status.leader_id), ("leader", leader));
    let members: Vec<_> =
        status.members.iter().map(|m| (m.node_id, m.address.clone(), m.voter)).collect();
    let expected = (1..=3).map(|id| (id, cluster.address(id).to_string(), true));
    assert_eq!(members, expected.collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_are_shown_and_listed_in_pages() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    let names: Vec<Ipv6Addr> = (0x100..0x105).map(home_address).collect();
    let options = [
        BidOption::v6(Bid(1), "2001:db8:a::11".parse()?),
        BidOption::v6(Bid(7), "2001:db8:b::22".parse()?)
            .with_priority(homeport_wire::BidPriority::new(5)),
    ];
    for name in &names {
        let update = Update { bids: options.to_vec(), ..Update::new(*name, 41) };
        let answer = front_end.ask(&update.packet(), None).await?;
        assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    }
    let mut admin = Admin::of_leader(&cluster).await?;
    let request = GetHomeBindingsRequest { home_address: names[0].to_string(), local: false };
    let home = admin.bindings.get_home_bindings(request).await?.into_inner();
    assert_eq!((home.home_agent.as_str(), home.sequence), ("2001:db8:0:1::1", 41));
    let rows: Vec<_> = home
        .bindings
        .iter()
        .map(|b| (b.bid, b.care_of_address.as_str(), b.priority, b.home, b.behind_nat, b.udp_port))
        .collect();
    let expected = [
        (Some(1), "2001:db8:a::11", 0, false, false, 0),
        (Some(7), "2001:db8:b::22", 5, false, false, 0),
    ];
    assert_eq!(rows, expected);
    for binding in home.bindings {
        ensure!(binding.registered_ms == binding.verified_ms);
        assert_eq!(binding.ends_ms - binding.verified_ms, 900_000);
        ensure!((1..=900).contains(&binding.remaining_secs));
    }
    // One of them goes: its record stays for its sequence number, but it is not listed.
    let leave = Update { lifetime: 0, ..Update::new(names[2], 42) };
    let answer = front_end.ask(&leave.packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let expected: Vec<String> = [0, 1, 3, 4].into_iter().map(|at| names[at].to_string()).collect();
    for size in [1, 2, 4, 9] {
        let page = async |token: String| {
            admin.list_bindings(u32::try_from(size).unwrap_or(0), &token).await
        };
        assert_eq!(all_pages(page, size).await?, expected, "pages of {size}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_not_deleted_and_a_subscriber_takes_its_bindings_along() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let mut front_end = cluster.front_end().await?;
    let mn = home_address(0x100);
    let record = Subscriber { home_address: mn.to_string(), ..Subscriber::default() };
    admin.create_subscriber(record.clone()).await?;
    let refused = |status: Status| (status.code(), field_of(&status));
    let in_use = (Code::FailedPrecondition, Some("prefix".to_owned()));
    let status = admin.delete_prefix("2001:db8:0:1::/64").await.err().context("deleted")?;
    assert_eq!(refused(status), in_use, "a subscriber is in it");
    let update = Update::new(mn, 9);
    let answer = front_end.ask(&update.packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    admin.delete_subscriber(&mn.to_string()).await?;
    let request = GetHomeBindingsRequest { home_address: mn.to_string(), local: false };
    let home = admin.bindings.get_home_bindings(request.clone()).await?.into_inner();
    assert_eq!((home.bindings.len(), home.sequence), (0, 9));
    assert_eq!(cluster.status(cluster.leader().await?).await?.bindings, 0);
    // A Binding Update that was under way does not bring the bindings back.
    let answer = front_end.ask(&update.packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 135);
    // This home prefix takes anybody, so the mobile node may come again with a newer one.
    let answer = front_end.ask(&Update::new(mn, 10).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    let status = admin.delete_prefix("2001:db8:0:1::/64").await.err().context("deleted")?;
    assert_eq!(refused(status), in_use, "a binding is in it");
    let leave = Update { lifetime: 0, ..Update::new(mn, 11) };
    let answer = front_end.ask(&leave.packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    admin.delete_prefix("2001:db8:0:1::/64").await?;
    // Nobody is served now, whatever the front-end remembers: no answer.
    front_end.send(&Update::new(mn, 12).packet(), None).await?;
    eventually("the drop to be counted", async || {
        let sample = "homeport_signalling_drops_total{reason=\"home_agent_not_served\"}";
        ensure!(front_end.metric(sample).await? > 0.0);
        Ok(())
    })
    .await?;
    admin.create_prefix(prefix("2001:db8:0:1::/64", "2001:db8:0:1::1")).await?;
    let update = Update::new(home_address(0x101), 1).packet();
    eventually("the new home prefix to be served", async || {
        front_end.send(&update, None).await?;
        let answer = front_end.receive(std::time::Duration::from_millis(300)).await?;
        ensure!(acknowledgement(&answer.packet)?.status() == 0);
        Ok(())
    })
    .await
}
