//! Routes and routing rules.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use crate::{error::Error, link::Network};

/// What becomes of packets that take a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RouteKind {
    /// They are sent on.
    #[default]
    Unicast,
    /// They vanish.
    Blackhole,
    /// They are refused with Destination Unreachable.
    Unreachable,
}

/// A route: where to, and how.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    destination: IpNet,
    device: Option<String>,
    via: Option<IpAddr>,
    table: Option<u32>,
    mtu: Option<u32>,
    kind: RouteKind,
}

impl Route {
    /// To a destination; without device and gateway only good for deleting.
    #[must_use]
    pub const fn to(destination: IpNet) -> Self {
        let (device, via, table, mtu) = (None, None, None, None);
        Self { destination, device, via, table, mtu, kind: RouteKind::Unicast }
    }

    /// Through this interface.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// By this router.
    #[must_use]
    pub const fn via(mut self, via: IpAddr) -> Self {
        self.via = Some(via);
        self
    }

    /// In this table instead of the main one.
    #[must_use]
    pub const fn table(mut self, table: u32) -> Self {
        self.table = Some(table);
        self
    }

    /// For packets up to so many octets: who sends larger ones is told.
    #[must_use]
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// What becomes of the packets.
    #[must_use]
    pub const fn kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => write!(f, "route to {}", self.destination)?,
            RouteKind::Blackhole => write!(f, "blackhole route to {}", self.destination)?,
            RouteKind::Unreachable => write!(f, "unreachable route to {}", self.destination)?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        if let Some(table) = self.table {
            write!(f, " table {table}")?;
        }
        Ok(())
    }
}

/// A rule: which packets look into which table.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rule {
    table: u32,
    from: Option<IpNet>,
    to: Option<IpNet>,
    input: Option<String>,
    priority: Option<u32>,
    ipv4: bool,
}

impl Rule {
    /// All packets look into this table. IPv6, unless an IPv4 prefix says otherwise.
    #[must_use]
    pub const fn look_up(table: u32) -> Self {
        Self { table, from: None, to: None, input: None, priority: None, ipv4: false }
    }

    /// The same for IPv4.
    #[must_use]
    pub const fn look_up_ipv4(table: u32) -> Self {
        Self { table, from: None, to: None, input: None, priority: None, ipv4: true }
    }

    /// Only packets with a source in this prefix.
    #[must_use]
    pub const fn from(mut self, prefix: IpNet) -> Self {
        self.ipv4 = matches!(prefix, IpNet::V4(_));
        self.from = Some(prefix);
        self
    }

    /// Only packets with a destination in this prefix.
    #[must_use]
    pub const fn to(mut self, prefix: IpNet) -> Self {
        self.ipv4 = matches!(prefix, IpNet::V4(_));
        self.to = Some(prefix);
        self
    }

    /// Only packets that came in by this interface.
    #[must_use]
    pub fn input(mut self, link: &str) -> Self {
        self.input = Some(link.to_owned());
        self
    }

