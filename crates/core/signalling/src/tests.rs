//! Packets in, packets out, with a binding cache between: the test vectors in their order, and what
//! gets no answer. The vectors were made from the RFCs by an independent generator
//! (`tests/golden`).

extern crate std;

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding::{
    Authentication, Batch, BindingCache, Command, HomePrefix, Ipv6Prefix, Key, LogTime, Outcome,
    Subscriber,
};
use homeport_wire::{
    BindingUpdate, BuFlags, Lifetime, Message, MobilityOption, PseudoHeader, Sequence, Status,
    mobility_packet, walk, with_checksum_zeroed,
};
use proptest::prelude::*;

use crate::*;

mod care_of_tests;
mod choices;
mod correspondents;
mod discovery;
mod esp;
mod key_management;
mod notices;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
const AGENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const COA1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x11);

struct Vectors(serde_json::Value);

impl Vectors {
    fn load() -> Self {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/vectors/vectors.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn packet(&self, id: &str) -> Vec<u8> {
        let vectors = self.0.as_array().unwrap();
        let vector = vectors.iter().find(|vector| vector["id"] == id).unwrap();
        let hex: Vec<u8> = vector["packet"].as_str().unwrap().bytes().collect();
        let octet =
            |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.chunks(2).map(octet).collect()
    }
}

/// A front-end and a store in one.
struct Lab {
    cache: BindingCache,
    at: LogTime,
    requests: u8,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Answered(Reply),
    Refused(Reply),
    Replied(Reply),
    Dropped(String),
    Revoked(Outcome),
    Verified(Outcome),
}

/// With all that later RFCs have.
fn home_prefix(authentication: Authentication) -> HomePrefix {
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0), 64).unwrap();
    HomePrefix {
        mobile_networks_allowed: true,
        flow_bindings_per_home_address_max: 16,
        ..HomePrefix::new(prefix, AGENT, authentication)
    }
}

impl Lab {
    fn new(authentication: Authentication) -> Self {
        let prefix = home_prefix(authentication).prefix;
        Self::with(HomePrefix::new(prefix, AGENT, authentication))
    }

    fn with(home_prefix: HomePrefix) -> Self {
        // V14 carries an NTP timestamp: our clock stands at the same second.
        let at = LogTime((0xecf4_9240_u64 - 2_208_988_800) * 1000);
        let mut lab = Self { cache: BindingCache::default(), at, requests: 0 };
        lab.run(Command::PutHomePrefix { home_prefix, must_not_exist: true });
        lab
    }

