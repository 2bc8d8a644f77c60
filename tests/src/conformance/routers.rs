//! Scripts of the Home Agents List that other home agents' Router Advertisements feed (RFC 6275 sections
//! 7.2, 7.4, 10.5.1; RFC 3963 section 7), and of the one logical home agent.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::{Instant, sleep_until};

use super::cast::HA0;
use super::catalogue::Row;
use super::discovery::discovered;
use super::stage::Stage;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The reply holds no more in 1280 octets.
const LISTED_MAX: usize = 77;

/// A Router Advertisement of another home agent.
#[derive(Clone, Debug)]
struct Router {
    host: u16,
    /// H flag.
    serves: bool,
    /// Seconds.
    lifetime: u16,
    /// Preference, lifetime and R flag of the Home Agent Information option.
    information: Option<(u16, u16, bool)>,
    /// R flag of the prefix.
    names_address: bool,
    /// A second prefix with R.
    second: bool,
}

impl Router {
    const fn new(host: u16, preference: u16) -> Self {
        let information = Some((preference, 1800, true));
        Self { host, serves: true, lifetime: 1800, information, names_address: true, second: false }
    }

    /// The advertisement is on the link, and was read.
    async fn advertise(&self, stage: &Stage) -> Result<()> {
        let mut rest = vec![64, if self.serves { 0x20 } else { 0 }];
        rest.extend(self.lifetime.to_be_bytes());
        rest.extend([0; 8]);
        rest.extend([1, 1]);
        rest.extend(stage.lab.link.mac());
        let mut addresses = vec![stage.neighbour(self.host)];
        if self.second {
            addresses.push(second_address(stage));
        }
        for address in addresses {
            let prefix = if self.names_address {
                address
            } else {
                Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))
            };
            rest.extend([3, 4, 64, if self.names_address { 0xe0 } else { 0xc0 }]);
            rest.extend(7200_u32.to_be_bytes());
            rest.extend(3600_u32.to_be_bytes());
            rest.extend([0; 4]);
            rest.extend(prefix.octets());
        }
        if let Some((preference, lifetime, is_router)) = self.information {
            rest.extend([8, 1, if is_router { 0x80 } else { 0 }, 0]);
            rest.extend(preference.to_be_bytes());
            rest.extend(lifetime.to_be_bytes());
        }
        let from = stage.link_local_neighbour(self.host);
        stage.lab.link.neighbour(None, (from, ALL_NODES), 134, &rest).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }
}

/// An address of the first other home agent in another prefix.
fn second_address(stage: &Stage) -> Ipv6Addr {
    let own = stage.neighbour(HA0).segments();
    Ipv6Addr::new(own[0], own[1], 0x44, own[3], 0, 0, own[6], own[7])
}

/// The home agents of this case in the reply to a discovery. Those of other cases are on the same link,
/// and stand in the list too.
async fn own(stage: &Stage, as_router: bool) -> Result<Vec<Ipv6Addr>> {
    let (_, mut agents) = discovered(stage, if as_router { 0x8000 } else { 0 }).await?;
    agents.retain(|agent| {
        let groups = agent.segments();
        *agent == stage.home.agent || (groups[6] >= HA0 && groups[7] == stage.case)
    });
    Ok(agents)
}

/// The list is exactly this.
async fn lists(stage: &Stage, as_router: bool, expected: &[Ipv6Addr]) -> Result<()> {
    let agents = own(stage, as_router).await?;
    ensure!(agents == expected, "R={as_router} lists {agents:?}, expected {expected:?}");
    Ok(())
}

