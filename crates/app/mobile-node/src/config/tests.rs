use std::net::Ipv4Addr;

use homeport_wire::{BinarySelector, Selector};

use super::*;

const WHOLE: &str = r#"
home_address = "2001:db8:0:1::100"
home_agent = "2001:db8:0:1::1"
home_agent_v4 = "198.51.100.1"
home_agent_port = 4191
lifetime_secs = 900
mobile_router = true
mobile_network_prefixes = ["2001:db8:100::/56"]

[authentication]
spi = 256
key = "101112131415161718191a1b1c1d1e1f"
nai = "mn1@example.com"
mesg_id = true

[[care_of]]
bid = 1
address = "2001:db8:a::11"
priority = 10
interface = "link1"
gateway = "fe80::1"

[[care_of]]
bid = 7
address = "192.0.2.44"

[tun]
name = "mn0"
netns = "mn"

[refresh]
bulk = false
"#;

fn parse(text: &str) -> Result<Config, toml::de::Error> {
    toml::from_str(text)
}

#[test]
fn a_whole_file() {
    let config = parse(WHOLE).unwrap();
    let settings = config.settings().unwrap();
    assert_eq!(settings.lifetime, Lifetime(225));
    assert_eq!(settings.home_agent_v4, Some("198.51.100.1:4191".parse().unwrap()));
    let key = settings.authentication.unwrap();
    assert_eq!((key.spi, key.key), (256, (0x10..=0x1f).collect()));
    assert!(key.message_id);
    assert_eq!(settings.mobile_router.unwrap().prefixes.len(), 1);
    assert!(settings.refresh.automatic && !settings.refresh.bulk);
    let addresses = config.addresses();
    assert_eq!(addresses[0].priority, BidPriority::new(10));
    assert_eq!(addresses[1].care_of, CareOf::V4("192.0.2.44".parse().unwrap()));
    assert!(!format!("{config:?}").contains("1c1d1e"), "the key stays out of logs");
}

#[test]
fn unknown_keys_are_refused() {
    for text in ["home_adress = 1\n", "[tun]\nnane = \"x\"\n", "[[care_of]]\nbits = 3\n"] {
        let whole = format!("{text}{WHOLE}");
        assert!(parse(&whole).is_err(), "{text}");
    }
}

#[test]
fn each_fault_names_its_key() {
    let rows = [
        ("\"2001:db8:0:1::100\"", "\"ff02::1\"", "`home_address` is ff02::1"),
        ("\"2001:db8:0:1::1\"", "\"2001:db8:0:1::100\"", "`home_address` is the home agent's"),
        ("home_agent_v4 = \"198.51.100.1\"\n", "", "`home_agent_v4` is missing"),
        ("lifetime_secs = 900", "lifetime_secs = 3", "`lifetime_secs` is 3; expected 4 to 262140"),
        ("spi = 256", "spi = 3", "`authentication.spi` is 3"),
        ("1c1d1e1f", "1c1d1e", "`authentication.key` is 30 characters"),
        ("1c1d1e1f", "1c1d1e1g", "`authentication.key`"),
        ("mn1@example.com", "", "`authentication.nai` has 0 octets"),
        ("bid = 1\n", "bid = 0\n", "`care_of[0].bid` is 0"),
        ("bid = 7", "bid = 1", "`care_of[1].bid` is 1 once more"),
        ("priority = 10", "priority = 128", "`care_of[0].priority` is 128; expected 1 to 127"),
        ("\"192.0.2.44\"", "\"224.0.0.1\"", "`care_of[1].address` is 224.0.0.1"),
        ("\"2001:db8:a::11\"", "\"fe80::1\"", "`care_of[0].address` is fe80::1"),
        ("gateway = \"fe80::1\"", "", "`care_of[0].gateway` is missing"),
        ("gateway = \"fe80::1\"", "gateway = \"10.0.0.1\"", "`care_of[0].gateway` is 10.0.0.1"),
        ("[tun]\nname = \"mn0\"\nnetns = \"mn\"\n", "", "`care_of[0].address` is 2001:db8:a::11"),
        ("mobile_router = true\n", "", "`mobile_network_prefixes` is for mobile routers"),
        ("bulk = false", "every_ms = 0", "`refresh.every_ms` is 0"),
        (
            "[refresh]",
            "[home_link]\ninterface = \"h\"\ngateway = \"fe80::1\"\nbid = 7\n[refresh]",
            "`home_link.bid` is 7",
        ),
    ];
    for (from, to, expected) in rows {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        let error = parse(&text).unwrap().settings().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{from} -> {to}: {error}");
        assert!(error.contains("; expected "), "{error}");
    }
}

