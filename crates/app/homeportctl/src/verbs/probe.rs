//! `homeportctl probe`: a mobile node of its own registers over the path that all others take.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, CreateSubscriberRequest, DeleteHomePrefixRequest,
    DeleteSubscriberRequest, GetHomeBindingsRequest, GetHomePrefixRequest, GetSubscriberRequest,
    HomePrefix, Subscriber, bindings_client::BindingsClient,
    home_prefixes_client::HomePrefixesClient, subscribers_client::SubscribersClient,
};
use mobile_node::{AuthenticationConfig, CareOfConfig, Config, MobileNode};
use tonic::Code;

use crate::{
    arguments::{Format, Probe},
    cluster::{Cluster, Effect},
    failure::Failure,
    output,
};

/// Whose subscriber it is: one that an earlier probe has left is replaced, no other.
const NAI: &str = "homeport-probe@example.com";
/// Security parameter index of its key.
const SPI: u32 = 256;
/// Its only binding.
const BID: u16 = 1;
/// Seconds that its binding lives, should nobody end it.
const LIFETIME_SECS: u32 = 60;
/// Echo requests through the tunnel, and how long a reply may take.
const ECHOES: u32 = 3;
const ECHO_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    cluster: &Cluster,
    format: Format,
    probe: &Probe,
) -> Result<String, Failure> {
    let served = home_prefix(cluster, probe).await?;
    let home_agent_ipv4 = match (probe.home_agent_ipv4, &served) {
        (Some(address), _) => address,
        (None, Some(prefix)) if !prefix.home_agent_ipv4.is_empty() => {
            prefix.home_agent_ipv4.parse().map_err(usage("the home prefix's IPv4 address"))?
        }
        (None, _) => {
            let what = "--home-agent-ipv4 is missing: the home prefix has no IPv4 address";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    let care_of = match probe.care_of {
        Some(care_of) => care_of,
        None => source_towards(home_agent_ipv4, probe.port)?,
    };
    let place = Place { home_agent_ipv4, care_of, key: rand::random() };
    let made = served.is_none();
    if made {
        create_home_prefix(cluster, probe, &place).await?;
    }
    let mut story = Story::default();
    let found = match create_subscriber(cluster, probe, &place).await {
        Ok(()) => {
            let home_agent = served.map(|it| it.home_agent);
            let found = story.tell(cluster, probe, &place, home_agent).await;
            let gone = delete_subscriber(cluster, probe).await;
            found.and(gone)
        }
        Err(failure) => Err(failure),
    };
    let cleaned = if made { delete_home_prefix(cluster, probe).await } else { Ok(()) };
    found.and(cleaned)?;
    if story.failed.is_empty() {
        return Ok(shown(format, &story.done));
    }
    let text = format!("{}FAILED: {}\n", story.done, story.failed);
    Err(Failure::Checked(shown(format, &text)))
}

/// A line for each step, and one text for programs.
fn shown(format: Format, story: &str) -> String {
    match format {
        Format::Table | Format::Wide => {
            story.lines().map(|line| output::plain(line) + "\n").collect()
        }
        Format::Csv | Format::Json => {
            output::done(format, &story.lines().collect::<Vec<_>>().join("; "))
        }
    }
}

/// Where the mobile node is, and what it proves itself by.
struct Place {
    home_agent_ipv4: Ipv4Addr,
    care_of: Ipv4Addr,
    key: [u8; 16],
}

/// What was done, and what ended it.
#[derive(Default)]
struct Story {
    done: String,
    failed: String,
}

impl Story {
    async fn tell(
        &mut self,
        cluster: &Cluster,
        probe: &Probe,
        place: &Place,
        home_agent: Option<String>,
    ) -> Result<(), Failure> {
        let home_agent = match home_agent {
            Some(address) => address.parse().map_err(usage("the home agent's address"))?,
            None => probe.home_agent,
        };
        let mut config = Config::new(probe.home_address, home_agent);
        config.home_prefix_len = probe.home_prefix.prefix_len();
        config.home_agent_v4 = Some(place.home_agent_ipv4);
        config.home_agent_port = probe.port;
        config.lifetime_secs = LIFETIME_SECS;
        // Data without UDP would need a raw socket.
        config.force_udp = true;
        config.care_of.push(CareOfConfig::new(BID, place.care_of.into()));
        let key = place.key.iter().map(|octet| format!("{octet:02x}")).collect();
        let nai = NAI.to_owned();
        config.authentication = Some(AuthenticationConfig { spi: SPI, key, nai, mesg_id: false });
        let node = match MobileNode::start(config).await {
            Ok(node) => node,
            Err(error) => {
                self.failed = format!("the mobile node cannot start: {error}");
                return Ok(());
            }
        };
        let begun = Instant::now();
        match node.register(false).await {
            Ok(_) => self.say(&format!(
                "registered {} at {} with the home agent {}, acknowledged after {:.1} ms",
                probe.home_address,
                place.care_of,
                place.home_agent_ipv4,
                begun.elapsed().as_secs_f64() * 1000.0
            )),
            Err(error) => {
                self.failed = format!("the registration: {error}");
                return Ok(());
            }
        }
        let held = bindings(cluster, probe).await?;
        match held.as_slice() {
            [care_of] => {
                self.say(&format!("the store holds its binding, care-of address {care_of}"))
            }
            other => {
                self.failed = format!("the store holds {} bindings of it, not one", other.len())
            }
        }
        match node.ping(home_agent, Some(BID), ECHOES, ECHO_TIMEOUT).await {
            Ok(results) if results.iter().all(mobile_node::PingResult::is_reply) => {
                self.say(&format!("{ECHOES} echo requests through its tunnel, {ECHOES} replies"));
            }
            Ok(results) => self.failed = format!("not all echo requests got a reply: {results:?}"),
            Err(error) => self.failed = format!("the echo requests: {error}"),
        }
        match node.deregister(&[]).await {
            Ok(_) if bindings(cluster, probe).await?.is_empty() => {
                self.say("de-registered; the store holds nothing of it any more");
            }
            Ok(_) => "the store holds its binding after its end".clone_into(&mut self.failed),
            Err(error) => self.failed = format!("the de-registration: {error}"),
        }
        Ok(())
    }

    fn say(&mut self, what: &str) {
        self.done.push_str(what);
        self.done.push('\n');
    }
}

fn usage<E: Display>(what: &str) -> impl Fn(E) -> Failure + '_ {
    move |error| Failure::Usage(format!("{what}: {error}"))
}

/// The address that this host has towards the home agent. Nothing is sent.
fn source_towards(home_agent: Ipv4Addr, port: u16) -> Result<Ipv4Addr, Failure> {
    let unreached = usage("no way to the home agent's IPv4 address; name a --care-of address");
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((home_agent, port)).map(|()| socket))
        .and_then(|socket| socket.local_addr())
        .map_err(unreached)?;
    match address.ip() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            Err(Failure::Usage(format!("the way to the home agent begins at {address}")))
        }
    }
}

