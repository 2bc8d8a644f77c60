//! The conformance suite: a mobile node, a correspondent node, routers and hosts of a home link, all on
//! the wire of a running cluster, that go through a table of cases.
//!
//! Nothing of the codec under test is used: see [`packet`] and [`decode`]. The table stands in
//! `tests/conformance/`; each of its scripts is a function of a module here.

pub mod base;
pub mod cast;
pub mod catalogue;
pub mod cluster;
pub mod correspondent;
pub mod decode;
pub mod discovery;
pub mod dual;
pub mod esp;
mod exchange;
pub mod home_net;
pub mod homelink;
pub mod lab;
mod load;
pub mod mcoa;
pub mod nemo;
pub mod packet;
pub mod report;
pub mod routers;
mod scale;
pub mod stage;
pub mod steps;
pub mod story;
mod upgrade;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::StreamExt as _;

use self::catalogue::{Link, Row};
use self::lab::{Extent, Lab, Policy};
use self::stage::{CannotRun, Stage};
use self::steps::Steps;
use crate::dev::{Build, DevCluster};
use crate::netns::Figure;
use crate::versions;

/// Cases that run at once: they mostly wait.
const TOGETHER: usize = 24;
/// How long a case may take.
const CASE_MAX: Duration = Duration::from_secs(120);
/// The same where the leader is killed between its steps.
const CASE_WITH_KILLS_MAX: Duration = Duration::from_secs(600);

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that must come came.
    Passed,
    /// Not so.
    Failed,
    /// This build or machine cannot run it.
    CannotRun,
}

impl Verdict {
    /// As it stands in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::CannotRun => "cannot run",
        }
    }
}

/// A case that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The case.
    pub row: Row,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it did not pass; empty when it did.
    pub reason: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed beside others, before it was run again by itself; empty when it was not.
    pub beside_others: String,
}

impl Tried {
    /// It was run again by itself.
    #[must_use]
    pub fn is_second(&self) -> bool {
        !self.beside_others.is_empty()
    }
}

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Kill the store's leader between the steps.
    pub during_leader_kill: bool,
    /// Only cases whose id is this or begins with it and an underscore, or the part of this number.
    pub case: Option<String>,
    /// Only cases that take no more than a few seconds.
    pub quick: bool,
    /// How much is done in cases that could go on for as long as one lets them.
    pub extent: Extent,
}

/// What became of all.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The cases, in their order.
    pub tried: Vec<Tried>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// How often the leader was killed between steps.
    pub leader_kills: u32,
}

/// Each script by its name in the table.
macro_rules! scripts {
    ($($name:literal => $path:path,)*) => {
        /// Whether a script of this name exists.
        #[must_use]
        pub fn is_known(script: &str) -> bool {
            matches!(script, $($name)|*)
        }

        async fn play(stage: &Stage, row: &Row) -> Result<()> {
            match row.script.as_str() {
                $($name => Box::pin($path(stage, row)).await,)*
                other => bail!("there is no script {other}"),
            }
        }
    };
}

scripts! {
    "at_once" => cluster::at_once,
    "atomic_overwrite" => mcoa::atomic_overwrite,
    "bad_home_address" => base::bad_home_address,
    "bid_lengths" => mcoa::bid_lengths,
    "big_bulk" => mcoa::big_bulk,
    "carried" => nemo::carried,
    "correspondent" => correspondent::registrations,
    "dad" => homelink::dad,
    "deregister" => base::deregister,
    "discover" => discovery::discover,
    "downlink" => base::downlink,
    "each_node" => cluster::each_node,
    "echo_agent" => base::echo_agent,
    "empty_pool" => dual::empty_pool,
    "expire" => base::expire,
    "expiry_race" => mcoa::expiry_race,
    "first_advertisement" => homelink::first_advertisement,
    "follower_catches_up" => cluster::follower_catches_up,
    "home_agents" => routers::home_agents,
    "home_binding" => homelink::home_binding,
    "home_test" => base::home_test,
    "home_tests" => mcoa::home_tests,
    "ipsec" => base::ipsec,
    "kill_all_at_answer" => cluster::kill_all_at_answer,
    "kill_before_answer" => cluster::kill_before_answer,
    "link_local_ping" => homelink::link_local_ping,
    "memory" => cluster::memory,
    "minority" => cluster::minority,
    "nested" => nemo::nested,
    "not_home_subnet" => base::not_home_subnet,
    "odd_datagrams" => dual::odd_datagrams,
    "one_agent" => routers::one_agent,
    "owner_moves" => cluster::owner_moves,
    "padding" => mcoa::padding,
    "payload_proto" => base::payload_proto,
    "prefix_lifetime" => base::prefix_lifetime,
    "protection" => base::protection,
    "refresh_request" => mcoa::refresh_request,
    "register" => base::register,
    "restart" => cluster::restart,
    "same_choice" => mcoa::same_choice,
    "scale" => scale::scale,
    "sequence" => base::sequence,
    "sequence_race" => mcoa::sequence_race,
    "short_header" => base::short_header,
    "shorten" => base::shorten,
    "solicit" => homelink::solicit,
    "solicit_from_each" => mcoa::solicit_from_each,
    "solicit_prefix" => discovery::solicit_prefix,
    "story" => story::story,
    "tunnel_error" => base::tunnel_error,
    "twice" => cluster::twice,
    "unknown_type" => base::unknown_type,
    "unverified" => mcoa::unverified,
    "upgrade" => upgrade::upgrade,
    "uplink" => base::uplink,
    "uplink_unbound" => base::uplink_unbound,
    "with_nonce_indices" => base::with_nonce_indices,
    "wrong_checksum" => base::wrong_checksum,
}

