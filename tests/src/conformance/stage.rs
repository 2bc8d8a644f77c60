//! What one case plays on: a home address of its own, two foreign links, a correspondent node, a router
//! on the path, and everything that these say and hear.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use tokio::sync::{Mutex, mpsc};

use homeport_api::admin::Subscriber;

use super::cast::{CN, Cast};
use super::catalogue::Row;
use super::decode::Packet;
use super::esp::Peer;
use super::home_net::Frame;
use super::lab::{Arrived, Lab, Policy};
use super::packet::{Update, flag, home_address_option, ipv6, protocol};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How long nothing must come before it counts as silence: an answer takes a few milliseconds.
pub const SILENCE: Duration = Duration::from_millis(400);
/// How often a Binding Update is sent that nobody answers.
pub(super) const SENDS_MAX: u32 = 3;

/// A case that this build or machine cannot run, and why.
#[derive(Debug)]
pub struct CannotRun(pub String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}

/// Whether the binding proof found a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// An Echo Reply with a type 2 routing header.
    Bound,
    /// A Binding Error with status 1.
    Unbound,
}

/// The stage.
pub struct Stage {
    /// The cluster.
    pub lab: Arc<Lab>,
    /// Everybody's addresses.
    pub cast: Cast,
    /// The mobile node is a mobile router: its Binding Updates carry R.
    pub is_router: bool,
    /// Processes die around the case: a Binding Update may have to be sent again.
    pub(super) retransmits: bool,
    /// A home link stands behind the home prefix.
    is_real: bool,
    /// Set where signalling is in ESP.
    pub(super) esp: Option<Peer>,
    pub(super) inbox: Mutex<Inbox>,
    /// Frames of the home link that concern this case.
    pub(super) frames: Mutex<Frames>,
}

pub(super) struct Frames {
    pub(super) arrivals: mpsc::UnboundedReceiver<Frame>,
    pub(super) waiting: Vec<Frame>,
}

pub(super) struct Inbox {
    arrivals: mpsc::UnboundedReceiver<Arrived>,
    /// What has come and was not asked for yet.
    waiting: Vec<Packet>,
    pub(super) echoes: u16,
}

impl Deref for Stage {
    type Target = Cast;

    fn deref(&self) -> &Cast {
        &self.cast
    }
}

impl Stage {
    /// Sets it up for a case.
    ///
    /// # Errors
    /// When the cluster does not give a home prefix or does not answer on it.
    pub async fn new(lab: Arc<Lab>, row: &Row, policy: Policy) -> Result<Self> {
        let case = row.number;
        let home = lab.home(policy, case).await?;
        let arrivals = lab.inbox(case);
        let inbox = Mutex::new(Inbox { arrivals, waiting: Vec::new(), echoes: 0 });
        let mut cast = Cast::new(case, home);
        if row.has("home-in-network") {
            cast.hoa = cast.network_home();
        }
        let owned = [cast.neighbour(CN), cast.link_local_neighbour(CN)];
        let frames = Frames { arrivals: lab.link.inbox(case, &owned), waiting: Vec::new() };
        let is_router = row.is_router;
        let retransmits = lab.steps.enabled() || row.has("alone");
        let frames = Mutex::new(frames);
        let is_real = policy.real;
        let esp = policy.ipsec.then(|| Peer::new(case, cast.hoa, home.agent));
        let stage = Self { lab, cast, is_router, retransmits, is_real, esp, inbox, frames };
        stage.provision(row, policy.authenticated).await?;
        stage.is_up().await?;
        Ok(stage)
    }

    /// Creates the subscribers that the arguments of the case ask for: `networks=2` owns `n1` and `n2`,
    /// `explicit` must name them, `others=4` gives `n4` to somebody else, `home4=own` and
    /// `others4=7` give IPv4 home addresses.
    async fn provision(&self, row: &Row, is_authenticated: bool) -> Result<()> {
        let networks: u16 = match row.get("networks") {
            Some(count) => count.parse()?,
            None => u16::from(self.is_router),
        };
        let of = |n: u16| format!("{}/64", self.network(n));
        let (spi, key) = self.association();
        let (spi, key) = if is_authenticated { (spi, key.to_vec()) } else { (0, Vec::new()) };
        let subscriber = Subscriber {
            home_address: self.hoa.to_string(),
            spi,
            key: key.into(),
            mobile_networks: (1..=networks).map(of).collect(),
            mobile_networks_explicit: row.has("explicit"),
            home_prefix: match row.has("home-in-network") {
                true => format!("{}/64", self.home.prefix),
                false => String::new(),
            },
            ipv4_home_address: match row.get("home4") {
                Some(word) => self.address4(word)?.to_string(),
                None => String::new(),
            },
            ..Subscriber::default()
        };
        let needed = is_authenticated
            || self.esp.is_some()
            || networks > 0
            || row.has("home-in-network")
            || row.has("home4");
        if needed {
            self.lab.subscribe(subscriber).await?;
        }
        if let Some(peer) = &self.esp {
            self.lab.associate(peer.association()).await?;
        }
        if row.has("others") || row.has("others4") {
            let network = row.get("others").map(str::parse).transpose()?;
            let other = Subscriber {
                home_address: self.other_home(2).to_string(),
                mobile_networks: network.into_iter().map(of).collect(),
                ipv4_home_address: match row.get("others4") {
                    Some(word) => self.address4(word)?.to_string(),
                    None => String::new(),
                },
                ..Subscriber::default()
            };
            self.lab.subscribe(other).await?;
        }
        Ok(())
    }