fn if_found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Refused(status)) if status.code() == Code::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn home_prefix(cluster: &Cluster, probe: &Probe) -> Result<Option<HomePrefix>, Failure> {
    let request = GetHomePrefixRequest { prefix: probe.home_prefix.to_string() };
    let call =
        async |channel| HomePrefixesClient::new(channel).get_home_prefix(request.clone()).await;
    if_found(cluster.call(Effect::Read, call).await)
}

async fn create_home_prefix(
    cluster: &Cluster,
    probe: &Probe,
    place: &Place,
) -> Result<(), Failure> {
    let home_prefix = HomePrefix {
        prefix: probe.home_prefix.to_string(),
        home_agent: probe.home_agent.to_string(),
        home_agent_ipv4: place.home_agent_ipv4.to_string(),
        authentication: Authentication::MnHa.into(),
        loopback_care_of_allowed: place.care_of.is_loopback(),
        ..HomePrefix::default()
    };
    let (validate_only, request_id) = cluster.marks();
    let home_prefix = Some(home_prefix);
    let request = CreateHomePrefixRequest { home_prefix, validate_only, request_id };
    let call =
        async |channel| HomePrefixesClient::new(channel).create_home_prefix(request.clone()).await;
    cluster.call(Effect::Change, call).await.map(drop)
}

async fn delete_home_prefix(cluster: &Cluster, probe: &Probe) -> Result<(), Failure> {
    let (validate_only, request_id) = cluster.marks();
    let prefix = probe.home_prefix.to_string();
    let request = DeleteHomePrefixRequest { prefix, validate_only, request_id };
    let call =
        async |channel| HomePrefixesClient::new(channel).delete_home_prefix(request.clone()).await;
    cluster.call(Effect::Change, call).await.map(drop)
}

async fn create_subscriber(cluster: &Cluster, probe: &Probe, place: &Place) -> Result<(), Failure> {
    let home_address = probe.home_address.to_string();
    let request = GetSubscriberRequest { home_address: home_address.clone() };
    let call =
        async |channel| SubscribersClient::new(channel).get_subscriber(request.clone()).await;
    match if_found(cluster.call(Effect::Read, call).await)? {
        None => {}
        Some(left) if left.nai == NAI => delete_subscriber(cluster, probe).await?,
        Some(other) => {
            let whose = format!("--home-address {home_address} is that of {}", other.nai);
            return Err(Failure::Usage(whose));
        }
    }
    let subscriber = Some(Subscriber {
        home_address,
        nai: NAI.to_owned(),
        spi: SPI,
        key: place.key.to_vec().into(),
        ..Subscriber::default()
    });
    let (validate_only, request_id) = cluster.marks();
    let request = CreateSubscriberRequest { subscriber, validate_only, request_id };
    let call =
        async |channel| SubscribersClient::new(channel).create_subscriber(request.clone()).await;
    cluster.call(Effect::Change, call).await.map(drop)
}

async fn delete_subscriber(cluster: &Cluster, probe: &Probe) -> Result<(), Failure> {
    let (validate_only, request_id) = cluster.marks();
    let home_address = probe.home_address.to_string();
    let request = DeleteSubscriberRequest { home_address, validate_only, request_id };
    let call =
        async |channel| SubscribersClient::new(channel).delete_subscriber(request.clone()).await;
    cluster.call(Effect::Change, call).await.map(drop)
}

/// The care-of addresses that the store holds.
async fn bindings(cluster: &Cluster, probe: &Probe) -> Result<Vec<String>, Failure> {
    let home_address = probe.home_address.to_string();
    let request = GetHomeBindingsRequest { home_address, local: false };
    let call =
        async |channel| BindingsClient::new(channel).get_home_bindings(request.clone()).await;
    let home = if_found(cluster.call(Effect::Read, call).await)?;
    let bindings = home.map(|home| home.bindings).unwrap_or_default();
    Ok(bindings.into_iter().map(|binding| binding.care_of_address).collect())
}
