//! Binding Revocation, Home Agent Switch and Mobile Prefix Advertisements in the log, in snapshots and on links: what is encoded
//! is decoded as it was, and what no encoder writes is refused by the field's name.

use std::net::Ipv6Addr;
use std::time::Duration;

use homeport_api::binding as proto;
use homeport_api::convert::{self, Invalid};
use homeport_binding::{
    Advertising, Batch, CareOf, CareOfVerified, Command, Dispatch, DispatchMessage, EspNumber,
    Home, HomeAgentSwitch, Ipv6Prefix, LogTime, Notice, PrefixAdvertisement, PrefixesSolicited,
    Revocation, RevocationAnswer, Revoke, StateRecord, Switch,
};
use homeport_wire::{Bid, Lifetime, RevocationTrigger, Sequence};
use proptest::option::of;
use proptest::prelude::*;
use prost::bytes::Bytes;

const HOME: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);

fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn addresses() -> impl Strategy<Value = Vec<Ipv6Addr>> {
    prop::collection::vec(ipv6(), 0..4)
}

fn bids() -> impl Strategy<Value = Vec<Bid>> {
    prop::collection::vec(any::<u16>().prop_map(Bid), 0..4)
}

fn trigger() -> impl Strategy<Value = RevocationTrigger> {
    any::<u8>().prop_map(RevocationTrigger)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn command() -> impl Strategy<Value = Command> {
    let revoke = (ipv6(), bids(), trigger()).prop_map(|(home_address, bids, trigger)| {
        Command::Revoke(Revoke { home_address, bids, trigger })
    });
    let answer = (ipv6(), any::<u16>()).prop_map(|(home_address, sequence)| {
        Command::RevocationAnswer(RevocationAnswer { home_address, sequence })
    });
    let switch = (ipv6(), addresses(), duration(), of(duration())).prop_map(
        |(home_address, addresses, delay, time_left)| {
            Command::Switch(Switch { home_address, addresses, delay, time_left })
        },
    );
    let advertise = (prefix(), of(duration()))
        .prop_map(|(prefix, within)| Command::AdvertiseHomePrefix { prefix, within });
    let solicited = (ipv6(), any::<u64>()).prop_map(|(home_address, home_prefix_revision)| {
        Command::PrefixesSolicited(PrefixesSolicited { home_address, home_prefix_revision })
    });
    let verified = (ipv6(), any::<[u8; 16]>()).prop_map(|(home_address, nonce)| {
        Command::CareOfVerified(CareOfVerified { home_address, nonce })
    });
    prop_oneof![revoke, answer, switch, advertise, solicited, verified]
}

fn prefix() -> impl Strategy<Value = Ipv6Prefix> {
    (any::<u128>(), 0_u8..=128).prop_filter_map("host bits", |(bits, len)| {
        let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
        Ipv6Prefix::new(Ipv6Addr::from_bits(bits & !host), len)
    })
}

fn advertisement() -> impl Strategy<Value = PrefixAdvertisement> {
    let next = of(any::<u64>().prop_map(LogTime));
    (any::<u64>(), any::<u8>(), next).prop_map(|(home_prefix_revision, sent, next)| {
        PrefixAdvertisement { home_prefix_revision, sent, next }
    })
}

fn advertising() -> impl Strategy<Value = Advertising> {
    let place = (any::<bool>(), of(ipv6()));
    (prefix(), any::<[u64; 2]>(), of(duration()), place).prop_map(
        |(prefix, [revision, since], within, (guests, after))| Advertising {
            prefix,
            revision,
            since: LogTime(since),
            within,
            guests,
            after,
        },
    )
}

fn notice() -> impl Strategy<Value = Notice> {
    let revocation = (trigger(), any::<u16>(), bids(), any::<u8>(), any::<u64>(), duration())
        .prop_map(|(trigger, sequence, bids, retries_left, next, interval)| {
            let (bids, next) = (bids.into_iter().collect(), LogTime(next));
            Notice::Revocation(Revocation { trigger, sequence, bids, retries_left, next, interval })
        });
    let until = of(any::<u64>().prop_map(LogTime));
    let switch = (addresses(), until, any::<bool>(), any::<u64>(), duration()).prop_map(
        |(addresses, until, announced, next, interval)| {
            let next = LogTime(next);
            Notice::Switch(HomeAgentSwitch { addresses, until, announced, next, interval })
        },
    );
    prop_oneof![revocation, switch]
}

fn dispatch() -> impl Strategy<Value = Dispatch> {
    let revocation = (trigger(), any::<u16>(), bids()).prop_map(|(trigger, sequence, bids)| {
        DispatchMessage::Revocation { trigger, sequence, bids }
    });
    let switch = (addresses(), of(any::<u16>().prop_map(Lifetime)))
        .prop_map(|(addresses, time_left)| DispatchMessage::Switch { addresses, time_left });
    let ipv4 = (any::<[u8; 4]>(), any::<u16>(), any::<[u8; 4]>(), any::<bool>()).prop_map(
        |(address, port, announced, udp)| CareOf::Ipv4 {
            address: address.into(),
            port,
            announced: announced.into(),
            udp,
        },
    );
    let care_of = prop_oneof![ipv6().prop_map(CareOf::Ipv6), ipv4];
    let test = any::<[u8; 16]>().prop_map(|nonce| DispatchMessage::CareOfTest { nonce });
    let message = prop_oneof![revocation, switch, Just(DispatchMessage::PrefixAdvertisement), test];
    (any::<[u64; 2]>(), ipv6(), ipv6(), care_of, message).prop_map(
        |([at, revision], home_address, home_agent, care_of, message)| Dispatch {
            at: LogTime(at),
            revision,
            home_address,
            home_agent,
            care_of,
            message,
            esp: (at % 2 == 0).then_some(EspNumber { inbound_spi: 0x100, sequence: revision }),
        },
    )
}

fn home(notice: Option<Notice>, advertisement: Option<PrefixAdvertisement>) -> Home {
    Home {
        home_agent: HOME,
        sequence: Sequence(1),
        bindings: Default::default(),
        mobile_router: false,
        mobile_networks: Default::default(),
        ipv4_home_address: None,
        flows: Default::default(),
        forget: None,
        revision: 1,
        remembered: Default::default(),
        link_local: false,
        probe: None,
        notice: notice.map(Box::new),
        advertisement,
        care_of_tests: None,
    }
}

proptest! {
    #[test]
    fn round_trips(
        commands in prop::collection::vec(command(), 0..4),
        notice in of(notice()),
        advertisement in of(advertisement()),
        advertising in advertising(),
        dispatch in dispatch(),
    ) {
        let batch = Batch { at: LogTime(1), commands };
        let encoded = convert::encode_batch(batch.clone());
        prop_assert_eq!(convert::decode_batch(&encoded), Ok(batch));
        let home = StateRecord::Home(HOME, home(notice, advertisement));
        for record in [home, StateRecord::Advertising(advertising)] {
            let mut encoded = Vec::new();
            convert::encode_state_record(record.clone(), &mut encoded);
            let decoded = convert::decode_state_record(&mut Bytes::from(encoded));
            prop_assert_eq!(decoded, Ok(record));
        }
        let message = proto::Dispatch::from(dispatch.clone());
        prop_assert_eq!(Dispatch::try_from(message), Ok(dispatch));
    }
}

type Spoil = fn(&mut proto::Dispatch);

fn names<T: std::fmt::Debug>(decoded: Result<T, Invalid>, field: &str) {
    let Err(error) = decoded else { panic!("{field} was accepted") };
    assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
}

#[test]
fn what_cannot_be_is_named() {
    let address = || convert::ipv6_octets(HOME);
    let short = Bytes::from_static(&[1; 15]);
    let revoke = proto::Revoke { home_address: address(), bids: vec![1], trigger: 1 };
    assert!(Revoke::try_from(revoke.clone()).is_ok());
    let wrong = proto::Revoke { home_address: short.clone(), ..revoke.clone() };
    names(Revoke::try_from(wrong), "revoke.home_address");
    let wrong = proto::Revoke { bids: vec![1, 65_536], ..revoke.clone() };
    names(Revoke::try_from(wrong), "revoke.bids");
    names(Revoke::try_from(proto::Revoke { trigger: 256, ..revoke }), "revoke.trigger");

    let answer = proto::RevocationAnswer { home_address: address(), sequence: 65_536 };
    names(RevocationAnswer::try_from(answer), "revocation_answer.sequence");
    let answer = proto::RevocationAnswer { home_address: short.clone(), sequence: 1 };
    names(RevocationAnswer::try_from(answer), "revocation_answer.home_address");

    let switch = proto::Switch { home_address: address(), ..Default::default() };
    assert!(Switch::try_from(switch.clone()).is_ok());
    let wrong = proto::Switch { addresses: vec![address(), short.clone()], ..switch.clone() };
    names(Switch::try_from(wrong), "switch.addresses");
    let wrong = proto::Switch { home_address: short.clone(), ..switch };
    names(Switch::try_from(wrong), "switch.home_address");

    use proto::notice::Notice as Kind;
    let notice = |kind| proto::Notice { notice: kind, ..Default::default() };
    names(Notice::try_from(notice(None)), "notice");
    let revocation = proto::Revocation::default;
    let rows = [
        ("trigger", proto::Revocation { trigger: 256, ..revocation() }),
        ("sequence", proto::Revocation { sequence: 65_536, ..revocation() }),
        ("bids", proto::Revocation { bids: vec![65_536], ..revocation() }),
        ("retries_left", proto::Revocation { retries_left: 256, ..revocation() }),
    ];
    for (field, wrong) in rows {
        let decoded = Notice::try_from(notice(Some(Kind::Revocation(wrong))));
        names(decoded, &format!("notice.revocation.{field}"));
    }
    let wrong = proto::HomeAgentSwitch { addresses: vec![short], ..Default::default() };
    names(Notice::try_from(notice(Some(Kind::Switch(wrong)))), "notice.switch.addresses");
}

#[test]
fn what_cannot_be_sent_is_named() {
    use proto::dispatch::Message as Kind;
    let address = || convert::ipv6_octets(HOME);
    let good = proto::Dispatch {
        home_address: address(),
        home_agent: address(),
        care_of: Some(CareOf::Ipv6(HOME).into()),
        message: Some(Kind::Switch(proto::SwitchMessage::default())),
        at_ms: 1,
        revision: 1,
        esp: None,
    };
    assert!(Dispatch::try_from(good.clone()).is_ok());
    let rows: [(&str, Spoil); 10] = [
        ("dispatch.home_address", |m| m.home_address = Bytes::new()),
        ("dispatch.home_agent", |m| m.home_agent = Bytes::new()),
        ("dispatch.care_of", |m| m.care_of = None),
        ("dispatch.message", |m| m.message = None),
        ("dispatch.switch.time_left", |m| {
            let wrong = proto::SwitchMessage { time_left: Some(65_536), ..Default::default() };
            m.message = Some(Kind::Switch(wrong));
        }),
        ("dispatch.switch.addresses", |m| {
            let wrong = proto::SwitchMessage { addresses: vec![Bytes::new()], time_left: None };
            m.message = Some(Kind::Switch(wrong));
        }),
        ("dispatch.revocation.trigger", |m| {
            let wrong = proto::RevocationIndication { trigger: 256, ..Default::default() };
            m.message = Some(Kind::Revocation(wrong));
        }),
        ("dispatch.revocation.sequence", |m| {
            let wrong = proto::RevocationIndication { sequence: 65_536, ..Default::default() };
            m.message = Some(Kind::Revocation(wrong));
        }),
        ("dispatch.care_of_test", |m| m.message = Some(Kind::CareOfTest(vec![1; 15].into()))),
        ("dispatch.revocation.bids", |m| {
            let wrong = proto::RevocationIndication { bids: vec![65_536], ..Default::default() };
            m.message = Some(Kind::Revocation(wrong));
        }),
    ];
    for (field, spoil) in rows {
        let mut message = good.clone();
        spoil(&mut message);
        names(Dispatch::try_from(message), field);
    }
}

#[test]
fn advertisements_that_cannot_be_are_named() {
    use proto::command::Command as Kind;
    let command = |kind| Command::try_from(proto::Command { command: Some(kind) });
    let update = proto::UpdateHomePrefix::default();
    names(command(Kind::UpdateHomePrefix(update)), "home_prefix");
    let short = Bytes::from_static(&[1; 15]);
    let wrong =
        proto::AdvertiseHomePrefix { prefix: short.clone(), prefix_len: 64, within_ms: None };
    names(command(Kind::AdvertiseHomePrefix(wrong)), "advertise_home_prefix.prefix");
    let wrong = proto::PrefixesSolicited { home_address: short.clone(), ..Default::default() };
    names(command(Kind::PrefixesSolicited(wrong)), "prefixes_solicited.home_address");
    let wrong = proto::CareOfVerified { home_address: short.clone(), ..Default::default() };
    names(command(Kind::CareOfVerified(wrong)), "care_of_verified.home_address");
    let home_address = HOME.octets().to_vec().into();
    let wrong = proto::CareOfVerified { home_address, nonce: short.clone() };
    names(command(Kind::CareOfVerified(wrong)), "care_of_verified.nonce");
    let wrong = proto::PrefixAdvertisement { sent: 256, ..Default::default() };
    names(PrefixAdvertisement::try_from(wrong), "home.advertisement.sent");
    let prefix = Bytes::from_static(&[0; 16]);
    let good = proto::Advertising { prefix, prefix_len: 64, ..Default::default() };
    assert!(Advertising::try_from(good.clone()).is_ok());
    let wrong = proto::Advertising { after: short, ..good.clone() };
    names(Advertising::try_from(wrong), "advertising.after");
    let wrong = proto::Advertising { prefix_len: 129, ..good };
    names(Advertising::try_from(wrong), "advertising.prefix");
}
