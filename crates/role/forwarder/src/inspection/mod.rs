//! What operators see of single mobile nodes: traces and counters.
//!
//! The engine owns [`Inspection`]; the service only hands requests to it and streams to callers.

mod addresses;
mod service;
mod trace;
mod traffic;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use homeport_api::inspection::{ListTrafficResponse, TraceResponse, TrafficOrder};
use homeport_forwarding::{Action, Ingress, Table};
use homeport_runtime::config::Live;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use self::{
    addresses::{Named, addresses},
    service::field_error,
    trace::{Seen, Trace},
    traffic::Traffic,
};
pub(crate) use self::{
    service::serve,
    trace::{Target, TraceLimits},
};
use crate::{config::InspectionConfig, limits};

/// What the service asks of the engine.
#[derive(Debug)]
pub(crate) enum Inspect {
    Trace {
        target: Target,
        limits: TraceLimits,
        reply: oneshot::Sender<Result<mpsc::Receiver<TraceResponse>, Status>>,
    },
    Traffic {
        order: TrafficOrder,
        limit: usize,
        reply: oneshot::Sender<Result<ListTrafficResponse, Status>>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inspection {
    requests: Option<mpsc::Receiver<Inspect>>,
    traces: Vec<Trace>,
    traces_max: Live,
    traffic: Traffic,
    udp_port: u16,
    next_look_ms: u64,
}

impl Inspection {
    /// `requests`: none when nothing is to be shown.
    pub(crate) fn new(
        config: Option<&InspectionConfig>,
        requests: Option<mpsc::Receiver<Inspect>>,
        udp_port: u16,
    ) -> Self {
        let size = |value: u32| usize::try_from(value).unwrap_or(0);
        let counted = config.map_or(0, |it| size(it.home_addresses_counted_max));
        let traces_max = config.map_or(Live::new(0), |it| it.traces_max.clone());
        let traffic = Traffic::new(counted);
        Self { requests, traces: Vec::new(), traces_max, traffic, udp_port, next_look_ms: 0 }
    }

    /// The next request; for ever without a service.
    pub(crate) async fn requested(&mut self) -> Inspect {
        if let Some(requests) = &mut self.requests
            && let Some(request) = requests.recv().await
        {
            return request;
        }
        std::future::pending().await
    }

    /// When to look for traces that have ended.
    pub(crate) fn next_look_ms(&self) -> Option<u64> {
        (!self.traces.is_empty()).then_some(self.next_look_ms)
    }

    /// Nothing is to be looked at: the usual case costs this test.
    pub(crate) fn is_idle(&self) -> bool {
        self.traces.is_empty() && !self.traffic.is_on()
    }

    /// Does what is asked. True when the home addresses that are watched may have changed.
    pub(crate) fn on_request(
        &mut self,
        request: Inspect,
        table: &Table,
        has_fast_path: bool,
        now_ms: u64,
    ) -> bool {
        match request {
            Inspect::Trace { target, limits, reply } => {
                let begun = self.begin(&target, limits, table, has_fast_path, now_ms);
                let is_new = begun.is_ok();
                // Whoever has gone meanwhile is found by the next look.
                drop(reply.send(begun));
                is_new
            }
            Inspect::Traffic { order, limit, reply } => {
                let list = if self.traffic.is_on() {
                    Ok(ListTrafficResponse { has_fast_path, ..self.traffic.list(order, limit) })
                } else {
                    let fix = "set inspection.home_addresses_counted_max of the forwarder above 0";
                    let text = format!("home addresses are not counted; {fix}");
                    Err(Status::failed_precondition(text))
                };
                drop(reply.send(list));
                false
            }
        }
    }

    fn begin(
        &mut self,
        target: &Target,
        limits: TraceLimits,
        table: &Table,
        has_fast_path: bool,
        now_ms: u64,
    ) -> Result<mpsc::Receiver<TraceResponse>, Status> {
        let traces_max = self.traces_max.get();
        if u64::try_from(self.traces.len()).is_ok_and(|traces| traces >= traces_max) {
            let text = format!(
                "{traces_max} traces at once; wait for one to end, or raise inspection.traces_max"
            );
            return Err(Status::resource_exhausted(text));
        }
        let home = match (table.owner_of(target.address), target.address) {
            (Some(home), _) => home,
            (None, IpAddr::V6(address)) if target.is_host => address,
            (None, _) => {
                let text = "no home address with a binding has it; name an IPv6 home address";
                return Err(field_error(tonic::Code::NotFound, "address", text));
            }
        };
        let (trace, receiver) = Trace::begin(home, limits, has_fast_path, now_ms)?;
        self.next_look_ms = now_ms;
        self.traces.push(trace);
        Ok(receiver)
    }

    /// Ends traces whose time is over or whose reader has gone; true when there were some.
    pub(crate) fn look(&mut self, now_ms: u64) -> bool {
        let interval = u64::try_from(limits::TRACE_LOOK_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        self.next_look_ms = now_ms.saturating_add(interval);
        let before = self.traces.len();
        self.traces.retain_mut(|trace| trace.goes_on(now_ms));
        self.traces.len() != before
    }

    /// The home addresses whose packets the engine has to see.
    pub(crate) fn watched(&self) -> BTreeSet<Ipv6Addr> {
        self.traces.iter().map(Trace::home).collect()
    }

    /// Takes note of a packet that came, before anything is done with it.
    pub(crate) fn arrived(&mut self, table: &Table, ingress: &Ingress<'_>) -> Arrived {
        let Some((octets, rebuilt)) = trace::packet(ingress) else { return Arrived::default() };
        let named = addresses(&octets, self.udp_port);
        let mut arrived = Arrived { octets: octets.len(), ..Arrived::default() };
        if self.traffic.is_on() {
            // The innermost headers speak of the mobile node's own traffic.
            arrived.counted = named
                .iter()
                .rev()
                .find_map(|it| Some((table.owner_of(it.address)?, it.is_destination)));
        }
        for (at, trace) in (0_u32..).zip(&mut self.traces) {
            if let Some(is_to_it) = concerns(trace.home(), table, &named)
                && trace.is_of_care_of(&named)
            {
                arrived.traced |= 1 << at;
                arrived.is_to_it |= u32::from(is_to_it) << at;
                trace.show_arrival(Seen::arrival(&octets, rebuilt), is_to_it);
            }
        }
        arrived
    }

    /// What is to be shown of an action, before it is done.
    pub(crate) fn prepare(&self, action: &Action) -> Option<Seen> {
        (!self.traces.is_empty()).then(|| Seen::of_action(action))
    }

    /// Takes note of what was done.
    pub(crate) fn done(
        &mut self,
        table: &Table,
        arrived: &Arrived,
        seen: Option<&Seen>,
        dropped: Option<&'static str>,
    ) {
        let Some(seen) = seen else { return };
        let named = addresses(&seen.octets, self.udp_port);
        for (at, trace) in (0_u32..).zip(&mut self.traces) {
            let was_traced = arrived.traced >> at & 1 == 1;
            let direction = if was_traced {
                Some(arrived.is_to_it >> at & 1 == 1)
            } else if trace.is_of_care_of(&named) {
                concerns(trace.home(), table, &named)
            } else {
                None
            };
            if let Some(is_to_it) = direction {
                trace.show_outcome(seen, is_to_it, dropped);
            }
        }
    }

    /// Counts a packet once it is known what has become of it.
    pub(crate) fn count(&mut self, arrived: &Arrived, dropped: bool) {
        if let Some((home, is_to_it)) = arrived.counted {
            self.traffic.count(home, is_to_it, arrived.octets, dropped);
        }
    }
}

/// What is remembered of a packet while it is handled.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Arrived {
    octets: usize,
    counted: Option<(Ipv6Addr, bool)>,
    /// One bit for each trace: at most [`limits::TRACES_MAX`].
    traced: u32,
    is_to_it: u32,
}

/// Whether a packet is of this mobile node, and then whether it goes to it. The innermost headers
/// count most: the outer ones are of the tunnel.
fn concerns(home: Ipv6Addr, table: &Table, named: &[Named]) -> Option<bool> {
    let is_its =
        |address: IpAddr| address == IpAddr::V6(home) || table.owner_of(address) == Some(home);
    named.iter().rev().find(|it| is_its(it.address)).map(|it| it.is_destination)
}

#[cfg(test)]
mod tests;