#[test]
fn the_short_form_is_enough() {
    let config = parse("home_address = \"2001:db8:0:1::100\"\nhome_agent = \"2001:db8:0:1::1\"");
    let config = config.unwrap();
    assert_eq!(config, Config::new(config.home_address, config.home_agent));
    assert!(config.settings().is_ok());
}

#[test]
fn the_example_can_be_used_as_it_is_and_with_what_it_comments_out() {
    let example = include_str!("../../example.toml");
    assert!(parse(example).unwrap().settings().is_ok());
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|l| l.contains(['=', '['])).unwrap_or(line))
        .collect();
    let config = parse(&uncommented.join("\n")).unwrap();
    assert!(config.settings().is_ok());
    assert_eq!((config.care_of.len(), config.refresh.every_ms), (3, Some(100)));
    assert_eq!((config.mobile_network_prefixes.len(), config.flows().unwrap().len()), (1, 1));
}

/// A flow with one key more or another.
fn flow(keys: &str) -> String {
    format!("{WHOLE}\n[[flow]]\nfid = 1\npriority = 10\nbids = [1]\n{keys}\n")
}

#[test]
fn flows_become_selectors() {
    let any = Selector::ANY;
    let rows = [
        ("", BinarySelector::Ipv6(any.clone())),
        ("ipv4 = true", BinarySelector::Ipv4(Selector::ANY)),
        (
            "source_port = 80\nprotocol = 6",
            BinarySelector::Ipv6(Selector {
                source_port: Some(80..=80),
                protocol: Some(6..=6),
                ..any.clone()
            }),
        ),
        (
            "destination_port = \"1000-2000\"\ndscp = 46",
            BinarySelector::Ipv6(Selector {
                destination_port: Some(1000..=2000),
                traffic_class: Some(0xb8..=0xb8),
                ..any.clone()
            }),
        ),
        (
            "source = \"2001:db8:f::/48\"",
            BinarySelector::Ipv6(Selector {
                source: Some(
                    "2001:db8:f::".parse().unwrap()
                        ..="2001:db8:f:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
                ),
                ..any
            }),
        ),
        (
            "source = \"203.0.113.9\"",
            BinarySelector::Ipv4(Selector {
                source: Some(Ipv4Addr::new(203, 0, 113, 9)..=Ipv4Addr::new(203, 0, 113, 9)),
                ..Selector::ANY
            }),
        ),
    ];
    for (keys, expected) in rows {
        let flows = parse(&flow(keys)).unwrap().flows().unwrap();
        assert_eq!(flows[0].selector, expected, "{keys}");
    }
}

#[test]
fn flows_that_cannot_be_are_refused_by_key() {
    let rows = [
        (flow("dscp = 64"), "`flow[0].dscp` is 64"),
        (flow("source_port = \"90-80\""), "`flow[0].source_port` is"),
        (
            flow("source = \"::1\"\ndestination = \"10.0.0.1\""),
            "`flow[0].destination` is of another",
        ),
        (flow("").replace("fid = 1", "fid = 0"), "`flow[0].fid` is 0"),
        (flow("").replace("bids = [1]", "bids = []"), "`flow[0].bids` is []"),
        (flow("[[flow]]\nfid = 1\npriority = 11\nbids = [1]"), "`flow[1].fid` is 1"),
        (flow("[[flow]]\nfid = 2\npriority = 10\nbids = [1]"), "`flow[1].priority` is 10"),
    ];
    for (text, expected) in rows {
        let error = parse(&text).unwrap().settings().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn a_home_agent_to_be_found_needs_an_ipv6_way() {
    let asks = WHOLE.replacen("home_agent = \"2001:db8:0:1::1\"\n", "", 1);
    assert!(parse(&asks).unwrap().settings().unwrap().home_agent.is_unspecified());
    let cannot = parse("home_address = \"2001:db8:0:1::100\"\n").unwrap();
    let error = cannot.settings().unwrap_err().to_string();
    assert!(error.starts_with("`home_agent` is missing"), "{error}");
}

#[test]
fn a_home_binding_comes_with_its_name() {
    let link = "[home_link]\ninterface = \"home0\"\ngateway = \"fe80::1\"\nbid = 9\n";
    let config = parse(&format!("{WHOLE}{link}")).unwrap();
    assert!(config.settings().is_ok());
    let last = config.addresses().pop().unwrap();
    assert_eq!((last.bid, last.care_of), (Bid(9), CareOf::Home));
}
