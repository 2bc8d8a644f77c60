//! The laboratory of one case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::security_associations_client::SecurityAssociationsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    CreateHomePrefixRequest, CreateSecurityAssociationRequest, CreateSubscriberRequest,
    DeleteHomePrefixRequest, DeleteSubscriberRequest, GetHomePrefixRequest, HomeBindings,
    HomePrefix, SecurityAssociation, Subscriber,
};
use homeport_hostnet::{Namespace, write_sysctl};
use mobile_node::{AuthenticationConfig, CareOfConfig, Config, TunConfig};

use super::capture::{Capture, Frame};
use super::ping::{Ping, Pinged, ping};
use super::raw::RawLink;
use super::{Figure, Outcome};
use crate::dev::{DevCluster, Namespaces, channel_to, is_ready, kill, metric};
use crate::eventually;
use crate::updates::HOME_AGENT;

/// The mobile node's home address.
pub(super) const HOME: &str = "2001:db8:0:1::100";
/// The home agent.
pub(super) const AGENT: &str = "2001:db8:0:1::1";
/// The home agent's IPv4 address.
pub(super) const AGENT_IPV4: &str = "198.51.100.1";
/// The correspondent node.
pub(super) const CORRESPONDENT: &str = "2001:db8:f::99";
pub(super) const HOME_PREFIX: &str = "2001:db8:0:1::/64";
/// The router on every foreign link.
const ROUTER: &str = "fe80::1";
/// Interface of a forwarder towards the router.
const UPLINK: &str = "uplink";
/// Ports that the kernels choose from: tshark takes random octets for no protocol there, as it does for one that
/// is spoken at ports from 56000 to 60001.
const PORTS: &str = "61000 64999";
const SPI: u32 = 0x100;
const NAI: &str = "mn1@example.com";
const KEY: [u8; 16] = *b"homeport-e2e-key";

/// The cluster, its network, and what is measured and captured there.
pub(super) struct Lab {
    pub(super) cluster: DevCluster,
    pub(super) namespaces: Namespaces,
    authenticated: bool,
    /// The home agent's UDP port: 4191, unless something else on this machine has it.
    pub(super) udp_port: u16,
    captures: Vec<Capture>,
    figures: Vec<Figure>,
    frames_decoded: u32,
    frames_malformed: u32,
}

impl Lab {
    /// Starts it and waits until the home agent answers the correspondent node.
    pub(super) async fn start(authentication: &str) -> Result<Self> {
        let mut lab = Self::start_unseen(authentication).await?;
        for forwarder in lab.cluster.endpoints()?.forwarders {
            let namespace = forwarder.netns.context("a forwarder without a namespace")?;
            let capture = Capture::start(&namespace, UPLINK, lab.directory()).await?;
            lab.captures.push(capture);
        }
        Ok(lab)
    }

    /// The same without captures of all that passes the forwarders.
    pub(super) async fn start_unseen(authentication: &str) -> Result<Self> {
        let cluster = DevCluster::start_in_namespaces(authentication).await?;
        Self::in_cluster(cluster, authentication).await
    }

    /// The same without TLS, to speak to the store as a front-end does.
    pub(super) async fn start_plain(authentication: &str) -> Result<Self> {
        let cluster = DevCluster::start_in_namespaces_plain(authentication).await?;
        Self::in_cluster(cluster, authentication).await
    }

    async fn in_cluster(cluster: DevCluster, authentication: &str) -> Result<Self> {
        let endpoints = cluster.endpoints()?;
        let namespaces = endpoints.namespaces.context("there are no namespaces")?;
        for host in [&namespaces.correspondent, &namespaces.mobile_node] {
            let host = Namespace::from(host.as_str());
            write_sysctl(&host, "net.ipv4.ip_local_port_range", PORTS)?;
        }
        let lab = Self {
            cluster,
            namespaces,
            authenticated: authentication == "mn-ha",
            udp_port: endpoints.udp.port(),
            captures: Vec::new(),
            figures: Vec::new(),
            frames_decoded: 0,
            frames_malformed: 0,
        };
        lab.expect_agent().await?;
        if lab.authenticated {
            lab.subscribe(subscriber()).await?;
        }
        Ok(lab)
    }

    async fn expect_agent(&self) -> Result<()> {
        eventually("the home agent", async || {
            let seen = self.ping_from_correspondent(AGENT).await?;
            ensure!(seen.lost == 0, "{seen:?}");
            Ok(())
        })
        .await
    }

    pub(super) async fn subscribe(&self, subscriber: Subscriber) -> Result<()> {
        let request =
            CreateSubscriberRequest { subscriber: Some(subscriber), ..Default::default() };
        eventually("the subscriber record", async || {
            let leader = channel_to(&self.cluster.leader().await?).await?;
            match SubscribersClient::new(leader).create_subscriber(request.clone()).await {
                Ok(_) => Ok(()),
                // An earlier attempt was not answered.
                Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
                Err(status) => Err(status.into()),
            }
        })
        .await
    }

