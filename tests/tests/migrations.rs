//! Each frozen on-disk format is read by today's code, and what is newer than today's code is
//! refused (`migrations/README.md`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    GetStatusRequest, ListHomeBindingsRequest, ListHomePrefixesRequest, ListSubscribersRequest,
};
use homeport_api::convert;
use homeport_binding::{Binding, BindingCache, CareOf, Command, Home, Outcome, StateRecord};
use homeport_raft::Node;
use homeport_runtime::{Shutdown, Task};
use homeport_tests::formats::{
    ADDRESS, CLUSTER, Machine, NODE_ID, copy_dir, decode_state, encode_state, entries, first,
    freeze, ledger, raft_config, replay, snapshot_of,
};
use homeport_tests::{eventually, free_address};
use homeport_wire::Bid;
use tempfile::TempDir;
use tonic::transport::Channel;

fn entry() -> PathBuf {
    ledger().join("0001-first-format")
}

/// A copy of the frozen replica's disk: what reads it may write.
fn replica() -> Result<TempDir> {
    let copy = tempfile::tempdir()?;
    copy_dir(&entry().join("replica"), copy.path())?;
    Ok(copy)
}

/// All records but the header, whose revision moves with each new leader.
fn content(cache: &BindingCache) -> Vec<StateRecord> {
    cache.records().skip(1).collect()
}

fn binding(home: &Home, bid: Option<Bid>) -> Result<&Binding> {
    home.bindings.get(&bid).with_context(|| format!("no binding with {bid:?}"))
}

/// The log replayed by today's code gives the state that the code of then has written.
#[test]
fn the_state_of_the_first_format_is_read() -> Result<()> {
    let state = decode_state(std::fs::read(entry().join("state.bin"))?)?;
    assert_eq!(state, replay(first::history()));
    Ok(())
}

/// So that both sides of that comparison cannot be wrong alike.
#[test]
fn the_state_of_the_first_format_holds_what_it_should() -> Result<()> {
    let state = decode_state(std::fs::read(entry().join("state.bin"))?)?;
    let several = state.home(first::address(1, 0x100)).context("no bindings")?;
    let care_of: Vec<_> =
        several.bindings.iter().map(|(bid, binding)| (*bid, binding.care_of)).collect();
    let foreign = |host| CareOf::Ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host));
    let behind_nat = CareOf::Ipv4 {
        address: Ipv4Addr::new(203, 0, 113, 9),
        port: 40_001,
        announced: Ipv4Addr::new(192, 0, 2, 44),
        udp: true,
    };
    let expected = [
        (Some(Bid(1)), foreign(0x11)),
        (Some(Bid(2)), foreign(0x22)),
        (Some(Bid(3)), behind_nat),
        (Some(Bid(4)), CareOf::Ipv6(first::address(1, 0x100))),
    ];
    assert_eq!(care_of, expected);
    assert_eq!(binding(several, Some(Bid(2)))?.priority.value(), 10);
    let home = binding(several, Some(Bid(4)))?.home.as_ref().context("no home binding")?;
    assert_eq!(home.link_layer_address, [2, 0, 0, 0, 0, 4]);
    assert_eq!((several.sequence.0, several.forget), (2, None));
    let statuses = |home_address| -> Option<Vec<u8>> {
        let remembered = state.home(home_address)?.remembered.iter();
        let status = |outcome: &Outcome| match outcome {
            Outcome::Answer(answer) => answer.status.0,
            Outcome::Silent(_) => 255,
            other => panic!("{other:?}"),
        };
        Some(remembered.map(|remembered| status(&remembered.verdict.outcome)).collect())
    };
    assert_eq!(statuses(first::address(1, 0x100)), Some(vec![4, 164, 135, 255]));
    let plain = state.home(first::address(1, 0x101)).context("no binding")?;
    assert_eq!(binding(plain, None)?.care_of, foreign(0x33));
    let gone = state.home(first::address(1, 0x102)).context("no tombstone")?;
    ensure!(gone.bindings.is_empty() && gone.forget.is_some() && gone.sequence.0 == 8);
    assert_eq!(statuses(first::address(2, 0x100)), Some(vec![0, 144]));
    let prefixes: Vec<String> =
        state.home_prefixes_after(None).map(|prefix| prefix.record.prefix.to_string()).collect();
    assert_eq!(prefixes, ["2001:db8:0:1::/64", "2001:db8:0:2::/64"]);
    let subscribers: Vec<_> = state
        .subscribers_after(None)
        .map(|subscriber| subscriber.record.mn_ha.as_ref().map(|(spi, key)| (*spi, key.0)))
        .collect();
    assert_eq!(subscribers, [None, Some((0xffff_ffff, *b"0123456789abcdef"))]);
    assert_eq!(state.binding_count(), 6);
    Ok(())
}