    fn authenticated() -> Self {
        let mut lab = Self::new(Authentication::MnHa);
        let key: [u8; 16] = core::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap());
        let subscriber = Subscriber {
            nai: "mn1@example.com".to_string(),
            mn_ha: Some((0x100, Key(key))),
            ..Subscriber::new(HOME)
        };
        lab.run(Command::PutSubscriber { subscriber, must_not_exist: true });
        lab
    }

    fn provision(&mut self, subscriber: Subscriber) {
        let put = Command::PutSubscriber { subscriber, must_not_exist: true };
        assert_eq!(self.run(put).outcome, Outcome::Done);
    }

    fn run(&mut self, command: Command) -> homeport_binding::Verdict {
        let batch = Batch { at: self.at, commands: vec![command] };
        self.cache.apply(self.cache.revision() + 1, batch).pop().unwrap()
    }

    fn send(&mut self, packet: &[u8], outer: Option<UdpOuter>) -> Seen {
        self.take(receive(Arrival { packet, outer }))
    }

    fn take(&mut self, received: Received) -> Seen {
        let update = match received {
            Received::Update(update) => update,
            Received::Protected(sealed) => {
                let policy = self.cache.policy(sealed.home_address(), sealed.home_agent());
                return match sealed.open(&policy) {
                    Ok(received) => self.take(received),
                    Err(reason) => Seen::Dropped(reason.name().to_string()),
                };
            }
            Received::CareOfAnswer(answer) => {
                return Seen::Verified(self.run(Command::CareOfVerified(answer)).outcome);
            }
            Received::Discovery(discovery) => {
                let (home_address, home_agent) = (discovery.home_address(), discovery.home_agent());
                let policy = self.cache.policy(home_address, home_agent);
                return match discovery.answer(&policy) {
                    Discovered::Reply(reply) => match discovery.receipt() {
                        Some(receipt) => {
                            let verdict = self.run(receipt.command(None));
                            self.protected(&reply, &verdict)
                        }
                        None => Seen::Answered(reply),
                    },
                    Discovered::Drop(reason) => Seen::Dropped(reason.name().to_string()),
                };
            }
            Received::Revocation(acknowledgement) => return self.acknowledged(&acknowledgement),
            Received::Reply(reply) | Received::Test(reply) => return Seen::Replied(reply),
            Received::Correspondence(proposal) => panic!("no correspondent node: {proposal:?}"),
            Received::Drop(reason) => return Seen::Dropped(reason.name().to_string()),
        };
        let policy = self.cache.policy(update.home_address(), update.home_agent());
        let proposal = match update.judge(&policy) {
            Judged::Propose(proposal) => proposal,
            Judged::Answer(reply) => return Seen::Refused(reply),
            Judged::Drop(reason) => return Seen::Dropped(reason.name().to_string()),
        };
        self.requests += 1;
        let command = proposal.command([self.requests; 16]);
        let is_protected = proposal.receipt().is_some();
        let verdict = self.run(command);
        assert_ne!(verdict.outcome, Outcome::StalePolicy);
        match proposal.conclude(&verdict) {
            Concluded::Reply(reply, revision) => {
                assert_eq!(revision, self.cache.revision());
                if is_protected { self.protected(&reply, &verdict) } else { Seen::Answered(reply) }
            }
            Concluded::Drop(reason) => Seen::Dropped(reason.name().to_string()),
            Concluded::CheckAgain(_) => panic!("nothing has changed"),
        }
    }

    fn protected(&self, reply: &Reply, verdict: &homeport_binding::Verdict) -> Seen {
        let number = verdict.esp.expect("a number");
        let protected = protect(reply, number, &self.cache.policy(HOME, AGENT), [7; 16]);
        Seen::Answered(protected.expect("an association"))
    }

    fn acknowledged(&mut self, acknowledgement: &RevocationAcknowledgement) -> Seen {
        let (home_address, agent) = (acknowledgement.home_address(), acknowledgement.home_agent());
        match acknowledgement.judge(&self.cache.policy(home_address, agent)) {
            Ok(answer) => Seen::Revoked(self.run(answer).outcome),
            Err(reason) => Seen::Dropped(reason.name().to_string()),
        }
    }

    fn answer(&mut self, packet: &[u8], outer: Option<UdpOuter>) -> Reply {
        match self.send(packet, outer) {
            Seen::Answered(reply) => reply,
            other => panic!("no answer from the store but {other:?}"),
        }
    }

    fn drops(&mut self, packet: &[u8]) -> String {
        match self.send(packet, None) {
            Seen::Dropped(reason) => reason,
            other => panic!("not dropped but {other:?}"),
        }
    }
}

/// The vectors have K set where a key management moves with the mobile node; without one K is
/// clear.
fn without_k(packet: &[u8]) -> Vec<u8> {
    let seen = walk(packet).unwrap();
    let pseudo = PseudoHeader::mobility(seen.pseudo_source(), seen.pseudo_destination());
    let Message::BindingAcknowledgement(mut message) =
        Message::parse(seen.payload, pseudo).unwrap()
    else {
        panic!("no acknowledgement");
    };
    message.flags = homeport_wire::BaFlags(message.flags.0 & 0x7f);
    let message = Message::BindingAcknowledgement(message);
    let mh = message.emit(seen.pseudo_source(), seen.pseudo_destination());
    [&packet[..seen.upper_offset], &mh].concat()
}

#[test]
fn vectors_in_order() {
    let vectors = Vectors::load();
    let mut lab = Lab::new(Authentication::None);
    for (update, answer) in
        [("V01", "V02"), ("V03", "V04"), ("V05", "V06"), ("V08", "V09"), ("V10", "V11")]
    {
        let reply = lab.answer(&vectors.packet(update), None);
        assert_eq!(reply.packet, without_k(&vectors.packet(answer)), "{update} -> {answer}");
        assert_eq!(reply.outer, None);
    }
}

#[test]
fn authenticated_vector() {
    let vectors = Vectors::load();
    let mut lab = Lab::authenticated();
    assert_eq!(lab.answer(&vectors.packet("V14"), None).packet, vectors.packet("V15"));
    let Seen::Answered(replayed) = lab.send(&vectors.packet("V14"), None) else {
        panic!("no answer to a replay");
    };
    assert_eq!(replayed.kind, ReplyKind::Acknowledgement(Status::ID_MISMATCH));
}

