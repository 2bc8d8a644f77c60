//! The network namespace of the TUN: kernel parameters, interfaces, the home link.

use std::collections::BTreeMap;

use homeport_hostnet::{Ethernet, Interface, Namespace, Network, read_sysctl};
use homeport_runtime::preflight::{Check, Verdict};
use tokio::runtime::Handle;

use super::severity;
use crate::config::{Config, TunConfig};

/// IPv6 needs links of at least so many octets (RFC 8200 §5).
const MTU_MIN: u32 = 1280;

pub(super) fn checks(
    config: &Config,
    tun: &TunConfig,
    is_given: bool,
    runtime: &Handle,
) -> Vec<Check> {
    let namespace = tun.namespace();
    let mut checks = parameters(&namespace);
    let listed = runtime.block_on(async { Network::open(&namespace)?.interfaces().await });
    match listed {
        Ok(interfaces) => {
            if is_given {
                checks.push(name(tun, &interfaces));
            }
            checks.extend(links(config, tun, &interfaces));
        }
        Err(error) => {
            let remedy = "let the process open netlink sockets (AF_NETLINK)";
            checks.push(Check::fail("links", error.to_string(), remedy));
        }
    }
    if let Some(link) = &tun.home_link {
        checks.push(home_link(&namespace, link, runtime));
    }
    checks
}

fn parameters(namespace: &Namespace) -> Vec<Check> {
    let mut checks = vec![
        parameter(
            namespace,
            "net.ipv6.conf.all.disable_ipv6",
            Verdict::Fail,
            "IPv6",
            |it| it == "0",
            "0",
        ),
        parameter(
            namespace,
            "net.ipv6.conf.all.forwarding",
            Verdict::Fail,
            "packets between the TUN and the links",
            |it| it != "0",
            "1",
        ),
        parameter(
            namespace,
            "net.ipv4.ip_forward",
            Verdict::Warn,
            "tunnels over IPv4, IPv4 home addresses",
            |it| it != "0",
            "1",
        ),
    ];
    checks.push(reverse_path(namespace));
    checks
}

/// A kernel parameter, and what depends on it.
fn parameter(
    namespace: &Namespace,
    name: &str,
    verdict: Verdict,
    what: &str,
    is_fine: impl Fn(&str) -> bool,
    wanted: &str,
) -> Check {
    match read_sysctl(namespace, name) {
        Ok(value) if is_fine(&value) => Check::ok(name, value),
        Ok(value) => Check::lacks(
            verdict,
            name,
            format!("{value}, which keeps back {what}"),
            format!("sysctl -w {name}={wanted}, in {namespace}; /etc/sysctl.d keeps it"),
        ),
        Err(error) => Check::lacks(
            verdict,
            name,
            error.to_string(),
            "start the kernel with this protocol (no ipv6.disable=1), and let the process read /proc/sys",
        ),
    }
}

/// IPv6 has no such filter but those that somebody writes in nftables; IPv4's drops what comes over
/// another link than the one that leads back.
fn reverse_path(namespace: &Namespace) -> Check {
    const ALL: &str = "net.ipv4.conf.all.rp_filter";
    const DEFAULT: &str = "net.ipv4.conf.default.rp_filter";
    const STRICT: &str = "1";
    let read = |name| read_sysctl(namespace, name).unwrap_or_default();
    let (all, default) = (read(ALL), read(DEFAULT));
    // What counts for a device is the larger of its own, which begins as the default, and that of all.
    if all.as_str().max(default.as_str()) == STRICT {
        return Check::warn(
            ALL,
            "strict: tunnels over IPv4 are lost where they come in by another link than the one that leads back",
            format!("sysctl -w {ALL}=2, in {namespace}, unless there is one link"),
        );
    }
    Check::ok(ALL, format!("{all}, not strict"))
}

/// Whether the TUN's name is free.
fn name(tun: &TunConfig, interfaces: &BTreeMap<String, Interface>) -> Check {
    let name = &tun.name;
    if interfaces.contains_key(name) {
        let remedy = "when this forwarder runs already, it is its own; else choose another tun.name, \
                      or ip link delete it";
        return Check::fail("tun.name", format!("there is an interface {name}"), remedy);
    }
    Check::ok("tun.name", format!("{name} is free"))
}

