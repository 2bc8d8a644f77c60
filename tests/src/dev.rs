//! A `homeport dev` cluster as a process tree of its own, for tests that kill parts of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::{
    GetHomeBindingsRequest, GetStatusRequest, GetStatusResponse, HomeBindings,
    ListHomeBindingsRequest,
};
use homeport_tls::{Links, Role, TlsConfig};
use mobile_node::{CareOfConfig, Config, MobileNode};
use serde::Deserialize;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::eventually;

/// A process of the cluster, as `endpoints.json` names it.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// `store-1`.
    pub name: String,
    /// Absent while it is down.
    pub pid: Option<u32>,
    /// Metrics and health.
    pub ops: SocketAddr,
    /// gRPC.
    pub grpc: Option<String>,
    /// HTTP, of the dashboard.
    pub http: Option<String>,
    /// Network namespace of a forwarder's TUN.
    pub netns: Option<String>,
    /// How an operator reaches it.
    #[serde(skip)]
    pub links: Links,
}

/// `endpoints.json`, as far as tests use it.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoints {
    /// UDP 4191 of the forwarders.
    pub udp: SocketAddr,
    /// Store replicas.
    pub stores: Vec<Member>,
    /// Signalling front-ends.
    pub front_ends: Vec<Member>,
    /// Forwarders.
    pub forwarders: Vec<Member>,
    /// The dashboard.
    pub noc: Member,
    /// The network around the forwarders, in `tun` mode.
    pub namespaces: Option<Namespaces>,
    /// The operator's certificate, unless links are plain.
    pub tls: Option<OperatorFiles>,
}

/// Files of mutual TLS.
#[derive(Clone, Debug, Deserialize)]
pub struct OperatorFiles {
    /// The authority.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Endpoints {
    /// Every process that the home agent consists of.
    pub fn all(self) -> impl Iterator<Item = Member> {
        self.stores.into_iter().chain(self.front_ends).chain(self.forwarders)
    }
}

/// Network namespaces by name.
#[derive(Clone, Debug, Deserialize)]
pub struct Namespaces {
    /// Between all others.
    pub router: String,
    /// On the foreign links.
    pub mobile_node: String,
    /// The correspondent node.
    pub correspondent: String,
}

/// The process tree; it ends when this is dropped.
pub struct DevCluster {
    child: Child,
    data: TempDir,
}

/// In the data directory: what each process is started from, where that is not one for all.
const PROGRAMS: &str = "programs";
/// The processes of `homeport dev`.
const MEMBERS: [&str; 8] = [
    "store-1",
    "store-2",
    "store-3",
    "signalling-1",
    "signalling-2",
    "forwarder-1",
    "forwarder-2",
    "noc",
];

/// How programs are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Build {
    /// As tests are: quickly, and with checks of their own.
    Debug,
    /// As they are shipped: where it takes many of something.
    Release,
}

/// Builds the programs once and says where they are. `PROGRAMS_OF_HOMEPORT` names a directory of
/// programs that are taken as they are, such as those of another version.
///
/// # Errors
/// When they do not build.
pub fn program(name: &str) -> Result<PathBuf> {
    program_of(Build::Debug, name)
}

/// The same for either way of building.
///
/// # Errors
/// When they do not build.
pub fn program_of(build: Build, name: &str) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("PROGRAMS_OF_HOMEPORT") {
        return Ok(PathBuf::from(directory).join(name));
    }
    static DEBUG: OnceLock<bool> = OnceLock::new();
    static RELEASE: OnceLock<bool> = OnceLock::new();
    let (built, profile, directory) = match build {
        Build::Debug => (&DEBUG, "dev", ""),
        Build::Release => (&RELEASE, "release", "release"),
    };
    let built = *built.get_or_init(|| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--bins", "-p", "homeport", "-p", "mobile-node"]);
        cargo.args(["-p", "homeportctl", "--profile", profile]).current_dir(crate::root());
        cargo.status().is_ok_and(|status| status.success())
    });
    ensure!(built, "`cargo build` of the programs failed");
    let exe = std::env::current_exe()?;
    // target/debug/deps/test-123, or target/debug/xtask: beside it, or in target/release.
    let mut files = exe.ancestors().skip(1).map(|above| above.join(directory).join(name));
    let file = files.find(|file| file.is_file());
    file.with_context(|| format!("{name} was not built beside {}", exe.display()))
}