    /// Its place among the rules, lowest first; the kernel chooses one else.
    #[must_use]
    pub const fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = if self.ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.action = RuleAction::ToTable;
        // The header's field has eight bits; the attribute holds any table.
        message.attributes.push(RuleAttribute::Table(self.table));
        if let Some(prefix) = self.from {
            message.header.src_len = prefix.prefix_len();
            message.attributes.push(RuleAttribute::Source(prefix.network()));
        }
        if let Some(prefix) = self.to {
            message.header.dst_len = prefix.prefix_len();
            message.attributes.push(RuleAttribute::Destination(prefix.network()));
        }
        if let Some(link) = &self.input {
            message.attributes.push(RuleAttribute::Iifname(link.clone()));
        }
        if let Some(priority) = self.priority {
            message.attributes.push(RuleAttribute::Priority(priority));
        }
        message
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rule")?;
        if let Some(prefix) = self.from {
            write!(f, " from {prefix}")?;
        }
        if let Some(prefix) = self.to {
            write!(f, " to {prefix}")?;
        }
        if let Some(link) = &self.input {
            write!(f, " iif {link}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

impl Network {
    /// Adds a route; it must not be there yet.
    pub async fn add_route(&self, route: &Route) -> Result<(), Error> {
        let request = self.handle.route().add(self.route_message(route).await?);
        request.execute().await.map_err(|error| self.route_refused("add", route, error))
    }

    /// Adds a route in place of one to the same destination in the same table.
    pub async fn replace_route(&self, route: &Route) -> Result<(), Error> {
        let request = self.handle.route().add(self.route_message(route).await?).replace();
        request.execute().await.map_err(|error| self.route_refused("replace", route, error))
    }

    /// Deletes a route. What it does not name may be anything.
    pub async fn delete_route(&self, route: &Route) -> Result<(), Error> {
        let mut message = self.route_message(route).await?;
        if route.kind == RouteKind::Unicast {
            message.header.scope = RouteScope::NoWhere;
        }
        let request = self.handle.route().del(message);
        request.execute().await.map_err(|error| self.route_refused("delete", route, error))
    }

    /// Adds a routing rule; it must not be there yet.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule.message();
        request.execute().await.map_err(|error| self.rule_refused("add", rule, error))
    }

    /// Deletes a routing rule.
    pub async fn delete_rule(&self, rule: &Rule) -> Result<(), Error> {
        let request = self.handle.rule().del(rule.message());
        request.execute().await.map_err(|error| self.rule_refused("delete", rule, error))
    }

    async fn route_message(&self, route: &Route) -> Result<RouteMessage, Error> {
        let index = match &route.device {
            Some(device) => Some(self.link_index(device).await?),
            None => None,
        };
        let len = route.destination.prefix_len();
        match (route.destination.network(), route.via) {
            (IpAddr::V4(network), via) => {
                let builder =
                    RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network, len);
                Ok(match via {
                    Some(IpAddr::V4(via)) => completed(builder.gateway(via), route, index),
                    Some(IpAddr::V6(via)) => completed(builder.via(via), route, index),
                    // Without a gateway the destination is on the link.
                    None if route.kind == RouteKind::Unicast => {
                        completed(builder.scope(RouteScope::Link), route, index)
                    }
                    None => completed(builder, route, index),
                })
            }
            (IpAddr::V6(network), via) => {
                let builder =
                    RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(network, len);
                match via {
                    Some(IpAddr::V6(via)) => Ok(completed(builder.gateway(via), route, index)),
                    Some(IpAddr::V4(via)) => Err(mixed(route, via)),
                    None => Ok(completed(builder, route, index)),
                }
            }
        }
    }

    fn route_refused(
        &self,
        operation: &'static str,
        route: &Route,
        error: rtnetlink::Error,
    ) -> Error {
        Error::netlink(operation, format!("{route} in {}", self.namespace()), error)
    }

    fn rule_refused(&self, operation: &'static str, rule: &Rule, error: rtnetlink::Error) -> Error {
        Error::netlink(operation, format!("{rule} in {}", self.namespace()), error)
    }
}

/// The table that is looked into when no rule says otherwise.
const RT_TABLE_MAIN: u32 = 254;

/// What is the same for both families.
fn completed<T>(
    builder: RouteMessageBuilder<T>,
    route: &Route,
    index: Option<u32>,
) -> RouteMessage {
    let kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
    };
    let builder = builder.table_id(route.table.unwrap_or(RT_TABLE_MAIN)).kind(kind);
    let mut message = match index {
        Some(index) => builder.output_interface(index),
        None => builder,
    }
    .build();
    if let Some(mtu) = route.mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

fn mixed(route: &Route, via: Ipv4Addr) -> Error {
    Error::Invalid {
        what: "gateway of an IPv6 route",
        value: format!("{via} for {}", route.destination),
        expected: "an IPv6 address",
    }
}