/// What the home prefix of a case allows: `policy=no-bulk,max=3`.
fn policy(row: &Row) -> Result<Policy> {
    let mut policy = Policy::OPEN;
    policy.authenticated = row.script == "protection" && row.get("policy").is_none();
    policy.real = row.link == Link::Real;
    for word in row.get("policy").into_iter().flat_map(|words| words.split(',')) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("authenticated", _) => policy.authenticated = true,
            ("ipsec", _) => policy.ipsec = true,
            ("no-mcoa", _) => policy.multiple_care_of = false,
            ("no-bulk", _) => policy.bulk = false,
            ("no-home-and-foreign", _) => policy.home_and_foreign = false,
            ("only-router", _) => policy.only_router = true,
            ("valid", value) => policy.valid_secs = value.parse()?,
            ("pool", value) => policy.pool_bits = value.parse()?,
            ("udp-only-behind-nat", _) => policy.force_udp = false,
            ("max", value) => policy.bindings_max = value.parse()?,
            _ => bail!("policy {word:?} of {}", row.id),
        }
    }
    Ok(policy)
}

/// Runs the selected cases on a cluster of their own, those of many home addresses on one of programs as
/// they are shipped, and those of an upgrade on one of the version before.
///
/// # Errors
/// When the table is ill-formed or a cluster does not come up; a case that fails is no error.
pub async fn run(selection: &Selection) -> Result<Ran> {
    let rows: Vec<Row> = selected(selection)?;
    let (mut many, rows): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.has("release"));
    let (mut upgrades, rows): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.script == "upgrade");
    if selection.during_leader_kill {
        // They end processes by themselves.
        many.clear();
        upgrades.clear();
    }
    let mut ran = Ran::default();
    if !rows.is_empty() {
        let (tried, failed) = ran.play(selection, rows, TOGETHER).await?;
        ran.tried.extend(tried);
        ran.again(selection, failed).await?;
    }
    if !versions::is_known(versions::BEFORE) {
        ran.tried.extend(upgrades.drain(..).map(without_history));
    }
    if !upgrades.is_empty() {
        let program = versions::program_of(versions::BEFORE)?;
        let cluster = DevCluster::start_from(&program).await;
        ran.play_alone(cluster, selection.extent, upgrades).await?;
    }
    if !many.is_empty() {
        let cluster = DevCluster::start_with_links(Build::Release).await;
        ran.play_alone(cluster, selection.extent, many).await?;
    }
    ran.tried.sort_by_key(|tried| tried.row.number);
    ran.count_figures(selection);
    Ok(ran)
}

impl Ran {
    fn count_figures(&mut self, selection: &Selection) {
        let only_alone = |it: &&Tried| it.verdict == Verdict::Passed && it.is_second();
        let count = self.tried.iter().filter(only_alone).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.figures.push(Figure { name: "passed_only_alone", value: count.into(), unit: "1" });
        if selection.during_leader_kill {
            let value = self.leader_kills.into();
            self.figures.push(Figure { name: "leader_kills", value, unit: "1" });
        }
    }

    /// Cases on a cluster of their own, so many at once; those that failed are given apart.
    async fn play(
        &mut self,
        selection: &Selection,
        rows: Vec<Row>,
        together: usize,
    ) -> Result<(Vec<Tried>, Vec<Tried>)> {
        let steps = Arc::new(Steps::new(selection.during_leader_kill));
        let cluster = DevCluster::start_with_links(Build::Debug).await?;
        let lab = Arc::new(Lab::start(cluster, steps, selection.extent).await?);
        let tried = run_on(&lab, rows, together).await;
        self.leader_kills += lab.steps.kills();
        self.figures.extend(lab.take_figures());
        Ok(tried.into_iter().partition(|tried| tried.verdict != Verdict::Failed))
    }

    /// Who failed is run again on another cluster, one by one: beside others on a busy machine a timer may
    /// run out for want of time. What was wrong before is kept.
    async fn again(&mut self, selection: &Selection, failed: Vec<Tried>) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        println!("{} cases are run again, one by one", failed.len());
        let mut before: BTreeMap<u16, String> = BTreeMap::new();
        let mut rows = Vec::new();
        for Tried { row, reason, .. } in failed {
            before.insert(row.number, reason);
            rows.push(row);
        }
        let (passed, failed) = self.play(selection, rows, 1).await?;
        self.tried.extend(passed.into_iter().chain(failed).map(|tried| Tried {
            beside_others: before.remove(&tried.row.number).unwrap_or_default(),
            ..tried
        }));
        Ok(())
    }

    async fn play_alone(
        &mut self,
        cluster: Result<DevCluster>,
        extent: Extent,
        rows: Vec<Row>,
    ) -> Result<()> {
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => {
                self.tried.extend(rows.into_iter().map(|row| not_begun(row, &error)));
                return Ok(());
            }
        };
        let lab = Arc::new(Lab::start(cluster, Arc::new(Steps::new(false)), extent).await?);
        self.tried.extend(run_on(&lab, rows, 1).await);
        self.figures.extend(lab.take_figures());
        Ok(())
    }
}

