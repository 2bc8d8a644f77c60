//! What a dev cluster consists of: names, addresses, configuration files. It is kept in the data
//! directory, so that the same directory starts the same cluster again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::certificates;

/// The home prefix of the dev cluster, of the documentation range (RFC 3849).
pub(crate) const HOME_PREFIX: &str = "2001:db8:0:1::/64";
/// The home agent's address.
pub(crate) const HOME_AGENT: &str = "2001:db8:0:1::1";
/// The home agent's IPv4 address in the namespaces of `tun` mode, of the documentation range.
pub(crate) const HOME_AGENT_IPV4: &str = "198.51.100.1";
/// The home address of the demonstration's mobile node.
pub(crate) const HOME_ADDRESS: &str = "2001:db8:0:1::100";
/// Port of RFC 5555.
const MOBILITY_UDP_PORT: u16 = 4191;
/// The plan's file in the data directory.
const FILE: &str = "dev.json";

/// How packets get in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// UDP on loopback.
    Udp,
    /// IPv6 over TUN in namespaces, and UDP on loopback.
    Tun,
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// `store-1`; also the name of its configuration, log and data.
    pub(crate) name: String,
    /// Where it serves gRPC, or HTTP for the dashboard; absent for forwarders of old directories.
    pub(crate) listen: Option<SocketAddr>,
    /// Metrics and health.
    pub(crate) ops: SocketAddr,
}

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    #[serde(skip)]
    pub(crate) data_dir: PathBuf,
    #[serde(skip, default = "udp")]
    pub(crate) mode: Mode,
    /// Where each process has a program under its own name; all run this one when absent.
    #[serde(skip)]
    pub(crate) programs: Option<PathBuf>,
    /// Whether links use TLS.
    #[serde(skip)]
    pub(crate) protected: bool,
    pub(crate) stores: Vec<Member>,
    pub(crate) front_ends: Vec<Member>,
    pub(crate) forwarders: Vec<Member>,
    pub(crate) noc: Member,
    /// UDP 4191 on loopback, shared by the forwarders.
    pub(crate) udp: SocketAddr,
}

const fn udp() -> Mode {
    Mode::Udp
}

impl Plan {
    /// The plan of this directory, or a new one with free ports.
    pub(crate) fn load_or_make(
        data_dir: &Path,
        mode: Mode,
        udp_port: Option<u16>,
    ) -> anyhow::Result<Self> {
        let in_dir = || format!("data directory {}", data_dir.display());
        std::fs::create_dir_all(data_dir.join("logs")).with_context(in_dir)?;
        let data_dir = std::fs::canonicalize(data_dir).with_context(in_dir)?;
        let file = data_dir.join(FILE);
        let plan = if file.exists() {
            let text = std::fs::read_to_string(&file).with_context(in_dir)?;
            let plan: Self = serde_json::from_str(&text).with_context(|| {
                format!("{}: remove the directory to begin anew", file.display())
            })?;
            plan.check_ports()?;
            plan
        } else {
            let plan = Self::make(udp_port)?;
            std::fs::write(&file, serde_json::to_string_pretty(&plan)?).with_context(in_dir)?;
            plan
        };
        Ok(Self { data_dir, mode, ..plan })
    }

