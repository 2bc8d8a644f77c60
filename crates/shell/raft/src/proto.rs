//! Generated from `proto/homeport/raft/v1/raft.proto`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::as_conversions,
    clippy::allow_attributes_without_reason,
    rust_2018_idioms,
    reason = "generated code"
)]

tonic::include_proto!("homeport.raft.v1");