/// The interfaces that are named; where none is, those that are up.
fn links(config: &Config, tun: &TunConfig, interfaces: &BTreeMap<String, Interface>) -> Vec<Check> {
    let xdp = config.xdp.as_ref();
    let attached = xdp.map_or(&[][..], |xdp| &xdp.interfaces);
    let missing = xdp.map_or(Verdict::Fail, |xdp| severity(xdp.mode));
    let is_kept = config.pin_dir().is_some_and(|dir| dir.is_dir());
    let mut checks: Vec<Check> = attached
        .iter()
        .map(|name| {
            let key = format!("xdp.interfaces: {name}");
            let Some(found) = interfaces.get(name) else {
                return absent(key, name, missing);
            };
            if found.has_xdp && !is_kept {
                let remedy = format!("ip link set dev {name} xdp off, or end whose it is");
                return Check::lacks(missing, key, "another XDP program is on it", remedy);
            }
            state(key, name, *found, tun)
        })
        .collect();
    let is_outer =
        |(name, it): &(&String, &Interface)| it.is_up && !it.is_loopback && **name != tun.name;
    if checks.is_empty() {
        let up = interfaces.iter().filter(is_outer);
        checks = up.map(|(name, it)| state(format!("link: {name}"), name, *it, tun)).collect();
    }
    if checks.is_empty() {
        let remedy = "ip link set dev NAME up: packets for mobile nodes leave by it";
        checks.push(Check::fail("links", "no interface is up beside the loopback", remedy));
    }
    checks
}

fn absent(key: String, name: &str, verdict: Verdict) -> Check {
    let remedy = "name an interface of this network namespace (ip link), or create it first";
    Check::lacks(verdict, key, format!("there is no interface {name}"), remedy)
}

fn state(key: String, name: &str, link: Interface, tun: &TunConfig) -> Check {
    let Interface { is_up, mtu, .. } = link;
    if !is_up {
        return Check::fail(key, "it is down", format!("ip link set dev {name} up"));
    }
    if mtu < MTU_MIN {
        let remedy = format!("ip link set dev {name} mtu 1500");
        return Check::fail(key, format!("its MTU is {mtu}; IPv6 needs {MTU_MIN}"), remedy);
    }
    if mtu < u32::from(tun.path_mtu) {
        let found = format!("its MTU is {mtu}, and tun.path_mtu {}", tun.path_mtu);
        let remedy =
            format!("tun.path_mtu = {mtu}, or ip link set dev {name} mtu {}", tun.path_mtu);
        return Check::warn(key, found, remedy);
    }
    Check::ok(key, format!("up, MTU {mtu}"))
}

/// Opens the interface of the home link as a forwarder does; it only listens, and only for a moment.
fn home_link(namespace: &Namespace, link: &str, runtime: &Handle) -> Check {
    const NAME: &str = "tun.home_link";
    let opened = runtime.block_on(async { Ethernet::open(namespace, link).map(drop) });
    match opened {
        Ok(()) => Check::ok(NAME, format!("{link} opens")),
        Err(error) => {
            let remedy = "name an Ethernet interface that is up with a link-local address, and give \
                          the process CAP_NET_RAW";
            Check::fail(NAME, error.to_string(), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(is_up: bool, mtu: u32) -> Interface {
        Interface { is_up, mtu, ..Interface::default() }
    }

    #[test]
    fn a_link_must_be_up_and_carry_what_tunnels_carry() {
        let tun = TunConfig::by_default();
        let rows = [
            (link(true, 1500), Verdict::Ok, "up, MTU 1500"),
            (link(true, 1492), Verdict::Warn, "its MTU is 1492, and tun.path_mtu 1500"),
            (link(true, 1000), Verdict::Fail, "IPv6 needs 1280"),
            (link(false, 1500), Verdict::Fail, "down"),
        ];
        for (link, verdict, found) in rows {
            let check = state("link: e".to_owned(), "e", link, &tun);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.found.contains(found), "{check:?}");
            assert_eq!(check.remedy.is_empty(), verdict == Verdict::Ok, "{check:?}");
        }
    }
}
