//! The gRPC interfaces of Homeport (`proto/`), generated, and the conversions between their messages
//! and the types of the core. No rule of any protocol is decided here.

pub mod backup;
pub mod batches;
pub mod bearer;
pub mod convert;
pub mod drains;
pub mod write;

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    clippy::as_conversions,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

pub use generated::homeport::admin::v1 as admin;
pub use generated::homeport::backup::v1 as backup_file;
pub use generated::homeport::binding::v1 as binding;
pub use generated::homeport::feed::v1 as feed;
pub use generated::homeport::forwarder::v1 as inspection;
pub use generated::homeport::ike::v1 as ike;
pub use generated::homeport::node::v1 as node;
pub use generated::homeport::replica::v1 as replica;
pub use generated::homeport::signalling::v1 as signalling;
pub use generated::homeport::store::v1 as store;

/// All services, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The path of each call of each service, `/homeport.admin.v1.Nodes/DrainNode`.
pub const PATHS: &[&str] = include!(concat!(env!("OUT_DIR"), "/paths.rs"));
