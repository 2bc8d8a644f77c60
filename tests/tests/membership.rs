//! Replicas that come, go and lead while mobile nodes register.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::{
    AddReplicaRequest, Authentication, Member, RemoveReplicaRequest, TransferLeadershipRequest,
};
use homeport_binding::{Command, Ipv6Prefix};
use homeport_tests::submit::Submitter;
use homeport_tests::updates::{Update, acknowledgement, home_address};
use homeport_tests::{Cluster, FrontEnd, eventually};
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn admin(cluster: &Cluster, id: u64) -> Result<ClusterClient<Channel>> {
    Ok(ClusterClient::new(cluster.channel(id).await?))
}

async fn registers(front_end: &mut FrontEnd, host: u16, sequence: u16) -> Result<()> {
    let answer = front_end.ask(&Update::new(home_address(host), sequence).packet(), None).await?;
    ensure!(acknowledgement(&answer.packet)?.status() == 0, "not accepted");
    Ok(())
}

fn voters(members: &[Member]) -> Vec<u64> {
    members.iter().filter(|member| member.voter).map(|member| member.node_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_disk_takes_the_place_of_a_lost_one() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    registers(&mut front_end, 0x100, 1).await?;
    let leader = cluster.leader().await?;
    let lost = leader % 3 + 1;
    cluster.stop_replica(lost).await?;
    let address = cluster.start_newcomer(4)?.to_string();
    let request =
        AddReplicaRequest { node_id: 4, address, replaces_node_id: lost, ..<_>::default() };
    let mut client = admin(&cluster, leader).await?;
    let members = client.add_replica(request.clone()).await?.into_inner().members;
    let kept = 6 - leader - lost;
    let mut expected = vec![leader, kept, 4];
    expected.sort_unstable();
    assert_eq!(voters(&members), expected);
    assert_eq!(members.len(), 3, "the lost one is no learner either");
    // Its answer may have got lost.
    let again = client.add_replica(request).await?.into_inner().members;
    assert_eq!(again, members);
    // It votes once it has the log; it applies that a moment later.
    eventually("the new one to have applied what was there", async || {
        ensure!(cluster.status(4).await?.home_addresses == 1);
        Ok(())
    })
    .await?;
    // Now it is needed.
    cluster.stop_replica(kept).await?;
    registers(&mut front_end, 0x100, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_lets_another_lead() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    registers(&mut front_end, 0x100, 1).await?;
    let first = cluster.leader().await?;
    let request = RemoveReplicaRequest { node_id: first, ..Default::default() };
    let refused = admin(&cluster, first).await?.remove_replica(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let next = refused.metadata().get("homeport-leader").context("nobody is named")?.to_str()?;
    let second = (1..=3).find(|id| cluster.address(*id).to_string() == next);
    let second = second.context("no such replica")?;
    assert_ne!(second, first);
    let members = admin(&cluster, second).await?.remove_replica(request).await?.into_inner();
    let mut expected: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    expected.sort_unstable();
    assert_eq!(voters(&members.members), expected);
    cluster.stop_replica(first).await?;
    registers(&mut front_end, 0x100, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_all_and_votes_later() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    registers(&mut front_end, 0x100, 1).await?;
    let leader = cluster.leader().await?;
    let mut client = admin(&cluster, leader).await?;
    let address = cluster.start_newcomer(4)?.to_string();
    let request = AddReplicaRequest { node_id: 4, address, learner_only: true, ..<_>::default() };
    let members = client.add_replica(request.clone()).await?.into_inner().members;
    assert_eq!((members.len(), voters(&members)), (4, vec![1, 2, 3]));
    assert_eq!(cluster.status(4).await?.role, "learner");
    registers(&mut front_end, 0x101, 1).await?;
    eventually("the learner to follow", async || {
        ensure!(cluster.status(4).await?.home_addresses == 2);
        Ok(())
    })
    .await?;
    let request = AddReplicaRequest { learner_only: false, ..request };
    let members = client.add_replica(request).await?.into_inner().members;
    assert_eq!(voters(&members), [1, 2, 3, 4]);
    let members = client
        .remove_replica(RemoveReplicaRequest { node_id: 4, ..Default::default() })
        .await?
        .into_inner();
    assert_eq!((members.members.len(), voters(&members.members)), (3, vec![1, 2, 3]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_stop_needs_no_election() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.create_home_prefix(Authentication::None).await?;
    let mut front_end = cluster.front_end().await?;
    registers(&mut front_end, 0x100, 1).await?;
    let first = cluster.leader().await?;
    let to = first % 3 + 1;
    let request = TransferLeadershipRequest { node_id: to, ..Default::default() };
    let now = admin(&cluster, first).await?.transfer_leadership(request).await?.into_inner();
    assert_eq!(now.leader_id, to);
    assert_eq!(cluster.status(to).await?.role, "leader");
    cluster.stop_replica(to).await?;
    // Whoever stops in order has seen another lead before.
    let mut roles = Vec::new();
    for id in (1..=3).filter(|id| *id != to) {
        roles.push(cluster.status(id).await?.role);
    }
    assert!(roles.iter().any(|role| role == "leader"), "{roles:?}");
    registers(&mut front_end, 0x100, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_names_its_field() -> Result<()> {
    let cluster = Cluster::start().await?;
    let leader = cluster.leader().await?;
    let mut client = admin(&cluster, leader).await?;
    let at = |id| cluster.address(id).to_string();
    let add = |node_id, address: &str, learner_only, replaces_node_id| AddReplicaRequest {
        node_id,
        address: address.to_owned(),
        learner_only,
        replaces_node_id,
        ..Default::default()
    };
    let rows = [
        (add(0, "127.0.0.1:7104", false, 0), Code::InvalidArgument, "node_id:"),
        (add(4, "127.0.0.1", false, 0), Code::InvalidArgument, "address:"),
        (add(4, ":7104", false, 0), Code::InvalidArgument, "address:"),
        (add(4, "127.0.0.1:70000", false, 0), Code::InvalidArgument, "address:"),
        (add(2, "127.0.0.1:7104", false, 0), Code::AlreadyExists, "node_id:"),
        (add(4, &at(2), false, 0), Code::AlreadyExists, "address:"),
        (add(4, "127.0.0.1:7104", true, 2), Code::InvalidArgument, "replaces_node_id:"),
        (add(2, &at(2), false, 2), Code::InvalidArgument, "replaces_node_id:"),
        (add(4, "127.0.0.1:7104", false, 9), Code::NotFound, "replaces_node_id:"),
    ];
    let assert = |status: &Status, code, field: &str| {
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().starts_with(field), "{status}");
    };
    for (request, code, field) in rows {
        assert(&client.add_replica(request).await.unwrap_err(), code, field);
    }
    let request = RemoveReplicaRequest { node_id: 9, ..Default::default() };
    let status = client.remove_replica(request).await.unwrap_err();
    assert(&status, Code::NotFound, "node_id:");
    let request = TransferLeadershipRequest { node_id: 9, ..Default::default() };
    let status = client.transfer_leadership(request).await.unwrap_err();
    assert(&status, Code::NotFound, "node_id:");
    assert_eq!(voters(&cluster.status(leader).await?.members), [1, 2, 3]);
    Ok(())
}

/// A replica that runs an older program would pass the command over, whoever proposes it. Nothing is
/// provisioned: with the first write of an operator a new cluster has a state that older programs refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_kind_of_command_waits_for_all_to_know_it() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    cluster.leader().await?;
    for id in 1..=3 {
        cluster.stop_replica(id).await?;
    }
    cluster.start_replica(1);
    cluster.start_replica(2);
    let prefix = Ipv6Prefix::new("2001:db8:0:1::".parse()?, 64).context("is a prefix")?;
    let release = || Command::ReleaseHomeLink { prefix, forwarder: "one".to_owned() };
    let submit = async |cluster: &Cluster| {
        let mut submitter = Submitter::open(cluster.leader_channel().await?).await?;
        submitter.command(release()).await
    };
    let refused = submit(&cluster).await.unwrap_err().to_string();
    assert!(refused.contains("replicas [3] run an older version"), "{refused}");
    cluster.start_replica(3);
    eventually("the third to be heard from", async || submit(&cluster).await.map(drop)).await
}