    /// Changes the home prefix that `homeport dev` has created, and the node's subscriber record.
    pub(super) async fn provision(
        &self,
        prefix: impl FnOnce(&mut HomePrefix),
        record: impl FnOnce(&mut Subscriber),
    ) -> Result<()> {
        let leader = channel_to(&self.cluster.leader().await?).await?;
        let mut client = HomePrefixesClient::new(leader.clone());
        let name = || HOME_PREFIX.to_owned();
        let get = GetHomePrefixRequest { prefix: name() };
        let mut home_prefix = client.get_home_prefix(get).await?.into_inner();
        home_prefix.revision = 0;
        prefix(&mut home_prefix);
        let mut subscriber = subscriber();
        record(&mut subscriber);

        let delete =
            DeleteSubscriberRequest { home_address: HOME.to_owned(), ..Default::default() };
        SubscribersClient::new(leader).delete_subscriber(delete).await?;
        client
            .delete_home_prefix(DeleteHomePrefixRequest { prefix: name(), ..Default::default() })
            .await?;
        let create =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        client.create_home_prefix(create).await?;
        self.subscribe(subscriber).await?;
        self.expect_agent().await
    }

    /// Gives the cluster a security association.
    pub(super) async fn associate(&self, association: SecurityAssociation) -> Result<()> {
        let security_association = Some(association);
        let request =
            CreateSecurityAssociationRequest { security_association, ..Default::default() };
        let leader = channel_to(&self.cluster.leader().await?).await?;
        SecurityAssociationsClient::new(leader).create_security_association(request).await?;
        Ok(())
    }

    /// A mobile node without care-of addresses.
    pub(super) fn node(&self) -> Result<Config> {
        let mut config = Config::new(HOME.parse()?, HOME_AGENT);
        let netns = Some(self.namespaces.mobile_node.clone());
        config.tun = Some(TunConfig { name: "mn0".to_owned(), netns, mtu: 1460 });
        config.home_agent_v4 = Some(AGENT_IPV4.parse()?);
        config.home_agent_port = self.udp_port;
        config.updates_per_second_max = 100;
        config.authentication = self.authenticated.then(|| AuthenticationConfig {
            spi: SPI,
            key: KEY.iter().map(|octet| format!("{octet:02x}")).collect(),
            nai: NAI.to_owned(),
            mesg_id: true,
        });
        Ok(config)
    }

    /// Files of this case go there.
    pub(super) fn directory(&self) -> &Path {
        self.cluster.data_dir()
    }

    /// The correspondent node's kernel pings the home address until it is told to stop.
    pub(super) fn keep_pinging(&self) -> Result<Ping> {
        Ping::start(&self.namespaces.correspondent, HOME, self.directory())
    }

    /// As [`Self::keep_pinging`], five times as often.
    pub(super) fn keep_pinging_fast(&self) -> Result<Ping> {
        Ping::start_fast(&self.namespaces.correspondent, HOME, self.directory())
    }

    /// Five echo requests of the correspondent node's kernel.
    pub(super) async fn ping_from_correspondent(&self, destination: &str) -> Result<Pinged> {
        ping(&self.namespaces.correspondent, &[destination], self.directory()).await
    }

    /// Five echo requests of the mobile node's kernel from its home address.
    pub(super) async fn ping_from_home(&self) -> Result<Pinged> {
        let arguments = ["-I", HOME, CORRESPONDENT];
        ping(&self.namespaces.mobile_node, &arguments, self.directory()).await
    }

    /// The kernels reach each other, both ways, without a loss.
    pub(super) async fn expect_both_ways(&self) -> Result<()> {
        let down = self.ping_from_correspondent(HOME).await?;
        ensure!(down.lost == 0, "from the correspondent node: {down:?}");
        let up = self.ping_from_home().await?;
        ensure!(up.lost == 0, "from the home address: {up:?}");
        Ok(())
    }

    /// Starts the forwarders anew with the common case in XDP.
    pub(super) async fn switch_xdp_on(&self) -> Result<()> {
        for forwarder in self.cluster.endpoints()?.forwarders {
            let file = self.directory().join(format!("{}.toml", forwarder.name));
            let mut text = std::fs::read_to_string(&file)?;
            text.push_str("\n[xdp]\nmode = \"native\"\ninterfaces = [\"uplink\"]\n");
            // Forwarders of other laboratories have the same names, and this host is theirs too.
            let pins = format!("/sys/fs/bpf/{}-{}", self.namespaces.router, forwarder.name);
            text.push_str(&format!("pin_dir = \"{pins}\"\n"));
            std::fs::write(&file, text)?;
            kill(&forwarder)?;
            eventually("the forwarder with XDP", async || {
                let all = self.cluster.endpoints()?.forwarders;
                let now = all.into_iter().find(|it| it.name == forwarder.name);
                let now = now.context("it is not there")?;
                ensure!(now.pid.is_some() && now.pid != forwarder.pid, "{now:?}");
                is_ready(&now).await
            })
            .await?;
        }
        self.expect_agent().await
    }

