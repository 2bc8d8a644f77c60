use std::net::Ipv4Addr;
use std::time::Instant;

use homeport_binding::{
    Authentication, Batch, BidRequest, BindingCache, Command, HomePrefix, Outcome, Registration,
    WireSource,
};
use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence};
use tonic_types::StatusExt as _;

use super::*;

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("is an address")
}

fn home_address(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address("2001:db8:0:1::").to_bits() + u128::from(n) + 0x100)
}

fn care_of(n: u32, interface: u16) -> Ipv6Addr {
    Ipv6Addr::from_bits(
        address("2001:db8:a::").to_bits() + (u128::from(n) << 32) + u128::from(interface),
    )
}

/// Two care-of addresses each, the second of every tenth an IPv4 one.
fn registration(cache: &BindingCache, n: u32, source: WireSource) -> Command {
    let home_agent = address("2001:db8:0:1::1");
    let option = |bid, care_of| BidRequest {
        bid: Some(Bid(bid)),
        home: false,
        priority: BidPriority::default(),
        care_of,
        malformed: false,
    };
    let bids = match source {
        WireSource::Ipv6(_) => {
            vec![option(1, BidCareOf::V6(care_of(n, 1))), option(2, BidCareOf::V6(care_of(n, 2)))]
        }
        WireSource::Udp(..) => vec![option(1, BidCareOf::V4(Ipv4Addr::new(10, 0, 0, 7)))],
    };
    Command::Register(Registration {
        request_id: (u128::from(n) + 1).to_be_bytes(),
        home_address: home_address(n),
        home_agent,
        source,
        sequence: Sequence(1),
        lifetime: Lifetime(225),
        flags: BuFlags::HOME_REGISTRATION.with(BuFlags::ACKNOWLEDGE),
        alternate_care_of: None,
        ipv4_care_of: None,
        bids,
        link_layer_address: Vec::new(),
        message_id: None,
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
        policy_revisions: cache.policy(home_address(n), home_agent).revisions(),
    })
}

fn apply(cache: &mut BindingCache, commands: Vec<Command>) {
    let at = LogTime(homeport_runtime::clock::unix_ms());
    for verdict in cache.apply(cache.revision() + 1, Batch { at, commands }) {
        let is_done = match &verdict.outcome {
            Outcome::Answer(answer) => answer.status.is_accepted(),
            outcome => *outcome == Outcome::Done,
        };
        assert!(is_done, "{verdict:?}");
    }
}

fn cache(subscribers: u32) -> BindingCache {
    let mut cache = BindingCache::default();
    let prefix = Ipv6Prefix::new(address("2001:db8:0:1::"), 64).expect("is a prefix");
    let home_agent = address("2001:db8:0:1::1");
    let home_prefix = HomePrefix {
        mobile_networks_allowed: true,
        ..HomePrefix::new(prefix, home_agent, Authentication::None)
    };
    apply(&mut cache, vec![Command::PutHomePrefix { home_prefix, must_not_exist: true }]);
    for chunk in (0..subscribers).collect::<Vec<_>>().chunks(512) {
        let put = |n: &u32| {
            let nai = format!("mn{n}@example.net");
            let subscriber = Subscriber { nai, ..Subscriber::new(home_address(*n)) };
            Command::PutSubscriber { subscriber, must_not_exist: true }
        };
        apply(&mut cache, chunk.iter().map(put).collect());
        let source = |n: u32| WireSource::Ipv6(care_of(n, 1));
        let register = |n: &u32| registration(&cache, *n, source(*n));
        let commands = chunk.iter().map(register).collect();
        apply(&mut cache, commands);
    }
    cache
}

fn found(cache: &BindingCache, query: &str) -> Vec<(String, Vec<Match>)> {
    let search = Search::of(query, 1000, "").expect("can be read");
    let page = search.look(&cache.view());
    assert_eq!(page.next_page_token, "", "{query}");
    let row = |it: &api::FoundSubscriber| {
        let bindings = it.bindings.as_ref().map(|home| home.home_address.clone());
        let subscriber = it.subscriber.as_ref().map(|record| record.home_address.clone());
        (subscriber.or(bindings).expect("is somebody"), it.matches().collect())
    };
    page.found.iter().map(row).collect()
}