/// What has run before is worth its page.
fn not_begun(row: Row, error: &anyhow::Error) -> Tried {
    let reason = format!("its cluster does not come up: {error:#}");
    println!("{:<16} {:<10} {reason}", row.id, Verdict::Failed.name());
    let (verdict, took) = (Verdict::Failed, Duration::ZERO);
    Tried { row, verdict, reason, took, beside_others: String::new() }
}

/// As where the repository was cloned without its history.
fn without_history(row: Row) -> Tried {
    let reason =
        format!("needs the history of the repository, back to commit {}", versions::BEFORE);
    println!("{:<16} {:<10} {reason}", row.id, Verdict::CannotRun.name());
    let (verdict, took) = (Verdict::CannotRun, Duration::ZERO);
    Tried { row, verdict, reason, took, beside_others: String::new() }
}

async fn run_on(lab: &Arc<Lab>, rows: Vec<Row>, together: usize) -> Vec<Tried> {
    let (alone, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.has("alone"));
    // Who waits for the end of lifetimes has no time for the steps of everybody else.
    let (slow, quick): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.has("slow") && lab.steps.enabled());
    let cases = async {
        let mut all: Vec<Tried> = Vec::new();
        for rows in [quick, slow] {
            let cases = rows.into_iter().map(|row| tried(Arc::clone(lab), row));
            let cases = futures_util::stream::iter(cases).buffer_unordered(together);
            all.extend(cases.collect::<Vec<Tried>>().await);
            lab.steps.hurry();
        }
        for row in alone {
            all.push(tried(Arc::clone(lab), row).await);
        }
        all
    };
    tokio::select! {
        tried = cases => tried,
        never = kill_leaders(lab), if lab.steps.enabled() => match never {},
    }
}

/// The rows that a selection names.
///
/// # Errors
/// When the table is ill-formed or has no such case.
pub fn selected(selection: &Selection) -> Result<Vec<Row>> {
    let mut rows = catalogue::cases()?;
    if let Some(case) = &selection.case {
        let group = format!("{case}_");
        rows.retain(|row| {
            row.id == *case || row.id.starts_with(&group) || row.part.to_string() == *case
        });
    }
    if selection.quick {
        rows.retain(|row| row.part != 2 && row.part != 5 && row.link == Link::Virtual);
        rows.retain(|row| !row.has("slow") && !row.has("alone"));
    }
    if rows.is_empty() {
        bail!("no such case");
    }
    Ok(rows)
}

async fn tried(lab: Arc<Lab>, row: Row) -> Tried {
    let started = Instant::now();
    let patience = if lab.steps.enabled() { CASE_WITH_KILLS_MAX } else { CASE_MAX };
    let minutes = row.value("minutes").unwrap_or(0);
    let patience = patience.max(Duration::from_secs(60 * minutes));
    let result = match tokio::time::timeout(patience, run_case(lab, &row)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(anyhow::anyhow!("it does not end within {patience:?}")),
    };
    let (verdict, reason) = match result {
        Ok(()) => (Verdict::Passed, String::new()),
        Err(error) => match error.downcast_ref::<CannotRun>() {
            Some(CannotRun(reason)) => (Verdict::CannotRun, reason.clone()),
            None => (Verdict::Failed, format!("{error:#}")),
        },
    };
    let took = started.elapsed();
    println!("{:<16} {:<10} {reason}", row.id, verdict.name());
    Tried { row, verdict, reason, took, beside_others: String::new() }
}

async fn run_case(lab: Arc<Lab>, row: &Row) -> Result<()> {
    if row.script == "ipsec" {
        return Err(CannotRun("it needs IKE or IPsec in tunnel mode".to_owned()).into());
    }
    let steps = Arc::clone(&lab.steps);
    let stage = Stage::new(lab, row, policy(row)?).await?;
    let _running = steps.enter();
    play(&stage, row).await
}

/// Whenever every case waits at a step: kills the leader, and lets them go on under the next.
async fn kill_leaders(lab: &Lab) -> Infallible {
    loop {
        lab.steps.everybody_waits().await;
        let killed = kill_leader(lab).await;
        if let Err(error) = &killed {
            println!("the leader was not killed: {error:#}");
        }
        lab.steps.release(killed.is_ok());
    }
}

async fn kill_leader(lab: &Lab) -> Result<()> {
    let leader = lab.cluster.leader().await?;
    crate::dev::kill(&leader)?;
    lab.forget_leader().await;
    let next = lab.cluster.leader().await?;
    println!("killed {}, {} leads", leader.name, next.name);
    Ok(())
}
