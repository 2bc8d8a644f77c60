use std::fmt::Display;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use homeport_api::admin::bindings_server::Bindings;
use homeport_api::admin::{self as api};
use homeport_binding::{Binding, CareOf, FlowBinding, Home, LogTime, View};
use homeport_runtime::clock;
use homeport_wire::{Bid, BinarySelector, Selector};
use tonic::{Request, Response, Status};

use super::lists::{self, Asked, Field, Filter, Key, Kind, Test};
use super::{address, ipv4_text, not_found, read_barrier};
use crate::Store;

pub(crate) struct Service(pub(crate) Store);

#[tonic::async_trait]
impl Bindings for Service {
    async fn get_home_bindings(
        &self,
        request: Request<api::GetHomeBindingsRequest>,
    ) -> Result<Response<api::HomeBindings>, Status> {
        let request = request.into_inner();
        let home_address: Ipv6Addr =
            address(&request.home_address, "home_address", "2001:db8:0:1::100")?;
        read_barrier(&self.0, request.local).await?;
        let found = self.0.node.read(|machine| {
            let home = machine.cache.home(home_address)?;
            Some(message_of(home_address, home, now(machine.cache.now())))
        });
        found.map(Response::new).ok_or_else(|| {
            let about = ("HomeBindings", home_address.to_string());
            not_found("home_address", &about, &format!("{home_address} has no bindings"))
        })
    }

    async fn list_home_bindings(
        &self,
        request: Request<api::ListHomeBindingsRequest>,
    ) -> Result<Response<api::ListHomeBindingsResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::of(&request.filter, &FIELDS)?;
        let (size, token, order_by) = (request.page_size, &request.page_token, &request.order_by);
        let asked = Asked::of(size, token, filter, order_by, &ORDERS)?;
        read_barrier(&self.0, request.local).await?;
        let response = if asked.is_plain() {
            self.0.node.read(|machine| {
                let moment = (now(machine.cache.now()), machine.cache.revision());
                page(machine.cache.homes_after(asked.start()), &asked, moment)
            })
        } else {
            let look = move |view: &View| {
                page(view.homes_after(asked.start()), &asked, (now(view.now), view.revision))
            };
            lists::search(&self.0, look).await?
        };
        Ok(Response::new(response))
    }
}

const FIELDS: [Field; 9] = [
    ("home_address", Kind::Address),
    ("home_agent", Kind::Address),
    ("care_of_address", Kind::Address),
    ("bid", Kind::Number),
    ("behind_nat", Kind::Flag),
    ("home", Kind::Flag),
    ("mobile_router", Kind::Flag),
    ("mobile_networks", Kind::Address),
    ("ipv4_home_address", Kind::Address),
];

const ORDERS: [Field; 3] =
    [("revision", Kind::Number), ("sequence", Kind::Number), ("ends_ms", Kind::Number)];

fn page<'h>(
    homes: impl Iterator<Item = (Ipv6Addr, &'h Home)>,
    asked: &Asked,
    (now, revision): (LogTime, u64),
) -> api::ListHomeBindingsResponse {
    let bound = homes.filter(|(home_address, home)| {
        let holds = |field, test: &Test| holds(*home_address, home, field, test);
        !home.bindings.is_empty() && asked.filter.holds(holds)
    });
    let placed = bound.map(|(home_address, home)| (home_address, (home_address, home)));
    let (page, next_page_token) = asked.page(placed, |(_, home), order| {
        Key::Number(match order {
            "revision" => home.revision,
            "sequence" => home.sequence.0.into(),
            _ => home.bindings.values().map(|binding| binding.ends.0).min().unwrap_or(0),
        })
    });
    let homes = page.into_iter().map(|(address, home)| message_of(address, home, now)).collect();
    api::ListHomeBindingsResponse { homes, next_page_token, revision }
}