    fn make(udp_port: Option<u16>) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        let mut members = |role: &str, count: usize, serves: bool| -> anyhow::Result<Vec<_>> {
            (1..=count).map(|n| ports.member(format!("{role}-{n}"), serves)).collect()
        };
        let stores = members("store", 3, true)?;
        let front_ends = members("signalling", 2, true)?;
        let forwarders = members("forwarder", 2, true)?;
        let noc = ports.member("noc".to_owned(), true)?;
        let udp = match udp_port {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            None => udp_address()?,
        };
        let (data_dir, mode, programs, protected) = (PathBuf::new(), Mode::Udp, None, false);
        Ok(Self { data_dir, mode, programs, protected, stores, front_ends, forwarders, noc, udp })
    }

    /// A cluster that is started again needs its ports: they stand in its membership.
    fn check_ports(&self) -> anyhow::Result<()> {
        for member in self.members() {
            for address in member.listen.iter().chain([&member.ops]) {
                if let Err(error) = std::net::TcpListener::bind(address) {
                    bail!(
                        "{address} of {} cannot be listened on ({error}): does this cluster run \
                         already?",
                        member.name
                    );
                }
            }
        }
        Ok(())
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        let first = self.stores.iter().chain(&self.front_ends).chain(&self.forwarders);
        first.chain([&self.noc])
    }

    pub(crate) fn store_addresses(&self) -> Vec<String> {
        addresses(&self.stores)
    }

    /// Writes the configuration of each process; `namespaces` are those of the forwarders.
    pub(crate) fn write_configurations(&self, namespaces: &[String]) -> anyhow::Result<()> {
        for (n, member) in self.stores.iter().enumerate() {
            self.write(member, self.store_configuration(n + 1, member))?;
        }
        // Programs of other versions may not know of it.
        let key_file = match self.programs {
            None => Some(self.correspondent_key()?.display().to_string()),
            Some(_) => None,
        };
        for member in &self.front_ends {
            let mut table = toml::Table::new();
            table.insert("listen".into(), listen(member).into());
            table.insert("stores".into(), self.store_addresses().into());
            if let Some(key_file) = &key_file {
                let correspondent = [("key_file".to_owned(), key_file.clone().into())];
                table.insert("correspondent".into(), toml::Table::from_iter(correspondent).into());
            }
            self.write(member, table)?;
        }
        for (n, member) in self.forwarders.iter().enumerate() {
            let mut table = toml::Table::new();
            table.insert("name".into(), member.name.clone().into());
            table.insert("stores".into(), self.store_addresses().into());
            table.insert("front_ends".into(), addresses(&self.front_ends).into());
            let udp = toml::Table::from_iter([("listen".into(), self.udp.to_string().into())]);
            table.insert("udp".into(), udp.into());
            // Programs of other versions may not know of it.
            if self.programs.is_none() && member.listen.is_some() {
                let listen = ("listen".to_owned(), listen(member).into());
                let counted = ("home_addresses_counted_max".to_owned(), 1000.into());
                table.insert("inspection".into(), toml::Table::from_iter([listen, counted]).into());
            }
            if let Some(namespace) = namespaces.get(n) {
                let tun = [("name", "hp0".into()), ("netns", namespace.clone().into())];
                let tun = tun.map(|(key, value): (&str, toml::Value)| (key.to_owned(), value));
                table.insert("tun".into(), toml::Table::from_iter(tun).into());
            }
            self.write(member, table)?;
        }
        let mut table = toml::Table::new();
        table.insert("listen".into(), listen(&self.noc).into());
        table.insert("stores".into(), self.store_addresses().into());
        // Programs of other versions may not know of them.
        if self.programs.is_none() {
            table.insert("processes".into(), self.processes().into());
        }
        self.write(&self.noc, table)
    }

    /// All processes, as the dashboard's configuration names them.
    fn processes(&self) -> Vec<toml::Table> {
        let one = |role: &str, member: &Member| {
            let mut table = toml::Table::new();
            table.insert("name".into(), member.name.clone().into());
            table.insert("role".into(), role.into());
            table.insert("ops".into(), member.ops.to_string().into());
            if role == "forwarder" && member.listen.is_some() {
                table.insert("inspection".into(), listen(member).into());
            }
            table
        };
        let roles = [
            ("store", self.stores.as_slice()),
            ("signalling", &self.front_ends),
            ("forwarder", &self.forwarders),
            ("noc", std::slice::from_ref(&self.noc)),
        ];
        let all = roles.into_iter();
        all.flat_map(|(role, members)| members.iter().map(move |it| one(role, it))).collect()
    }

    /// The key of the correspondent node, which a cluster that is started again keeps.
    fn correspondent_key(&self) -> anyhow::Result<PathBuf> {
        let file = self.data_dir.join("correspondent.key");
        if !file.exists() {
            let key: [u8; 32] = rand::random();
            let digits: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
            std::fs::write(&file, digits).with_context(|| file.display().to_string())?;
        }
        Ok(file)
    }

    fn store_configuration(&self, node_id: usize, member: &Member) -> toml::Table {
        let id = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let peers = self.stores.iter().enumerate();
        let peers = peers.map(|(n, peer)| ((n + 1).to_string(), listen(peer).into()));
        let mut table = toml::Table::new();
        table.insert("node_id".into(), id(node_id).into());
        table.insert("cluster_name".into(), "dev".into());
        let data_dir = self.data_dir.join(&member.name).display().to_string();
        table.insert("data_dir".into(), data_dir.into());
        table.insert("listen".into(), listen(member).into());
        table.insert("peers".into(), toml::Table::from_iter(peers).into());
        table
    }

    fn write(&self, member: &Member, mut table: toml::Table) -> anyhow::Result<()> {
        let ops = toml::Table::from_iter([("listen".into(), member.ops.to_string().into())]);
        table.insert("ops".into(), ops.into());
        if self.protected {
            let tls = toml::Table::try_from(certificates::files(self, &member.name))?;
            table.insert("tls".into(), tls.into());
        }
        let file = self.configuration(member);
        std::fs::write(&file, table.to_string()).with_context(|| file.display().to_string())
    }

    pub(crate) fn configuration(&self, member: &Member) -> PathBuf {
        self.data_dir.join(format!("{}.toml", member.name))
    }

    pub(crate) fn log(&self, member: &Member) -> PathBuf {
        self.data_dir.join("logs").join(format!("{}.log", member.name))
    }
}

fn listen(member: &Member) -> String {
    member.listen.map(|address| address.to_string()).unwrap_or_default()
}

fn addresses(members: &[Member]) -> Vec<String> {
    members.iter().map(listen).collect()
}

/// Hands out free ports; each stays bound until the plan is made, so that none is given twice.
#[derive(Default)]
struct Ports(Vec<std::net::TcpListener>);

impl Ports {
    fn member(&mut self, name: String, serves: bool) -> anyhow::Result<Member> {
        let listen = if serves { Some(self.free()?) } else { None };
        Ok(Member { name, listen, ops: self.free()? })
    }

    fn free(&mut self) -> anyhow::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("no free port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        self.0.push(listener);
        Ok(address)
    }
}

fn udp_address() -> anyhow::Result<SocketAddr> {
    let known = SocketAddr::from((Ipv4Addr::LOCALHOST, MOBILITY_UDP_PORT));
    if std::net::UdpSocket::bind(known).is_ok() {
        return Ok(known);
    }
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .context("no free UDP port on 127.0.0.1")?;
    Ok(socket.local_addr()?)
}
