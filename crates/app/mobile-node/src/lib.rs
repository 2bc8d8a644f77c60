//! A mobile node that runs: simulator, load generator and acceptance test of the home agent.
//!
//! What it is: [`homeport_mobile`]'s machine with a clock, UDP sockets on IPv4 care-of addresses
//! and a TUN device for everything else. Without privileges it works over UDP on IPv4, also on
//! loopback addresses:
//!
//! ```no_run
//! use std::time::Duration;
//! use mobile_node::{CareOfConfig, Config, MobileNode};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::new("2001:db8:0:1::100".parse()?, "2001:db8:0:1::1".parse()?);
//! config.home_agent_v4 = Some("127.0.0.1".parse()?);
//! config.care_of.push(CareOfConfig::new(1, "127.0.0.2".parse()?));
//! config.care_of.push(CareOfConfig::new(2, "127.0.0.3".parse()?));
//! let node = MobileNode::start(config).await?;
//! node.register(true).await?;
//! let results = node.ping("2001:db8:f::99".parse()?, Some(1), 3, Duration::from_secs(1)).await?;
//! println!("{results:?}");
//! node.deregister(&[]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: no router advertisements, no IKE, no choice of links. Whoever uses it
//! says where the node is.
//!
//! Depends on `homeport-mobile` for the protocol, `homeport-hostnet` for the host and
//! `homeport-runtime` for tasks and configuration.

mod actor;
mod arguments;
mod commands;
mod config;
mod echo;
mod handle;
mod home_link;
mod journal;
mod network;
mod port;
mod protection;
mod raw;
mod report;

pub use commands::main;
pub use config::{
    AuthenticationConfig, CareOfConfig, Config, ConfigFault, FlowConfig, HomeLinkConfig, IpOrNet,
    OtherHomeAgent, Ports, RefreshConfig, TunConfig,
};
pub use echo::{PingOutcome, PingResult};
pub use handle::{BindingResult, Error, Events, MobileNode};
pub use homeport_mobile::{
    BindingView, CareOf, Event, Flow, HomePrefix, LossReason, Mode, Outcome, Path, RequestId,
};
pub use journal::{Acknowledgement, UpdateRecord};
pub use protection::{DirectionConfig, IpsecConfig};
pub use report::{NodeEvent, Stamped, Status};
