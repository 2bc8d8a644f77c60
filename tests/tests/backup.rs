//! Backups, clusters that begin with one, and clusters that go on with one survivor.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::snapshots_client::SnapshotsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    AddReplicaRequest, Authentication, CreateSubscriberRequest, ListHomeBindingsRequest,
    SaveSnapshotRequest, Subscriber,
};
use homeport_api::backup;
use homeport_raft::limits::INDEX_LEAP;
use homeport_tests::dev::program;
use homeport_tests::feed::Watch;
use homeport_tests::submit::{Submitter, registration};
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

/// Status "Sequence number out of window".
const OUT_OF_WINDOW: u8 = 135;

async fn status_of(front_end: &mut FrontEnd, host: u16, sequence: u16) -> Result<u8> {
    let answer = front_end.ask(&Update::new(home_address(host), sequence).packet(), None).await?;
    Ok(acknowledgement(&answer.packet)?.status())
}

async fn registers(front_end: &mut FrontEnd, host: u16, sequence: u16) -> Result<()> {
    ensure!(status_of(front_end, host, sequence).await? == 0, "not accepted");
    Ok(())
}

/// Home addresses that have bindings.
async fn bound(cluster: &Cluster) -> Result<Vec<String>> {
    let mut client = BindingsClient::new(cluster.leader_channel().await?);
    let homes = client.list_home_bindings(ListHomeBindingsRequest::default()).await?;
    Ok(homes.into_inner().homes.into_iter().map(|home| home.home_address).collect())
}

fn addresses(hosts: &[u16]) -> Vec<String> {
    hosts.iter().map(|host| home_address(*host).to_string()).collect()
}

/// The program itself.
async fn homeportctl(cluster: Option<&Cluster>, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(program("homeportctl")?);
    command.env_remove("HOMEPORT_ENDPOINTS").kill_on_drop(true);
    if let Some(cluster) = cluster {
        command.args(["--endpoint", &cluster.stores().join(",")]);
    }
    Ok(command.args(["--output", "json"]).args(arguments).output().await?)
}

