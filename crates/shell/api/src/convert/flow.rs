//! Flow bindings (RFC 6089).

use homeport_binding as core;
use homeport_wire::{Bid, TrafficSelector};
use prost::bytes::Bytes;

use super::{Invalid, invalid, u8_of, u16_of};
use crate::binding as proto;

impl From<core::FlowRequest> for proto::FlowRequest {
    fn from(flow: core::FlowRequest) -> Self {
        Self {
            fid: flow.fid.into(),
            priority: flow.priority.into(),
            malformed: flow.malformed,
            bids: flow.bids.into_iter().map(|bid| bid.0.into()).collect(),
            selector: flow.selector.map(|selector| proto::TrafficSelector {
                format: selector.format.into(),
                octets: selector.octets.into(),
            }),
        }
    }
}

impl TryFrom<proto::FlowRequest> for core::FlowRequest {
    type Error = Invalid;

    fn try_from(message: proto::FlowRequest) -> Result<Self, Invalid> {
        let selector = message.selector.map(|selector| {
            Ok(core::SelectorRequest {
                format: u8_of(selector.format, "flows.selector.format")?,
                octets: octets_of(&selector, "flows.selector.octets")?.to_vec(),
            })
        });
        Ok(Self {
            fid: u16_of(message.fid, "flows.fid")?,
            priority: u16_of(message.priority, "flows.priority")?,
            malformed: message.malformed,
            bids: bids_of(message.bids, "flows.bids")?,
            selector: selector.transpose()?,
        })
    }
}

pub(super) fn flow_message(fid: u16, flow: core::FlowBinding) -> proto::FlowBinding {
    proto::FlowBinding {
        fid: fid.into(),
        priority: flow.priority.into(),
        bids: flow.bids.into_iter().map(|bid| bid.0.into()).collect(),
        selector: Some(proto::TrafficSelector {
            format: flow.selector.format().into(),
            octets: flow.selector.octets().into(),
        }),
    }
}

pub(super) fn flow_of(message: proto::FlowBinding) -> Result<(u16, core::FlowBinding), Invalid> {
    let selector = message.selector.ok_or_else(|| invalid("home.flows.selector", "a value"))?;
    let octets = octets_of(&selector, "home.flows.selector.octets")?;
    let format = u8_of(selector.format, "home.flows.selector.format")?;
    let decoded = TrafficSelector { format, octets: &octets }.decode();
    let flow = core::FlowBinding {
        priority: u16_of(message.priority, "home.flows.priority")?,
        bids: bids_of(message.bids, "home.flows.bids")?,
        selector: decoded
            .map_err(|_| invalid("home.flows.selector", "a binary selector of RFC 6088"))?,
    };
    Ok((u16_of(message.fid, "home.flows.fid")?, flow))
}

fn bids_of(bids: Vec<u32>, field: &'static str) -> Result<Vec<Bid>, Invalid> {
    bids.into_iter().map(|bid| u16_of(bid, field).map(Bid)).collect()
}

fn octets_of(selector: &proto::TrafficSelector, field: &'static str) -> Result<Bytes, Invalid> {
    if selector.octets.len() > core::limits::SELECTOR_LEN_MAX {
        return Err(invalid(field, "at most 255 octets"));
    }
    Ok(selector.octets.clone())
}
