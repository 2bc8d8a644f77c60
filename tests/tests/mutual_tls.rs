//! A whole cluster whose links are mutual TLS: it works, and nobody gets in without the right certificate.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::GetStatusRequest;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::{ListHomePrefixesRequest, home_prefixes_client::HomePrefixesClient};
use homeport_api::binding;
use homeport_api::feed::WatchRequest;
use homeport_api::feed::binding_feed_client::BindingFeedClient;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{LookUpPolicyRequest, SubmitRequest, submit_response};
use homeport_binding::{Command, PrefixesSolicited};
use homeport_tests::dev::{DevCluster, Member, metric, program};
use homeport_tests::eventually;
use homeport_tls::{Links, Role, TlsConfig};
use tokio::process::Command as Program;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// As the process of this name, or as nobody.
async fn channel(
    cluster: &DevCluster,
    store: &Member,
    who: Option<(&str, Role)>,
) -> Result<Channel> {
    let address = store.grpc.as_ref().context("it serves no gRPC")?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
    let links = match who {
        None => Links::default(),
        Some((name, role)) => {
            let file = |name: String| cluster.data_dir().join("tls").join(name);
            let (certificate, key) = (file(format!("{name}.crt")), file(format!("{name}.key")));
            Links::fixed(&TlsConfig::new(certificate, key, file("ca.crt".to_owned())), role)?
        }
    };
    Ok(links.to(Role::Store).connect(&endpoint).await?)
}

/// The code of a refusal; OK when there was none.
fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_works_over_tls_and_lets_nobody_in_without_the_right_certificate() -> Result<()> {
    let cluster = DevCluster::start().await?;
    // Mobile node, forwarder, front-end, leader, majority, feed and back.
    let node = cluster.registered(cluster.mobile_node("2001:db8:0:1::100", 2)?).await?;
    ensure!(cluster.bindings("2001:db8:0:1::100").await?.bindings.len() == 2);
    let leader = cluster.leader().await?;

    // Nobody.
    let plain = channel(&cluster, &leader, None).await;
    if let Ok(plain) = plain {
        let asked = ClusterClient::new(plain).get_status(GetStatusRequest {}).await;
        ensure!(code(asked) != Code::Ok, "a plain connection is answered");
    }
    let refused = "homeport_tls_handshakes_refused_total{side=\"server\",reason=\"plaintext\"}";
    eventually("the refusal is counted", async || {
        ensure!(metric(&leader, refused).await? != "0");
        Ok(())
    })
    .await?;

    // Each role, what is its own and what is not.
    let rows = [
        ("operator", Role::Operator, [true, true, false, false]),
        ("noc", Role::Noc, [true, true, false, false]),
        ("store-1", Role::Store, [false, false, false, false]),
        ("signalling-1", Role::FrontEnd, [false, false, true, false]),
        ("forwarder-1", Role::Forwarder, [false, false, false, true]),
    ];
    for (name, role, expected) in rows {
        let link = channel(&cluster, &leader, Some((name, role))).await?;
        let status = ClusterClient::new(link.clone()).get_status(GetStatusRequest {}).await;
        let prefixes = HomePrefixesClient::new(link.clone())
            .list_home_prefixes(ListHomePrefixesRequest::default())
            .await;
        let policy = BindingStoreClient::new(link.clone())
            .look_up_policy(LookUpPolicyRequest {
                home_address: vec![0x20; 16].into(),
                home_agent: vec![0x20; 16].into(),
                ..Default::default()
            })
            .await;
        let request = WatchRequest { subscriber: "test".to_owned(), ..Default::default() };
        let feed = BindingFeedClient::new(link).watch(request).await;
        let codes = [code(status), code(prefixes), code(policy), code(feed)];
        let allowed = codes.map(|code| code == Code::Ok);
        ensure!(allowed == expected, "{name}: {codes:?}");
        let is_denied = codes.iter().all(|code| [Code::Ok, Code::PermissionDenied].contains(code));
        ensure!(is_denied, "{name}: {codes:?}");
    }

    // A forwarder submits, but not what only a front-end has authenticated.
    let command = Command::PrefixesSolicited(PrefixesSolicited {
        home_address: "2001:db8:0:1::100".parse()?,
        home_prefix_revision: 0,
    });
    let command: binding::Command = command.into();
    let asked = async |name: &str, role| -> Result<bool> {
        let link = channel(&cluster, &leader, Some((name, role))).await?;
        let command = Some(command.clone());
        let request = SubmitRequest { ticket: 7, command, ..Default::default() };
        let requests = tokio_stream::iter([request]);
        let mut answers = BindingStoreClient::new(link).submit(requests).await?.into_inner();
        loop {
            let answer = answers.message().await?.context("no answer")?;
            match answer.result {
                Some(submit_response::Result::Invalid(why)) => {
                    ensure!(why.contains("of the role forwarder"), "{why}");
                    return Ok(false);
                }
                Some(_) if answer.ticket == 7 => return Ok(true),
                _ => {}
            }
        }
    };
    ensure!(asked("signalling-1", Role::FrontEnd).await?, "a front-end is refused");
    ensure!(!asked("forwarder-1", Role::Forwarder).await?, "a forwarder registers");

    // The operator's client finds all it needs in one file, and nothing without.
    let status = |context| async move {
        let mut program = Program::new(program("homeportctl")?);
        program.env("HOMEPORT_CONFIG", context).arg("status").kill_on_drop(true);
        anyhow::Ok(program.output().await?)
    };
    let output = status(cluster.context()).await?;
    ensure!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(cluster.context())?;
    let without: String =
        text.lines().filter(|line| !line.starts_with("tls_")).collect::<Vec<_>>().join("\n");
    let plain = cluster.data_dir().join("plain.toml");
    std::fs::write(&plain, without)?;
    let output = status(plain).await?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(told.contains("--tls-cert"), "{told}");

    // Each process tells when its certificate ends.
    let expiry = "homeport_tls_certificate_expiry_timestamp_seconds{of=\"certificate\"}";
    let endpoints = cluster.endpoints()?;
    let noc = endpoints.noc.clone();
    for member in endpoints.all().chain([noc]) {
        let ends: f64 = metric(&member, expiry).await?.parse()?;
        ensure!(ends > 1_700_000_000.0, "{}: {ends}", member.name);
    }
    node.deregister(&[]).await?;
    Ok(())
}
