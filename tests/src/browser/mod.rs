//! The dashboard in a real browser: what it shows, what it asks for, and how soon it shows what happens.

mod devtools;
mod page;
mod pages;

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{CreateSubscriberRequest, Subscriber};

use self::devtools::Browser;
use self::page::Page;
use crate::dev::{DevCluster, Member, channel_to, scrape};
use crate::eventually;

/// Names that do harm where they are taken for markup or script.
pub const CANARIES: [&str; 4] = [
    "<script>alert(1)</script>@canary",
    "\"><img src=x onerror=alert(2)>@canary",
    "'-alert(3)-'&amp;{{7*7}}@canary",
    "</textarea></title><svg onload=alert(4)>@canary",
];

/// Mobile nodes that register while a screen is looked at.
const EVENTS: u8 = 5;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where pictures go; none are taken without.
    pub screenshots: Option<PathBuf>,
    /// Colours that the browser prefers: `dark`, `light`; each page is visited in each.
    pub themes: &'static [&'static str],
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Checks that held.
    pub passed: u64,
    /// Those that did not, in words.
    pub failed: Vec<String>,
    /// From a Binding Acknowledgement until the screen has the binding, each in milliseconds.
    pub delays_ms: Vec<f64>,
    /// Pages that were looked at, dark and light.
    pub pages: u64,
    /// Requests that they made.
    pub requests: u64,
}

impl Outcome {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if holds {
            self.passed += 1;
        } else {
            let what = what();
            eprintln!("FAILED  {what}");
            self.failed.push(what);
        }
    }
}

/// Why no browser can be started here; none when one can.
#[must_use]
pub fn missing() -> Option<&'static str> {
    devtools::program().is_none().then_some("no chromium in PATH (Debian's package chromium)")
}

/// Starts a cluster and looks at every page of its dashboard.
///
/// # Errors
/// When something could not be looked at; what was seen and is wrong is in the outcome.
pub async fn run(options: &Options) -> Result<Outcome> {
    let program = devtools::program().context("no chromium in PATH")?;
    let cluster = DevCluster::start().await?;
    provision(&cluster).await?;
    let node = cluster.registered(cluster.mobile_node("2001:db8:0:1::100", 2)?).await?;
    let address = cluster.endpoints()?.noc.http.context("the dashboard serves no HTTP")?;
    let mut outcome = Outcome::default();
    let browser = Browser::start(program).await?;
    let mut page = Page::new(browser, format!("http://{address}"));
    for theme in options.themes {
        page.prefer(theme).await?;
        for one in pages::ALL {
            page.visit(one, theme, options, &mut outcome).await.context(one.path)?;
        }
    }
    page.keys(&mut outcome).await.context("keys")?;
    page.without_scripts(&mut outcome).await.context("without scripts")?;
    delays(&mut page, &cluster, &mut outcome).await.context("delays")?;
    outage(&mut page, &cluster, options, &mut outcome).await.context("outage")?;
    let reports = scrape(&cluster.endpoints()?.noc).await?;
    let none = "homeport_noc_reports_total{reason=\"policy\"} 0";
    outcome.check(reports.contains(none), || "a browser has sent a policy report".to_owned());
    node.stop().await?;
    Ok(outcome)
}

/// Subscribers with the worst names.
async fn provision(cluster: &DevCluster) -> Result<()> {
    let leader = cluster.leader().await?;
    let mut client = SubscribersClient::new(channel_to(&leader).await?);
    let ordinary = (0..25).map(|n| format!("mn{n}@example.com"));
    let names = CANARIES.map(str::to_owned).into_iter().chain(ordinary);
    for (nai, n) in names.zip(0x100_u32..) {
        let subscriber = Subscriber {
            home_address: format!("2001:db8:0:1::{n:x}"),
            nai,
            spi: n,
            key: vec![7; 16].into(),
            ..Subscriber::default()
        };
        client
            .create_subscriber(CreateSubscriberRequest {
                subscriber: Some(subscriber),
                ..Default::default()
            })
            .await?;
    }
    Ok(())
}

/// How long it takes until what happens is on the screen.
async fn delays(page: &mut Page, cluster: &DevCluster, outcome: &mut Outcome) -> Result<()> {
    page.open("/bindings").await?;
    for n in 0..EVENTS {
        let home_address = format!("2001:db8:0:1::5{n}");
        let seen = page.send_seen(&home_address).await?;
        let node = MobileNodeOf::register(cluster, &home_address).await?;
        let shown_ms = page.seen(seen).await?;
        outcome.delays_ms.push((shown_ms - node.acknowledged_ms).max(0.0));
        node.node.stop().await?;
    }
    Ok(())
}

/// A mobile node, and when its Binding Acknowledgement came.
struct MobileNodeOf {
    node: mobile_node::MobileNode,
    acknowledged_ms: f64,
}

impl MobileNodeOf {
    async fn register(cluster: &DevCluster, home_address: &str) -> Result<Self> {
        let node = cluster.registered(cluster.mobile_node(home_address, 1)?).await?;
        let acknowledged_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1_000.0;
        Ok(Self { node, acknowledged_ms })
    }
}

/// A store that follows is held: the screen says so, and says when it is over, without a reload.
async fn outage(
    page: &mut Page,
    cluster: &DevCluster,
    options: &Options,
    outcome: &mut Outcome,
) -> Result<()> {
    page.open("/").await?;
    let leader = cluster.leader().await?;
    let mut stores = cluster.endpoints()?.stores.into_iter();
    let follower = stores.find(|store| store.name != leader.name).context("one follows")?;
    signal(&follower, "STOP")?;
    let said = eventually("the outage on the screen", async || {
        let text = page.text().await?;
        ensure!(text.contains("Working, with problems") && text.contains("no answer in"), "{text}");
        Ok(())
    });
    let said = said.await;
    if let Some(folder) = &options.screenshots {
        page.picture(&folder.join("outage-light.png")).await?;
    }
    signal(&follower, "CONT")?;
    outcome.check(said.is_ok(), || format!("an outage is not on the screen: {said:?}"));
    let over = eventually("that it is over", async || {
        let text = page.text().await?;
        ensure!(!text.contains("with problems") && !text.contains("no answer in"), "{text}");
        Ok(())
    });
    let over = over.await;
    outcome.check(over.is_ok(), || format!("the end of an outage is not on the screen: {over:?}"));
    Ok(())
}

fn signal(member: &Member, name: &str) -> Result<()> {
    let pid = member.pid.with_context(|| format!("{} is down", member.name))?.to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status()?;
    ensure!(status.success(), "cannot send SIG{name} to {}", member.name);
    Ok(())
}
