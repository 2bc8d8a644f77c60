use homeport_hostnet::{Algorithms, KernelAssociation, Secret};
use homeport_runtime::metrics::registry;

use super::*;

const HOME_AGENT: &str = "2001:db8:a::1";

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn pair(home_address: &str, spi: u32, age: u32) -> Pair {
    let association = |source: &str, destination: &str, spi: u32| KernelAssociation {
        source: address(source),
        destination: address(destination),
        spi,
        reqid: 101,
        is_tunnel: false,
        has_extended_numbers: false,
        replay_window: 32,
        algorithms: Algorithms::Aead {
            name: "rfc4106(gcm(aes))".to_owned(),
            key: Secret::new(vec![7; 20]),
            icv_bits: 128,
        },
    };
    Pair {
        home_address: address(home_address),
        home_agent: address(HOME_AGENT),
        protocol: MOBILITY,
        reqid: 101,
        age,
        inbound: association(home_address, HOME_AGENT, spi),
        outbound: association(HOME_AGENT, home_address, spi + 1),
        ike_id: 1,
    }
}

fn found(pairs: &[&Pair]) -> Found {
    let pairs = pairs.iter().map(|it| ((it.home_address, it.inbound.spi), (*it).clone()));
    Found { pairs: pairs.collect(), ..Found::default() }
}

fn publisher() -> Publisher {
    let agent = Agent { name: "ike-1".to_owned(), address: "192.0.2.1:7500".to_owned() };
    let metrics = Arc::new(Metrics::register(&mut registry()));
    let way = homeport_tls::Links::default().to(homeport_tls::Role::Store);
    Publisher::new(agent, (BTreeMap::new(), way), Bearer::default(), metrics)
}

/// What it would write, as `+` and `-` and the inbound SPI; all of it is done then.
fn written(publisher: &mut Publisher, found: &Found) -> Vec<String> {
    let work = publisher.work(found);
    work.into_iter()
        .map(|(key, pair, command)| {
            publisher.settle(key, pair, &Outcome::Done);
            match command {
                Command::PutSecurityAssociation { association, must_not_exist: false } => {
                    format!("+{:x}", association.inbound_spi)
                }
                Command::DeleteSecurityAssociation { inbound_spi, .. } => {
                    format!("-{inbound_spi:x}")
                }
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[test]
fn a_rekey_brings_the_new_pair_before_it_takes_the_old_one() {
    let (old, new) = (pair("2001:db8:a::100", 0xc10, 1), pair("2001:db8:a::100", 0xb10, 2));
    let mut publisher = publisher();
    assert_eq!(written(&mut publisher, &found(&[&old])), ["+c10"]);
    assert_eq!(written(&mut publisher, &found(&[&old])), [""; 0]);
    assert_eq!(written(&mut publisher, &found(&[&old, &new])), ["+b10"]);
    assert_eq!(written(&mut publisher, &found(&[&new])), ["-c10"]);
    assert_eq!(written(&mut publisher, &found(&[])), ["-b10"]);
}

/// The store sends under what came last: an old pair that the store has lost must not become that.
#[test]
fn what_is_newer_comes_once_more_behind_what_is_brought_again() {
    let (old, new) = (pair("2001:db8:a::100", 0xc10, 1), pair("2001:db8:a::100", 0xb10, 2));
    let other = pair("2001:db8:a::200", 0xd10, 3);
    let mut publisher = publisher();
    let all = found(&[&old, &new, &other]);
    assert_eq!(written(&mut publisher, &all), ["+c10", "+b10", "+d10"]);
    publisher.brought.remove(&(old.home_address, 0xc10));
    assert_eq!(written(&mut publisher, &all), ["+c10", "+b10"]);
}

#[test]
fn what_a_former_process_has_left_is_taken_away() {
    let mut publisher = publisher();
    let still = pair("2001:db8:a::100", 0xc10, 1);
    publisher.left_behind = [(still.home_address, 0xc10), (still.home_address, 0xa10)].into();
    assert_eq!(written(&mut publisher, &found(&[&still])), ["+c10", "-a10"]);
    assert_eq!(written(&mut publisher, &found(&[&still])), [""; 0]);
}

#[test]
fn what_the_store_refuses_is_not_asked_again_at_once() {
    let mut publisher = publisher();
    let pair = pair("2001:db8:a::100", 0xc10, 1);
    let found = found(&[&pair]);
    let key = (pair.home_address, 0xc10);
    publisher.settle(key, Some(pair), &Outcome::StalePolicy);
    assert_eq!(written(&mut publisher, &found), [""; 0]);
    publisher.refused.clear();
    assert_eq!(written(&mut publisher, &found), ["+c10"]);
}

#[test]
fn the_record_says_what_was_negotiated_and_by_whom() {
    let publisher = publisher();
    let record = record(&publisher.agent, &pair("2001:db8:a::100", 0xc10, 1)).expect("a record");
    assert_eq!(record.home_address, address("2001:db8:a::100"));
    assert_eq!(record.suite, homeport_esp::Suite::AesGcm16);
    assert_eq!((record.inbound_spi, record.outbound_spi), (0xc10, 0xc11));
    assert_eq!((record.protects, record.replay_window), (Protects::Mobility, 64));
    assert_eq!(record.check_keys(), Ok(()));
    let origin = Origin::Ike {
        agent: "ike-1".to_owned(),
        address: "192.0.2.1:7500".to_owned(),
        request_id: 101,
    };
    assert_eq!(record.origin, origin);
}
