//! A whole forwarder against stores and front-ends of the test: over UDP on loopback, and, where
//! the host allows it, over a TUN in a network namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod commands;
mod drain;
mod fakes;
mod fast_path;
mod headless;
mod home_link;
mod inspection;
mod networks;
mod process;
mod restart;
mod tun;
mod udp;
