//! The content of the first format's samples: one of everything that it can say.

use std::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding::{
    Authentication, Batch, BidRequest, Command, HomePrefix, Ipv6Prefix, Key, LogTime, Registration,
    Subscriber, WireSource,
};
use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence};

/// The year 2100: no clock of a program that reads the samples makes anything in them expire.
pub const EPOCH: LogTime = LogTime(4_102_444_800_000);

const AGENT: Ipv6Addr = address(1, 1);
const STRICT_AGENT: Ipv6Addr = address(2, 1);
const FORWARDED: BuFlags = BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION);

/// `2001:db8:0:<prefix>::<host>`.
#[must_use]
pub const fn address(prefix: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, prefix, 0, 0, 0, host)
}

fn care_of(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host)
}

fn home_prefix(prefix: u16, home_agent: Ipv6Addr) -> Option<HomePrefix> {
    let network = Ipv6Prefix::new(address(prefix, 0), 64)?;
    Some(HomePrefix::new(network, home_agent, Authentication::None))
}

fn home_prefixes() -> impl Iterator<Item = HomePrefix> {
    let plain = home_prefix(1, AGENT);
    let strict = home_prefix(2, STRICT_AGENT).map(|defaults| HomePrefix {
        home_agent_ipv4: Some(Ipv4Addr::new(198, 51, 100, 1)),
        authentication: Authentication::MnHa,
        multiple_care_of_allowed: false,
        bulk_allowed: false,
        home_and_foreign_allowed: false,
        bindings_per_home_address_max: 64,
        lifetime_max_secs: 262_140,
        valid_lifetime_secs: 86_400,
        preferred_lifetime_secs: 3_600,
        only_router: true,
        loopback_care_of_allowed: true,
        ..defaults
    });
    [plain, strict].into_iter().flatten()
}

fn subscribers() -> [Subscriber; 2] {
    let bare = Subscriber::new(address(1, 0x100));
    let full = Subscriber {
        nai: "mn1@example.com".to_owned(),
        mn_ha: Some((0xffff_ffff, Key(*b"0123456789abcdef"))),
        message_id_required: true,
        multiple_care_of_allowed: Some(true),
        bulk_allowed: Some(false),
        bindings_per_home_address_max: Some(3),
        ..Subscriber::new(address(2, 0x100))
    };
    [bare, full]
}

/// Revisions of the records in [`history`]: both home prefixes and both subscribers come first.
const PREFIX_REVISION: u64 = super::FIRST_INDEX;
const SUBSCRIBER_REVISION: u64 = super::FIRST_INDEX + 1;

fn register(home_address: Ipv6Addr, sequence: u16, request: u8) -> Registration {
    let provisioned = subscribers().iter().any(|s| s.home_address == home_address);
    let is_strict = home_address.segments()[3] == 2;
    Registration {
        request_id: [request; 16],
        home_address,
        home_agent: if is_strict { STRICT_AGENT } else { AGENT },
        source: WireSource::Ipv6(care_of(0x11)),
        sequence: Sequence(sequence),
        lifetime: Lifetime(900),
        flags: FORWARDED,
        alternate_care_of: None,
        ipv4_care_of: None,
        bids: Vec::new(),
        link_layer_address: Vec::new(),
        message_id: None,
        policy_revisions: (PREFIX_REVISION, if provisioned { SUBSCRIBER_REVISION } else { 0 }),
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
    }
}

fn option(bid: u16, care_of: BidCareOf) -> BidRequest {
    BidRequest {
        bid: Some(Bid(bid)),
        home: false,
        priority: BidPriority::UNSET,
        care_of,
        malformed: false,
    }
}

fn in_udp(home_address: Ipv6Addr, sequence: u16, request: u8) -> Registration {
    let source = WireSource::Udp(Ipv4Addr::new(203, 0, 113, 9), 40_001);
    Registration { source, ..register(home_address, sequence, request) }
}

