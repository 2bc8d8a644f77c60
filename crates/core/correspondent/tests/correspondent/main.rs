//! Tests of the correspondent node, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and a test binary has no outside"
)]

mod data;
mod nonces;
mod properties;
mod registration;
mod replay;
mod shared;
mod statuses;
mod support;
mod timers;
mod vectors;