#[test]
fn authentication_refuses_and_changes_nothing() {
    let vectors = Vectors::load();
    let mut lab = Lab::authenticated();
    assert_eq!(lab.drops(&vectors.packet("V01")), "authentication_missing");
    let good = vectors.packet("V14");
    let seen = walk(&good).unwrap();
    let offset = seen.upper_offset;
    let forged = |at: usize, octet: u8| {
        let mut mh = with_checksum_zeroed(&good[offset..]);
        mh[at] ^= octet;
        let pseudo = PseudoHeader::mobility(HOME, AGENT);
        let sum = homeport_wire::checksum(pseudo, &mh).to_be_bytes();
        mh[4..6].copy_from_slice(&sum);
        [&good[..offset], &mh].concat()
    };
    let last = good.len() - offset - 1;
    for at in [7, 10, 30, last] {
        let Seen::Refused(reply) = lab.send(&forged(at, 1), None) else {
            panic!("octet {at} is not covered");
        };
        assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::AUTH_FAIL));
    }
    assert_eq!(lab.drops(&forged(45, 1)), "no_security_association", "another identity");
    assert_eq!(lab.drops(&forged(75, 1)), "no_security_association", "another SPI");
    assert_eq!(lab.cache.home_address_count(), 0);
    let reply = lab.answer(&good, None);
    assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::ACCEPTED));
}

fn update(flags: u16, lifetime: u16, options: &[MobilityOption<'_>]) -> Vec<u8> {
    let mut builder = BindingUpdate::builder();
    for option in options {
        builder.push(option);
    }
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: Sequence(1),
        flags: BuFlags(flags),
        lifetime: Lifetime(lifetime),
        options: builder.finish(),
    });
    message.emit(HOME, AGENT)
}

fn away(mh: &[u8]) -> Vec<u8> {
    mobility_packet(COA1, AGENT, Some(HOME), None, mh)
}

#[test]
fn what_gets_no_answer() {
    let plain = update(0xc000, 10, &[]);
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let multicast: Ipv6Addr = "ff02::1".parse().unwrap();
    let nonces = update(0xc000, 10, &[MobilityOption::NonceIndices { home: 1, care_of: 2 }]);
    let alternate = update(0xc000, 10, &[MobilityOption::AlternateCareOf(link_local)]);
    let truncated = away(&plain);
    let mut bad_checksum = away(&plain);
    let at = bad_checksum.len() - plain.len() + 4;
    bad_checksum[at] ^= 1;
    let from = |source, home: Option<Ipv6Addr>| {
        let mh = Message::parse(&plain, PseudoHeader::mobility(HOME, AGENT)).unwrap();
        let mh = mh.emit(home.unwrap_or(source), AGENT);
        mobility_packet(source, AGENT, home, None, &mh)
    };
    let rows = [
        (truncated[..truncated.len() - 1].to_vec(), "truncated"),
        (bad_checksum, "checksum"),
        (away(&nonces), "nonce_indices"),
        (away(&alternate), "care_of_not_routable"),
        (from(multicast, Some(HOME)), "source_not_unicast"),
        (from(COA1, Some(link_local)), "home_address_not_routable"),
        (from(COA1, Some(multicast)), "home_address_not_routable"),
        (from(HOME, None), "home_address_option_missing"),
        (from(link_local, Some(HOME)), "care_of_not_routable"),
        (away(&update(0x0000, 10, &[])), "correspondent_unsupported"),
    ];
    for (packet, reason) in rows {
        let mut lab = Lab::new(Authentication::None);
        assert_eq!(lab.drops(&packet), reason);
        assert_eq!(lab.cache.home_address_count(), 0);
    }
}

/// RFC 6275 §9.5.1: the sequence number is looked at before what §10.3.1 wants.
#[test]
fn a_stale_update_without_home_address_option_is_answered() {
    let message = |sequence| {
        Message::BindingUpdate(BindingUpdate {
            sequence: Sequence(sequence),
            flags: BuFlags(0xc000),
            lifetime: Lifetime(10),
            options: homeport_wire::Options::EMPTY,
        })
    };
    let from_home =
        |sequence| mobility_packet(HOME, AGENT, None, None, &message(sequence).emit(HOME, AGENT));
    let mut lab = Lab::new(Authentication::None);
    lab.answer(&away(&message(7).emit(HOME, AGENT)), None);
    let reply = lab.answer(&from_home(7), None);
    assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::SEQUENCE_OUT_OF_WINDOW));
    let seen = walk(&reply.packet).unwrap();
    assert_eq!((seen.header.destination, seen.routing_home_address), (HOME, None));
    assert_eq!(lab.drops(&from_home(8)), "home_address_option_missing");
    assert_eq!(lab.cache.home(HOME).unwrap().bindings.len(), 1, "it stays");
}

