//! A mobile node against a home agent made of the same cores as the real one, in this process:
//! binding cache, signalling and forwarding, without a log and without processes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and a test binary has no outside"
)]

mod at_home;
mod convergence;
mod home_agent;
mod plain;
mod plain_agent;
mod program;
mod tun;
mod udp;
