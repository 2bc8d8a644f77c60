//! A running dev cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use homeport_api::admin::bindings_client::BindingsClient;
use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, GetHomeBindingsRequest,
    GetStatusRequest, HomeBindings, HomePrefix, Subscriber,
};
use homeport_runtime::{Shutdown, Task};
use homeport_tls::{Links, Role};
use serde_json::json;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::certificates;
use super::network::{CORRESPONDENT, LabNetwork, ROUTER};
use super::plan::{HOME_AGENT, HOME_AGENT_IPV4, HOME_PREFIX, Member, Mode, Plan};
use super::supervisor::Process;

/// How long the cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the home prefix is tried, and the pause in between.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
/// How often the state of the processes is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// The processes and their network.
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) lab: Option<std::sync::Arc<LabNetwork>>,
    links: Links,
    processes: Vec<Process>,
    shutdown: Shutdown,
    _watcher: Task<()>,
}

impl Cluster {
    /// Starts everything and waits until each process is ready.
    pub(crate) async fn start(plan: Plan, shutdown: Shutdown) -> anyhow::Result<Self> {
        println!("Starting a cluster in {}", plan.data_dir.display());
        let lab = match plan.mode {
            Mode::Tun => Some(std::sync::Arc::new(LabNetwork::build(plan.forwarders.len()).await?)),
            Mode::Udp => None,
        };
        let namespaces: Vec<String> = lab
            .iter()
            .flat_map(|lab| &lab.forwarders)
            .map(|namespace| namespace.name().to_owned())
            .collect();
        if plan.protected {
            certificates::mint(&plan)?;
        }
        let links = certificates::links(&plan)?;
        crate::certificates::write(
            &context_file(&plan),
            &certificates::context(&plan).to_string(),
        )?;
        plan.write_configurations(&namespaces)?;
        let start = |member: &Member, role| Process::start(&plan, member, role, shutdown.clone());
        let mut processes = Vec::new();
        processes.extend(plan.stores.iter().map(|member| start(member, "store")));
        processes.extend(plan.front_ends.iter().map(|member| start(member, "signalling")));
        processes.extend(plan.forwarders.iter().map(|member| start(member, "forwarder")));
        processes.push(start(&plan.noc, "noc"));
        let pids: Vec<_> = processes.iter().map(|process| process.pid.clone()).collect();
        let watcher = Task::spawn("watcher", watch_processes(plan.clone(), lab.clone(), pids));
        let cluster = Self { plan, lab, links, processes, shutdown, _watcher: watcher };
        if let Err(error) = cluster.wait_until_ready().await {
            cluster.print_logs();
            cluster.stop().await?;
            return Err(error);
        }
        Ok(cluster)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        for member in self.plan.members() {
            let is_ready = async || {
                while !is_ready(member).await {
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            };
            tokio::select! {
                waited = tokio::time::timeout(PATIENCE, is_ready()) => {
                    let log = self.plan.log(member);
                    let what = || format!("{} is not ready; see {}", member.name, log.display());
                    waited.with_context(what)?;
                }
                () = self.shutdown.begun() => bail!("interrupted"),
            }
        }
        Ok(())
    }

    /// Creates the home prefix, unless a former start has.
    pub(crate) async fn provision(&mut self, authenticated: bool) -> anyhow::Result<()> {
        let authentication =
            if authenticated { Authentication::MnHa } else { Authentication::None };
        let home_prefix = HomePrefix {
            prefix: HOME_PREFIX.to_owned(),
            home_agent: HOME_AGENT.to_owned(),
            home_agent_ipv4: match self.plan.mode {
                Mode::Tun => HOME_AGENT_IPV4.to_owned(),
                Mode::Udp => self.plan.udp.ip().to_string(),
            },
            authentication: authentication.into(),
            loopback_care_of_allowed: true,
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        let mut attempts = 1;
        loop {
            let mut client = HomePrefixesClient::new(self.leader().await?);
            match client.create_home_prefix(request.clone()).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                // On a busy host a first leader may lose its majority at once.
                Err(status) if status.code() == Code::Unavailable && attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                Err(status) => bail!("home prefix: {}", status.message()),
            }
        }
    }

    /// Creates a subscriber, unless a former start has.
    pub(crate) async fn subscribe(&self, subscriber: Subscriber) -> anyhow::Result<()> {
        let mut client = SubscribersClient::new(self.leader().await?);
        let home_address = subscriber.home_address.clone();
        let request =
            CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
        match client.create_subscriber(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => bail!("subscriber: {}", status.message()),
        }
        // A former start's key is not known any more.
        let delete =
            homeport_api::admin::DeleteSubscriberRequest { home_address, ..Default::default() };
        client.delete_subscriber(delete).await?;
        client.create_subscriber(request).await?;
        Ok(())
    }

    /// What the store holds of a home address.
    pub(crate) async fn bindings(&self, home_address: &str) -> anyhow::Result<HomeBindings> {
        let mut client = BindingsClient::new(self.leader().await?);
        let home_address = home_address.to_owned();
        let request = GetHomeBindingsRequest { home_address, local: false };
        Ok(client.get_home_bindings(request).await?.into_inner())
    }

    /// A connection to the leader.
    async fn leader(&self) -> anyhow::Result<Channel> {
        let find = async {
            loop {
                for address in self.plan.store_addresses() {
                    if let Ok(channel) = leading(&address, &self.links).await {
                        return channel;
                    }
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        };
        tokio::time::timeout(PATIENCE, find).await.context("the store has no leader")
    }

    pub(crate) fn print_endpoints(&self) {
        let plan = &self.plan;
        println!("  home prefix   {HOME_PREFIX}, home agent {HOME_AGENT}");
        println!("  admin API     {}", plan.store_addresses().join(", "));
        println!("  UDP           {} (mobile nodes with IPv4 care-of addresses)", plan.udp);
        if let Some(address) = plan.noc.listen {
            println!("  dashboard     http://{address}/");
        }
        println!("  all endpoints {}", endpoints_file(plan).display());
        println!("  homeportctl   export HOMEPORT_CONFIG={}", context_file(plan).display());
        if let Some(lab) = &self.lab {
            println!(
                "  namespaces    mobile node {}, correspondent node {}, router {}",
                lab.mobile_node.name(),
                lab.correspondent.name(),
                lab.router.name()
            );
        }
    }

    /// The ends of the logs, for who looks into a failure.
    pub(crate) fn print_logs(&self) {
        for member in self.plan.members() {
            let log = self.plan.log(member);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            println!("--- {}", log.display());
            for line in lines.iter().skip(lines.len().saturating_sub(15)) {
                println!("{line}");
            }
        }
    }

    /// Ends all processes in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        println!("Stopping");
        self.shutdown.begin();
        for process in self.processes {
            process.ended().await;
        }
        Ok(())
    }
}

async fn leading(address: &str, links: &Links) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_millis(500));
    let channel = links.to(Role::Store).connect(&endpoint).await?;
    let status = ClusterClient::new(channel.clone()).get_status(GetStatusRequest {}).await?;
    ensure!(status.into_inner().role == "leader");
    Ok(channel)
}