#[test]
fn a_proxy_is_refused_without_state() {
    let mut lab = Lab::new(Authentication::None);
    let Seen::Refused(reply) = lab.send(&away(&update(0xc200, 10, &[])), None) else {
        panic!("not refused");
    };
    assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::PROXY_REGISTRATION_NOT_ENABLED));
}

/// The correspondent node's part is refused by the store, which knows what is bound.
#[test]
fn updates_without_h() {
    let with = |flags| away(&update(flags, 10, &[]));
    let mut lab = Lab::new(Authentication::None);
    for (flags, status) in [(0x8000, 128), (0x8400, 140), (0xc000, 0), (0x8000, 139), (0x0400, 139)]
    {
        let reply = lab.answer(&with(flags), None);
        assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status(status)), "{flags:#x}");
    }
}

/// RFC 6275 §9.2: each malformation with what is sent to whom.
#[test]
fn malformations_that_are_answered() {
    let mut lab = Lab::new(Authentication::None);
    let good = update(0xc000, 10, &[]);
    let recheck = |mut mh: Vec<u8>| {
        mh[4..6].fill(0);
        let sum = homeport_wire::checksum(PseudoHeader::mobility(HOME, AGENT), &mh);
        mh[4..6].copy_from_slice(&sum.to_be_bytes());
        away(&mh)
    };
    let mut unknown = good.clone();
    unknown[2] = 0xff;
    let Seen::Replied(reply) = lab.send(&recheck(unknown), None) else { panic!("no reply") };
    let seen = walk(&reply.packet).unwrap();
    assert_eq!((seen.header.source, seen.header.destination), (AGENT, COA1));
    let pseudo = PseudoHeader::mobility(AGENT, COA1);
    let Ok(Message::BindingError(error)) = Message::parse(seen.payload, pseudo) else {
        panic!("no Binding Error");
    };
    assert_eq!((error.status.0, error.home_address), (2, HOME));
    for (at, octet, pointer) in [(0, 58, 64), (1, 0, 65)] {
        let mut mh = good.clone();
        mh[at] = octet;
        if at == 1 {
            mh.truncate(8);
        }
        let packet = recheck(mh);
        let Seen::Replied(reply) = lab.send(&packet, None) else { panic!("no reply") };
        let seen = walk(&reply.packet).unwrap();
        assert_eq!(seen.header.destination, COA1);
        let icmp = homeport_wire::Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap();
        let expected =
            homeport_wire::Icmpv6::ParameterProblem { code: 0, pointer, invoking: &packet };
        assert_eq!(icmp, expected);
    }
    assert_eq!(lab.cache.home_address_count(), 0);
}

/// A Mobile Network Prefix option of another length than 18: the sender is told where.
#[test]
fn a_mobile_network_prefix_of_a_wrong_length() {
    for len in [0, 17, 19, 34] {
        let mut lab = Lab::with(home_prefix(Authentication::None));
        let data = vec![0x20; len];
        let first = MobilityOption::LinkLayerAddress { code: 2, address: &[1, 2, 3] };
        let wrong = MobilityOption::Malformed { kind: 6, data: &data };
        let packet = away(&update(0xc400, 10, &[first, wrong]));
        let Seen::Replied(reply) = lab.send(&packet, None) else { panic!("no reply") };
        let seen = walk(&reply.packet).unwrap();
        assert_eq!((seen.header.source, seen.header.destination), (AGENT, COA1));
        let icmp = homeport_wire::Icmpv6::parse(seen.payload, seen.pseudo_header()).unwrap();
        // IPv6 and Destination Options headers, the fixed part, the first option, the type.
        let pointer = 40 + 24 + 12 + 6 + 1;
        assert_eq!(usize::from(packet[83]), len);
        let expected =
            homeport_wire::Icmpv6::ParameterProblem { code: 0, pointer, invoking: &packet };
        assert_eq!(icmp, expected);
        assert_eq!(lab.cache.home_address_count(), 0);
    }
}

