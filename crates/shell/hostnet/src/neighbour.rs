//! Addresses that this host answers for on a link.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};

use crate::{error::Error, link::Network, namespace::write_sysctl};

impl Network {
    /// Lets the kernel answer neighbour solicitations, or ARP requests, on `link` for an address
    /// that is elsewhere, and switches that on for the interface, without the random delay
    /// (RFC 4861 §7.2.8) that spreads several proxies of one address. `router` is the R flag of the
    /// answers. The kernel keeps these in a list: not for many.
    pub async fn add_proxy_neighbour(
        &self,
        link: &str,
        address: IpAddr,
        router: bool,
    ) -> Result<(), Error> {
        if address.is_ipv6() {
            write_sysctl(self.namespace(), &format!("net/ipv6/conf/{link}/proxy_ndp"), "1")?;
        }
        let family = if address.is_ipv6() { "ipv6" } else { "ipv4" };
        let delay = format!("net/{family}/neigh/{link}/proxy_delay");
        write_sysctl(self.namespace(), &delay, "0")?;
        let index = self.link_index(link).await?;
        let mut message = proxy_message(index, address);
        if router {
            message.header.flags |= NeighbourFlags::Router;
        }
        let mut request = self.handle.neighbours().add(index, address);
        *request.message_mut() = message;
        request.replace().execute().await.map_err(|error| {
            let object = format!("proxy neighbour {address} on {}", self.link_object(link));
            Error::netlink("add", object, error)
        })
    }

    /// Ends that.
    pub async fn delete_proxy_neighbour(&self, link: &str, address: IpAddr) -> Result<(), Error> {
        let index = self.link_index(link).await?;
        let message = proxy_message(index, address);
        self.handle.neighbours().del(message).execute().await.map_err(|error| {
            let object = format!("proxy neighbour {address} on {}", self.link_object(link));
            Error::netlink("remove", object, error)
        })
    }
}

fn proxy_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.flags = NeighbourFlags::Proxy;
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}