/// Asks the operations port.
async fn is_ready(member: &Member) -> bool {
    let ask = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(member.ops).await.ok()?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.ok()?;
        (&status == b"HTTP/1.1 200").then_some(())
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Some(())))
}

/// How homeportctl finds the cluster.
fn context_file(plan: &Plan) -> PathBuf {
    plan.data_dir.join("homeportctl.toml")
}

fn endpoints_file(plan: &Plan) -> PathBuf {
    plan.data_dir.join("endpoints.json")
}

/// Keeps `endpoints.json` true, and the router's routes where a forwarder runs.
async fn watch_processes(
    plan: Plan,
    lab: Option<std::sync::Arc<LabNetwork>>,
    pids: Vec<watch::Receiver<Option<u32>>>,
) {
    let mut written = None;
    let mut routed = None;
    let mut tick = tokio::time::interval(WATCH_INTERVAL);
    loop {
        tick.tick().await;
        let now: Vec<Option<u32>> = pids.iter().map(|pid| *pid.borrow()).collect();
        if written.as_ref() != Some(&now) {
            let endpoints = endpoints(&plan, lab.as_deref(), &now);
            match write_whole(&endpoints_file(&plan), &endpoints) {
                Ok(()) => written = Some(now.clone()),
                Err(error) => println!("[dev] {error:#}"),
            }
        }
        if let Some(lab) = &lab {
            let first = first_ready(&plan, &now).await;
            if routed != Some(first) {
                match lab.route_home(first).await {
                    Ok(()) => routed = Some(first),
                    Err(error) => println!("[dev] {error:#}"),
                }
            }
        }
    }
}

/// The first forwarder that runs and has its table.
async fn first_ready(plan: &Plan, pids: &[Option<u32>]) -> Option<usize> {
    let before = plan.stores.len() + plan.front_ends.len();
    for (n, member) in plan.forwarders.iter().enumerate() {
        if pids.get(before + n).is_some_and(Option::is_some) && is_ready(member).await {
            return Some(n);
        }
    }
    None
}

fn endpoints(plan: &Plan, lab: Option<&LabNetwork>, pids: &[Option<u32>]) -> serde_json::Value {
    let mut pids = pids.iter().copied();
    let mut member = |member: &Member, key: &str| {
        let pid = pids.next().flatten();
        let mut entry = json!({ "name": member.name, "pid": pid, "ops": member.ops.to_string() });
        if let Some(listen) = member.listen {
            entry[key] = listen.to_string().into();
        }
        entry
    };
    let mut group = |members: &[Member]| -> Vec<serde_json::Value> {
        members.iter().map(|m| member(m, "grpc")).collect()
    };
    let stores = group(&plan.stores);
    let front_ends = group(&plan.front_ends);
    let mut forwarders = group(&plan.forwarders);
    for (n, forwarder) in forwarders.iter_mut().enumerate() {
        forwarder["udp"] = plan.udp.to_string().into();
        if let Some(namespace) = lab.and_then(|lab| lab.forwarders.get(n)) {
            forwarder["netns"] = namespace.name().into();
        }
    }
    let noc = member(&plan.noc, "http");
    let namespaces = lab.map(|lab| {
        json!({
            "router": lab.router.name(),
            "mobile_node": lab.mobile_node.name(),
            "correspondent": lab.correspondent.name(),
        })
    });
    json!({
        "mode": plan.mode,
        "data_dir": plan.data_dir,
        "home_prefix": HOME_PREFIX,
        "home_agent": HOME_AGENT,
        "home_agent_ipv4": if lab.is_some() { HOME_AGENT_IPV4.to_owned() } else { plan.udp.ip().to_string() },
        "udp": plan.udp.to_string(),
        "stores": stores,
        "front_ends": front_ends,
        "forwarders": forwarders,
        "noc": noc,
        "namespaces": namespaces,
        "correspondent": lab.map(|_| CORRESPONDENT),
        "router": lab.map(|_| ROUTER),
        "tls": certificates::of_operator(plan),
    })
}

/// A reader sees the old content or the new one, never half of it.
fn write_whole(file: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    let fresh = file.with_extension("json.new");
    let context = || file.display().to_string();
    std::fs::write(&fresh, serde_json::to_string_pretty(value)?).with_context(context)?;
    std::fs::rename(&fresh, file).with_context(context)
}