impl DevCluster {
    /// Starts `homeport dev` with UDP on loopback and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_set(&[]).await
    }

    /// The same, with more settings for each process, as environment variables.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_set(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_udp("none", settings).await
    }

    /// With UDP on loopback and mobile nodes that authenticate by RFC 4285; there are no subscribers yet.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_authenticated() -> Result<Self> {
        Self::start_udp("mn-ha", &[]).await
    }

    async fn start_udp(authentication: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let port = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let port = port.to_string();
        let arguments = ["--mode", "udp", "--udp-port", &port, "--authentication", authentication];
        let mut command = Command::new(program_of(Build::Debug, "homeport")?);
        command.envs(settings.iter().copied()).arg("dev").args(arguments).stdin(Stdio::null());
        Self::start_as(tempfile::tempdir()?, command).await
    }

    /// Starts it as root with IPv6 over TUN in network namespaces, which go with it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_in_namespaces(authentication: &str) -> Result<Self> {
        let arguments = ["--mode", "tun", "--end-with-stdin", "--authentication", authentication];
        Self::start_with(Build::Debug, &arguments, Stdio::piped()).await
    }

    /// The same without TLS: for tests that speak as a front-end, a forwarder or an agent does.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_in_namespaces_plain(authentication: &str) -> Result<Self> {
        let mode = ["--mode", "tun", "--end-with-stdin", "--plaintext", "--authentication"];
        let arguments = [&mode[..], &[authentication]].concat();
        Self::start_with(Build::Debug, &arguments, Stdio::piped()).await
    }

    /// Starts it as root with IPv6 links in namespaces, authenticated as `dev` does by default.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_with_links(build: Build) -> Result<Self> {
        Self::start_with(build, &["--mode", "tun", "--end-with-stdin"], Stdio::piped()).await
    }

    /// The same, each process from this program until [`Self::exchange_program`] names another one.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_from(program: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let programs = data.path().join(PROGRAMS);
        std::fs::create_dir(&programs)?;
        for name in MEMBERS {
            std::os::unix::fs::symlink(program, programs.join(name))?;
        }
        let programs = programs.display().to_string();
        let arguments = ["--mode", "tun", "--end-with-stdin", "--programs", &programs];
        Self::start_in(data, Build::Debug, &arguments, Stdio::piped()).await
    }

    /// From its next start on, this process of [`Self::start_from`] runs another program.
    ///
    /// # Errors
    /// When the link cannot be replaced.
    pub fn exchange_program(&self, name: &str, program: &Path) -> Result<()> {
        let link = self.data.path().join(PROGRAMS).join(name);
        let fresh = link.with_extension("new");
        std::os::unix::fs::symlink(program, &fresh)?;
        std::fs::rename(&fresh, &link).with_context(|| link.display().to_string())
    }

    async fn start_with(build: Build, arguments: &[&str], stdin: Stdio) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, build, arguments, stdin).await
    }

    async fn start_in(
        data: TempDir,
        build: Build,
        arguments: &[&str],
        stdin: Stdio,
    ) -> Result<Self> {
        let mut command = Command::new(program_of(build, "homeport")?);
        command.arg("dev").args(arguments).stdin(stdin);
        Self::start_as(data, command).await
    }

    async fn start_as(data: TempDir, mut command: Command) -> Result<Self> {
        let output = std::fs::File::create(data.path().join("dev.out"))?;
        let child = command
            .arg("--data-dir")
            .arg(data.path())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("homeport dev")?;
        let mut cluster = Self { child, data };
        let output = cluster.data.path().join("dev.out");
        let started = tokio::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(&output)?;
            if text.contains("runs until ctrl-C") {
                return Ok(cluster);
            }
            let ended = cluster.child.try_wait()?.is_some();
            if ended || started.elapsed() > Duration::from_secs(60) {
                bail!("homeport dev did not come up:\n{text}\n{}", cluster.logs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// The ends of all logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all = String::new();
        let Ok(files) = std::fs::read_dir(self.data.path().join("logs")) else {
            return all;
        };
        for file in files.flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.iter().skip(lines.len().saturating_sub(10));
            all.push_str(&format!("--- {}\n", file.path().display()));
            all.extend(last.flat_map(|line| [*line, "\n"]));
        }
        all
    }

    /// The addresses and process ids of now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn endpoints(&self) -> Result<Endpoints> {
        let file = self.data.path().join("endpoints.json");
        let mut endpoints: Endpoints = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        if let Some(OperatorFiles { ca, certificate, key }) = &endpoints.tls {
            let links = Links::fixed(&TlsConfig::new(certificate, key, ca), Role::Operator)?;
            let lists =
                [&mut endpoints.stores, &mut endpoints.front_ends, &mut endpoints.forwarders];
            for member in lists.into_iter().flatten() {
                member.links = links.clone();
            }
        }
        Ok(endpoints)
    }

    /// What `homeportctl` takes for its configuration to reach this cluster.
    #[must_use]
    pub fn context(&self) -> PathBuf {
        self.data.path().join("homeportctl.toml")
    }

    /// A mobile node's configuration with care-of addresses 127.0.0.2 and up.
    ///
    /// # Errors
    /// When an address is not one.
    pub fn mobile_node(&self, home_address: &str, care_of_addresses: u8) -> Result<Config> {
        let udp = self.endpoints()?.udp;
        let IpAddr::V4(home_agent) = udp.ip() else { bail!("{udp} is not IPv4") };
        let mut config = Config::new(home_address.parse()?, "2001:db8:0:1::1".parse()?);
        config.home_agent_v4 = Some(home_agent);
        config.home_agent_port = udp.port();
        for n in 1..=care_of_addresses {
            let address = Ipv4Addr::new(127, 0, 0, n + 1);
            config.care_of.push(CareOfConfig::new(n.into(), address.into()));
        }
        Ok(config)
    }

    /// Starts a mobile node and registers each care-of address.
    ///
    /// # Errors
    /// When it is refused or not answered.
    pub async fn registered(&self, config: Config) -> Result<MobileNode> {
        let node = MobileNode::start(config).await?;
        node.register(false).await?;
        Ok(node)
    }

    /// The leader, once all three replicas run and know it.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<Member> {
        eventually("three replicas with a leader", async || {
            let stores = self.endpoints()?.stores;
            let mut leader = None;
            for store in &stores {
                ensure!(store.pid.is_some(), "{} is down", store.name);
                if status_of(store).await?.role == "leader" {
                    leader = Some(store.clone());
                }
            }
            leader.context("no leader")
        })
        .await
    }

    /// What the leader holds of a home address.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn bindings(&self, home_address: &str) -> Result<HomeBindings> {
        eventually("the leader's bindings", async || {
            let mut client = BindingsClient::new(channel_to(&self.leader().await?).await?);
            let home_address = home_address.to_owned();
            let request = GetHomeBindingsRequest { home_address, local: false };
            Ok(client.get_home_bindings(request).await?.into_inner())
        })
        .await
    }

    /// All home addresses with bindings, by the leader.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn all_bindings(&self) -> Result<Vec<HomeBindings>> {
        all_bindings_of(channel_to(&self.leader().await?).await?, false).await
    }
}

