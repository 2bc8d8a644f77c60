//! A real IKEv2 daemon at both ends, and Homeport between: the K bit of RFC 6275 §10.3.1 and RFC 4877.
//!
//! ```text
//!  mobile node (guest) --- foreign-1 --\
//!    charon            --- foreign-2 --- router --- forwarders -- front-ends -- store
//!                                         |  \                        |          |
//!                          raw0: Binding -/   \-- ike: home agent (guest): charon, homeport ike-agent
//!                          Updates of the test
//! ```
//!
//! `homeport dev` makes router and cluster. Two user-mode-linux guests, whose kernels have what this host's may
//! lack (ESP over IPv6), hang at TAPs in the router's namespace. The router sends IKE for the home agent to the
//! guest, as an operator's would, and everything else to the forwarders; the mobile node's daemon runs in its
//! guest, its Binding Updates are the test's, under the keys that the daemon has negotiated.
//!
//! `cargo xtask ikev2-lab` runs it for its figures, a test for its assertions.

mod guest;
mod lab;
mod node;
mod relay;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use self::guest::{Guest, KERNEL};
use self::lab::Lab;
use crate::netns::Figure;

/// Programs, and the Debian package of each.
const NEEDED: [(&str, &str); 9] = [
    ("/usr/bin/linux.uml", "user-mode-linux"),
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("/usr/sbin/swanctl", "strongswan-swanctl"),
    ("/usr/sbin/modprobe", "kmod"),
    ("/usr/bin/tcpdump", "tcpdump"),
    ("/usr/bin/tshark", "tshark"),
    ("/usr/bin/python3", "python3"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/cc", "gcc"),
];
/// Moves with the K bit.
const MOVES: u32 = 4;

/// What was found, step by step.
#[derive(Debug, Default)]
pub struct Story {
    /// Steps that were as they should be.
    pub steps: Vec<&'static str>,
    /// What was measured.
    pub figures: Vec<Figure>,
}

impl Story {
    fn step(&mut self, step: &'static str) {
        self.steps.push(step);
    }

    fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }
}

/// Whether it can be run here; the reason when not.
///
/// # Errors
/// With what is missing.
pub async fn possible() -> Result<()> {
    homeport_hostnet::privileges()?;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!("packages are missing: {}", missing.join(" "));
    }
    let folder = tempfile::tempdir()?;
    let namespace = homeport_hostnet::TemporaryNamespace::create("hp-guest")?;
    let network = "ip link set lo up";
    let mut guest = Guest::start("trial", folder.path(), &namespace.namespace(), &[], network)?;
    guest.up().await.with_context(|| format!("{KERNEL} does not run on this machine"))
}

/// Runs it all; what was done before an error is in the story.
///
/// # Errors
/// What was not as it should be.
pub async fn run(story: &mut Story) -> Result<()> {
    let mut lab = Lab::start("aes128gcm16").await.context("the laboratory")?;
    let told = tell(&mut lab, story).await;
    told.map_err(|error| error.context(lab.last_words()))
}

async fn tell(lab: &mut Lab, story: &mut Story) -> Result<()> {
    lab.negotiate().await?;
    story.step("charon negotiates from the first care-of address, and the agent brings the keys to the store");
    let mut node = lab.node().await?;

    lab.expect_k(&mut node, 1, true, true).await?;
    lab.expect_ike_at(1).await?;
    story.step("the first Binding Update has the K bit, and so has its acknowledgement");

    let before = lab.ike_auth_exchanges().await?;
    let (mut moves, mut place) = (0, 1);
    let mut slowest = 0.0_f64;
    for _ in 0..MOVES {
        place = 3 - place;
        lab.move_to(place).await?;
        let took = lab.expect_k(&mut node, place, true, true).await?;
        lab.expect_ike_at(place).await?;
        slowest = slowest.max(took.as_secs_f64());
        moves += 1;
    }
    story.figure("k_bit_moves", f64::from(moves), "1");
    story.figure("k_bit_acknowledgement_max", slowest, "s");
    story.step("each move ends with the IKE association at the new address and the K bit set");

    lab.rekey_ike().await?;
    lab.expect_ike_at(place).await?;
    lab.expect_k(&mut node, place, true, true).await?;
    lab.rekey_child(&mut node).await?;
    lab.expect_k(&mut node, place, true, true).await?;
    story.step("IKE is rekeyed from the new address, the keys in the store follow");

    let after = lab.ike_auth_exchanges().await? - before;
    story.figure("ike_auth_exchanges_after_move", f64::from(after), "1");
    anyhow::ensure!(after == 0, "{after} IKE_AUTH exchanges after the moves");
    story.step("no move has taken an IKE_AUTH exchange");

    lab.stop_agent().await?;
    place = 3 - place;
    lab.move_to(place).await?;
    lab.expect_k(&mut node, place, true, false).await?;
    story.figure("k_bit_with_agent_stopped", 0.0, "1");
    story.step("with the agent stopped the acknowledgement has no K bit");

    lab.start_agent().await?;
    lab.expect_k(&mut node, place, true, true).await?;
    lab.expect_ike_at(place).await?;
    story.step("the agent, started anew, finds what there is");

    place = 3 - place;
    lab.move_to(place).await?;
    lab.expect_k(&mut node, place, false, false).await?;
    lab.expect_closed().await?;
    story.step(
        "without the K bit the association to the former address is closed, and its keys are gone",
    );
    Ok(())
}
