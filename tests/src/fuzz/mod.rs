//! What random octets are thrown at: one function for each parser, one for each machine that takes
//! packets, a comparison with a second decoder, and sequences of commands against a model.
//!
//! `cargo xtask fuzz` runs them under libFuzzer (`tests/fuzz`, which takes this module by its path);
//! the test `fuzz_corpus` runs them over the committed corpora. A target returns for all octets; it
//! panics when it has found something. Nothing here reads a clock, a file or a random number: the
//! same octets do the same everywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a target that cannot go on has found something"
)]

mod bindings;
mod differential;
mod input;
mod machines;
mod messages;
mod packets;
mod second;
mod state;

/// One thing to throw octets at.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its corpus.
    pub name: &'static str,
    /// What it takes and what must hold.
    pub what: &'static str,
    /// Longest input that is worth trying, in octets.
    pub octets_max: usize,
    /// Throws once.
    pub run: fn(&[u8]),
}

const fn target(
    name: &'static str,
    octets_max: usize,
    run: fn(&[u8]),
    what: &'static str,
) -> Target {
    Target { name, what, octets_max, run }
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    target("ipv6", 512, packets::ipv6, "IPv6 packet and its extension headers"),
    target("outer", 512, packets::outer, "IPv4 and UDP envelope (RFC 5555)"),
    target("mobility", 512, messages::mobility, "Mobility Header of every type, checksum mended"),
    target("options", 512, messages::options, "mobility options, read and composed again"),
    target("flows", 300, messages::flows, "flow sub-options and traffic selectors"),
    target("icmpv6", 512, messages::icmpv6, "ICMPv6 and Neighbour Discovery, checksum mended"),
    target("batch", 1024, state::batch, "protobuf of a log entry, applied to a binding cache"),
    target("verdicts", 512, state::verdicts, "protobuf of the verdicts of a log entry"),
    target("snapshot", 1024, state::snapshot, "protobuf records of a snapshot, loaded"),
    target("signalling", 600, machines::signalling, "a front-end's way from packet to command"),
    target("forwarding", 800, machines::forwarding, "packets through a forwarder's table"),
    target("mobile", 800, machines::mobile, "packets to a mobile node with bindings"),
    target("correspondent", 800, machines::correspondent, "packets to a correspondent node"),
    target("differential", 512, differential::packet, "a packet against the second decoder"),
    target("selectors", 200, differential::selector, "a selector against the second decoder"),
    target("bindings", 600, bindings::commands, "commands to the binding cache against a model"),
];

/// The target of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
