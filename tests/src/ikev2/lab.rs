//! Cluster, router and guests.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::security_associations_client::SecurityAssociationsClient;
use homeport_api::admin::subscribers_client::SubscribersClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, DeleteHomePrefixRequest,
    GetHomePrefixRequest, ListSecurityAssociationsRequest, SecurityAssociation, Subscriber,
};
use homeport_hostnet::Namespace;
use homeport_wire::BaFlags;
use tempfile::TempDir;
use tonic::Code;

use super::guest::{Guest, fixture};
use super::node::Node;
use super::relay::Relay;
use crate::dev::{DevCluster, channel_to, program};
use crate::eventually;
use crate::netns::{Capture, RawLink};
use crate::updates::HOME_AGENT;

const HOME_ADDRESS: Ipv6Addr = crate::updates::home_address(0x100);
const HOME_PREFIX: &str = "2001:db8:0:1::/64";
/// As in the daemons' configurations.
const REQID: u32 = 256;
/// Where the agent listens in its guest.
const AGENT_PORT: u16 = 7500;
/// The home agent's guest, on a link of its own.
const GUEST: &str = "2001:db8:1c::2";
const GUEST_ROUTER: &str = "2001:db8:1c::1";
const AGENT_NAME: &str = "ike-1";

/// All of it; it goes when this is dropped.
pub(super) struct Lab {
    // Guests first: they hold devices of the router.
    home_agent: Guest,
    mobile_node: Guest,
    link: RawLink,
    capture: Option<Capture>,
    router: Namespace,
    _relays: Vec<Relay>,
    cluster: DevCluster,
    folder: TempDir,
    captures: u32,
    /// IKE_AUTH exchanges in captures that have ended.
    seen: u32,
}

/// The mobile node's address on a foreign link, 1 or 2.
const fn care_of(place: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x1d, place, 0, 0, 0, 2)
}

impl Lab {
    /// Starts it, with this suite for what the daemons negotiate.
    pub(super) async fn start(suite: &str) -> Result<Self> {
        let cluster = DevCluster::start_in_namespaces_plain("none").await?;
        let router = cluster.endpoints()?.namespaces.context("no namespaces")?.router;
        let folder = tempfile::tempdir()?;
        build_network(&router)?;
        let name = router.clone();
        let router = Namespace::from(router.as_str());
        let link = RawLink::open(&name).await?;
        divert(&name)?;

        let network = format!(
            "ip link set lo up\nip address add {GUEST}/64 dev eth0 nodad\nip link set eth0 up\n\
             ip address add {HOME_AGENT}/128 dev lo nodad\nip -6 route add default via {GUEST_ROUTER}\n"
        );
        let mut home_agent =
            Guest::start("home-agent", folder.path(), &router, &["ike"], &network)?;
        let network = format!(
            "ip link set lo up\nip address add {HOME_ADDRESS}/128 dev lo nodad\n\
             for n in 1 2; do\nip address add 2001:db8:1d:$n::2/64 dev eth$((n - 1)) nodad\n\
             ip link set eth$((n - 1)) up\ndone\nip -6 route add default via 2001:db8:1d:1::1\n"
        );
        let taps = ["foreign-1", "foreign-2"];
        let mut mobile_node = Guest::start("mobile-node", folder.path(), &router, &taps, &network)?;
        home_agent.up().await?;
        mobile_node.up().await?;
        for (guest, file) in [
            (&mut home_agent, "home-agent.swanctl.conf"),
            (&mut mobile_node, "mobile-node.swanctl.conf"),
        ] {
            let text = std::fs::read_to_string(fixture(file))?;
            let text = text.replace("SUITE", suite).replace("CARE_OF", &care_of(1).to_string());
            guest.configure(&text).await?;
        }

        let mut relays = Vec::new();
        let mut stores = Vec::new();
        for store in cluster.endpoints()?.stores {
            let to: SocketAddr = store.grpc.context("a store that is down")?.parse()?;
            let listen = SocketAddr::new(GUEST_ROUTER.parse()?, 0);
            let relay = Relay::open(&router, listen, &Namespace::Current, to)?;
            stores.push(relay.address.to_string());
            relays.push(relay);
        }
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let guest = SocketAddr::new(GUEST.parse()?, AGENT_PORT);
        let relay = Relay::open(&Namespace::Current, here, &router, guest)?;
        std::fs::write(
            home_agent.share().join("agent.toml"),
            format!(
                "name = {AGENT_NAME:?}\nlisten = \"[::]:{AGENT_PORT}\"\naddress = \"{}\"\n\
                 stores = {stores:?}\nops.listen = \"127.0.0.1:9500\"\n",
                relay.address
            ),
        )?;
        relays.push(relay);

        let mut lab = Self {
            home_agent,
            mobile_node,
            link,
            capture: None,
            router,
            _relays: relays,
            cluster,
            folder,
            captures: 0,
            seen: 0,
        };
        lab.provision().await?;
        lab.capture = Some(lab.start_capture().await?);
        lab.start_agent().await?;
        Ok(lab)
    }

