//! Who may do what through the admin API, where the stores ask for tokens.

#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::alarms_client::AlarmsClient;
use homeport_api::admin::audit_client::AuditClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::nodes_client::NodesClient;
use homeport_api::admin::{
    AcknowledgeAlarmRequest, Authentication, CreateHomePrefixRequest, DeleteHomePrefixRequest,
    GetStatusRequest, HomePrefix, ListAuditRecordsRequest, ListNodesRequest,
};
use homeport_api::bearer::{Bearer, Link};
use homeport_store::{AdminRole, token_line};
use homeport_tests::{Cluster, eventually};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

/// The token of who has this role.
fn token(role: AdminRole) -> String {
    format!("token-of-{role}")
}

/// A line for each role; the holder has the role's name.
fn tokens() -> String {
    let line = |role: AdminRole| token_line(role.name(), role, &token(role)).unwrap() + "\n";
    AdminRole::ALL.into_iter().map(line).collect()
}

async fn cluster() -> Result<Cluster> {
    Cluster::start_with_tokens(&tokens(), &token(AdminRole::Admin)).await
}

async fn leader(cluster: &Cluster, token: &str) -> Result<Link> {
    Ok(Bearer::new(token)?.over(cluster.leader_channel().await?))
}

/// What each role is told: reads, daily work, the record, administration.
async fn outcomes(cluster: &Cluster, role: AdminRole) -> Result<[Code; 4]> {
    let link = leader(cluster, &token(role)).await?;
    let code = |status: Result<(), Status>| status.err().map_or(Code::Ok, |status| status.code());
    let read = ClusterClient::new(link.clone()).get_status(GetStatusRequest {}).await.map(drop);
    let name = "no@thing".to_owned();
    let acknowledge = AcknowledgeAlarmRequest { name, ..Default::default() };
    let operate = AlarmsClient::new(link.clone()).acknowledge_alarm(acknowledge).await.map(drop);
    let list = ListAuditRecordsRequest::default();
    let audit = AuditClient::new(link.clone()).list_audit_records(list).await.map(drop);
    let delete =
        DeleteHomePrefixRequest { prefix: "2001:db8:77::/64".to_owned(), ..Default::default() };
    let administer = HomePrefixesClient::new(link).delete_home_prefix(delete).await.map(drop);
    Ok([code(read), code(operate), code(audit), code(administer)])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_what_it_may_and_no_more() -> Result<()> {
    let cluster = cluster().await?;
    let (ok, no, none) = (Code::Ok, Code::PermissionDenied, Code::NotFound);
    let rows = [
        (AdminRole::Viewer, [ok, no, no, no]),
        (AdminRole::Operator, [ok, none, no, no]),
        (AdminRole::Security, [ok, no, ok, no]),
        (AdminRole::Admin, [ok, none, ok, none]),
    ];
    for (role, expected) in rows {
        // Another replica may begin to lead in the middle.
        eventually("the outcomes", async || {
            let found = outcomes(&cluster, role).await?;
            ensure!(found == expected, "{role}: {found:?}");
            Ok(())
        })
        .await?;
    }
    let denied = AlarmsClient::new(leader(&cluster, &token(AdminRole::Viewer)).await?)
        .acknowledge_alarm(AcknowledgeAlarmRequest::default())
        .await
        .unwrap_err();
    let info = denied.get_details_error_info().unwrap();
    assert_eq!(info.reason, "ROLE_INSUFFICIENT");
    assert_eq!(info.metadata["roles"], "operator or admin");
    assert_eq!(info.metadata["call"], "Alarms/AcknowledgeAlarm");
    let link = &denied.get_details_help().unwrap().links[0];
    assert_eq!(link.url, "docs/operations/errors.md#role_insufficient");
    assert_eq!(
        denied.get_details_bad_request().unwrap().field_violations[0].field,
        "authorization"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_token_or_a_wrong_one_learns_nothing() -> Result<()> {
    let cluster = cluster().await?;
    let channel = cluster.leader_channel().await?;
    let ask = async |header: Option<&str>| {
        let mut request = Request::new(GetStatusRequest {});
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let status = ClusterClient::new(channel.clone()).get_status(request).await.unwrap_err();
        (status.code(), status.get_details_error_info().unwrap().reason)
    };
    let admin = token(AdminRole::Admin);
    let missing = (Code::Unauthenticated, "TOKEN_MISSING".to_owned());
    let unknown = (Code::Unauthenticated, "TOKEN_UNKNOWN".to_owned());
    assert_eq!(ask(None).await, missing);
    assert_eq!(ask(Some(&admin)).await, missing);
    assert_eq!(ask(Some(&format!("Basic {admin}"))).await, missing);
    assert_eq!(ask(Some(&format!("Bearer {admin}x"))).await, unknown);
    assert_eq!(ask(Some(&format!("Bearer {}", "x".repeat(600)))).await, missing);
    // What only looks whether it is alive needs no token.
    let health = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(health).await?;
    let request = ListNodesRequest { local: true, ..Default::default() };
    assert!(NodesClient::new(channel).list_nodes(request).await.is_err());
    // Replicas go on to see each other.
    eventually("all replicas", async || {
        let link = leader(&cluster, &token(AdminRole::Viewer)).await?;
        let nodes = NodesClient::new(link).list_nodes(ListNodesRequest::default()).await?;
        let nodes = nodes.into_inner();
        ensure!(nodes.silent_node_ids.is_empty() && nodes.nodes.iter().all(|it| it.connected));
        ensure!(nodes.nodes.len() == 3, "{nodes:?}");
        Ok(())
    })
    .await
}

fn home_prefix() -> HomePrefix {
    HomePrefix {
        prefix: "2001:db8:0:1::/64".to_owned(),
        home_agent: "2001:db8:0:1::1".to_owned(),
        authentication: Authentication::None.into(),
        ..HomePrefix::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_names_the_holder_and_a_token_that_is_taken_away_ends() -> Result<()> {
    let cluster = cluster().await?;
    eventually("a write", async || {
        let link = leader(&cluster, &token(AdminRole::Admin)).await?;
        let create =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix()), ..Default::default() };
        Ok(HomePrefixesClient::new(link).create_home_prefix(create).await?)
    })
    .await?;
    let link = leader(&cluster, &token(AdminRole::Security)).await?;
    let list = ListAuditRecordsRequest::default();
    let records = AuditClient::new(link).list_audit_records(list).await?.into_inner().records;
    let created = records.iter().find(|it| it.action == "CreateHomePrefix").context("no record")?;
    ensure!(created.by.starts_with("admin at 127.0.0.1:"), "{created:?}");

    // A file with a fault changes nothing; one without a token ends it.
    std::fs::write(cluster.tokens_file(), "admin = 7")?;
    tokio::time::sleep(homeport_store::limits::TOKENS_LOOK_INTERVAL * 2).await;
    let viewer = token(AdminRole::Viewer);
    let ask = async || -> Result<Result<(), Status>> {
        let mut client = ClusterClient::new(leader(&cluster, &viewer).await?);
        Ok(client.get_status(GetStatusRequest {}).await.map(drop))
    };
    ask().await??;
    let all = tokens();
    let others: Vec<&str> = all.lines().filter(|line| !line.starts_with("viewer")).collect();
    std::fs::write(cluster.tokens_file(), others.join("\n"))?;
    eventually("the token to end", async || {
        let status = ask().await?.err().context("is still known")?;
        ensure!(status.get_details_error_info().unwrap().reason == "TOKEN_UNKNOWN", "{status}");
        Ok(())
    })
    .await
}