    /// SPI and key of RFC 4285 that the home address has where its prefix asks for them.
    #[must_use]
    pub fn association(&self) -> (u32, [u8; 16]) {
        (0x1000 + u32::from(self.case) * 2, [self.hoa.octets()[15]; 16])
    }

    /// Gives mobile network `n` to another home address.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn own_network(&self, home: Ipv6Addr, n: u16) -> Result<()> {
        let subscriber = Subscriber {
            home_address: home.to_string(),
            mobile_networks: vec![format!("{}/64", self.network(n))],
            ..Subscriber::default()
        };
        self.lab.subscribe(subscriber).await
    }

    /// The forwarder serves this home prefix from now on.
    async fn is_up(&self) -> Result<()> {
        let started = Instant::now();
        while self.echo_agent(self.coa(9)).await.is_err() {
            ensure!(started.elapsed() < crate::PATIENCE, "the home agent does not answer a ping");
        }
        // What routers said before that is no part of the case.
        self.inbox.lock().await.waiting.clear();
        Ok(())
    }

    /// Sends octets; signalling in ESP where the case has it.
    ///
    /// # Errors
    /// When the interface refuses them.
    pub async fn send(&self, packet: &[u8]) -> Result<()> {
        match &self.esp {
            Some(peer) => self.lab.send(&peer.sealed(packet)?).await,
            None => self.lab.send(packet).await,
        }
    }

    /// What came, out of ESP where the case has it.
    fn opened(&self, arrived: Arrived) -> Result<Packet> {
        let packet = arrived.map_err(|error| anyhow!("ill-formed: {error}"))?;
        match &self.esp {
            Some(peer) => peer.opened(packet),
            None => Ok(packet),
        }
    }

    /// Where the leader may be killed. A case on a home link goes on once that is defended again: on a busy
    /// machine its lease runs out before another leads.
    pub async fn step(&self) {
        self.lab.steps.pause().await;
        if self.lab.steps.enabled()
            && self.is_real
            && let Err(error) = self.agent_mac().await
        {
            println!("after a step: {error:#}");
        }
    }

    /// A first Binding Update, with R when this is a mobile router.
    #[must_use]
    pub const fn update(&self, sequence: u16) -> Update {
        let update = Update::new(sequence);
        if self.is_router { update.and(flag::R) } else { update }
    }

    /// The packet of a Binding Update from a care-of address.
    #[must_use]
    pub fn packet(&self, update: &Update, from: Ipv6Addr) -> Vec<u8> {
        self.packet_of(update, from, self.hoa)
    }

    /// The same for another home address.
    #[must_use]
    pub fn packet_of(&self, update: &Update, from: Ipv6Addr, home: Ipv6Addr) -> Vec<u8> {
        let header = update.header(home, self.home.agent, from);
        let payload = home_address_option(home, protocol::MOBILITY, &header);
        ipv6(from, self.home.agent, protocol::DESTINATION_OPTIONS, &payload)
    }

    /// The first packet that `read` knows, of those that wait and those that come.
    ///
    /// # Errors
    /// When none comes in time, or one is ill-formed; names what came instead.
    pub async fn receive<T>(
        &self,
        what: &str,
        patience: Duration,
        read: impl Fn(&Packet) -> Option<T>,
    ) -> Result<(T, Packet)> {
        let mut inbox = self.inbox.lock().await;
        let end = tokio::time::Instant::now() + patience;
        let mut looked_at = 0;
        loop {
            while let Some(packet) = inbox.waiting.get(looked_at) {
                if let Some(value) = read(packet) {
                    return Ok((value, inbox.waiting.remove(looked_at)));
                }
                looked_at += 1;
            }
            match tokio::time::timeout_at(end, inbox.arrivals.recv()).await {
                Ok(Some(arrived)) => {
                    inbox.waiting.push(self.opened(arrived)?);
                }
                Ok(None) => bail!("the inbox was closed"),
                Err(_elapsed) => {
                    let came: Vec<String> = inbox.waiting.drain(..).map(|p| p.summary()).collect();
                    bail!("no {what} came; what came: [{}]", came.join("; "));
                }
            }
        }
    }

    /// The next packet, unless none comes in time.
    ///
    /// # Errors
    /// When it is ill-formed.
    pub async fn arrival(&self, patience: Duration) -> Result<Option<Packet>> {
        let mut inbox = self.inbox.lock().await;
        match tokio::time::timeout(patience, inbox.arrivals.recv()).await {
            Ok(Some(arrived)) => self.opened(arrived).map(Some),
            Ok(None) => bail!("the inbox was closed"),
            Err(_elapsed) => Ok(None),
        }
    }

    /// Nothing that `is_it` comes for a time.
    ///
    /// # Errors
    /// When it does.
    pub async fn silence(&self, time: Duration, is_it: impl Fn(&Packet) -> bool) -> Result<()> {
        let mut inbox = self.inbox.lock().await;
        let end = tokio::time::Instant::now() + time;
        loop {
            if let Some(packet) = inbox.waiting.iter().find(|packet| is_it(packet)) {
                bail!("expected silence, but there came {}", packet.summary());
            }
            match tokio::time::timeout_at(end, inbox.arrivals.recv()).await {
                Ok(Some(arrived)) => {
                    inbox.waiting.push(self.opened(arrived)?);
                }
                Ok(None) => bail!("the inbox was closed"),
                Err(_elapsed) => return Ok(()),
            }
        }
    }

    /// No acknowledgement comes.
    ///
    /// # Errors
    /// When one does.
    pub async fn no_acknowledgement(&self) -> Result<()> {
        self.silence(SILENCE, |packet| packet.acknowledgement().is_some()).await
    }
}