    /// The home prefix takes what comes in ESP, and knows the mobile node.
    /// Guests that start take the processors, so that another replica may come to lead meanwhile: each call is
    /// made until a leader has taken it.
    async fn provision(&self) -> Result<()> {
        let name = || HOME_PREFIX.to_owned();
        let mut home_prefix = eventually("the home prefix", async || {
            let leader = channel_to(&self.cluster.leader().await?).await?;
            let get = GetHomePrefixRequest { prefix: name() };
            Ok(HomePrefixesClient::new(leader).get_home_prefix(get).await?.into_inner())
        })
        .await?;
        home_prefix.authentication = Authentication::Ipsec.into();
        home_prefix.revision = 0;
        // How mobile nodes are authenticated cannot change.
        eventually("the home prefix to be gone", async || {
            let leader = channel_to(&self.cluster.leader().await?).await?;
            let delete = DeleteHomePrefixRequest { prefix: name(), ..Default::default() };
            done_or(
                HomePrefixesClient::new(leader).delete_home_prefix(delete).await,
                Code::NotFound,
            )
        })
        .await?;
        let subscriber =
            Subscriber { home_address: HOME_ADDRESS.to_string(), ..Default::default() };
        eventually("the home prefix with IPsec, and its subscriber", async || {
            let leader = channel_to(&self.cluster.leader().await?).await?;
            let home_prefix = Some(home_prefix.clone());
            let create = CreateHomePrefixRequest { home_prefix, ..Default::default() };
            let created = HomePrefixesClient::new(leader.clone()).create_home_prefix(create).await;
            done_or(created, Code::AlreadyExists)?;
            let subscriber = Some(subscriber.clone());
            let create = CreateSubscriberRequest { subscriber, ..Default::default() };
            let created = SubscribersClient::new(leader).create_subscriber(create).await;
            done_or(created, Code::AlreadyExists)
        })
        .await
    }

    async fn start_capture(&mut self) -> Result<Capture> {
        self.captures += 1;
        let (label, folder) = (format!("ike-{}", self.captures), self.folder.path());
        let filter = ["udp port 500 or udp port 4500"];
        let Namespace::Named(router) = &self.router else { anyhow::bail!("no name") };
        Capture::begin(router, "ike", folder, &label, &filter).await
    }