/// Registrations of every shape, in the order of their request ids.
fn registrations() -> Vec<Registration> {
    let several = address(1, 0x100);
    let behind_nat = BidCareOf::V4(Ipv4Addr::new(192, 0, 2, 44));
    let urgent = BidPriority::new(10);
    vec![
        // Two foreign IPv6 addresses, one of them preferred.
        Registration {
            bids: vec![
                option(1, BidCareOf::V6(care_of(0x11))),
                BidRequest { priority: urgent, ..option(2, BidCareOf::V6(care_of(0x22))) },
            ],
            ..register(several, 0xfffe, 1)
        },
        // An IPv4 address behind a NAT.
        Registration { bids: vec![option(3, behind_nat)], ..in_udp(several, 0xffff, 2) },
        // And at home as well.
        Registration {
            bids: vec![BidRequest { home: true, ..option(4, BidCareOf::Absent) }],
            link_layer_address: vec![2, 0, 0, 0, 0, 4],
            ..register(several, 0, 3)
        },
        // One unknown BID among known ones, and one that is malformed.
        Registration {
            bids: vec![option(1, BidCareOf::Absent), option(9, BidCareOf::Absent)],
            ..register(several, 1, 4)
        },
        Registration {
            bids: vec![BidRequest { bid: None, malformed: true, ..option(0, BidCareOf::Absent) }],
            ..register(several, 2, 5)
        },
        // An old sequence number; a care-of address that nobody can reach.
        register(several, 0xff00, 6),
        Registration {
            source: WireSource::Udp(Ipv4Addr::new(224, 0, 0, 1), 1),
            ..register(several, 3, 7)
        },
        // Plain RFC 6275, by an alternate care-of address.
        Registration {
            alternate_care_of: Some(care_of(0x33)),
            ..register(address(1, 0x101), 7, 8)
        },
        // Gone: a tombstone.
        register(address(1, 0x102), 7, 9),
        Registration { lifetime: Lifetime(0), ..register(address(1, 0x102), 8, 10) },
        // Plain over UDP, protected by MESG-ID, then replayed.
        Registration {
            ipv4_care_of: Some(Ipv4Addr::new(192, 0, 2, 45)),
            message_id: Some(EPOCH.ntp_secs() << 32 | 5),
            ..in_udp(address(2, 0x100), 9, 11)
        },
        Registration {
            message_id: Some(EPOCH.ntp_secs() << 32 | 5),
            ..in_udp(address(2, 0x100), 10, 12)
        },
        // Checked against records that are not those of the store: to be checked again.
        Registration { policy_revisions: (0, 0), ..register(address(7, 0x100), 1, 13) },
    ]
}

/// Log entries, from [`super::FIRST_INDEX`] on.
#[must_use]
pub fn history() -> Vec<Batch> {
    let put_prefix = |home_prefix| Command::PutHomePrefix { home_prefix, must_not_exist: true };
    let put_subscriber = |subscriber| Command::PutSubscriber { subscriber, must_not_exist: true };
    let mut batches =
        vec![home_prefixes().map(put_prefix).collect(), subscribers().map(put_subscriber).into()];
    let updates = registrations().into_iter().map(Command::Register);
    batches.extend(updates.map(|update| vec![update]));
    // One prefix comes and goes; an entry without commands moves the time.
    let passing = home_prefix(5, address(5, 1)).into_iter();
    let passing = passing.flat_map(|passing| {
        let network = passing.prefix;
        [put_prefix(passing), Command::DeleteHomePrefix(network)]
    });
    batches.push(passing.collect());
    batches.push(Vec::new());
    (0..)
        .zip(batches)
        .map(|(second, commands)| Batch { at: LogTime(EPOCH.0 + second), commands })
        .collect()
}

/// One log entry with every command.
#[must_use]
pub fn batch() -> Batch {
    let mut commands: Vec<Command> = Vec::new();
    for home_prefix in home_prefixes() {
        commands.push(Command::DeleteHomePrefix(home_prefix.prefix));
        commands.push(Command::PutHomePrefix { home_prefix, must_not_exist: false });
    }
    for subscriber in subscribers() {
        commands.push(Command::DeleteSubscriber(subscriber.home_address));
        commands.push(Command::PutSubscriber { subscriber, must_not_exist: true });
    }
    commands.extend(registrations().into_iter().map(Command::Register));
    Batch { at: EPOCH, commands }
}
