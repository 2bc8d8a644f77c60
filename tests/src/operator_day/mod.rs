//! An operator's day with a cluster, by the programs that an operator has: `homeport dev` and `homeportctl`.

mod fleet;
mod homeportctl;
mod restored;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_runtime::clock;
use serde_json::Value;
use tokio::time::Instant;

use self::fleet::{Fleet, REFRESH_INTERVAL, Seen};
use self::homeportctl::{Homeportctl, number, text};
use crate::dev::{DevCluster, kill};
use crate::eventually;

/// How many mobile nodes the day is about: the number.
pub const SUBSCRIBERS: u16 = 1000;

/// The alarm of a change of leadership lasts half a minute after the last one.
const CLEARED_WITHIN: Duration = Duration::from_secs(300);

/// What the day showed.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// What was done, and whether it went as an operator expects.
    pub steps: Vec<(&'static str, Duration)>,
    /// While the forwarder was drained.
    pub forwarder_drain: Seen,
    /// While the front-end was drained.
    pub front_end_drain: Seen,
    /// From the kill of the leader until the alarm was listed.
    pub alarm_after: Duration,
}

/// The parts of the day share these.
struct Operator {
    cluster: DevCluster,
    ctl: Homeportctl,
    fleet: Fleet,
    desk: tempfile::TempDir,
    day: Day,
}

/// Lives the day with so many subscribers.
///
/// # Errors
/// When something is not as an operator expects; the logs of all processes are in the error.
pub async fn run(subscribers: u16) -> Result<Day> {
    let cluster = DevCluster::start_authenticated().await?;
    let ctl = Homeportctl::of(&cluster)?;
    let fleet = Fleet::of(subscribers);
    let desk = tempfile::tempdir()?;
    let mut operator = Operator { cluster, ctl, fleet, desk, day: Day::default() };
    let lived = operator.live().await;
    lived.with_context(|| operator.cluster.logs())?;
    Ok(operator.day)
}

impl Operator {
    async fn live(&mut self) -> Result<()> {
        self.step("provisioned", Self::provision).await?;
        self.step("registered", Self::watch_them_register).await?;
        self.step("found", Self::find).await?;
        self.step("forwarder drained", Self::drain_forwarder).await?;
        self.step("front-end drained", Self::drain_front_end).await?;
        self.step("leader killed", Self::kill_leader).await?;
        self.step("support bundle", Self::take_support_bundle).await?;
        self.step("backed up and restored", Self::back_up_and_restore).await
    }

    async fn step(
        &mut self,
        name: &'static str,
        step: impl AsyncFnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let begun = Instant::now();
        step(self).await.context(name)?;
        println!("{name:<24} {:6.1} s", begun.elapsed().as_secs_f64());
        self.day.steps.push((name, begun.elapsed()));
        Ok(())
    }

    /// All at once out of a table, and once more, which changes nothing.
    async fn provision(&mut self) -> Result<()> {
        let file = self.desk.path().join("fleet.csv");
        std::fs::write(&file, self.fleet.csv())?;
        let file = utf8(&file)?;
        let imported = self.ctl.json(&["subscribers", "import", file]).await?;
        let count = u64::from(self.fleet.len());
        ensure!(number(&imported, "created")? == count, "{imported}");
        let again = self.ctl.fails(1, &["subscribers", "import", file]).await?;
        ensure!(again.contains("--skip-existing"), "{again}");
        let again = self.ctl.json(&["subscribers", "import", "--skip-existing", file]).await?;
        ensure!(number(&again, "existing")? == count, "{again}");
        let all = self.ctl.json(&["subscribers", "list", "--limit", "100000"]).await?;
        ensure!(
            rows(&all)?.len() == usize::from(self.fleet.len()),
            "{} are listed",
            rows(&all)?.len()
        );
        Ok(())
    }