#[test]
fn log_entries_of_the_first_format_are_read() -> Result<()> {
    let batch = convert::decode_batch(&std::fs::read(entry().join("batch.bin"))?)?;
    assert_eq!(batch, first::batch());
    let mut kinds = [0; 5];
    for command in &batch.commands {
        kinds[match command {
            Command::Register(_) => 0,
            Command::PutHomePrefix { .. } => 1,
            Command::DeleteHomePrefix(_) => 2,
            Command::PutSubscriber { .. } => 3,
            Command::DeleteSubscriber(_) => 4,
            Command::Revoke(_)
            | Command::PutSecurityAssociation { .. }
            | Command::DeleteSecurityAssociation { .. }
            | Command::Protected(_)
            | Command::RevocationAnswer(_)
            | Command::Switch(_)
            | Command::UpdateHomePrefix { .. }
            | Command::AdvertiseHomePrefix { .. }
            | Command::PrefixesSolicited(_)
            | Command::CareOfVerified(_)
            | Command::DuplicateAddressDetection(_)
            | Command::DefendHomeLink { .. }
            | Command::ReleaseHomeLink { .. }
            | Command::Correspond(_)
            | Command::Operate(_)
            | Command::Audited(_) => {
                bail!("the first format does not know {command:?}")
            }
        }] += 1;
    }
    assert_eq!(kinds, [13, 2, 2, 2, 2]);
    Ok(())
}

/// What is written today is the newest format of the ledger, octet for octet: a change of the
/// encoding is a new format and takes a new entry.
#[test]
fn todays_code_writes_the_newest_format() -> Result<()> {
    let (_, newest) = entries()?.pop_last().context("the ledger is empty")?;
    let state = encode_state(&replay(first::history()));
    ensure!(state == std::fs::read(newest.join("state.bin"))?, "the state is encoded otherwise");
    let batch = convert::encode_batch(first::batch());
    ensure!(*batch == *std::fs::read(newest.join("batch.bin"))?, "entries are encoded otherwise");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_starts_on_a_disk_of_the_first_format() -> Result<()> {
    let disk = replica()?;
    let expected = replay(first::history());
    for start in ["as it was frozen", "as today's code left it"] {
        let node = Node::start(raft_config(disk.path()), Machine::default()).await?;
        eventually("the log to be applied", async || {
            ensure!(node.read(|machine| machine.0.revision()) >= expected.revision());
            ensure!(node.leadership().borrow().local);
            Ok(())
        })
        .await?;
        let same = node.read(|machine| content(&machine.0) == content(&expected));
        ensure!(same, "{start}");
        assert_eq!(node.read(|machine| machine.0.now()), expected.now());
        node.shutdown().await?;
    }
    Ok(())
}

fn store_config(data_dir: &Path, listen: std::net::SocketAddr) -> homeport_store::Config {
    homeport_store::Config {
        node_id: NODE_ID,
        cluster_name: CLUSTER.to_owned(),
        data_dir: data_dir.to_owned(),
        listen,
        peers: [(NODE_ID, ADDRESS.to_owned())].into(),
        raft: homeport_store::RaftTimers::default(),
        snapshot_after_mib: homeport_store::limits::SNAPSHOT_AFTER_MIB_DEFAULT,
        admin: None,
        tls: None,
        telemetry: Default::default(),
        ops: Default::default(),
        prefix_advertisements_per_second_max:
            homeport_store::limits::ADVERTISEMENTS_PER_SECOND_DEFAULT,
    }
}

/// The same through the store role and its admin API.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_serves_a_disk_of_the_first_format() -> Result<()> {
    let (disk, listen) = (replica()?, free_address()?);
    let shutdown = Shutdown::manual();
    let config = store_config(disk.path(), listen);
    let task = Task::spawn("store", homeport_store::run(config, shutdown.clone()));
    let channel = eventually("the store to lead", async || {
        let channel = Channel::from_shared(format!("http://{listen}"))?.connect().await?;
        let status = ClusterClient::new(channel.clone()).get_status(GetStatusRequest {}).await?;
        ensure!(status.into_inner().role == "leader");
        Ok(channel)
    })
    .await?;
    let request = ListHomePrefixesRequest::default();
    let prefixes = HomePrefixesClient::new(channel.clone()).list_home_prefixes(request).await?;
    let prefixes = prefixes.into_inner().home_prefixes;
    let shown: Vec<_> = prefixes.iter().map(|p| (p.prefix.as_str(), p.revision)).collect();
    assert_eq!(shown, [("2001:db8:0:1::/64", 2), ("2001:db8:0:2::/64", 2)]);
    let request = ListSubscribersRequest::default();
    let subscribers = SubscribersClient::new(channel.clone()).list_subscribers(request).await?;
    let subscribers = subscribers.into_inner().subscribers;
    let shown: Vec<_> = subscribers.iter().map(|s| (s.nai.as_str(), s.key_present)).collect();
    assert_eq!(shown, [("", false), ("mn1@example.com", true)]);
    let request = ListHomeBindingsRequest::default();
    let homes = BindingsClient::new(channel).list_home_bindings(request).await?.into_inner().homes;
    let shown: Vec<_> = homes.iter().map(|h| (h.home_address.as_str(), h.bindings.len())).collect();
    let expected = [("2001:db8:0:1::100", 4), ("2001:db8:0:1::101", 1), ("2001:db8:0:2::100", 1)];
    assert_eq!(shown, expected);
    shutdown.begin();
    task.await??;
    Ok(())
}

