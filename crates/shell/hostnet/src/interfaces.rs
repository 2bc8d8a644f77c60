//! The interfaces of a namespace as they are.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkXdp, XdpAttached};

use crate::{error::Error, link::Network};

/// An interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Whether it is set up.
    pub is_up: bool,
    /// Whether it is the host's own, `lo`.
    pub is_loopback: bool,
    /// Octets of the largest packet that it takes.
    pub mtu: u32,
    /// Whether an XDP program is on it.
    pub has_xdp: bool,
}

impl Network {
    /// All interfaces, by name.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub async fn interfaces(&self) -> Result<BTreeMap<String, Interface>, Error> {
        let failed = |error| Error::netlink("list", self.namespace().to_string(), error);
        let mut found = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed)? {
            let mut interface = Interface {
                is_up: link.header.flags.contains(LinkFlags::Up),
                is_loopback: link.header.flags.contains(LinkFlags::Loopback),
                ..Interface::default()
            };
            let mut named = None;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => named = Some(name),
                    LinkAttribute::Mtu(octets) => interface.mtu = octets,
                    LinkAttribute::Xdp(facts) => {
                        let is_on = |fact: &LinkXdp| matches!(fact, LinkXdp::Attached(how) if *how != XdpAttached::None);
                        interface.has_xdp = facts.iter().any(is_on);
                    }
                    _ => {}
                }
            }
            if let Some(name) = named {
                found.insert(name, interface);
            }
        }
        Ok(found)
    }
}