#[test]
fn a_mobile_router_vector() {
    let vectors = Vectors::load();
    let mut lab = Lab::with(home_prefix(Authentication::None));
    let network = Ipv6Prefix::new("2001:db8:100::".parse().unwrap(), 56).unwrap();
    lab.provision(Subscriber { mobile_networks: vec![network], ..Subscriber::new(HOME) });
    let reply = lab.answer(&vectors.packet("V12"), None);
    assert_eq!(reply.packet, without_k(&vectors.packet("V13")));
    // Bound as a mobile router with the prefix of the option.
    let home = lab.cache.home(HOME).unwrap();
    assert!(home.mobile_router && home.mobile_networks.contains(&network));
}

/// RFC 3963 §6.2: a mobile router at home, with a Home Address option and without one.
#[test]
fn a_mobile_router_comes_home() {
    let network = Ipv6Prefix::new("2001:db8:100::".parse().unwrap(), 56).unwrap();
    let vectors = Vectors::load();
    for lifetime in [0, 10] {
        for option in [Some(HOME), None] {
            let mut lab = Lab::with(home_prefix(Authentication::None));
            lab.provision(Subscriber { mobile_networks: vec![network], ..Subscriber::new(HOME) });
            lab.answer(&vectors.packet("V12"), None);
            let message = Message::BindingUpdate(BindingUpdate {
                sequence: Sequence(0x2002),
                flags: BuFlags(0xc400),
                lifetime: Lifetime(lifetime),
                options: homeport_wire::Options::EMPTY,
            });
            let packet = mobility_packet(HOME, AGENT, option, None, &message.emit(HOME, AGENT));
            let reply = lab.answer(&packet, None);
            assert_eq!(reply.kind, ReplyKind::Acknowledgement(Status::ACCEPTED));
            let seen = walk(&reply.packet).unwrap();
            let routing = seen.routing_home_address;
            assert_eq!((seen.header.destination, routing), (HOME, None), "straight home");
            assert!(lab.cache.home(HOME).unwrap().bindings.is_empty());
        }
    }
    // Somewhere else by its own word: no Home Address option proves who sends it.
    let elsewhere = update(0xc400, 10, &[MobilityOption::AlternateCareOf(COA1)]);
    let packet = mobility_packet(HOME, AGENT, None, None, &elsewhere);
    let mut lab = Lab::new(Authentication::None);
    assert_eq!(lab.drops(&packet), "home_address_option_missing");
}

/// V16 and V17: behind a NAT, with an IPv4 home address of its own.
#[test]
fn an_ipv4_vector() {
    let vectors = Vectors::load();
    let address = Ipv4Addr::new(198, 51, 100, 77);
    let mut lab = Lab::with(home_prefix(Authentication::None));
    let own = Some(homeport_binding::Ipv4Prefix::host(address));
    lab.provision(Subscriber { ipv4_home_address: own, ..Subscriber::new(HOME) });
    let peer = (Ipv4Addr::new(203, 0, 113, 9), 40001);
    let outer = Some(UdpOuter { peer, local: (Ipv4Addr::new(198, 51, 100, 1), 4191) });
    let reply = lab.answer(&vectors.packet("V16")[28..], outer);
    assert_eq!((&reply.packet[..], reply.outer), (&vectors.packet("V17")[28..], outer));
}

#[test]
fn a_flow_vector() {
    let vectors = Vectors::load();
    let mut lab = Lab::with(home_prefix(Authentication::None));
    let reply = lab.answer(&vectors.packet("V18"), None);
    assert_eq!(reply.packet, vectors.packet("V19"));
    let home = lab.cache.home(HOME).unwrap();
    let flow = &home.flows[&4];
    assert_eq!((flow.priority, &flow.bids[..]), (10, &[homeport_wire::Bid(2)][..]));
}

/// Who asks for an IPv4 home address is answered, also when the Binding Update is refused, before
/// the store and by it.
#[test]
fn an_ipv4_home_address_in_a_refusal() {
    let any = Ipv4Addr::UNSPECIFIED;
    let request =
        MobilityOption::Ipv4HomeAddress { prefix_len: 32, prefix_wanted: false, address: any };
    for flags in [0xc200, 0xc400, 0x8000] {
        let mut lab = Lab::new(Authentication::None);
        let packet = away(&update(flags, 10, &[request]));
        let (Seen::Answered(reply) | Seen::Refused(reply)) = lab.send(&packet, None) else {
            panic!("no answer");
        };
        let seen = walk(&reply.packet).unwrap();
        let pseudo = PseudoHeader::mobility(AGENT, HOME);
        let Ok(Message::BindingAcknowledgement(message)) = Message::parse(seen.payload, pseudo)
        else {
            panic!("no acknowledgement");
        };
        let refused = MobilityOption::Ipv4AddressAck { status: 128, prefix_len: 0, address: any };
        assert_eq!(message.options.iter().collect::<Vec<_>>(), [refused]);
    }
}

