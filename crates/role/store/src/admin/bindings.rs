use std::fmt::Display;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use homeport_api::admin::bindings_server::Bindings;
use homeport_api::admin::{self as api};
use homeport_binding::{Binding, CareOf, FlowBinding, Home, LogTime};
use homeport_runtime::clock;
use homeport_wire::{Bid, BinarySelector, Selector};
use tonic::{Code, Request, Response, Status};

use super::{address, field_error, ipv4_text, page_after, page_size, read_barrier};
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
            let message = format!("{home_address} has no bindings");
            field_error(Code::NotFound, "home_address", &message)
        })
    }

    async fn list_home_bindings(
        &self,
        request: Request<api::ListHomeBindingsRequest>,
    ) -> Result<Response<api::ListHomeBindingsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = page_after(&request.page_token)?;
        read_barrier(&self.0, request.local).await?;
        let (homes, more, revision) = self.0.node.read(|machine| {
            let now = now(machine.cache.now());
            let rest = machine.cache.homes_after(after);
            let mut rest = rest.filter(|(_, home)| !home.bindings.is_empty());
            let page: Vec<_> = rest
                .by_ref()
                .take(size)
                .map(|(home_address, home)| message_of(home_address, home, now))
                .collect();
            (page, rest.next().is_some(), machine.cache.revision())
        });
        let last = homes.last().filter(|_| more);
        let next_page_token = last.map(|last| last.home_address.clone()).unwrap_or_default();
        Ok(Response::new(api::ListHomeBindingsResponse { homes, next_page_token, revision }))
    }
}

/// The log's time, or this replica's clock where the log is quiet.
fn now(log_time: LogTime) -> LogTime {
    log_time.max(LogTime(clock::unix_ms()))
}

fn message_of(home_address: Ipv6Addr, home: &Home, now: LogTime) -> api::HomeBindings {
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
    }
}
