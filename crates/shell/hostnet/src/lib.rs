//! The Linux host's network: TUN devices, network namespaces, addresses, routes, rules, neighbours,
//! UDP and packet sockets, the kernel's IPsec databases.
//!
//! What it is: an adapter without protocol rules. Everything can be done inside a network namespace
//! while the rest of the process stays where it is: only a short-lived thread enters it, and what
//! is opened there (a TUN, a socket, a netlink connection) keeps working from anywhere. What it is
//! not: it keeps no state, and undoes nothing by itself except what says so
//! ([`TemporaryNamespace`], and a [`Tun`], which vanishes when it is dropped).
//!
//! Depends on `homeport-runtime` for tasks. Errors name the operation, the object and what to do.
//!
//! ```no_run
//! use homeport_hostnet::{Namespace, Network, Route, Tun};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let namespace = Namespace::create("edge")?;
//! let tun = Tun::open(&namespace, "hp0", 1500)?;
//! let network = Network::open(&namespace)?;
//! network.replace_route(&Route::to("2001:db8:0:1::/64".parse()?).device("hp0")).await?;
//! let mut packet = vec![0; 65536];
//! let len = tun.recv(&mut packet).await?;
//! println!("{:02x?}", &packet[..len]);
//! # Ok(())
//! # }
//! ```

mod error;
mod ethernet;
mod interfaces;
mod link;
mod namespace;
mod neighbour;
mod neighbourhood;
mod privileges;
mod route;
mod trial;
mod tun;
mod udp;
mod xfrm;

pub use error::Error;
pub use ethernet::Ethernet;
pub use interfaces::Interface;
pub use link::Network;
pub use namespace::{Namespace, TemporaryNamespace, read_sysctl, run_in_namespace, write_sysctl};
pub use neighbourhood::{Neighbourhood, Router};
pub use privileges::{Capability, Unprivileged, privileges};
pub use route::{Route, RouteKind, Rule};
pub use trial::{TrialDevice, TrialKind, open_tun_driver, run_apart};
pub use tun::Tun;
pub use udp::{bind_raw, bind_udp, leave_shared_udp};
pub use xfrm::{Algorithms, Endpoints, KernelAssociation, Protected, Secret, Xfrm};