/// All home addresses with bindings: of a leader, or `local`, of whichever replica is asked.
///
/// # Errors
/// When it cannot be asked.
pub async fn all_bindings_of(replica: Channel, local: bool) -> Result<Vec<HomeBindings>> {
    let mut client = BindingsClient::new(replica);
    let mut all = Vec::new();
    let mut request = ListHomeBindingsRequest { page_size: 1000, local, ..Default::default() };
    loop {
        let page = client.list_home_bindings(request.clone()).await?.into_inner();
        all.extend(page.homes);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

impl DevCluster {
    /// True when it has ended by itself after its standard input was closed.
    fn ends_in_order(&mut self) -> bool {
        const TRIES: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(100);
        let Some(stdin) = self.child.stdin.take() else { return false };
        drop(stdin);
        (0..TRIES).any(|_| {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if !ended {
                std::thread::sleep(PAUSE);
            }
            ended
        })
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        // In order, so that it takes its namespaces with it; else its children end because their
        // standard input closes.
        if !self.ends_in_order()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("homeport dev: {error}");
        }
        // There are some when somebody else has killed it.
        crate::netns::remove_namespaces_of(self.child.id());
    }
}

/// Kills a process as a power failure would: SIGKILL.
///
/// # Errors
/// When it is down already.
pub fn kill(member: &Member) -> Result<()> {
    let pid = member.pid.with_context(|| format!("{} is down", member.name))?;
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
    ensure!(status.success(), "kill {pid}");
    Ok(())
}

/// State of a replica.
///
/// # Errors
/// When it does not answer.
pub async fn status_of(store: &Member) -> Result<GetStatusResponse> {
    let mut client = ClusterClient::new(channel_to(store).await?);
    Ok(client.get_status(GetStatusRequest {}).await?.into_inner())
}

pub(crate) async fn channel_to(member: &Member) -> Result<Channel> {
    channel_with(member, Duration::from_secs(2)).await
}

/// A connection to a store, whose calls may take so long.
pub(crate) async fn channel_with(member: &Member, timeout: Duration) -> Result<Channel> {
    let address = member.grpc.as_ref().context("it serves no gRPC")?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(1)).timeout(timeout);
    Ok(member.links.to(Role::Store).connect(&endpoint).await?)
}

/// Whether a process says that it serves.
///
/// # Errors
/// When it does not.
pub async fn is_ready(member: &Member) -> Result<()> {
    let text = ask_ops(member, "/readyz").await?;
    let status = text.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "{}: {status}", member.name);
    Ok(())
}

/// A process's metrics, as it exposes them.
///
/// # Errors
/// When they cannot be read.
pub async fn scrape(member: &Member) -> Result<String> {
    crate::ops::page(member.ops, "/metrics").await
}

async fn ask_ops(member: &Member, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(member.ops).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// A value of a process's metrics, `name` with labels as they are written there.
///
/// # Errors
/// When it cannot be read or is not there.
pub async fn metric(member: &Member, name: &str) -> Result<String> {
    let text = ask_ops(member, "/metrics").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("{} has no metric {name}", member.name))?.to_owned())
}