/// However much a Binding Update asks for, the acknowledgement stays one that can be authenticated.
#[test]
fn a_summary_of_more_flows_than_an_acknowledgement_holds() {
    let mut lab = Lab::authenticated();
    let key: [u8; 16] = core::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap());
    let mut builder = BindingUpdate::builder();
    for from in 0..7 {
        let fids: Vec<u16> = (from * 100 + 1..=from * 100 + 100).collect();
        builder.push_flow_summary(&fids);
    }
    builder.push_authentication(1, 0x100, MN_HA_AUTHENTICATOR_LEN);
    assert_eq!(builder.refusal(), None);
    let message = Message::BindingUpdate(BindingUpdate {
        sequence: Sequence(1),
        flags: BuFlags(0xc000),
        lifetime: Lifetime(10),
        options: builder.finish(),
    });
    let mac = mn_ha_authenticator(&Key(key), COA1, HOME, &message.emit_unchecked());
    let reply = lab.answer(&away(&message.with_authenticator(&mac).emit(HOME, AGENT)), None);
    let seen = walk(&reply.packet).unwrap();
    let pseudo = PseudoHeader::mobility(AGENT, HOME);
    let Ok(Message::BindingAcknowledgement(message)) = Message::parse(seen.payload, pseudo) else {
        panic!("no acknowledgement");
    };
    let mac = mn_ha_authenticator(&Key(key), COA1, HOME, seen.payload);
    let options: Vec<_> = message.options.iter().collect();
    let last = MobilityOption::Authentication { subtype: 1, spi: 0x100, data: &mac };
    assert_eq!(options.last(), Some(&last));
    assert!(options.len() > 50, "as many as fit: {}", options.len());
}

#[test]
fn answers_in_udp_go_back_to_where_the_update_came_from() {
    let mut lab = Lab::new(Authentication::None);
    let (peer, local) =
        ((Ipv4Addr::new(203, 0, 113, 9), 40001), (Ipv4Addr::new(198, 51, 100, 1), 4191));
    let outer = Some(UdpOuter { peer, local });
    let reply = lab.answer(&Vectors::load().packet("V16")[28..], outer);
    assert_eq!(reply.outer, outer);
    let seen = walk(&reply.packet).unwrap();
    assert_eq!((seen.header.source, seen.header.destination), (AGENT, HOME));
    assert_eq!(seen.routing_home_address, None);
    let Ok(Message::BindingAcknowledgement(message)) =
        Message::parse(seen.payload, PseudoHeader::mobility(AGENT, HOME))
    else {
        panic!("no acknowledgement");
    };
    assert_eq!((message.status.0, message.sequence.0, message.lifetime.0), (0, 0x4001, 150));
    let options: Vec<_> = message.options.iter().collect();
    let nat = MobilityOption::NatDetection { force_udp: false, refresh_secs: 110 };
    assert_eq!(options.last(), Some(&nat));
}

#[test]
fn error_budget() {
    let mut budget = ErrorBudget::new(2);
    assert!(budget.allow(0) && budget.allow(0));
    assert!(!budget.allow(499));
    assert!(budget.allow(500));
    assert!(!budget.allow(500));
    assert!(budget.allow(60_000) && budget.allow(60_000) && !budget.allow(60_000));
}

/// Whether a mobile node's packet with another octet here is another packet: not in class and flow label, hop
/// limit, and the padding of the destination options, where an option that nobody knows is passed over.
fn is_protected(at: usize) -> bool {
    !(at < 4 || at == 7 || (42..46).contains(&at))
}

proptest! {
    /// No octets make the front-end panic or change the store without authentication.
    #[test]
    fn damaged_packets_register_nothing(
        which in 0_usize..4,
        edits in prop::collection::vec((0_usize..200, any::<u8>()), 1..6),
        cut in 0_usize..200,
    ) {
        let packet = Vectors::load().packet(["V01", "V12", "V14", "V18"][which]);
        let mut damaged = packet.clone();
        for (at, octet) in edits {
            let at = at % damaged.len();
            if is_protected(at) {
                damaged[at] = octet;
            }
        }
        damaged.truncate(damaged.len().saturating_sub(cut % 60));
        let mut lab = Lab::authenticated();
        if damaged != packet {
            let _outcome = lab.send(&damaged, None);
            prop_assert_eq!(lab.cache.home_address_count(), 0);
        }
    }
}