    /// Packets that XDP has sent on the first forwarder, for this cause.
    pub(super) async fn sent_by_xdp(&self, cause: &str) -> Result<u64> {
        let forwarders = self.cluster.endpoints()?.forwarders;
        let first = forwarders.first().context("there is no forwarder")?;
        let labels = format!("{{verdict=\"sent\",cause=\"{cause}\"}}");
        let name = format!("homeport_forwarder_fast_packets_total{labels}");
        Ok(metric(first, &name).await?.parse()?)
    }

    /// The store holds nothing of the node, and nothing reaches it.
    pub(super) async fn expect_gone(&self) -> Result<()> {
        let left = self.bindings().await?.bindings;
        ensure!(left.is_empty(), "the store still holds {left:?}");
        let seen = self.ping_from_correspondent(HOME).await?;
        ensure!(seen.replies.is_empty(), "packets still flow: {seen:?}");
        Ok(())
    }

    /// What the store holds of the home address.
    pub(super) async fn bindings(&self) -> Result<HomeBindings> {
        self.cluster.bindings(HOME).await
    }

    /// A foreign link of the test's own.
    pub(super) async fn raw_link(&self) -> Result<RawLink> {
        RawLink::open(&self.namespaces.router).await
    }

    /// Notes a measured value.
    pub(super) fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }

    /// Captures a foreign link, where the mobile node is.
    pub(super) async fn capture(&self, link: &str) -> Result<Capture> {
        Capture::start(&self.namespaces.mobile_node, link, self.directory()).await
    }

    /// Ends the captures; what the forwarders sent and got. Each frame must be sound.
    pub(super) fn decode(&mut self) -> Result<Vec<Frame>> {
        let captures = std::mem::take(&mut self.captures);
        self.judge(captures)
    }

    /// What is in these captures. Each frame must be sound.
    pub(super) fn judge(&mut self, captures: Vec<Capture>) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for capture in captures {
            frames.extend(capture.decode(self.udp_port)?);
        }
        let unsound: Vec<&Frame> = frames.iter().filter(|frame| !frame.is_sound()).collect();
        self.frames_decoded += u32::try_from(frames.len())?;
        self.frames_malformed += u32::try_from(unsound.len())?;
        ensure!(!frames.is_empty(), "nothing was captured");
        ensure!(unsound.is_empty(), "frames that are not sound: {unsound:#?}");
        Ok(frames)
    }

    /// The end of the case.
    pub(super) fn outcome(self, result: Result<()>) -> Outcome {
        let Self { figures, frames_decoded, frames_malformed, .. } = self;
        Outcome { result, figures, frames_decoded, frames_malformed }
    }
}

/// The node's record.
fn subscriber() -> Subscriber {
    Subscriber {
        home_address: HOME.to_owned(),
        nai: NAI.to_owned(),
        spi: SPI,
        key: KEY.to_vec().into(),
        ..Subscriber::default()
    }
}

/// Runs a program in a namespace.
pub(super) fn run(namespace: &str, words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    let output = Namespace::from(namespace).run(|| command.args(arguments).output())?;
    let output = output.with_context(|| (*program).to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words:?}: {said}");
    Ok(())
}

/// A care-of address on a foreign link.
pub(super) fn care_of(bid: u16, link: &str, address: &str) -> Result<CareOfConfig> {
    let mut care_of = CareOfConfig::new(bid, address.parse()?);
    care_of.interface = Some(link.to_owned());
    care_of.gateway = Some(match care_of.address {
        IpAddr::V6(_) => ROUTER.parse()?,
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 1).into()
        }
    });
    Ok(care_of)
}

/// At least one frame is like that.
pub(super) fn expect(frames: &[Frame], what: &str, is: impl Fn(&Frame) -> bool) -> Result<()> {
    if frames.iter().any(is) {
        return Ok(());
    }
    let signalling: Vec<&Frame> =
        frames.iter().filter(|frame| !frame.all("mip6.mhtype").is_empty()).collect();
    bail!("no frame with {what} among {}; signalling was {signalling:#?}", frames.len())
}

/// No frame is like that.
pub(super) fn expect_none(frames: &[Frame], what: &str, is: impl Fn(&Frame) -> bool) -> Result<()> {
    match frames.iter().find(|frame| is(frame)) {
        Some(frame) => bail!("{what}: {frame:#?}"),
        None => Ok(()),
    }
}

/// An address as tshark prints it.
pub(super) fn text(address: Ipv6Addr) -> String {
    address.to_string()
}

/// Deletes the namespaces that a `homeport dev` of this process id has left behind.
pub(crate) fn remove_namespaces_of(pid: u32) {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if name.starts_with("homeport-")
            && name.contains(&format!("-{pid}-"))
            && let Err(error) = Namespace::delete(&name)
        {
            eprintln!("{name}: {error}");
        }
    }
}