/// The Home Agents List that Router Advertisements feed.
pub async fn home_agents(stage: &Stage, row: &Row) -> Result<()> {
    stage.agent_mac().await?;
    let Some((group, n)) = row.get("case").and_then(|case| case.split_once('_')) else {
        bail!("no case");
    };
    let n: u16 = n.parse()?;
    let result = match group {
        "2" => order(stage, n).await,
        "3" | "4" => removal(stage, group, n).await,
        "5" => many(stage).await,
        "6" => routers(stage, n).await,
        other => bail!("group {other}"),
    };
    // They leave, so that lists of other cases stay short.
    for host in HA0..HA0 + if group == "5" { 78 } else { 2 } {
        Router { serves: false, ..Router::new(host, 0) }.advertise(stage).await?;
    }
    result
}

/// Addresses of the home agent under test, HA0 and HA1.
fn three(stage: &Stage) -> [Ipv6Addr; 3] {
    [stage.home.agent, stage.neighbour(HA0), stage.neighbour(HA0 + 1)]
}

async fn order(stage: &Stage, n: u16) -> Result<()> {
    let [rut, ha0, ha1] = three(stage);
    let is_router = stage.is_router;
    let first = |preference: u16| Router::new(HA0, preference);
    // The home agent under test has preference 10.
    let (preferences, expected): (&[u16], &[Ipv6Addr]) = match n {
        1 => (&[0], &[rut, ha0]),
        2 => (&[0xffff], &[ha0, rut]),
        3 => (&[5, 1], &[rut, ha0, ha1]),
        4 => (&[1, 5], &[rut, ha1, ha0]),
        5 => (&[20, 5], &[ha0, rut, ha1]),
        6 => (&[5, 20], &[ha1, rut, ha0]),
        7 => (&[30, 20], &[ha0, ha1, rut]),
        8 => (&[20, 30], &[ha1, ha0, rut]),
        9 => {
            Router { information: None, ..first(0) }.advertise(stage).await?;
            return lists(stage, false, &[rut, ha0]).await;
        }
        10 => {
            let heard = Instant::now();
            Router { information: Some((20, 32, true)), ..first(0) }.advertise(stage).await?;
            lists(stage, is_router, &[ha0, rut]).await?;
            // The step of another leader takes seconds.
            let late = if stage.lab.steps.enabled() { 22 } else { 29 };
            sleep_until(heard + Duration::from_secs(late)).await;
            lists(stage, is_router, &[ha0, rut]).await?;
            sleep_until(heard + Duration::from_secs(33)).await;
            return lists(stage, is_router, &[rut]).await;
        }
        11 => {
            let short = Router { information: None, lifetime: 4, ..first(0) };
            short.advertise(stage).await?;
            lists(stage, false, &[rut, ha0]).await?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            return lists(stage, false, &[rut]).await;
        }
        12 => {
            first(20).advertise(stage).await?;
            lists(stage, is_router, &[ha0, rut]).await?;
            first(5).advertise(stage).await?;
            return lists(stage, is_router, &[rut, ha0]).await;
        }
        13 => {
            first(20).advertise(stage).await?;
            Router { information: Some((20, 4, true)), ..first(0) }.advertise(stage).await?;
            lists(stage, is_router, &[ha0, rut]).await?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            return lists(stage, is_router, &[rut]).await;
        }
        14 => {
            first(20).advertise(stage).await?;
            Router::new(HA0 + 1, 20).advertise(stage).await?;
            let mut agents = own(stage, is_router).await?;
            let last = agents.pop();
            agents.sort();
            ensure!(agents == [ha0, ha1] && last == Some(rut), "{agents:?}, then {last:?}");
            return Ok(());
        }
        15 => {
            Router { second: true, ..first(20) }.advertise(stage).await?;
            let mut agents = own(stage, is_router).await?;
            let last = agents.pop();
            agents.sort();
            let both = [ha0, second_address(stage)];
            ensure!(agents == both && last == Some(rut), "{agents:?}, then {last:?}");
            return Ok(());
        }
        other => bail!("order {other}"),
    };
    for (host, preference) in (HA0..).zip(preferences) {
        Router::new(host, *preference).advertise(stage).await?;
    }
    lists(stage, is_router, expected).await
}