fn holds(home_address: Ipv6Addr, home: &Home, field: &str, test: &Test) -> bool {
    let any = |holds: &dyn Fn(&Binding) -> bool| home.bindings.values().any(holds);
    match field {
        "home_address" => test.address(home_address),
        "home_agent" => test.address(home.home_agent),
        "care_of_address" => any(&|binding| test.address(binding.care_of.address())),
        "bid" => home.bindings.keys().flatten().any(|bid| test.number(bid.0.into())),
        "behind_nat" => any(&|binding| test.flag(binding.care_of.is_behind_nat())),
        "home" => any(&|binding| test.flag(binding.home.is_some())),
        "mobile_router" => test.flag(home.mobile_router),
        "mobile_networks" => home.mobile_networks.iter().any(|it| test.ipv6_prefix(*it)),
        _ => home.ipv4_home_address.is_some_and(|held| test.ipv4_prefix(held)),
    }
}

/// The log's time, or this replica's clock where the log is quiet.
pub(super) fn now(log_time: LogTime) -> LogTime {
    log_time.max(LogTime(clock::unix_ms()))
}

pub(super) fn message_of(home_address: Ipv6Addr, home: &Home, now: LogTime) -> api::HomeBindings {
    api::HomeBindings {
        home_address: home_address.to_string(),
        home_agent: home.home_agent.to_string(),
        sequence: home.sequence.0.into(),
        bindings: home
            .bindings
            .iter()
            .map(|(bid, binding)| binding_message(*bid, binding, now))
            .collect(),
        revision: home.revision,
        mobile_router: home.mobile_router,
        mobile_networks: home.mobile_networks.iter().map(ToString::to_string).collect(),
        ipv4_home_address: ipv4_text(home.ipv4_home_address),
        flows: home.flows.iter().map(|(fid, flow)| flow_message(*fid, flow, home)).collect(),
    }
}

fn flow_message(fid: u16, flow: &FlowBinding, home: &Home) -> api::FlowBinding {
    api::FlowBinding {
        fid: fid.into(),
        priority: flow.priority.into(),
        bids: flow.bids.iter().map(|bid| bid.0.into()).collect(),
        active: flow.bids.iter().any(|bid| home.bindings.contains_key(&Some(*bid))),
        selector: match &flow.selector {
            BinarySelector::Ipv4(selector) => format!("ipv4{}", fields(selector)),
            BinarySelector::Ipv6(selector) => format!("ipv6{}", fields(selector)),
        },
    }
}

/// The fields of a traffic selector that are set, as an operator reads them.
fn fields<A: Display + PartialEq>(selector: &Selector<A>) -> String {
    fn field<T: Display + PartialEq>(name: &str, range: Option<&RangeInclusive<T>>) -> String {
        match range {
            None => String::new(),
            Some(range) if range.start() == range.end() => format!(" {name} {}", range.start()),
            Some(range) => format!(" {name} {}-{}", range.start(), range.end()),
        }
    }
    [
        field("source", selector.source.as_ref()),
        field("destination", selector.destination.as_ref()),
        field("spi", selector.spi.as_ref()),
        field("flow-label", selector.flow_label.as_ref()),
        field("source-port", selector.source_port.as_ref()),
        field("destination-port", selector.destination_port.as_ref()),
        field("traffic-class", selector.traffic_class.as_ref()),
        field("protocol", selector.protocol.as_ref()),
    ]
    .concat()
}

fn binding_message(bid: Option<Bid>, binding: &Binding, now: LogTime) -> api::Binding {
    let (care_of_address, udp_port) = match binding.care_of {
        CareOf::Ipv6(address) => (address.to_string(), 0),
        CareOf::Ipv4 { address, port, udp: true, .. } => (address.to_string(), port.into()),
        CareOf::Ipv4 { address, udp: false, .. } => (address.to_string(), 0),
    };
    let remaining_secs = now.until(binding.ends).as_secs();
    api::Binding {
        bid: bid.map(|bid| bid.0.into()),
        care_of_address,
        udp_port,
        behind_nat: binding.care_of.is_behind_nat(),
        priority: binding.priority.value().into(),
        home: binding.home.is_some(),
        remaining_secs: u32::try_from(remaining_secs).unwrap_or(u32::MAX),
        ends_ms: binding.ends.0,
        registered_ms: binding.registered.0,
        verified_ms: binding.verified.0,
        unverified: binding.unverified,
    }
}