    /// IKE_AUTH exchanges since the start: their requests, of which none came twice.
    pub(super) async fn ike_auth_exchanges(&mut self) -> Result<u32> {
        let capture = self.capture.take().context("no capture")?;
        let file = self.folder.path().join("ike.pcap");
        std::fs::write(&file, capture.end()?)?;
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file);
        // RFC 7296 §3.1: exchange type 35, and neither a response nor a retransmission.
        tshark.args(["-Y", "isakmp.exchangetype == 35 && isakmp.flag_r == 0"]);
        tshark.args(["-T", "fields", "-e", "isakmp.ispi", "-e", "isakmp.messageid"]);
        let output = tshark.output().context("tshark")?;
        ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let exchanges: std::collections::BTreeSet<&str> = text.lines().collect();
        self.seen += u32::try_from(exchanges.len())?;
        self.capture = Some(self.start_capture().await?);
        Ok(self.seen)
    }

    pub(super) async fn start_agent(&mut self) -> Result<()> {
        let program = program("homeport")?;
        let start = format!(
            "{} ike-agent --config agent.toml >>agent.log 2>&1 & echo $! >agent.pid",
            program.display()
        );
        self.home_agent.run(&start).await?;
        let ready = "import urllib.request as web; web.urlopen('http://127.0.0.1:9500/readyz')";
        let ready = format!(
            "for n in $(seq 50); do python3 -c \"{ready}\" && exit 0; sleep 0.2; done; exit 1"
        );
        self.home_agent.run(&ready).await?;
        Ok(())
    }

    pub(super) async fn stop_agent(&mut self) -> Result<()> {
        let stop = "kill $(cat agent.pid)\nwhile kill -0 $(cat agent.pid) 2>/dev/null; do sleep 0.05; done";
        self.home_agent.run(stop).await.map(drop)
    }

    /// IKE from the first care-of address, and its keys in the store.
    pub(super) async fn negotiate(&mut self) -> Result<()> {
        self.mobile_node.swanctl("--initiate --child signalling").await?;
        self.expect_published().await
    }

    /// The store has what the agent's kernel has, and nothing else.
    async fn expect_published(&mut self) -> Result<()> {
        let listed = self.home_agent.run("ip xfrm state").await?;
        eventually("the keys in the store", async || {
            let published = self.published().await?;
            let is_there = |spi: u32| listed.contains(&format!("spi 0x{spi:08x} "));
            let [only] = published.as_slice() else { anyhow::bail!("{published:?}") };
            ensure!(only.ike_agent == AGENT_NAME, "{only:?}");
            for direction in [&only.inbound, &only.outbound] {
                let spi = direction.as_ref().context("no direction")?.spi;
                ensure!(is_there(spi), "{spi:08x} is not in {listed}");
            }
            Ok(())
        })
        .await
    }

    async fn published(&self) -> Result<Vec<SecurityAssociation>> {
        let leader = channel_to(&self.cluster.leader().await?).await?;
        let list = ListSecurityAssociationsRequest::default();
        let listed =
            SecurityAssociationsClient::new(leader).list_security_associations(list).await?;
        Ok(listed.into_inner().security_associations)
    }

    pub(super) async fn node(&mut self) -> Result<Node> {
        let listed = self.mobile_node.run("ip xfrm state").await?;
        Node::new(HOME_ADDRESS, HOME_AGENT, &listed)
    }

    /// The mobile node's own daemon speaks from there, as its kernel has told it.
    pub(super) async fn move_to(&mut self, place: u16) -> Result<()> {
        let (former, present) = (care_of(3 - place), care_of(place));
        let program = fixture("endpoint.py").display().to_string();
        let script = format!(
            "python3 {program} {HOME_ADDRESS} {HOME_AGENT} {REQID} {former} {present}\n\
             ip -6 route replace default via 2001:db8:1d:{place}::1"
        );
        self.mobile_node.run(&script).await.map(drop)
    }

    /// Registers from there; how long the acknowledgement took.
    pub(super) async fn expect_k(
        &mut self,
        node: &mut Node,
        place: u16,
        asked: bool,
        answered: bool,
    ) -> Result<Duration> {
        let started = Instant::now();
        let acknowledged = node.register(&self.link, care_of(place), asked).await?;
        let took = started.elapsed();
        ensure!(acknowledged.status() == 0, "{acknowledged:?}");
        let has_k = acknowledged.message.flags.contains(BaFlags::KEY_MANAGEMENT_MOBILITY);
        ensure!(has_k == answered, "K is {has_k} in {acknowledged:?}");
        Ok(took)
    }

    /// The home agent's daemon has one association, and its peer is there.
    pub(super) async fn expect_ike_at(&mut self, place: u16) -> Result<()> {
        let listed = self.home_agent.swanctl("--list-sas --raw").await?;
        let peer = format!("remote-host={} remote-port=500 ", care_of(place));
        let (associations, there) =
            (listed.matches("remote-host=").count(), listed.matches(&peer).count());
        ensure!((associations, there) == (1, 1), "{peer}: {listed}");
        Ok(())
    }

    /// A new IKE association in place of the old one, which the mobile node asks for from where it is.
    pub(super) async fn rekey_ike(&mut self) -> Result<()> {
        self.mobile_node.swanctl("--rekey --ike home-agent").await?;
        let replaced = "for n in $(seq 50); do swanctl --list-sas --uri unix:///run/charon.vici \
                        | grep -c ESTABLISHED | grep -qx 1 && exit 0; sleep 0.1; done; exit 1";
        self.home_agent.run(replaced).await.map(drop)
    }

    /// New keys, which the home agent asks for.
    pub(super) async fn rekey_child(&mut self, node: &mut Node) -> Result<()> {
        self.home_agent.swanctl("--rekey --child signalling").await?;
        // Both daemons keep the old inbound association for late packets, and so long the list has three.
        let settled = "for n in $(seq 150); do ip xfrm state | grep -c proto | grep -qx 2 && exit 0; \
                       sleep 0.1; done; exit 1";
        self.home_agent.run(settled).await?;
        self.mobile_node.run(settled).await?;
        self.expect_published().await?;
        node.rekeyed(&self.mobile_node.run("ip xfrm state").await?)
    }

    /// Neither daemon nor store has anything left.
    pub(super) async fn expect_closed(&mut self) -> Result<()> {
        let closed = "for n in $(seq 150); do [ -z \"$(ip xfrm state)\" ] && exit 0; sleep 0.1; done; \
                      ip xfrm state; exit 1";
        self.home_agent.run(closed).await?;
        let listed = self.home_agent.swanctl("--list-sas").await?;
        ensure!(!listed.contains("ESTABLISHED"), "{listed}");
        eventually("no keys in the store", async || {
            let published = self.published().await?;
            ensure!(published.is_empty(), "{published:?}");
            Ok(())
        })
        .await
    }

    /// The ends of all logs.
    pub(super) fn last_words(&self) -> String {
        let guests = [&self.home_agent, &self.mobile_node].map(Guest::last_words).concat();
        guests + &self.cluster.logs()
    }
}