/// What a newer program wrote is left alone, and the message says which version reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused_by_name() -> Result<()> {
    let mut octets = std::fs::read(entry().join("state.bin"))?;
    // Length, header record, its length, field 1: the format.
    ensure!(octets[3..5] == [0x08, 1]);
    octets[4] = 2;
    let error = convert::decode_state_record(&mut Bytes::from(octets)).err().context("read")?;
    let text = error.to_string();
    ensure!(text.contains("format 2") && text.contains("reads 1"), "{text}");
    for file in ["identity", "snapshot"] {
        let disk = replica()?;
        let path = match file {
            "identity" => disk.path().join(file),
            _ => snapshot_of(disk.path())?,
        };
        let mut octets = std::fs::read(&path)?;
        ensure!(octets[8..12] == [1, 0, 0, 0]);
        let reads = if file == "identity" { 3 } else { 1 };
        octets[8] = reads + 1;
        std::fs::write(&path, &octets)?;
        let config = store_config(disk.path(), free_address()?);
        let refused = homeport_store::run(config, Shutdown::manual()).await;
        let text = refused.err().context("it was taken")?.to_string();
        let both = [format!("version {}", reads + 1), format!("up to {reads}")];
        ensure!(both.iter().all(|part| text.contains(part)), "{file}: {text}");
        ensure!(text.contains(&*path.to_string_lossy()), "{file}: {text}");
        assert_eq!(std::fs::read(&path)?, octets, "{file} was touched");
    }
    Ok(())
}

fn second() -> PathBuf {
    ledger().join("0002-cluster-id")
}

fn version_of(data_dir: &Path) -> Result<u8> {
    Ok(std::fs::read(data_dir.join("identity"))?[8])
}

/// Whether a replica on this disk comes to the state that the history leaves.
async fn starts(data_dir: &Path) -> Result<()> {
    let expected = replay(first::history());
    let node = Node::start(raft_config(data_dir), Machine::default()).await?;
    eventually("the log to be applied", async || {
        ensure!(node.read(|machine| machine.0.revision()) >= expected.revision());
        ensure!(node.leadership().borrow().local);
        Ok(())
    })
    .await?;
    ensure!(node.cluster() == (CLUSTER, 0), "{:?}", node.cluster());
    ensure!(node.read(|machine| content(&machine.0) == content(&expected)), "another state");
    node.shutdown().await?;
    Ok(())
}