async fn homeport(arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(program("homeport")?);
    Ok(command.kill_on_drop(true).args(arguments).output().await?)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn document(output: &Output) -> Result<Value> {
    ensure!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a command that must fail says.
fn refusal(output: &Output, code: i32) -> Result<String> {
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(code), "{}{said}", text(&output.stdout));
    Ok(said)
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("not UTF-8")
}

/// A cluster with registrations, and a backup of it.
struct Saved {
    cluster: Cluster,
    front_end: FrontEnd,
    dir: TempDir,
    file: PathBuf,
    shown: Value,
}

async fn saved() -> Result<Saved> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let subscriber = Subscriber {
        home_address: home_address(0x700).to_string(),
        nai: "mn7@example.com".to_owned(),
        spi: 256,
        key: b"0123456789abcdef".to_vec().into(),
        ..Subscriber::default()
    };
    let request = CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
    SubscribersClient::new(cluster.leader_channel().await?).create_subscriber(request).await?;
    let mut front_end = cluster.front_end().await?;
    for host in [0x100, 0x101, 0x102] {
        registers(&mut front_end, host, 7).await?;
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("store.hpb");
    let shown = document(&homeportctl(Some(&cluster), &["snapshot", "save", utf8(&file)?]).await?)?;
    Ok(Saved { cluster, front_end, dir, file, shown })
}

/// Stops all of a cluster, and restores the backup into the first replica of a new one at its addresses.
async fn restored(old: &mut Cluster, file: &Path) -> Result<(Cluster, Value)> {
    for id in 1..=3 {
        old.stop_replica(id).await?;
    }
    let mut cluster = Cluster::at_the_addresses_of(old)?;
    let (data_dir, address) = (cluster.data_dir(1), cluster.address(1).to_string());
    let arguments = ["snapshot", "restore", utf8(file)?, "--data-dir", utf8(&data_dir)?];
    let whose = ["--node-id", "1", "--address", &address];
    let shown = document(&homeportctl(None, &[&arguments[..], &whose].concat()).await?)?;
    cluster.start_replica(1);
    ensure!(cluster.leader().await? == 1);
    Ok((cluster, shown))
}

async fn adds(cluster: &Cluster, leader: u64, node_id: u64) -> Result<()> {
    let address = cluster.address(node_id).to_string();
    let request = AddReplicaRequest { node_id, address, ..<_>::default() };
    let mut client = ClusterClient::new(cluster.channel(leader).await?);
    // It waits until the replica has caught up; asked again it goes on.
    let added = tokio::time::timeout(Duration::from_secs(3), client.add_replica(request)).await;
    let members = added.context("it does not catch up")??.into_inner().members;
    ensure!(members.iter().any(|member| member.node_id == node_id && member.voter));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_what_it_holds() -> Result<()> {
    let Saved { cluster, dir, file, shown, .. } = saved().await?;
    let verify = ["snapshot", "verify", utf8(&file)?];
    assert_eq!(document(&homeportctl(None, &verify).await?)?, shown);
    let expected = [
        ("home_prefixes", 1),
        ("subscribers", 1),
        ("home_addresses", 3),
        ("bindings", 3),
        ("format", 1),
        ("state_format", 1),
    ];
    for (what, count) in expected {
        assert_eq!(shown[what], count, "{what}: {shown:#}");
    }
    assert_eq!((&shown["cluster"], &shown["cluster_id"]), (&"test".into(), &"0".repeat(16).into()));
    assert_eq!(shown["octets"], std::fs::metadata(&file)?.len());
    let leader = cluster.leader().await?;
    let applied = cluster.status(leader).await?.applied_index;
    let revision = shown["revision"].as_u64().context("no revision")?;
    ensure!((1..=applied).contains(&revision), "{revision}, {applied}");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600, "it holds keys");
    // A file is never replaced by accident, and nothing else is left beside it.
    let before = std::fs::read(&file)?;
    let save = ["snapshot", "save", utf8(&file)?];
    let refused = refusal(&homeportctl(Some(&cluster), &save).await?, 2)?;
    ensure!(refused.contains(utf8(&file)?) && refused.contains("--force"), "{refused}");
    assert_eq!(std::fs::read(&file)?, before);
    let forced = [&save[..], &["--force"]].concat();
    document(&homeportctl(Some(&cluster), &forced).await?)?;
    assert_ne!(std::fs::read(&file)?, before);
    let names: Vec<_> = std::fs::read_dir(dir.path())?.map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["store.hpb"]);
    assert_eq!(cluster.metric("homeport_store_backups_total{reason=\"saved\"}").await?, 2.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_lead_saves_only_when_it_is_asked_for_its_own() -> Result<()> {
    let Saved { cluster, dir, .. } = saved().await?;
    let follower = cluster.leader().await? % 3 + 1;
    let counter = "homeport_store_backups_total{reason=\"not_current\"}";
    let before = cluster.metric(counter).await?;
    let mut client = SnapshotsClient::new(cluster.channel(follower).await?);
    let refused = client.save_snapshot(SaveSnapshotRequest { local: false }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    ensure!(refused.metadata().contains_key("homeport-leader"), "{refused:?}");
    let mut stream = client.save_snapshot(SaveSnapshotRequest { local: true }).await?.into_inner();
    let mut octets = Vec::new();
    while let Some(message) = stream.message().await? {
        octets.extend_from_slice(&message.octets);
    }
    let file = dir.path().join("follower.hpb");
    std::fs::write(&file, octets)?;
    assert_eq!(backup::verify(&file)?.header.node_id, follower);
    assert_eq!(cluster.metric(counter).await?, before + 1.0);
    Ok(())
}

/// More than the messages that wait for a reader hold.
const MANY: u16 = 24_000;

#[tokio::test(flavor = "multi_thread")]
async fn one_snapshot_is_saved_at_a_time_while_writes_go_on() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
    let policy = submitter.policy_revisions(home_address(1)).await?;
    // With the same request ids it may be done again: leaders change on a busy machine.
    let register = async |hosts: std::ops::Range<u16>| {
        eventually("registrations", async || {
            let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
            let all = hosts.clone();
            let all = all.map(|host| registration(home_address(host), 1, host.into(), policy));
            submitter.register_all(all).await
        })
        .await
    };
    assert_eq!(register(0x1000..0x1000 + MANY).await?.len(), usize::from(MANY));
    eventually("all of them at one replica", async || {
        ensure!(cluster.status(1).await?.bindings == u64::from(MANY));
        Ok(())
    })
    .await?;
    let mut client = SnapshotsClient::new(cluster.channel(1).await?);
    let save = SaveSnapshotRequest { local: true };
    let mut unread = client.save_snapshot(save).await?.into_inner();
    let refused = client.save_snapshot(save).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    register(0x100..0x101).await?;
    // What is read late is of the moment at which it was asked for.
    let mut octets = Vec::new();
    while let Some(message) = unread.message().await? {
        octets.extend_from_slice(&message.octets);
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("many.hpb");
    std::fs::write(&file, octets)?;
    assert_eq!(backup::verify(&file)?.counts.bindings, u64::from(MANY));
    let left = eventually("a place", async || Ok(client.save_snapshot(save).await?)).await?;
    drop(left);
    for (outcome, count) in [("busy", 1.0), ("saved", 1.0), ("left", 1.0)] {
        let counter = format!("homeport_store_backups_total{{reason=\"{outcome}\"}}");
        eventually("the counter", async || {
            let counted = cluster.metric(&counter).await?;
            ensure!(counted >= count, "{outcome}: {counted}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_goes_on_where_the_backup_was() -> Result<()> {
    let Saved { mut cluster, mut front_end, file, shown, dir: _dir } = saved().await?;
    registers(&mut front_end, 0x103, 7).await?;
    let (mut cluster, made) = restored(&mut cluster, &file).await?;
    let now = cluster.status(1).await?;
    assert_eq!(made["cluster_id"], format!("{:016x}", now.cluster_id));
    assert_ne!(now.cluster_id, 0);
    let revision = shown["revision"].as_u64().context("no revision")?;
    ensure!(now.applied_index > revision + INDEX_LEAP, "{}", now.applied_index);
    assert_eq!(bound(&cluster).await?, addresses(&[0x100, 0x101, 0x102]), "without the late one");
    // The front-end is the old one: it finds the new cluster by itself. Nothing is replayed.
    assert_eq!(status_of(&mut front_end, 0x100, 7).await?, OUT_OF_WINDOW);
    registers(&mut front_end, 0x100, 8).await?;
    registers(&mut front_end, 0x103, 8).await?;
    // The others have empty disks, and peers that name all three: they wait until they are added.
    for id in [2, 3] {
        cluster.start_replica(id);
        eventually("it to be added", async || adds(&cluster, 1, id).await).await?;
    }
    cluster.stop_replica(1).await?;
    registers(&mut front_end, 0x101, 8).await?;
    let leader = cluster.leader().await?;
    assert_eq!(cluster.status(leader).await?.cluster_id, now.cluster_id);
    assert_eq!(bound(&cluster).await?, addresses(&[0x100, 0x101, 0x102, 0x103]));
    // It can be saved and restored in its turn.
    let again = file.with_extension("again");
    let save = ["snapshot", "save", utf8(&again)?];
    let shown = document(&homeportctl(Some(&cluster), &save).await?)?;
    assert_eq!(shown["cluster_id"], made["cluster_id"]);
    assert_eq!((&shown["bindings"], &shown["subscribers"]), (&4.into(), &1.into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_gets_the_answer_of_the_old_cluster() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
    let policy = submitter.policy_revisions(home_address(0x100)).await?;
    let command = registration(home_address(0x100), 1, 4711, policy);
    let first = submitter.register(command.clone()).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("store.hpb");
    document(&homeportctl(Some(&cluster), &["snapshot", "save", utf8(&file)?]).await?)?;
    let (cluster, _) = restored(&mut cluster, &file).await?;
    let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
    assert_eq!(submitter.register(command).await?, first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_meanwhile_is_gone_and_time_does_not_run_back() -> Result<()> {
    let Saved { mut cluster, mut front_end, dir, .. } = saved().await?;
    let short = Update { lifetime: 1, ..Update::new(home_address(0x1ff), 1) };
    front_end.ask(&short.packet(), None).await?;
    let file = dir.path().join("short.hpb");
    document(&homeportctl(Some(&cluster), &["snapshot", "save", utf8(&file)?]).await?)?;
    let header = backup::verify(&file)?.header;
    let (cluster, _) = restored(&mut cluster, &file).await?;
    eventually("the end of the short binding", async || {
        ensure!(bound(&cluster).await? == addresses(&[0x100, 0x101, 0x102]));
        Ok(())
    })
    .await?;
    let mut watch = Watch::start(cluster.channel(1).await?, "late").await?;
    watch.next().await?;
    ensure!(watch.log_time_ms() >= header.log_time_ms);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_followed_the_old_cluster_takes_the_new_one_anew() -> Result<()> {
    let Saved { mut cluster, mut front_end, file, dir: _dir, .. } = saved().await?;
    registers(&mut front_end, 0x103, 1).await?;
    let mut watch = Watch::start(cluster.leader_channel().await?, "forwarder").await?;
    let leader = cluster.leader().await?;
    let reached = cluster.status(leader).await?.applied_index;
    let old = watch.reach(reached).await?.clone();
    assert_eq!(old.homes.len(), 4);
    let (cluster, _) = restored(&mut cluster, &file).await?;
    let mut watch = Watch::resume(cluster.channel(1).await?, "forwarder", old).await?;
    let new = watch.reach(reached + 1).await?.clone();
    assert_eq!((watch.snapshots, new.homes.len()), (1, 3), "what the backup lacks is gone");
    ensure!(new.revision > reached + INDEX_LEAP / 2, "{}", new.revision);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_from_before_stays_outside() -> Result<()> {
    let Saved { cluster: mut old, mut front_end, file, dir: _dir, .. } = saved().await?;
    let (mut cluster, _) = restored(&mut old, &file).await?;
    let before = cluster.status(1).await?;
    old.start_replica(3);
    // The leader speaks to it, and it to the leader.
    ensure!(adds(&cluster, 1, 3).await.is_err(), "it was taken");
    let outside = old.status(3).await?;
    assert_eq!((outside.cluster_id, outside.leader_id), (0, 0));
    ensure!(outside.applied_index < INDEX_LEAP, "{outside:?}");
    registers(&mut front_end, 0x100, 8).await?;
    let after = cluster.status(1).await?;
    assert_eq!((after.role.as_str(), after.term), ("leader", before.term), "nobody disturbs it");
    // An empty disk under the same id is welcome: this cluster has not known it.
    old.stop_replica(3).await?;
    cluster.start_replica(3);
    eventually("the empty one to be taken", async || adds(&cluster, 1, 3).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_by_name() -> Result<()> {
    let Saved { dir, file, .. } = saved().await?;
    let good = std::fs::read(&file)?;
    let bad = dir.path().join("bad.hpb");
    let refused = |octets: &[u8]| -> Result<String> {
        std::fs::write(&bad, octets)?;
        let error = backup::verify(&bad).err().context("it was taken")?.to_string();
        ensure!(error.starts_with(utf8(&bad)?), "{error}");
        Ok(error)
    };
    for length in 0..good.len() {
        let error = refused(&good[..length]).with_context(|| format!("{length} octets"))?;
        ensure!(error.contains("snapshot save"), "{length}: {error}");
    }
    for bit in 0..good.len() * 8 {
        let mut octets = good.clone();
        octets[bit / 8] ^= 1 << (bit % 8);
        refused(&octets).with_context(|| format!("bit {bit}"))?;
    }
    let longer = [&good[..], &[0]].concat();
    ensure!(refused(&longer)?.contains("after its end"));
    // The programs say the same, and leave nothing behind.
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 1;
    let target = dir.path().join("new");
    for octets in [&good[..middle], &flipped[..]] {
        std::fs::write(&bad, octets)?;
        let verify = ["snapshot", "verify", utf8(&bad)?];
        let said = refusal(&homeportctl(None, &verify).await?, 2)?;
        ensure!(said.contains(utf8(&bad)?) && said.contains("another backup"), "{said}");
        let restore = ["snapshot", "restore", utf8(&bad)?, "--data-dir", utf8(&target)?];
        let whose = ["--node-id", "1", "--address", "127.0.0.1:7101"];
        let said = refusal(&homeportctl(None, &[&restore[..], &whose].concat()).await?, 2)?;
        ensure!(said.contains(utf8(&bad)?), "{said}");
        ensure!(!target.exists());
    }
    let mut newer = good;
    newer[8] = 2;
    let said = refused(&newer)?;
    ensure!(said.contains("version 2") && said.contains("up to 1"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_only_where_nothing_is() -> Result<()> {
    let Saved { mut cluster, file, dir: _dir, .. } = saved().await?;
    for id in 1..=3 {
        cluster.stop_replica(id).await?;
    }
    let data_dir = cluster.data_dir(2);
    let identity = std::fs::read(data_dir.join("identity"))?;
    let restore = ["snapshot", "restore", utf8(&file)?, "--data-dir", utf8(&data_dir)?];
    let whose = ["--node-id", "2", "--address", "127.0.0.1:7102"];
    let said = refusal(&homeportctl(None, &[&restore[..], &whose].concat()).await?, 2)?;
    ensure!(said.contains(utf8(&data_dir)?) && said.contains("not empty"), "{said}");
    assert_eq!(std::fs::read(data_dir.join("identity"))?, identity);
    cluster.start_replica(2);
    cluster.start_replica(3);
    cluster.leader().await?;
    // Nobody to ask.
    let dead = ["--endpoint", "127.0.0.1:1", "snapshot", "save", "/nonexistent/store.hpb"];
    let said = refusal(&homeportctl(None, &dead).await?, 2)?;
    ensure!(said.contains("/nonexistent"), "{said}");
    let target = file.with_extension("none");
    let dead = ["--endpoint", "127.0.0.1:1", "snapshot", "save", utf8(&target)?];
    refusal(&homeportctl(None, &dead).await?, 3)?;
    ensure!(!target.exists());
    Ok(())
}

const RECOVER: [&str; 4] =
    ["store", "recover", "--i-accept-that-acknowledged-commands-may-be-lost", "--data-dir"];

#[tokio::test(flavor = "multi_thread")]
async fn one_survivor_goes_on_when_the_majority_is_lost() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    registers(&mut front_end, 0x100, 7).await?;
    let leader = cluster.leader().await?;
    let reached = cluster.status(leader).await?.applied_index;
    let (survivor, lost) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let data_dir = cluster.data_dir(survivor);
    eventually("the survivor to have it", async || {
        ensure!(cluster.status(survivor).await?.applied_index >= reached);
        Ok(())
    })
    .await?;
    let command = [&RECOVER[..], &[utf8(&data_dir)?]].concat();
    let said = refusal(&homeport(&command).await?, 1)?;
    ensure!(said.contains("in use"), "{said}");
    for id in [leader, lost, survivor] {
        cluster.stop_replica(id).await?;
    }
    // Only who says that it is meant gets it.
    let said = refusal(&homeport(&["store", "recover", "--data-dir", utf8(&data_dir)?]).await?, 2)?;
    ensure!(said.contains(RECOVER[2]), "{said}");
    let done = homeport(&command).await?;
    ensure!(done.status.success(), "{}", text(&done.stderr));
    ensure!(text(&done.stderr).contains("may be lost"), "{}", text(&done.stderr));
    let said = text(&done.stdout);
    let gone = format!("replica {lost} at {} is no member", cluster.address(lost));
    for part in ["1 home addresses and 1 bindings", &gone, "before-recovery-", "destroy the disks"]
    {
        ensure!(said.contains(part), "{part:?} is missing in\n{said}");
    }
    let shown = homeport(&["store", "inspect", "--data-dir", utf8(&data_dir)?]).await?;
    let shown = text(&shown.stdout);
    ensure!(shown.contains(&format!("recovered from node {survivor} of")), "{shown}");
    goes_on(cluster, front_end, survivor, lost, reached).await
}

async fn goes_on(
    mut cluster: Cluster,
    mut front_end: FrontEnd,
    survivor: u64,
    lost: u64,
    reached: u64,
) -> Result<()> {
    cluster.start_replica(survivor);
    assert_eq!(cluster.leader().await?, survivor);
    let now = cluster.status(survivor).await?;
    ensure!(now.cluster_id != 0 && now.applied_index > reached + INDEX_LEAP, "{now:?}");
    assert_eq!(status_of(&mut front_end, 0x100, 7).await?, OUT_OF_WINDOW);
    registers(&mut front_end, 0x100, 8).await?;
    // A disk that was lost and is found again stays outside.
    cluster.start_replica(lost);
    ensure!(adds(&cluster, survivor, lost).await.is_err(), "it was taken");
    assert_eq!(cluster.status(lost).await?.leader_id, 0);
    cluster.stop_replica(lost).await?;
    std::fs::remove_dir_all(cluster.data_dir(lost))?;
    cluster.start_replica(lost);
    eventually("an empty disk in its place", async || adds(&cluster, survivor, lost).await).await?;
    registers(&mut front_end, 0x101, 1).await?;
    assert_eq!(bound(&cluster).await?, addresses(&[0x100, 0x101]));
    Ok(())
}
