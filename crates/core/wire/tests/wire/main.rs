//! Tests of the wire codec against golden packets, tables of malformed ones and laws.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails, also in the functions that tests share"
)]

mod compose;
mod dispositions;
mod envelope;
mod extension_headers;
mod flows;
mod golden;
mod icmpv6;
mod laws;
mod neighbour;
mod options;
mod support;
mod values;
