//! Looking for subscribers and bindings among others.

use homeport_api::admin::{
    FindSubscribersRequest, FindSubscribersResponse, ListHomeBindingsRequest, Match,
};

use super::*;

impl Admin {
    async fn find(&mut self, query: &str, local: bool) -> Result<FindSubscribersResponse, Status> {
        let query = query.to_owned();
        let request = FindSubscribersRequest { query, local, ..Default::default() };
        self.subscribers.find_subscribers(request).await.map(Response::into_inner)
    }

    async fn listed(&mut self, filter: &str, order_by: &str) -> Result<Vec<String>, Status> {
        let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
        let request = ListSubscribersRequest { filter, order_by, ..Default::default() };
        let page = self.subscribers.list_subscribers(request).await?.into_inner();
        Ok(page.subscribers.into_iter().map(|it| it.nai).collect())
    }

    async fn bound(&mut self, filter: &str, order_by: &str) -> Result<Vec<String>, Status> {
        let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
        let request = ListHomeBindingsRequest { filter, order_by, ..Default::default() };
        let page = self.bindings.list_home_bindings(request).await?.into_inner();
        Ok(page.homes.into_iter().map(|it| it.home_address).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_found_by_its_name_its_addresses_and_a_prefix() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut admin = Admin::of_leader(&cluster).await?;
    let mut front_end = cluster.front_end().await?;
    for n in 0x100..0x104 {
        let nai = format!("mn{}@example.com", 0x200 - n);
        let home_address = home_address(n).to_string();
        let record = Subscriber { home_address, nai, ..Subscriber::default() };
        admin.create_subscriber(record).await?;
    }
    let bids = vec![BidOption::v6(Bid(7), "2001:db8:b::22".parse()?)];
    let update = Update { bids, ..Update::new(home_address(0x101), 5) }.packet();
    let answer = front_end.ask(&update, None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);
    // Nobody has provisioned this one.
    let answer = front_end.ask(&Update::new(home_address(0x900), 1).packet(), None).await?;
    assert_eq!(acknowledgement(&answer.packet)?.status(), 0);

    let expected = home_address(0x101).to_string();
    let rows = [
        ("mn255@example.com", Match::Nai),
        ("mn255", Match::Nai),
        (expected.as_str(), Match::HomeAddress),
        ("2001:db8:b::22", Match::CareOfAddress),
        ("2001:db8:b::/64", Match::CareOfAddress),
    ];
    for (query, by) in rows {
        let page = admin.find(query, false).await?;
        let [found] = page.found.as_slice() else { anyhow::bail!("{query}: {page:?}") };
        assert_eq!(found.matches().collect::<Vec<_>>(), [by], "{query}");
        let subscriber = found.subscriber.as_ref().context("has a record")?;
        assert_eq!(subscriber.home_address, expected);
        let home = found.bindings.as_ref().context("has bindings")?;
        assert_eq!((home.sequence, home.bindings[0].bid), (5, Some(7)));
        ensure!(page.revision > 0 && page.next_page_token.is_empty());
    }
    let nobody_s = admin.find(&home_address(0x900).to_string(), false).await?.found;
    ensure!(nobody_s.len() == 1 && nobody_s[0].subscriber.is_none());
    assert_eq!(admin.find("2001:db8:0:1::/64", false).await?.found.len(), 5);
    assert!(admin.find("nobody", false).await?.found.is_empty());
    let leader = cluster.leader().await?;
    let follower = (1..=3).find(|id| *id != leader).context("has two more")?;
    let mut other = Admin::new(cluster.channel(follower).await?);
    let status = other.find("mn255", false).await.err().context("was answered")?;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().context("says why")?;
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_LEADER", "homeport"));
    assert_eq!(info.metadata.get("leader_id"), Some(&leader.to_string()));
    eventually("the follower to catch up", async || {
        ensure!(other.clone().find("mn255", true).await?.found.len() == 1);
        Ok(())
    })
    .await?;

    let all = ["mn256@example.com", "mn255@example.com", "mn254@example.com", "mn253@example.com"];
    assert_eq!(admin.listed("", "").await?, all);
    assert_eq!(admin.listed("nai = mn25* AND key_present = false", "").await?, all);
    assert_eq!(admin.listed("nai = mn256*", "").await?, all[..1]);
    assert_eq!(admin.listed("home_address = 2001:db8:0:1::102/127", "").await?, all[2..]);
    let mut sorted = all;
    sorted.reverse();
    assert_eq!(admin.listed("", "nai").await?, sorted);
    assert_eq!(admin.listed("", "revision desc").await?, sorted);
    let nobody_s = home_address(0x900).to_string();
    assert_eq!(admin.bound("bid = 7", "").await?, [expected.as_str()]);
    assert_eq!(admin.bound("care_of_address = 2001:db8:b::/48", "").await?, [expected.as_str()]);
    assert_eq!(admin.bound("", "revision desc").await?, [nobody_s.as_str(), &expected]);
    let wrong = [
        ("filter", "nai = mn* OR spi = 1", "", "character 11"),
        ("filter", "key = 1", "", "character 1: no field"),
        ("order_by", "", "key", "character 1: no order"),
    ];
    for (field, filter, order_by, text) in wrong {
        let status = admin.listed(filter, order_by).await.err().context("was taken")?;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(field_of(&status).as_deref(), Some(field));
        ensure!(status.message().contains(text), "{status}");
    }
    Ok(())
}