/// TAPs for the guests, in the router's namespace.
fn build_network(router: &str) -> Result<()> {
    let guest_router = format!("{GUEST_ROUTER}/64");
    for (tap, address) in [
        ("ike", guest_router.as_str()),
        ("foreign-1", "2001:db8:1d:1::1/64"),
        ("foreign-2", "2001:db8:1d:2::1/64"),
    ] {
        ip(router, &["tuntap", "add", tap, "mode", "tap"])?;
        ip(router, &["address", "add", address, "dev", tap, "nodad"])?;
        ip(router, &["link", "set", tap, "up"])?;
    }
    Ok(())
}

/// IKE for the home agent goes to the daemon's guest, all else to the forwarders. What comes from those for the
/// mobile node goes to the test.
fn divert(router: &str) -> Result<()> {
    let rule = |arguments: &[&str]| ip(router, &[&["-6", "rule", "add"], arguments].concat());
    ip(router, &["-6", "route", "add", "default", "via", GUEST, "dev", "ike", "table", "500"])?;
    ip(router, &["-6", "route", "add", "default", "dev", "raw0", "table", "501"])?;
    let agent = HOME_AGENT.to_string();
    for port in ["500", "4500"] {
        rule(&["to", &agent, "ipproto", "udp", "dport", port, "table", "500", "priority", "50"])?;
    }
    for forwarder in ["forwarder-1", "forwarder-2"] {
        rule(&["iif", forwarder, "to", "2001:db8:1d::/48", "table", "501", "priority", "51"])?;
    }
    Ok(())
}

fn ip(namespace: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(["-n", namespace]).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", arguments.join(" "));
    Ok(())
}

/// An attempt whose answer was lost may have done it.
fn done_or<T>(result: Result<T, tonic::Status>, already: Code) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(status) if status.code() == already => Ok(()),
        Err(status) => Err(status.into()),
    }
}