/// Nothing but the identity is another one than in the first format.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_starts_on_a_disk_of_the_second_format() -> Result<()> {
    assert_eq!(version_of(&second().join("replica"))?, 2);
    for sample in ["state.bin", "batch.bin"] {
        ensure!(std::fs::read(second().join(sample))? == std::fs::read(entry().join(sample))?);
    }
    let disk = tempfile::tempdir()?;
    copy_dir(&second().join("replica"), disk.path())?;
    starts(disk.path()).await?;
    assert_eq!(version_of(disk.path())?, 2);
    ensure!(!disk.path().join("journal").exists(), "an older program would not read it");
    Ok(())
}

fn third() -> PathBuf {
    ledger().join("0003-journal")
}

/// The second time sled's file is damaged, so that everything comes from the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_starts_on_a_disk_of_the_third_format() -> Result<()> {
    assert_eq!(version_of(&third().join("replica"))?, 3);
    for sample in ["state.bin", "batch.bin"] {
        ensure!(std::fs::read(third().join(sample))? == std::fs::read(entry().join(sample))?);
    }
    for damaged in [false, true] {
        let disk = tempfile::tempdir()?;
        copy_dir(&third().join("replica"), disk.path())?;
        if damaged {
            let db = disk.path().join("log/db");
            let mut octets = std::fs::read(&db)?;
            octets[40] ^= 1;
            std::fs::write(&db, octets)?;
        }
        starts(disk.path()).await?;
    }
    Ok(())
}

/// The way back stays open until an operator closes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_the_first_format_stays_so_until_it_is_migrated() -> Result<()> {
    let disk = replica()?;
    starts(disk.path()).await?;
    assert_eq!(version_of(disk.path())?, 1);
    let running = Node::start(raft_config(disk.path()), Machine::default()).await?;
    let refused = homeport_store::migrate(disk.path()).err().context("it runs")?.to_string();
    ensure!(refused.contains("in use"), "{refused}");
    running.shutdown().await?;
    assert_eq!(homeport_store::migrate(disk.path())?, (1, 3));
    assert_eq!(homeport_store::migrate(disk.path())?, (3, 3));
    ensure!(!disk.path().join("journal").exists());
    for _ in 0..2 {
        starts(disk.path()).await?;
        assert_eq!(version_of(disk.path())?, 3);
        ensure!(disk.path().join("journal/0").exists());
    }
    let nothing = tempfile::tempdir()?;
    let refused = homeport_store::migrate(nothing.path()).err().context("there is nothing")?;
    ensure!(refused.to_string().contains("identity"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_whole_and_nothing_in_it_is_written_again() -> Result<()> {
    let entries = entries()?;
    let count = u32::try_from(entries.len())?;
    assert_eq!(entries.keys().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
    let readme = std::fs::read_to_string(ledger().join("README.md"))?;
    for path in entries.values() {
        let name = path.file_name().context("no name")?.to_string_lossy();
        ensure!(readme.contains(&*name), "README.md does not mention {name}");
        ensure!(path.join("README.md").is_file(), "{name} does not say what it is");
    }
    let existing = entry().file_name().context("no name")?.to_string_lossy().into_owned();
    let next = format!("{:04}-nothing-new", count + 1);
    let rows = [
        (existing.as_str(), "never written again"),
        ("0001-another-first", "the next number is"),
        ("9999-far-away", "the next number is"),
        ("second", "expected NNNN-what-changed"),
        ("2-second", "expected NNNN-what-changed"),
        (&next, "there is nothing to freeze"),
    ];
    for (name, reason) in rows {
        let refused = freeze(name).await.err().with_context(|| format!("{name} was written"))?;
        ensure!(format!("{refused:#}").contains(reason), "{name}: {refused:#}");
    }
    assert_eq!(homeport_tests::formats::entries()?, entries);
    Ok(())
}
