use tonic_types::StatusExt as _;

use super::*;

const FIELDS: [Field; 4] = [
    ("nai", Kind::Text),
    ("home_address", Kind::Address),
    ("spi", Kind::Number),
    ("key_present", Kind::Flag),
];

fn address(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n)
}

#[test]
fn filters() {
    let record = |field: &str, test: &Test| match field {
        "nai" => test.text("mn 7@example.net"),
        "home_address" => test.address(address(7)),
        "spi" => test.number(256),
        _ => test.flag(true),
    };
    let rows = [
        ("", true),
        ("  ", true),
        ("nai = \"mn 7@example.net\"", true),
        ("nai=mn*", true),
        ("nai = \"mn 7*\"", true),
        ("nai = *", true),
        ("nai = \"\"", false),
        ("nai = mn", false),
        ("home_address = 2001:0db8:0:1::7", true),
        ("home_address = 2001:db8:0:1::/64", true),
        ("home_address = 2001:DB8:0:*", true),
        ("home_address = 2001:db8:0:2::/64", false),
        ("home_address = 192.0.2.1", false),
        ("spi = 256 AND key_present = true", true),
        ("spi=256 AND key_present=false", false),
        ("spi = 257 AND key_present = true", false),
    ];
    for (text, expected) in rows {
        let filter = Filter::of(text, &FIELDS).expect("can be read");
        assert_eq!(filter.holds(record), expected, "{text}");
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_refused_and_the_position_named() {
    let rows = [
        ("naj = x", 1, "nai, home_address, spi, key_present"),
        ("nai", 4, "expected ="),
        ("nai x", 5, "expected ="),
        ("nai =", 6, "expected a value"),
        ("nai = \"x", 7, "no end"),
        ("nai = m*n", 8, "at the end"),
        ("nai = x OR nai = y", 9, "expected AND"),
        ("nai = x AND", 12, "no field \"\""),
        ("nai = \u{e9}\u{e9} or", 10, "expected AND"),
        ("spi = many", 7, "no number"),
        ("spi = 2*", 7, "texts and addresses"),
        ("key_present = yes", 15, "true nor false"),
        ("home_address = home", 16, "no address"),
    ];
    for (text, position, words) in rows {
        let status = Filter::of(text, &FIELDS).expect_err(text);
        let expected = format!("filter: character {position}: ");
        assert!(status.message().starts_with(&expected), "{text}: {status}");
        assert!(status.message().contains(words), "{text}: {status}");
        let info = status.get_details_error_info().expect("has one");
        assert_eq!(info.reason, "FILTER_INVALID");
        assert_eq!(info.metadata.get("position"), Some(&position.to_string()));
    }
    assert!(Filter::of(&format!("nai = {}", "x".repeat(2000)), &FIELDS).is_err());
}

const ORDERS: [Field; 2] = [("nai", Kind::Text), ("revision", Kind::Number)];

/// Walks the pages of a list of numbers whose names run against them.
fn walk(order_by: &str, size: u32) -> Vec<u16> {
    let name = |n: u16| format!("mn {}", 99 - n);
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let asked =
            Asked::of(size, &token, Filter::default(), order_by, &ORDERS).expect("can be read");
        let start = asked.start();
        let records = (1..=20_u16).map(|n| (address(n), n));
        let records = records.filter(|(at, _)| start.is_none_or(|start| *at > start));
        let (page, next) = asked.page(records, |n, order| match order {
            "nai" => Key::Text(name(*n)),
            // Many have the same.
            _ => Key::Number((*n / 7).into()),
        });
        assert!(next.is_empty() || page.len() == usize::try_from(size).expect("is small"));
        all.extend(page);
        token = next;
        if token.is_empty() {
            return all;
        }
    }
}

#[test]
fn pages_in_every_order() {
    let up: Vec<u16> = (1..=20).collect();
    let down: Vec<u16> = up.iter().rev().copied().collect();
    for size in [1, 2, 7, 19, 20, 21] {
        assert_eq!(walk("", size), up);
        assert_eq!(walk("home_address asc", size), up);
        assert_eq!(walk("home_address desc", size), down);
        assert_eq!(walk("nai", size), down, "pages of {size}");
        assert_eq!(walk("nai desc", size), up);
        assert_eq!(walk("revision", size), up, "the home address decides where all else is equal");
        assert_eq!(walk("revision desc", size), down);
    }
    for (order_by, words) in [
        ("name", "character 1: no order by \"name\"; there are: home_address, nai, revision"),
        ("nai down", "character 5: found \"down\""),
        ("nai desc revision", "character 10"),
    ] {
        let status = Asked::of(0, "", Filter::default(), order_by, &ORDERS).expect_err("is wrong");
        assert!(status.message().contains(words), "{status}");
    }
    for (order_by, token) in [("", "x"), ("nai", "2001:db8::1"), ("revision", "2001:db8::1 x")] {
        let status =
            Asked::of(0, token, Filter::default(), order_by, &ORDERS).expect_err("is none");
        assert_eq!(status.get_details_error_info().expect("has one").reason, "PAGE_TOKEN_INVALID");
    }
}
