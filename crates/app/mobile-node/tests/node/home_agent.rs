//! The home agent: one log entry for each Binding Update, applied at once.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};

use homeport_binding as binding;
use homeport_binding::{
    Authentication, Batch, BindingCache, Change, Command, Ipv6Prefix, Key, LogTime, Subscriber,
};
use homeport_forwarding::{
    Action, CareOf, Config, Forwarding, ForwardingBinding, HomeEntry, HomePrefix, Ingress, Millis,
    Punt,
};
use homeport_hostnet::{Namespace, Tun, bind_udp};
use homeport_runtime::Task;
use homeport_runtime::clock::unix_ms;
use homeport_signalling::{
    Arrival, Concluded, Discovered, Judged, Received, UdpOuter, protect, receive,
};
use homeport_wire::{Icmpv6, Ipv6Header, PacketBuilder, PseudoHeader, protocol};
use tokio::net::UdpSocket;

pub const HOME_AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
pub const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
pub const CORRESPONDENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x99);
pub const NAI: &str = "mn1@example.com";
pub const SPI: u32 = 256;
pub const KEY: &str = "101112131415161718191a1b1c1d1e1f";

/// What the tests can see and change.
#[derive(Clone)]
pub struct HomeAgent {
    pub udp: SocketAddrV4,
    state: Arc<Mutex<State>>,
    socket: Arc<UdpSocket>,
    _tasks: Arc<Vec<Task>>,
}

pub struct State {
    pub cache: BindingCache,
    forwarding: Forwarding,
    /// Datagrams and packets are dropped unread.
    pub mute: bool,
    /// Home prefix as last written.
    pub prefix: binding::HomePrefix,
    requests: u128,
    /// The time, when it is not the machine's.
    pub simulated_ms: Option<u64>,
    /// The correspondent is played here, not by a kernel.
    plays_correspondent: bool,
    /// Echo messages that the correspondent has got.
    pub echo_requests: u64,
    pub echo_replies: u64,
}

/// Where a packet goes.
pub enum Out {
    Udp(SocketAddrV4, Vec<u8>),
    Ipv6(Vec<u8>),
}

impl HomeAgent {
    /// Listens on a free UDP port of 127.0.0.1.
    pub async fn start(authentication: Authentication) -> Self {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        Self::start_in(&Namespace::Current, local, authentication, None)
    }