#[test]
fn by_every_key_that_an_operator_has() {
    let mut cache = cache(30);
    let own = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 64), 28);
    let network = Ipv6Prefix::new(address("2001:db8:100::"), 56).expect("is a prefix");
    let router = Subscriber {
        nai: "Router@example.net".to_owned(),
        mobile_networks: vec![network],
        ipv4_home_address: own,
        ..Subscriber::new(home_address(100))
    };
    apply(&mut cache, vec![Command::PutSubscriber { subscriber: router, must_not_exist: true }]);
    // Nobody provisioned it, and it is behind a NAT.
    let behind_nat = WireSource::Udp(Ipv4Addr::new(192, 0, 2, 44), 40_000);
    let register = registration(&cache, 200, behind_nat);
    apply(&mut cache, vec![register]);
    let one = |n: u32, it: Match| vec![(home_address(n).to_string(), vec![it])];
    let rows = [
        ("mn7@example.net", one(7, Match::Nai)),
        ("MN7@Example.net", one(7, Match::Nai)),
        ("router@", one(100, Match::Nai)),
        ("2001:db8:0:1::107", one(7, Match::HomeAddress)),
        ("2001:0DB8:0:1:0::107", one(7, Match::HomeAddress)),
        (" 2001:db8:0:1::1c8 ", one(200, Match::HomeAddress)),
        ("2001:db8:a::7:0:2", one(7, Match::CareOfAddress)),
        ("192.0.2.44", one(200, Match::CareOfAddress)),
        ("::ffff:192.0.2.44", one(200, Match::CareOfAddress)),
        ("10.0.0.7", one(200, Match::CareOfAddress)),
        ("192.0.2.0/24", one(200, Match::CareOfAddress)),
        ("198.51.100.66", one(100, Match::Ipv4HomeAddress)),
        ("198.51.0.0/16", one(100, Match::Ipv4HomeAddress)),
        ("2001:db8:100:7::1", one(100, Match::MobileNetwork)),
        ("2001:db8:100::/40", one(100, Match::MobileNetwork)),
        ("2001:db8:a::7:0:0/96", one(7, Match::CareOfAddress)),
        ("2001:db8:0:1::107/128", one(7, Match::HomeAddress)),
        ("2001:db8:ffff::1", vec![]),
        ("203.0.113.1", vec![]),
        ("nobody@example.net", vec![]),
    ];
    for (query, expected) in rows {
        assert_eq!(found(&cache, query), expected, "{query}");
    }
    assert_eq!(found(&cache, "2001:db8:0:1::/64").len(), 32, "all of a home prefix");
    assert_eq!(found(&cache, "2001:db8:a::/48").len(), 30, "all that visit a link");
    // Who has the NAI comes alone, unless those that begin so are wanted.
    let more =
        Subscriber { nai: "mn7@example.net.test".to_owned(), ..Subscriber::new(home_address(101)) };
    apply(&mut cache, vec![Command::PutSubscriber { subscriber: more, must_not_exist: true }]);
    assert_eq!(found(&cache, "mn7@example.net").len(), 1);
    assert_eq!(found(&cache, "mn7@example.net*").len(), 2);
    assert_eq!(found(&cache, "mn2").len(), 11, "mn2, and mn20 to mn29");
}

#[test]
fn pages_follow_each_other() {
    let cache = cache(30);
    let view = cache.view();
    for (query, all) in [("mn", 30), ("mn1", 11), ("2001:db8:a::/48", 30), ("mn3@example.net", 1)] {
        for size in [1, 3, 11, 30] {
            let (mut names, mut token) = (Vec::new(), String::new());
            loop {
                let page = Search::of(query, size, &token).expect("can be read").look(&view);
                names.extend(page.found.into_iter().filter_map(|it| Some(it.subscriber?.nai)));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!((count, names.len()), (all, all), "{query} in pages of {size}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_the_position_named() {
    let rows = [
        ("", "missing"),
        ("mn*@example.net", "character 3"),
        ("2001:db8::/129", "character 12"),
        ("192.0.2.0/x", "character 11"),
    ];
    for (query, text) in rows {
        let status = Search::of(query, 0, "").expect_err("is wrong");
        assert!(status.message().contains(text), "{query}: {status}");
        let reason = status.get_details_error_info().expect("has one").reason;
        assert_eq!(reason, "FILTER_INVALID");
    }
    assert!(Search::of(&"n".repeat(257), 0, "").is_err());
    for token in ["2001:db8::1", "=", "~x", "\u{e9}"] {
        let status = Search::of("mn", 0, token).expect_err("is none");
        let reason = status.get_details_error_info().expect("has one").reason;
        assert_eq!(reason, "PAGE_TOKEN_INVALID", "{token}");
    }
}

/// The cost of one look through everything, for the record; how long is not judged here.
#[test]
fn one_of_a_hundred_thousand() {
    const SUBSCRIBERS: u32 = 100_000;
    let cache = cache(SUBSCRIBERS);
    assert_eq!(cache.binding_count(), 200_000);
    let last = SUBSCRIBERS - 1;
    let queries = [
        format!("mn{last}@example.net"),
        home_address(last).to_string(),
        care_of(last, 2).to_string(),
        "nobody@example.net".to_owned(),
        "192.0.2.1".to_owned(),
    ];
    for query in queries {
        let begun = Instant::now();
        let rows = found(&cache, &query);
        eprintln!("{query}: {} of {SUBSCRIBERS} in {:?}", rows.len(), begun.elapsed());
        let is_known = rows.first().is_none_or(|(name, _)| *name == home_address(last).to_string());
        assert!(rows.len() <= 1 && is_known, "{query}: {rows:?}");
    }
}