    /// By the stream of events, which tells of each.
    async fn watch_them_register(&mut self) -> Result<()> {
        let mut watch = self.ctl.follow(&["events", "--follow"])?;
        self.fleet.start(&self.cluster).await?;
        let mut waiting: BTreeSet<String> = self.fleet.home_addresses().collect();
        watch
            .until(async |event: &Value| {
                if text(event, "kind").is_ok_and(|kind| kind.ends_with("REGISTERED")) {
                    waiting.remove(text(event, "home_address").unwrap_or_default());
                }
                waiting.is_empty()
            })
            .await
            .context("not all were seen to register")?;
        let bound = self.ctl.json(&["bindings", "list", "--limit", "100000"]).await?;
        ensure!(
            rows(&bound)?.len() == usize::from(self.fleet.len()),
            "{} are bound",
            rows(&bound)?.len()
        );
        Ok(())
    }

    /// By whatever a caller may know of himself.
    async fn find(&mut self) -> Result<()> {
        let one = self.fleet.middle();
        for key in self.fleet.keys_of(one) {
            let found = self.ctl.json(&["subscribers", "find", &key]).await?;
            let found = rows(&found)?;
            ensure!(found.len() == 1, "{key}: {found:?}");
            let home_address = found.iter().map(|it| it.to_string()).collect::<String>();
            ensure!(home_address.contains(&self.fleet.home_address(one)), "{key}: {found:?}");
        }
        let none = self.ctl.json(&["subscribers", "find", "nobody@example.net"]).await?;
        ensure!(rows(&none)?.is_empty(), "{none}");
        let prefix = self.ctl.json(&["subscribers", "find", "2001:db8:0:1::/64"]).await?;
        ensure!(rows(&prefix)?.len() > 1, "{prefix}");
        Ok(())
    }

    async fn drain_forwarder(&mut self) -> Result<()> {
        let member =
            self.cluster.endpoints()?.forwarders.into_iter().next().context("there is none")?;
        self.day.forwarder_drain = self.drain(&format!("forwarders/{}", member.name)).await?;
        Ok(())
    }

    async fn drain_front_end(&mut self) -> Result<()> {
        let nodes = self.ctl.json(&["node", "list"]).await?;
        let names = rows(&nodes)?.iter().map(|node| text(node, "name"));
        let names = names.collect::<Result<Vec<_>>>()?;
        let name =
            names.iter().find(|name| name.starts_with("front-ends/")).context("there is none")?;
        self.day.front_end_drain = self.drain(name).await?;
        Ok(())
    }

    /// Drains a node while all refresh, sees that it is, and lets it serve again.
    async fn drain(&mut self, name: &str) -> Result<Seen> {
        self.fleet.begin_refreshing().await?;
        self.ctl.json(&["node", "drain", name, "--wait-secs", "120"]).await?;
        ensure!(self.drain_state(name).await? == "DRAIN_STATE_DRAINED", "{name} is not drained");
        let role = name.split('/').next().unwrap_or_default();
        let others = self.ctl.json(&["node", "list"]).await?;
        let other = rows(&others)?.iter().filter_map(|it| text(it, "name").ok());
        let other = other.filter(|it| it.starts_with(role)).find(|it| *it != name);
        let other = other.context("there is no other")?;
        let last = self.ctl.fails(1, &["node", "drain", other]).await?;
        ensure!(last.contains("is the last"), "{last}");
        self.ctl.json(&["node", "undrain", name]).await?;
        eventually("it to serve again", async || {
            ensure!(self.drain_state(name).await? == "DRAIN_STATE_SERVING");
            Ok(())
        })
        .await?;
        // Each refreshes at least once from the beginning of the drain on.
        tokio::time::sleep(REFRESH_INTERVAL).await;
        let seen = self.fleet.end_refreshing().await?;
        ensure!(seen.refreshes >= u64::from(self.fleet.len()), "{seen:?}: nobody refreshed");
        ensure!(seen.lost == 0, "{seen:?}");
        Ok(seen)
    }

    async fn drain_state(&self, name: &str) -> Result<String> {
        let nodes = self.ctl.json(&["node", "list"]).await?;
        let node = rows(&nodes)?.iter().find(|it| text(it, "name").is_ok_and(|it| it == name));
        Ok(text(node.with_context(|| format!("{name} is gone"))?, "drain_state")?.to_owned())
    }

