//! Links over loopback: who is let in, who may call what, and what changes without a restart.

#![allow(clippy::expect_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use homeport_runtime::{Shutdown, Task, metrics::Registry};
use homeport_tls::{
    Identity, Links, RIGHTS, Role, TlsConfig, may,
    mint::{Authority, Pair},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tonic::{
    Code,
    body::Body,
    codegen::{Service as _, http},
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(30);

/// Files of a laboratory.
struct Lab {
    folder: TempDir,
    authorities: BTreeMap<&'static str, Authority>,
}

impl Lab {
    fn new(authorities: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut made = BTreeMap::new();
        for name in authorities {
            let (authority, pair) = Authority::new(name, DAY).expect("is made");
            std::fs::write(folder.path().join(name), pair.certificate).expect("writes");
            made.insert(*name, authority);
        }
        Self { folder, authorities: made }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, pair: &Pair) {
        std::fs::write(self.path(&format!("{name}.crt")), &pair.certificate).expect("writes");
        std::fs::write(self.path(&format!("{name}.key")), &pair.key).expect("writes");
    }

    /// Writes a certificate of an authority, and the configuration that names it.
    fn config(&self, authority: &str, role: Role, name: &str) -> TlsConfig {
        let identity = Identity::new(role, name).expect("is one");
        let pair = self.authorities[authority].sign(&identity, "homeport", DAY);
        self.write(name, &pair.expect("is signed"));
        self.named(authority, name)
    }

    fn named(&self, authority: &str, name: &str) -> TlsConfig {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        TlsConfig::new(self.path(&certificate), self.path(&key), self.path(authority))
    }

    fn links(&self, authority: &str, role: Role, name: &str) -> Links {
        Links::fixed(&self.config(authority, role, name), role).expect("is right")
    }
}

/// A server with a health service, whose other calls are not implemented.
struct Served {
    address: SocketAddr,
    registry: Registry,
    shutdown: Shutdown,
    _task: Task<()>,
}

impl Served {
    async fn start(config: Option<&TlsConfig>, own: Role) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("has one");
        let mut registry = homeport_runtime::metrics::registry();
        let links = Links::open(config, own, &mut registry).expect("is right");
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let server = Server::builder().layer(links.guard()).add_service(service);
        let incoming = links.incoming(listener);
        let shutdown = Shutdown::manual();
        let ending = shutdown.clone();
        let task = Task::spawn("server", async move {
            let stop = async move { ending.begun().await };
            server.serve_with_incoming_shutdown(incoming, stop).await.expect("serves");
        });
        Self { address, registry, shutdown, _task: task }
    }

    fn endpoint(&self) -> Endpoint {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("is one");
        endpoint.connect_timeout(PATIENCE)
    }

    fn metric(&self, sample: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.expect("is there").parse().expect("is a number")
    }

    fn refused(&self, side: &str, reason: &str) -> u64 {
        let labels = format!("{{side=\"{side}\",reason=\"{reason}\"}}");
        self.metric(&format!("homeport_tls_handshakes_refused_total{labels}"))
    }

    /// Until a handshake was refused for this reason.
    async fn until_refused(&self, reason: &str) {
        let counted = async {
            while self.refused("server", reason) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect(reason);
    }

    async fn status(&self, links: &Links) -> Result<(), String> {
        let channel = links.to(Role::Store).connect(&self.endpoint()).await;
        let channel = channel.map_err(|error| format!("{error:?}"))?;
        check(channel).await
    }
}

async fn check(channel: Channel) -> Result<(), String> {
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await;
    answer.map(drop).map_err(|status| format!("{status:?}"))
}

/// The code of a call without a body.
async fn call(channel: &mut Channel, path: &str) -> Code {
    let uri = format!("http://peer{path}").parse::<http::Uri>().expect("is one");
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::empty())
        .expect("is one");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("is ready");
    let response = channel.call(request).await.expect("answers");
    let code = response.headers().get("grpc-status").map(|it| Code::from_bytes(it.as_bytes()));
    code.unwrap_or(Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_each_role_may_make_the_calls_of_its_cells_and_no_others() {
    let lab = Lab::new(&["ca"]);
    let server = Served::start(Some(&lab.config("ca", Role::Store, "store-1")), Role::Store).await;
    let (mut let_in, mut refused) = (0, 0);
    for role in Role::ALL {
        let links = lab.links("ca", role, role.word());
        let mut channel =
            links.to(Role::Store).connect(&server.endpoint()).await.expect("is let in");
        for (path, roles) in RIGHTS {
            let code = call(&mut channel, path).await;
            if roles.contains(&role) {
                // The health service has no body to read; others are not there.
                assert_ne!(code, Code::PermissionDenied, "{role} {path}");
                assert_ne!(code, Code::Unauthenticated, "{role} {path}");
                let_in += 1;
            } else {
                assert_eq!(code, Code::PermissionDenied, "{role} {path}");
                refused += 1;
            }
            assert_eq!(may(role, path), roles.contains(&role));
        }
        assert_eq!(call(&mut channel, "/homeport.x.v1.X/Y").await, Code::PermissionDenied);
        refused += 1;
    }
    assert!(let_in > 50 && refused > 150, "{let_in} {refused}");
    let counted = Role::ALL
        .map(|role| server.metric(&format!("homeport_tls_calls_refused_total{{role=\"{role}\"}}")));
    assert_eq!(counted.iter().sum::<u64>(), refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_certificate_is_refused_for_that_reason() {
    let lab = Lab::new(&["ca", "strangers"]);
    let config = lab.config("ca", Role::Store, "store-1");
    let server = Served::start(Some(&config), Role::Store).await;
    server.status(&lab.links("ca", Role::FrontEnd, "front-end")).await.expect("is let in");

    // Signed by somebody else: whom this server does not know, though the caller knows the server.
    let mut stranger = lab.config("strangers", Role::FrontEnd, "stranger");
    stranger.ca_file = lab.path("ca");
    let stranger = Links::fixed(&stranger, Role::FrontEnd).expect("is right");
    server.status(&stranger).await.expect_err("is refused");
    server.until_refused("unknown_authority").await;

    // Of the right authority, but no longer valid.
    let identity = Identity::new(Role::FrontEnd, "late").expect("is one");
    let pair = lab.authorities["ca"].sign(&identity, "homeport", Duration::ZERO);
    lab.write("late", &pair.expect("is signed"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let late = Links::fixed(&lab.named("ca", "late"), Role::FrontEnd).expect("can be read");
    server.status(&late).await.expect_err("is refused");
    server.until_refused("expired").await;

    // Of another cluster, which the same authority signs for.
    let pair = lab.authorities["ca"].sign(&identity, "elsewhere", DAY).expect("is signed");
    lab.write("elsewhere", &pair);
    let mut elsewhere = lab.named("ca", "elsewhere");
    elsewhere.trust_domain = "elsewhere".to_owned();
    let elsewhere = Links::fixed(&elsewhere, Role::FrontEnd).expect("is right there");
    server.status(&elsewhere).await.expect_err("is refused");

    // Without TLS.
    let plain = server.status(&Links::default()).await;
    plain.expect_err("is refused");
    server.until_refused("plaintext").await;

    // Who only looks whether the port is open is not an attacker.
    drop(TcpStream::connect(server.address).await.expect("connects"));
    server.until_refused("closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_other_names_than_one_role_is_of_nobody() {
    let lab = Lab::new(&["ca"]);
    let config = lab.config("ca", Role::Store, "store-1");
    let identity = Identity::new(Role::FrontEnd, "f").expect("is one");
    let rows: [&[&str]; 5] = [
        &[],
        &["spiffe://homeport/root/f"],
        &["spiffe://homeport/front-end"],
        &["https://homeport/front-end/f"],
        &["spiffe://homeport/front-end/f", "spiffe://homeport/store/f"],
    ];
    for uris in rows {
        let uris: Vec<String> = uris.iter().map(|uri| (*uri).to_owned()).collect();
        let pair = lab.authorities["ca"].sign_uris(&uris, &identity, DAY).expect("is signed");
        lab.write("wrong", &pair);
        // A process of ours does not even start with it.
        let refused =
            Links::fixed(&lab.named("ca", "wrong"), Role::FrontEnd).expect_err("is wrong");
        let text = refused.to_string();
        assert!(text.contains("certificate_file") && text.contains("front-end/NAME"), "{text}");
        // Another program would try.
        let server = Served::start(Some(&config), Role::Store).await;
        handshake(&lab, "wrong", server.address).await.expect_err("is refused");
        server.until_refused("no_role").await;
    }
}

/// A client that is not ours: it shows the certificate and believes the server.
async fn handshake(lab: &Lab, name: &str, address: SocketAddr) -> std::io::Result<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let pem = |suffix: &str| std::fs::read(lab.path(&format!("{name}.{suffix}"))).expect("reads");
    let chain = CertificateDer::pem_slice_iter(&pem("crt")).map(|it| it.expect("is one")).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("key")).expect("is one");
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(&std::fs::read(lab.path("ca")).expect("reads"));
    roots.add(authority.expect("is one")).expect("is one");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("is known")
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anybody))
        .with_client_auth_cert(chain, key)
        .expect("match");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let server = "store".try_into().expect("is a name");
    let mut stream = connector.connect(server, stream).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.read_u8().await.map(drop)
}

#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_believes_only_a_server_of_the_role_that_it_dials() {
    let lab = Lab::new(&["ca", "strangers"]);
    let caller = lab.links("ca", Role::FrontEnd, "front-end");
    let forwarder = lab.config("ca", Role::Forwarder, "forwarder");
    let server = Served::start(Some(&forwarder), Role::Forwarder).await;
    let error = server.status(&caller).await.expect_err("is a forwarder");
    assert!(error.contains("it is forwarder/forwarder; expected a store"), "{error}");

    let mut stranger = lab.config("strangers", Role::Store, "store-1");
    stranger.ca_file = lab.path("ca");
    let server = Served::start(Some(&stranger), Role::Store).await;
    let error = server.status(&caller).await.expect_err("is a stranger");
    assert!(error.contains("UnknownIssuer"), "{error}");

    let server = Served::start(None, Role::Store).await;
    server.status(&caller).await.expect_err("speaks no TLS");
    server.status(&Links::default()).await.expect("both are plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_one_role_makes_no_certificates_of_another() {
    let lab = Lab::new(&["stores", "forwarders", "front-ends", "agents", "operators"]);
    let apart = |config: TlsConfig| TlsConfig {
        ca_file: lab.path("stores"),
        forwarder_ca_file: Some(lab.path("forwarders")),
        front_end_ca_file: Some(lab.path("front-ends")),
        ike_agent_ca_file: Some(lab.path("agents")),
        operator_ca_file: Some(lab.path("operators")),
        ..config
    };
    let config = apart(lab.config("stores", Role::Store, "store-1"));
    let server = Served::start(Some(&config), Role::Store).await;
    let rows = [
        (Role::Store, "stores"),
        (Role::Forwarder, "forwarders"),
        (Role::FrontEnd, "front-ends"),
        (Role::IkeAgent, "agents"),
        (Role::Operator, "operators"),
        (Role::Noc, "operators"),
    ];
    for (role, own) in rows {
        for authority in ["stores", "forwarders", "front-ends", "agents", "operators"] {
            let config = apart(lab.config(authority, role, "peer"));
            let links = Links::fixed(&config, role).expect("can be read");
            let let_in = server.status(&links).await.is_ok();
            assert_eq!(let_in, authority == own, "{role} by {authority}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_taken_while_a_stream_goes_on() {
    let lab = Lab::new(&["old", "new"]);
    std::fs::copy(lab.path("old"), lab.path("ca")).expect("copies");
    let mut config = lab.config("old", Role::Store, "store-1");
    config.ca_file = lab.path("ca");
    let server = Served::start(Some(&config), Role::Store).await;
    let old = lab.links("old", Role::FrontEnd, "old-front-end");
    let new = lab.links("new", Role::FrontEnd, "new-front-end");
    let channel = old.to(Role::Store).connect(&server.endpoint()).await.expect("is let in");
    let watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await;
    let mut stream = watch.expect("is served").into_inner();
    stream.message().await.expect("goes on").expect("is there");
    server.status(&new).await.expect_err("nobody knows its authority yet");

    // First something that cannot be used: a key of another certificate.
    std::fs::copy(lab.path("new-front-end.key"), lab.path("store-1.key")).expect("copies");
    let reloads = |outcome: &str| {
        server.metric(&format!("homeport_tls_reloads_total{{outcome=\"{outcome}\"}}"))
    };
    let until = async |outcome: &str| {
        let counted = async {
            while reloads(outcome) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("is judged");
    };
    until("refused").await;
    server.status(&old).await.expect("all is as it was");

    // Then another authority, and a certificate of it.
    std::fs::copy(lab.path("new"), lab.path("ca")).expect("copies");
    let _ = lab.config("new", Role::Store, "store-1");
    until("taken").await;
    server.status(&new).await.expect("is let in now");
    server.status(&old).await.expect_err("its authority is not trusted any more");
    check(channel).await.expect("a connection that is there goes on");
    server.shutdown.begin();
}

#[test]
fn a_bad_file_is_named_by_its_key_and_what_would_do() {
    let lab = Lab::new(&["ca"]);
    let good = lab.config("ca", Role::Store, "store-1");
    assert!(TlsConfig::refusals(Some(&good), Role::Store).is_empty());
    assert!(TlsConfig::refusals(None, Role::Store).is_empty());
    let other = lab.config("ca", Role::Store, "store-2");
    std::fs::write(lab.path("empty"), "").expect("writes");
    let with = |change: &dyn Fn(&mut TlsConfig)| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    let absent = |name: &str| Path::new("/nowhere").join(name);
    let rows = [
        (
            with(&|it| it.certificate_file = absent("a.crt")),
            "tls.certificate_file",
            "/nowhere/a.crt",
        ),
        (with(&|it| it.key_file = absent("a.key")), "tls.key_file", "private key"),
        (with(&|it| it.key_file = other.key_file.clone()), "tls.key_file", "KeyMismatch"),
        (with(&|it| it.key_file = it.certificate_file.clone()), "tls.key_file", "private key"),
        (with(&|it| it.ca_file = lab.path("empty")), "tls.ca_file", "0 certificates"),
        (with(&|it| it.operator_ca_file = Some(absent("o"))), "tls.operator_ca_file", "/nowhere/o"),
        (with(&|it| it.trust_domain = "x".to_owned()), "tls.certificate_file", "names no role"),
    ];
    for (config, key, expected) in rows {
        let refusals = TlsConfig::refusals(Some(&config), Role::Store);
        let text = refusals.iter().map(ToString::to_string).collect::<String>();
        assert!(text.contains(key) && text.contains(expected), "{key}: {text}");
    }
    let refusals = TlsConfig::refusals(Some(&good), Role::Forwarder);
    let text = refusals.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("it is the certificate of store/store-1"), "{text}");
}
