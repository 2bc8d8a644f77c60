//! The cases through the XDP program, beside the core.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_fastpath::{FastPath, NextHop, Place, Settings, monotonic_ms};
use homeport_forwarding::{Action, Forwarding};

use super::core::handle;
use super::format::{Case, Step, Xdp};

/// What the program did with the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Octet for octet what the core did.
    pub same: u32,
    /// Left to the core.
    pub passed: u32,
}

const HOP: u8 = 1;
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1];

/// Runs a case through the program and the core in turn. The program must do what the case says.
///
/// # Errors
/// The first difference.
pub fn beside(path: &mut FastPath, case: &Case, counts: &mut Counts) -> Result<()> {
    let mut forwarding = case.forwarding()?;
    teach(path, &forwarding)?;
    for (number, step) in case.steps.iter().enumerate() {
        follow(path, &forwarding, step)?;
        let ran = ran(path, step)?;
        let actions = handle(&mut forwarding, step);
        compare(step, &ran, &actions).with_context(|| format!("packet {}", number + 1))?;
        match step.xdp {
            Xdp::Same => counts.same += 1,
            Xdp::Passed => counts.passed += 1,
        }
    }
    Ok(())
}

/// What is the same for all packets of a case.
fn teach(path: &mut FastPath, forwarding: &Forwarding) -> Result<()> {
    let table = forwarding.table();
    let mut places = BTreeMap::from([((0, Ipv6Addr::UNSPECIFIED), Place::Beyond(HOP))]);
    let prefixes = table.prefixes().map(|it| (it.prefix_len, it.prefix));
    let networks = table.networks().into_iter().map(|it| (it.prefix_len, it.prefix));
    places.extend(prefixes.chain(networks).map(|key| (key, Place::Served)));
    path.set_places(places)?;
    let [destination @ .., _, _, _, _, _, _] = MACS;
    let [_, _, _, _, _, _, source @ ..] = MACS;
    path.set_next_hop(HOP, NextHop { interface: 1, mtu: 9000, destination, source })?;
    let agents = table.prefixes().map(|it| it.home_agent).collect();
    path.set_settings(Settings { on: true, agents, hop_limit: 64, look_at_care_of: true })?;
    path.keep_homes(&BTreeSet::new());
    Ok(())
}

/// The lines of all home addresses as they are at the time of a packet.
fn follow(path: &mut FastPath, forwarding: &Forwarding, step: &Step) -> Result<()> {
    let clock_began_ms = monotonic_ms().saturating_sub(step.at.0);
    for (home_address, _) in forwarding.table().homes() {
        let fast = forwarding.fast(step.at, home_address);
        let set = path.set_home(home_address, fast.as_ref(), clock_began_ms);
        ensure!(set.is_ok(), "no room for {home_address}");
    }
    Ok(())
}

struct Ran {
    verdict: u32,
    frame: Vec<u8>,
    output: Vec<u8>,
}

fn ran(path: &FastPath, step: &Step) -> Result<Ran> {
    const ROOM: usize = 2048;
    let kind: [u8; 2] = if step.packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    let frame = [&[0xaa; 12][..], &kind, &step.packet].concat();
    let mut output = vec![0; ROOM];
    let ran = path.test_run(&frame, &mut output, 1)?;
    output.truncate(ran.len);
    Ok(Ran { verdict: ran.verdict, frame, output })
}

fn compare(step: &Step, ran: &Ran, actions: &[Action]) -> Result<()> {
    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;
    const XDP_REDIRECT: u32 = 4;
    let is_passed = ran.verdict == XDP_PASS;
    ensure!(is_passed == (step.xdp == Xdp::Passed), "verdict {}, not {:?}", ran.verdict, step.xdp);
    match (ran.verdict, actions) {
        (XDP_PASS, _) => ensure!(ran.output == ran.frame, "passed, but changed"),
        (XDP_DROP, [Action::Drop(_)]) => {}
        (XDP_REDIRECT, [Action::SendIpv6(packet)]) => {
            let link = [&MACS[..], &[0x86, 0xdd]].concat();
            let wanted = [&link[..], packet].concat();
            ensure!(ran.output == wanted, "sent {:02x?}\nnot  {wanted:02x?}", ran.output);
        }
        (verdict, actions) => bail!("verdict {verdict}, but the core says {actions:02x?}"),
    }
    Ok(())
}