    /// Is told, takes note, and sees it end.
    async fn kill_leader(&mut self) -> Result<()> {
        let (killed, killed_ms) = (Instant::now(), clock::unix_ms());
        kill(&self.cluster.leader().await?)?;
        // The first leader may have been a change too.
        let is_raised = |alarm: &Value| {
            let is_new = number(alarm, "raised_ms").is_ok_and(|raised_ms| raised_ms >= killed_ms);
            is_new && text(alarm, "name").is_ok_and(|name| name.starts_with("leader-changed@"))
        };
        let name = eventually("the alarm", async || {
            let alarms = self.alarms().await?;
            let alarm = alarms.iter().find(|alarm| is_raised(alarm)).context("it is not raised")?;
            Ok(text(alarm, "name")?.to_owned())
        })
        .await?;
        self.day.alarm_after = killed.elapsed();
        // It leaves the list when it has ended, half a minute after the change, and somebody has taken note. On a busy
        // host the leadership may change again meanwhile.
        let begun = Instant::now();
        while let Some(alarm) = self.alarms().await?.into_iter().find(is_raised) {
            ensure!(begun.elapsed() < CLEARED_WITHIN, "it does not clear: {alarm}");
            if alarm.get("acknowledged").is_none_or(Value::is_null) {
                let comment = ["--comment", "the operator's day"];
                self.ctl.json(&[&["alarms", "ack", &name][..], &comment].concat()).await?;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let history = self.ctl.json(&["alarms", "history"]).await?.to_string();
        for step in ["RAISED", "ACKNOWLEDGED", "CLEARED", "the operator's day"] {
            ensure!(history.contains(step), "{step} is not in {history}");
        }
        let audit = self.ctl.json(&["audit", "list", "--limit", "3"]).await?.to_string();
        ensure!(audit.contains("AcknowledgeAlarm"), "{audit}");
        self.ctl.json(&["audit", "verify"]).await?;
        Ok(())
    }

    async fn alarms(&self) -> Result<Vec<Value>> {
        // While there is no leader nobody can say.
        let listed = eventually("the list of alarms", async || {
            self.ctl.json(&["alarms", "list", "--all"]).await
        })
        .await?;
        Ok(rows(&listed)?.clone())
    }

    async fn take_support_bundle(&mut self) -> Result<()> {
        let file = self.desk.path().join("bundle.tar");
        self.ctl.run(&["support-bundle", utf8(&file)?]).await?;
        let bundle = std::fs::read(&file)?;
        ensure!(bundle.len() > 4096, "there is nothing in it");
        let has = |wanted: &[u8]| bundle.windows(wanted.len()).any(|it| it == wanted);
        for secret in self.fleet.secrets(self.fleet.middle()) {
            ensure!(!has(&secret), "{:?} is in the bundle", String::from_utf8_lossy(&secret));
        }
        ensure!(has(b"forwarder-1"), "it does not say who the nodes are");
        Ok(())
    }

    async fn back_up_and_restore(&mut self) -> Result<()> {
        let file = self.desk.path().join("store.hpb");
        let saved = self.ctl.json(&["snapshot", "save", utf8(&file)?]).await?;
        let count = u64::from(self.fleet.len());
        ensure!(number(&saved, "subscribers")? == count && number(&saved, "bindings")? == count);
        self.ctl.json(&["snapshot", "verify", utf8(&file)?]).await?;
        self.fleet.end();
        let restored = restored::Store::from(&file, self.desk.path()).await?;
        let all = restored.ctl.json(&["subscribers", "list", "--limit", "100000"]).await?;
        ensure!(
            rows(&all)?.len() == usize::from(self.fleet.len()),
            "{} came back",
            rows(&all)?.len()
        );
        let bound = restored.ctl.json(&["bindings", "list", "--limit", "100000"]).await?;
        ensure!(
            rows(&bound)?.len() == usize::from(self.fleet.len()),
            "{} are bound",
            rows(&bound)?.len()
        );
        Ok(())
    }
}

/// The one list of a document.
fn rows(document: &Value) -> Result<&Vec<Value>> {
    let list =
        document.as_array().or_else(|| document.as_object()?.values().find_map(Value::as_array));
    list.with_context(|| format!("there is no list in {document}"))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("the path is not UTF-8")
}
