//! The mobile node against a home agent that says what each test wants, on a clock that each test
//! moves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and a test binary has no outside"
)]

mod authentication;
mod commands;
mod discovery;
mod echo;
mod flow_bindings;
mod flows;
mod home;
mod ipv4;
mod messages;
mod properties;
mod router;
mod schedule;
mod statuses;
mod support;
mod switch;
mod tunnel;
mod vectors;
