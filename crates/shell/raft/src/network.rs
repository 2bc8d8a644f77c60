//! RPCs between replicas.

mod client;
mod contact;
mod convert;
mod guard;
mod incoming;
mod server;
mod snapshot_stream;

pub(crate) use client::{Connection, Peers, Purpose, Welcome};
pub(crate) use contact::Heard;
pub(crate) use guard::Guard;
pub(crate) use server::{DiskSpace, PeerService};
