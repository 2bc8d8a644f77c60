//! Flow bindings (RFC 6089 §5.3), after the bindings themselves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use homeport_wire::{Bid, BinarySelector, FlowStatus, SelectorRefusal, TrafficSelector};

use crate::choices;
use crate::command::Registration;
use crate::flow::{FlowBinding, FlowRequest, SelectorRequest};
use crate::home::Bindings;
use crate::limits;

pub(super) type Flows = BTreeMap<u16, FlowBinding>;

/// What becomes of the flows, and what the acknowledgement says of them.
pub(super) struct FlowRuling {
    pub(super) flows: Flows,
    /// Of each Flow Identification option.
    pub(super) statuses: Vec<FlowStatus>,
    /// Of the Flow Summary.
    pub(super) not_found: Vec<u16>,
}

/// `bindings` are those that the Binding Update leaves, `max` is how many flows there may be.
pub(super) fn decide(
    r: &Registration,
    bindings: &Bindings,
    before: &Flows,
    max: usize,
) -> FlowRuling {
    let named: BTreeSet<u16> =
        r.flows.iter().map(|flow| flow.fid).chain(r.flow_summary.iter().copied()).collect();
    let is_kept = |fid: &u16| named.contains(fid) || !limits::FLOWS_DELETED_BY_OMISSION;
    let kept: Flows = before
        .iter()
        .filter(|(fid, _)| is_kept(fid))
        .map(|(fid, flow)| (*fid, flow.clone()))
        .collect();
    let mut statuses = vec![FlowStatus::ACCEPTED; r.flows.len()];
    let mut candidates: BTreeMap<u16, FlowBinding> = BTreeMap::new();
    let fids: BTreeSet<u16> = r.flows.iter().map(|flow| flow.fid).collect();
    for (option, status) in r.flows.iter().zip(&mut statuses) {
        let judged = if max == 0 {
            Err(FlowStatus::ADMINISTRATIVELY_PROHIBITED)
        } else if fids.len() != r.flows.len() {
            // RFC 6089 §5.3.1: one FID twice spoils all of them.
            Err(choices::FLOW_REPEATED)
        } else {
            judge(option, bindings, before.get(&option.fid))
        };
        match judged {
            Ok(flow) => drop(candidates.insert(option.fid, flow)),
            Err(refused) => *status = refused,
        }
    }
    let refused = refuse_conflicts(r, &kept, &candidates, max);
    for (option, status) in r.flows.iter().zip(&mut statuses) {
        if let Some(why) = refused.get(&option.fid) {
            candidates.remove(&option.fid);
            *status = *why;
        }
    }
    let mut flows = kept;
    flows.extend(candidates);
    let mut not_found: Vec<u16> = Vec::new();
    for fid in &r.flow_summary {
        if !before.contains_key(fid) && !fids.contains(fid) && !not_found.contains(fid) {
            not_found.push(*fid);
        }
    }
    FlowRuling { flows, statuses, not_found }
}

/// One option by itself: what the flow becomes.
fn judge(
    option: &FlowRequest,
    bindings: &Bindings,
    before: Option<&FlowBinding>,
) -> Result<FlowBinding, FlowStatus> {
    if option.malformed {
        return Err(FlowStatus::MALFORMED);
    }
    if option.fid == 0 || option.priority == 0 {
        return Err(choices::FLOW_NUMBER_ZERO);
    }
    let selector = match (&option.selector, before) {
        (Some(selector), _) => decode(selector)?,
        (None, Some(flow)) => flow.selector.clone(),
        (None, None) => return Err(FlowStatus::MALFORMED),
    };
    let mut bids: Vec<Bid> = Vec::new();
    for bid in &option.bids {
        if !bindings.contains_key(&Some(*bid)) {
            return Err(FlowStatus::BID_NOT_FOUND);
        }
        if !bids.contains(bid) {
            bids.push(*bid);
        }
    }
    if bids.len() > limits::BIDS_PER_FLOW_MAX {
        return Err(FlowStatus::REASON_UNSPECIFIED);
    }
    match before {
        Some(flow) if bids.is_empty() => bids.clone_from(&flow.bids),
        None if bids.is_empty() => return Err(FlowStatus::MALFORMED),
        Some(_) | None => {}
    }
    Ok(FlowBinding { priority: option.priority, bids, selector })
}

fn decode(selector: &SelectorRequest) -> Result<BinarySelector, FlowStatus> {
    let SelectorRequest { format, octets } = selector;
    TrafficSelector { format: *format, octets }.decode().map_err(|refusal| match refusal {
        SelectorRefusal::UnknownFormat => FlowStatus::SELECTOR_FORMAT_NOT_SUPPORTED,
        SelectorRefusal::Malformed => FlowStatus::MALFORMED,
    })
}

/// The candidates that would give one FID-PRI to two flows, or exceed the limit; the earlier option
/// wins. Who is refused keeps the flow it had, with its FID-PRI, which may refuse another.
fn refuse_conflicts(
    r: &Registration,
    kept: &Flows,
    candidates: &Flows,
    max: usize,
) -> BTreeMap<u16, FlowStatus> {
    let mut refused: BTreeMap<u16, FlowStatus> = BTreeMap::new();
    loop {
        let stays = |fid: &u16| !candidates.contains_key(fid) || refused.contains_key(fid);
        let staying = kept.iter().filter(|(fid, _)| stays(fid));
        let mut priorities: BTreeSet<u16> = staying.map(|(_, flow)| flow.priority).collect();
        let in_question = r.flows.iter().filter(|option| !stays(&option.fid));
        let mut count = kept.len();
        let mut conflict = None;
        for option in in_question {
            if !kept.contains_key(&option.fid) {
                count = count.saturating_add(1);
            }
            if count > max && !kept.contains_key(&option.fid) {
                conflict = Some((option.fid, FlowStatus::REASON_UNSPECIFIED));
            } else if !priorities.insert(option.priority) {
                conflict = Some((option.fid, choices::FLOW_PRIORITY_TAKEN));
            } else {
                continue;
            }
            break;
        }
        let Some((fid, status)) = conflict else { return refused };
        refused.insert(fid, status);
    }
}