    /// Listens on a UDP port inside a namespace, and on a TUN device if there is one.
    pub fn start_in(
        namespace: &Namespace,
        local: SocketAddrV4,
        authentication: Authentication,
        tun: Option<Tun>,
    ) -> Self {
        let socket = Arc::new(bind_udp(namespace, local).unwrap());
        let SocketAddr::V4(udp) = socket.local_addr().unwrap() else { panic!() };
        let state = Arc::new(Mutex::new(State::new(authentication, udp, tun.is_none())));
        let tun = tun.map(Arc::new);
        let serve = serve_udp(Arc::clone(&state), Arc::clone(&socket), udp, tun.clone());
        let mut tasks = vec![Task::spawn("home agent udp", serve)];
        if let Some(tun) = tun {
            let serve = serve_tun(Arc::clone(&state), Arc::clone(&socket), tun);
            tasks.push(Task::spawn("home agent tun", serve));
        }
        Self { udp, state, socket, _tasks: Arc::new(tasks) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the home prefix's policy.
    pub fn change_policy(&self, change: impl FnOnce(&mut binding::HomePrefix)) {
        let mut state = self.state();
        let mut prefix = state.prefix.clone();
        change(&mut prefix);
        state.prefix = prefix.clone();
        let verdict =
            state.apply(Command::PutHomePrefix { home_prefix: prefix, must_not_exist: false });
        assert_eq!(verdict.outcome, binding::Outcome::Done);
    }

    /// The BIDs that it has, and 0 for a plain binding.
    pub fn bids(&self) -> Vec<u16> {
        let state = self.state();
        let home = state.cache.home(HOME);
        home.map(|home| home.bindings.keys().map(|bid| bid.map_or(0, |bid| bid.0)).collect())
            .unwrap_or_default()
    }

    /// Deletes the subscriber: from now on updates are refused.
    pub fn delete_subscriber(&self) {
        self.state().apply(Command::DeleteSubscriber(HOME));
    }
}

impl State {
    fn now_ms(&self) -> u64 {
        self.simulated_ms.unwrap_or_else(unix_ms)
    }

    pub fn new(
        authentication: Authentication,
        udp: SocketAddrV4,
        plays_correspondent: bool,
    ) -> Self {
        let prefix = Ipv6Prefix::new("2001:db8:0:1::".parse().unwrap(), 64).unwrap();
        let mut prefix = binding::HomePrefix::new(prefix, HOME_AGENT, authentication);
        prefix.home_agent_ipv4 = Some(*udp.ip());
        prefix.loopback_care_of_allowed = true;
        let config = Config { udp_port: udp.port(), ..Config::default() };
        let mut state = Self {
            cache: BindingCache::default(),
            forwarding: Forwarding::new(config),
            mute: false,
            prefix: prefix.clone(),
            requests: 0,
            simulated_ms: None,
            plays_correspondent,
            echo_requests: 0,
            echo_replies: 0,
        };
        state.apply(Command::PutHomePrefix { home_prefix: prefix, must_not_exist: true });
        let key: [u8; 16] = std::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap());
        let subscriber = Subscriber {
            nai: NAI.to_owned(),
            mn_ha: Some((SPI, Key(key))),
            ..Subscriber::new(HOME)
        };
        state.apply(Command::PutSubscriber { subscriber, must_not_exist: true });
        state
    }

    fn apply(&mut self, command: Command) -> binding::Verdict {
        self.apply_all(vec![command]).remove(0)
    }

    /// Works off what has ended.
    pub fn sweep(&mut self) {
        self.apply_all(Vec::new());
    }

    fn apply_all(&mut self, commands: Vec<Command>) -> Vec<binding::Verdict> {
        let revision = self.cache.revision() + 1;
        let batch = Batch { at: LogTime(self.now_ms()), commands };
        let verdicts = self.cache.apply(revision, batch);
        for change in self.cache.take_changes() {
            match change {
                Change::HomePrefix(prefix) => {
                    self.forwarding.table_mut().set_prefix(HomePrefix {
                        prefix: prefix.address(),
                        prefix_len: prefix.len(),
                        home_agent: HOME_AGENT,
                        home_agent_v4: self.prefix.home_agent_ipv4,
                        pool_v4: None,
                        real_home_link: false,
                    });
                }
                Change::Home(home) => {
                    let entry = self.cache.home(home).map(entry_of);
                    self.forwarding.table_mut().set_home(home, entry).unwrap();
                }
                Change::Correspondent(home) => panic!("{home} is a correspondent"),
            }
        }
        verdicts
    }

    pub fn handle(&mut self, ingress: Ingress<'_>) -> Vec<Out> {
        if self.mute {
            return Vec::new();
        }
        let mut out = Vec::new();
        for action in self.forwarding.handle(Millis(self.now_ms()), ingress) {
            match action {
                Action::Punt(punt) => out.extend(self.signalling(&punt)),
                Action::SendUdp { peer, payload, .. } => out.push(Out::Udp(peer, payload)),
                Action::SendIpv6(packet)
                | Action::SendIpv4(packet)
                | Action::DeliverOnLink { packet, .. } => match self.correspond(&packet) {
                    Some(reply) => out.extend(self.handle(Ingress::Ip(&reply))),
                    None => out.push(Out::Ipv6(packet)),
                },
                Action::Drop(_) => {}
            }
        }
        out
    }

    fn signalling(&mut self, punt: &Punt) -> Option<Out> {
        let endpoint = |address: SocketAddrV4| (*address.ip(), address.port());
        let outer = punt
            .outer
            .map(|outer| UdpOuter { peer: endpoint(outer.peer), local: endpoint(outer.local) });
        let received = match receive(Arrival { packet: &punt.packet, outer }) {
            Received::Protected(sealed) => {
                let policy = self.cache.policy(sealed.home_address(), sealed.home_agent());
                sealed.open(&policy).ok()?
            }
            received => received,
        };
        let reply = match received {
            Received::Update(update) => {
                let policy = self.cache.policy(update.home_address(), update.home_agent());
                match update.judge(&policy) {
                    Judged::Propose(proposal) => {
                        self.requests += 1;
                        let command = proposal.command(self.requests.to_be_bytes());
                        let verdict = self.apply(command);
                        match (proposal.conclude(&verdict), verdict.esp) {
                            (Concluded::Reply(reply, _), Some(number)) => {
                                let random = rand::random();
                                protect(&reply, number, &policy, random).ok()?
                            }
                            (Concluded::Reply(reply, _), None) => reply,
                            (Concluded::Drop(_) | Concluded::CheckAgain(_), _) => return None,
                        }
                    }
                    Judged::Answer(reply) => reply,
                    Judged::Drop(_) => return None,
                }
            }
            Received::Discovery(discovery) => {
                let policy = self.cache.policy(discovery.home_address(), discovery.home_agent());
                match discovery.answer(&policy) {
                    Discovered::Reply(reply) => reply,
                    Discovered::Drop(_) => return None,
                }
            }
            Received::Reply(reply) => reply,
            Received::Protected(_)
            | Received::Revocation(_)
            | Received::Test(_)
            | Received::CareOfAnswer(_)
            | Received::Correspondence(_)
            | Received::Drop(_) => return None,
        };
        Some(match reply.outer {
            Some(UdpOuter { peer: (address, port), .. }) => {
                Out::Udp(SocketAddrV4::new(address, port), reply.packet)
            }
            None => Out::Ipv6(reply.packet),
        })
    }

    /// What the correspondent node does with a packet.
    fn correspond(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (header, payload) = Ipv6Header::parse(packet).ok()?;
        if header.destination != CORRESPONDENT || !self.plays_correspondent {
            return None;
        }
        let pseudo = PseudoHeader::icmpv6(header.source, header.destination);
        match Icmpv6::parse(payload, pseudo) {
            Ok(Icmpv6::EchoRequest { identifier, sequence, data }) => {
                self.echo_requests += 1;
                let reply = Icmpv6::EchoReply { identifier, sequence, data };
                let (from, to) = (header.destination, header.source);
                Some(PacketBuilder::new(from, to).build(protocol::ICMPV6, &reply.emit(from, to)))
            }
            Ok(Icmpv6::EchoReply { .. }) => {
                self.echo_replies += 1;
                None
            }
            _ => None,
        }
    }

    /// A packet from the correspondent for the home address, and what the home agent makes of it.
    fn intercept(&mut self, packet: &[u8]) -> Vec<Out> {
        self.handle(Ingress::Ip(packet))
    }
}

fn entry_of(home: &binding::Home) -> HomeEntry {
    let bindings = home.bindings.iter().map(|(bid, it)| ForwardingBinding {
        bid: *bid,
        care_of: match it.care_of {
            binding::CareOf::Ipv6(address) => CareOf::V6(address),
            binding::CareOf::Ipv4 { address, port, .. } => CareOf::V4 { address, port },
        },
        priority: it.priority,
        verified: it.verified.0,
        ends: Millis(it.ends.0),
        lifetime_ms: it.ends.0.saturating_sub(it.verified.0),
        home: it.home.is_some(),
        unverified: it.unverified,
    });
    HomeEntry::new(home.home_agent, bindings.collect())
}

async fn serve_udp(
    state: Arc<Mutex<State>>,
    socket: Arc<UdpSocket>,
    local: SocketAddrV4,
    tun: Option<Arc<Tun>>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let SocketAddr::V4(peer) = peer else { panic!() };
        let ingress = Ingress::Udp { peer, local, payload: &buffer[..len] };
        let out = state.lock().unwrap().handle(ingress);
        send(out, &socket, tun.as_deref()).await;
    }
}

async fn serve_tun(state: Arc<Mutex<State>>, socket: Arc<UdpSocket>, tun: Arc<Tun>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let len = tun.recv(&mut buffer).await.unwrap();
        let out = state.lock().unwrap().intercept(&buffer[..len]);
        send(out, &socket, Some(&tun)).await;
    }
}

async fn send(out: Vec<Out>, socket: &UdpSocket, tun: Option<&Tun>) {
    for packet in out {
        match (packet, tun) {
            (Out::Udp(peer, payload), _) => {
                socket.send_to(&payload, peer).await.unwrap();
            }
            (Out::Ipv6(packet), Some(tun)) => tun.send(&packet).await.unwrap(),
            (Out::Ipv6(_), None) => {}
        }
    }
}

impl HomeAgent {
    /// An echo request from the correspondent to the home address.
    pub async fn ping_home(&self) {
        let request = Icmpv6::EchoRequest { identifier: 7, sequence: 1, data: b"from outside" };
        let packet = PacketBuilder::new(CORRESPONDENT, HOME)
            .build(protocol::ICMPV6, &request.emit(CORRESPONDENT, HOME));
        let out = self.state().intercept(&packet);
        send(out, &self.socket, None).await;
    }
}
