//! What the host knows about the way of IPv6 packets: routes, neighbours, interfaces.

use std::{collections::BTreeMap, net::Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::Ipv6Net;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        link::LinkAttribute,
        neighbour::{NeighbourAddress, NeighbourAttribute},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
    },
};

use crate::{error::Error, link::Network};

/// A router on a link: interface index and address.
pub type Router = (u32, Ipv6Addr);

/// What the host knows about the way of IPv6 packets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Neighbourhood {
    /// Routes of the main table, and the router that each leads to; `None` for all that is not one
    /// router: a link, several routers, nothing.
    pub routes: BTreeMap<Ipv6Net, Option<Router>>,
    /// Link-layer addresses of neighbours, as far as they are known.
    pub neighbours: BTreeMap<Router, [u8; 6]>,
    /// Link-layer address and MTU of Ethernet interfaces, by index.
    pub interfaces: BTreeMap<u32, ([u8; 6], u32)>,
}

impl Network {
    /// Looks at routes, neighbours and interfaces.
    pub async fn neighbourhood(&self) -> Result<Neighbourhood, Error> {
        let failed = |error| Error::netlink("list", self.namespace().to_string(), error);
        let mut seen = Neighbourhood::default();
        let query = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut routes = self.handle.route().get(query).execute();
        while let Some(route) = routes.try_next().await.map_err(failed)? {
            let Some((destination, router)) = read_route(&route) else { continue };
            // Two routes to one destination differ in preference, which is not looked at.
            let same = seen.routes.get(&destination).is_none_or(|known| *known == router);
            seen.routes.insert(destination, router.filter(|_| same));
        }
        let neighbours = self.handle.neighbours().get().set_address_family(AddressFamily::Inet6);
        let mut neighbours = neighbours.execute();
        while let Some(neighbour) = neighbours.try_next().await.map_err(failed)? {
            let (mut address, mut link_layer) = (None, None);
            for attribute in &neighbour.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(it)) => {
                        address = Some(*it);
                    }
                    NeighbourAttribute::LinkLayerAddress(octets) => {
                        link_layer = <[u8; 6]>::try_from(octets.as_slice()).ok();
                    }
                    _ => {}
                }
            }
            if let (Some(address), Some(link_layer)) = (address, link_layer) {
                seen.neighbours.insert((neighbour.header.ifindex, address), link_layer);
            }
        }
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed)? {
            let (mut address, mut mtu) = (None, None);
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::Address(octets) => {
                        address = <[u8; 6]>::try_from(octets.as_slice()).ok();
                    }
                    LinkAttribute::Mtu(octets) => mtu = Some(*octets),
                    _ => {}
                }
            }
            if let (Some(address), Some(mtu)) = (address, mtu) {
                seen.interfaces.insert(link.header.index, (address, mtu));
            }
        }
        Ok(seen)
    }
}

/// Destination of a route of the main table or of the host's own addresses, and its router.
fn read_route(route: &RouteMessage) -> Option<(Ipv6Net, Option<Router>)> {
    /// The host's own addresses.
    const RT_TABLE_LOCAL: u8 = 255;
    let is_main = route.header.table == RouteHeader::RT_TABLE_MAIN;
    if !is_main && route.header.table != RT_TABLE_LOCAL {
        return None;
    }
    let (mut destination, mut gateway, mut interface) = (Ipv6Addr::UNSPECIFIED, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet6(it)) => destination = *it,
            RouteAttribute::Gateway(RouteAddress::Inet6(it)) => gateway = Some(*it),
            RouteAttribute::Oif(it) => interface = Some(*it),
            _ => {}
        }
    }
    let destination =
        Ipv6Net::new(destination, route.header.destination_prefix_length).ok()?.trunc();
    let leads_on = is_main && route.header.kind == RouteType::Unicast;
    let router = interface.zip(gateway).filter(|_| leads_on);
    Some((destination, router))
}
