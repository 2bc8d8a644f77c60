//! Requests that are wrong in one field.

use homeport_api::admin::{HomePrefix, Subscriber};
use tonic::Code;

use crate::{KEY, prefix};

type Refused = (&'static str, Code, HomePrefix);

/// Each row: the field at fault, the code, and a request that is right but for that field.
pub(crate) fn home_prefixes() -> Vec<Refused> {
    let good = || prefix("2001:db8:9::/64", "2001:db8:9::1");
    let with_prefix = |text: &str| HomePrefix { prefix: text.to_owned(), ..good() };
    let with_agent = |text: &str| HomePrefix { home_agent: text.to_owned(), ..good() };
    let with_ipv4 = |text: &str| HomePrefix { home_agent_ipv4: text.to_owned(), ..good() };
    let with_bindings = |max| HomePrefix { bindings_per_home_address_max: max, ..good() };
    let with_lifetime = |secs| HomePrefix { lifetime_max_secs: secs, ..good() };
    let with_authentication = |kind| HomePrefix { authentication: kind, ..good() };
    let invalid = Code::InvalidArgument;
    let mut rows = vec![
        ("prefix", Code::AlreadyExists, prefix("2001:db8:0:1::/64", "2001:db8:0:1::1")),
        ("prefix", invalid, prefix("2001:db8::/48", "2001:db8::1")),
        ("prefix", invalid, prefix("2001:db8:0:1:2::/80", "2001:db8:0:1:2::1")),
        ("authentication", invalid, with_authentication(0)),
        ("authentication", invalid, with_authentication(77)),
        ("bindings_per_home_address_max", invalid, with_bindings(65)),
        ("bindings_per_home_address_max", invalid, with_bindings(256)),
        ("lifetime_max_secs", invalid, with_lifetime(3)),
        ("lifetime_max_secs", invalid, with_lifetime(262_141)),
        ("home_agent_preference", invalid, HomePrefix { home_agent_preference: 65_536, ..good() }),
        ("nat_keepalive_secs", invalid, HomePrefix { nat_keepalive_secs: 86_401, ..good() }),
    ];
    let flows = |max| HomePrefix { flow_bindings_per_home_address_max: Some(max), ..good() };
    rows.extend([65, 256].map(|max| ("flow_bindings_per_home_address_max", invalid, flows(max))));
    let lifetimes = |valid, preferred| HomePrefix {
        valid_lifetime_secs: Some(valid),
        preferred_lifetime_secs: Some(preferred),
        ..good()
    };
    rows.push(("valid_lifetime_secs", invalid, lifetimes(3, 3)));
    rows.push(("preferred_lifetime_secs", invalid, lifetimes(3600, 3601)));
    let with_pool = |text: &str| HomePrefix { ipv4_pool: text.to_owned(), ..good() };
    let pools = [
        "pool",
        "198.51.100.1/24",
        "198.51.100.0/33",
        "128.0.0.0/7",
        "224.0.0.0/24",
        "127.0.0.0/24",
        "2001:db8::/64",
    ];
    rows.extend(pools.map(|text| ("ipv4_pool", invalid, with_pool(text))));
    let prefixes = [
        "",
        "home",
        "2001:db8:9::",
        "2001:db8:9::1/64",
        "2001:db8:9::/129",
        "2001:db8:9::/-1",
        "2000::/7",
        "2001:db8:9::1/128",
        "192.0.2.0/24",
    ];
    rows.extend(prefixes.map(|text| ("prefix", invalid, with_prefix(text))));
    let agents = ["", "agent", "198.51.100.1", "2001:db8:8::1", "2001:db8:9::", "::", "fe80::1"];
    rows.extend(agents.map(|text| ("home_agent", invalid, with_agent(text))));
    rows.push(("home_agent", invalid, prefix("fe80::/64", "fe80::1")));
    rows.push(("home_agent", invalid, prefix("ff0e::/64", "ff0e::1")));
    let addresses = ["agent", "::1", "198.51.100.1/32", "0.0.0.0", "127.0.0.1", "224.0.0.1"];
    rows.extend(addresses.map(|text| ("home_agent_ipv4", invalid, with_ipv4(text))));
    rows
}

pub(crate) fn subscribers() -> Vec<(&'static str, Code, Subscriber)> {
    let good = || Subscriber {
        home_address: "2001:db8:0:1::200".to_owned(),
        spi: 256,
        key: KEY.to_vec().into(),
        ..Subscriber::default()
    };
    let with_address = |text: &str| Subscriber { home_address: text.to_owned(), ..good() };
    let with_key = |spi, len| Subscriber { spi, key: vec![1; len].into(), ..good() };
    let with_bindings = |max| Subscriber { bindings_per_home_address_max: Some(max), ..good() };
    let invalid = Code::InvalidArgument;
    let mut rows = vec![
        ("home_address", Code::AlreadyExists, with_address("2001:db8:0:1::100")),
        ("nai", invalid, Subscriber { nai: "n".repeat(254), ..good() }),
        ("spi", invalid, with_key(0, 16)),
        ("spi", invalid, with_key(255, 16)),
        ("key", invalid, with_key(256, 15)),
        ("key", invalid, with_key(256, 17)),
        ("key", invalid, with_key(256, 0)),
        // The home prefix authenticates by key.
        ("key", invalid, with_key(0, 0)),
        ("bindings_per_home_address_max", invalid, with_bindings(0)),
        ("bindings_per_home_address_max", invalid, with_bindings(65)),
        ("bindings_per_home_address_max", invalid, with_bindings(256)),
    ];
    let flows = |max| Subscriber { flow_bindings_per_home_address_max: Some(max), ..good() };
    rows.extend([65, 256].map(|max| ("flow_bindings_per_home_address_max", invalid, flows(max))));
    let owning = |text: &str| Subscriber { mobile_networks: vec![text.to_owned()], ..good() };
    let networks = [
        "",
        "network",
        "2001:db8:100::1/64",
        "2001:db8:100::/129",
        "::/0",
        "fe80::/64",
        "ff0e::/64",
        "2001:db8::/32",
        "2001:db8:0:1::/64",
        "2001:db8:0:1::/112",
    ];
    rows.extend(networks.map(|text| ("mobile_networks", invalid, owning(text))));
    let with_ipv4 = |text: &str| Subscriber { ipv4_home_address: text.to_owned(), ..good() };
    let ipv4 = ["home", "::1", "198.51.100.77/24", "0.0.0.0", "127.0.0.1", "224.0.0.0/4"];
    rows.extend(ipv4.map(|text| ("ipv4_home_address", invalid, with_ipv4(text))));
    let with_home = |text: &str| Subscriber { home_prefix: text.to_owned(), ..good() };
    let homes = ["home", "2001:db8:0:1::1/64", "2001:db8:0:1::/64"];
    rows.extend(homes.map(|text| ("home_prefix", invalid, with_home(text))));
    let addresses =
        ["", "mn1", "192.0.2.1", "2001:db8:7::1", "2001:db8:0:1::", "2001:db8:0:1::1", "::"];
    rows.extend(addresses.map(|text| ("home_address", invalid, with_address(text))));
    rows
}