async fn removal(stage: &Stage, group: &str, n: u16) -> Result<()> {
    let [rut, ha0, _] = three(stage);
    let is_router = stage.is_router;
    let ha = Router::new(HA0, 20);
    ha.advertise(stage).await?;
    lists(stage, is_router, &[ha0, rut]).await?;
    let (then, expected): (Router, &[Ipv6Addr]) = match (group, n) {
        ("3", 1) => (Router { information: Some((20, 0, true)), ..ha }, &[rut]),
        ("3", 2) => (Router { information: None, lifetime: 0, ..ha }, &[rut]),
        ("4", 1) => (Router { serves: false, ..ha }, &[rut]),
        ("4", 2) => {
            let unnamed = Router { names_address: false, ..Router::new(HA0 + 1, 30) };
            (unnamed, &[ha0, rut])
        }
        other => bail!("removal {other:?}"),
    };
    then.advertise(stage).await?;
    lists(stage, is_router, expected).await
}

/// More home agents than a reply holds.
async fn many(stage: &Stage) -> Result<()> {
    const OTHERS: u16 = 78;
    for n in 0..OTHERS {
        Router::new(HA0 + n, 1000 + n).advertise(stage).await?;
    }
    let flags = if stage.is_router { 0x8000 } else { 0 };
    let (_, agents) = discovered(stage, flags).await?;
    ensure!(agents.len() == LISTED_MAX, "{} home agents are listed", agents.len());
    let agents = own(stage, stage.is_router).await?;
    let expected = (0..OTHERS).rev().map(|n| stage.neighbour(HA0 + n));
    let expected: Vec<Ipv6Addr> = expected.take(agents.len()).collect();
    ensure!(agents == expected, "{agents:?}, expected {expected:?}");
    // Other cases have at most one with a higher preference at a time.
    ensure!(agents.len() + 8 >= LISTED_MAX, "only {} of the preferred ones", agents.len());
    Ok(())
}

/// Home agents that do and that do not serve mobile routers.
async fn routers(stage: &Stage, n: u16) -> Result<()> {
    let [rut, ha0, ha1] = three(stage);
    let with = |host: u16, preference: u16, is_router: bool| Router {
        information: Some((preference, 1800, is_router)),
        ..Router::new(host, preference)
    };
    // The second half changes HA1 while HA0 stays as it is.
    let (host, preference, before): (u16, u16, &[Ipv6Addr]) = if n <= 5 {
        (HA0, 20, &[])
    } else {
        with(HA0, 30, true).advertise(stage).await?;
        (HA0 + 1, 20, &[ha0])
    };
    let changing = if n <= 5 { ha0 } else { ha1 };
    let all = [before, &[changing, rut]].concat();
    let without = [before, &[rut]].concat();
    let yes = with(host, preference, true);
    let no = with(host, preference, false);
    let steps: &[(&Router, bool, bool)] = match (n - 1) % 5 {
        0 => &[(&no, true, false)],
        1 => &[(&yes, true, true)],
        2 => &[(&yes, true, true), (&no, true, false)],
        3 => &[(&no, true, false), (&yes, true, true)],
        _ => &[(&yes, true, true), (&Router { serves: false, ..yes.clone() }, false, false)],
    };
    for (router, listed, listed_for_routers) in steps {
        router.advertise(stage).await?;
        lists(stage, false, if *listed { &all } else { &without }).await?;
        lists(stage, true, if *listed_for_routers { &all } else { &without }).await?;
    }
    Ok(())
}

/// One logical home agent on the home link, by whichever forwarder it is asked.
pub async fn one_agent(stage: &Stage, _row: &Row) -> Result<()> {
    let mac = stage.agent_mac().await?;
    for side in [0, 1, usize::from(stage.case % 2)] {
        stage.lab.route(super::discovery::anycast(stage), side).await?;
        lists(stage, false, &[stage.home.agent]).await?;
        ensure!(stage.agent_mac().await? == mac, "another node advertises");
    }
    Ok(())
}
