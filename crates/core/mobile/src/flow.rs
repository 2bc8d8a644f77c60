//! Flow bindings (RFC 6089 §5.2): which care-of address the packets of a flow shall take, at the
//! home agent by options of Binding Updates, and here for what the node sends.

use alloc::vec::Vec;

use homeport_wire::{
    Bid, BinarySelector, BindingAcknowledgement, FlowStatus, MobilityOption, TrafficSelector,
};

use crate::classify::Classified;
use crate::event::{Event, Outcome, RequestId};
use crate::exchange::SentUpdate;
use crate::limits;
use crate::node::{MobileNode, Mode};
use crate::reaction::Purpose;

/// A flow, and where its packets shall come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Names the flow; not zero, unique for the node (RFC 6089 §4.2).
    pub fid: u16,
    /// Lower is matched earlier; not zero, unique for the node.
    pub priority: u16,
    /// Which packets, as they come from the correspondent node.
    pub selector: BinarySelector,
    /// The bindings; the home agent sends a copy to each.
    pub bids: Vec<Bid>,
}

/// A flow as told to the home agent.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FlowEntry {
    flow: Flow,
    /// Tells this wish from earlier ones of the same name.
    revision: u32,
    state: FlowState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FlowState {
    /// The home agent is to be told everything about it.
    New,
    /// Refused for a reason that may pass (129, 131): goes along with later updates.
    Waiting,
    /// The home agent has it: its name in a summary keeps it.
    Known,
    /// The home agent will not have it.
    Refused,
}

/// The flows by priority.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Flows {
    entries: Vec<FlowEntry>,
    revision: u32,
}

/// What one update says about flows.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct FlowDraft {
    /// In full, each with its revision.
    pub(crate) flows: Vec<(Flow, u32)>,
    /// By name.
    pub(crate) summary: Vec<(u16, u32)>,
}

impl Flows {
    /// The home agent has forgotten all, or is another one.
    pub(crate) fn forget_all(&mut self) {
        for entry in &mut self.entries {
            entry.state = FlowState::New;
        }
    }

    fn find(&mut self, fid: u16, revision: u32) -> Option<&mut FlowEntry> {
        self.entries.iter_mut().find(|it| it.flow.fid == fid && it.revision == revision)
    }

    fn set(&mut self, flows: Vec<Flow>) {
        self.revision = self.revision.wrapping_add(1);
        let revision = self.revision;
        let known = core::mem::take(&mut self.entries);
        self.entries = flows
            .into_iter()
            .map(|flow| {
                let same = known.iter().find(|it| it.flow == flow);
                same.cloned().unwrap_or(FlowEntry { flow, revision, state: FlowState::New })
            })
            .collect();
        self.entries.sort_by_key(|entry| entry.flow.priority);
    }
}

/// Names and priorities have to be unique and not zero (RFC 6089 §4.2), and a flow has to go
/// somewhere.
fn are_valid(flows: &[Flow]) -> bool {
    let unique = |value: fn(&Flow) -> u16| {
        let mut values: Vec<u16> = flows.iter().map(value).collect();
        values.sort_unstable();
        values.dedup();
        values.len() == flows.len() && values.first() != Some(&0)
    };
    let referenced = |flow: &Flow| {
        (1..=limits::FLOW_BIDS_MAX).contains(&flow.bids.len())
            && !flow.bids.contains(&Bid::RESERVED)
    };
    flows.len() <= limits::FLOWS_MAX
        && unique(|flow| flow.fid)
        && unique(|flow| flow.priority)
        && flows.iter().all(referenced)
}

impl MobileNode {
    pub(crate) fn set_flows(&mut self, request: RequestId, flows: Vec<Flow>) {
        if !are_valid(&flows) {
            self.complete(request, alloc::vec![(None, Outcome::Invalid)]);
            return;
        }
        self.flows.set(flows);
        self.tell_flows();
        self.complete(request, Vec::new());
    }

    /// An update of one binding carries the news.
    fn tell_flows(&mut self) {
        if !matches!(self.mode, Mode::Multiple { .. }) {
            return;
        }
        let bound = |bid: &Bid| self.is_bound(*bid);
        let Some(bid) = self.entries.keys().copied().find(bound) else {
            // The registration to come does.
            return;
        };
        self.enqueue(Purpose::Register, alloc::vec![bid], false);
    }

    fn is_bound(&self, bid: Bid) -> bool {
        self.entries.get(&bid).is_some_and(|entry| entry.wanted && entry.binding.is_some())
    }

    /// What an update about these bindings says. Flows that are not mentioned are deleted (RFC 6089
    /// §5.3.2), so each update names all; one whose bindings the home agent does not have yet would
    /// be refused, and waits.
    pub(crate) fn flow_draft(&self, bids: &[Bid], purpose: Purpose, overwrite: bool) -> FlowDraft {
        let registers = purpose == Purpose::Register;
        let has = |bid: &Bid| match bids.contains(bid) {
            true => registers,
            false => !overwrite && self.is_bound(*bid),
        };
        let mut draft = FlowDraft::default();
        for FlowEntry { flow, revision, state } in &self.flows.entries {
            match state {
                FlowState::Known => draft.summary.push((flow.fid, *revision)),
                FlowState::New | FlowState::Waiting
                    if registers
                        && draft.flows.len() < limits::FLOWS_IN_UPDATE_MAX
                        && flow.bids.iter().all(has) =>
                {
                    draft.flows.push((flow.clone(), *revision));
                }
                FlowState::New | FlowState::Waiting | FlowState::Refused => {}
            }
        }
        draft
    }

    /// RFC 6089 §5.2.2: the status of each flow. A refused update has left the flows as they were.
    pub(crate) fn note_flows(&mut self, update: &SentUpdate, ba: &BindingAcknowledgement<'_>) {
        if !ba.status.is_accepted() {
            return;
        }
        let answers: Vec<(u16, FlowStatus)> = ba
            .options
            .iter()
            .filter_map(|option| match option {
                MobilityOption::FlowIdentification(flow) => Some((flow.fid, flow.status)),
                _ => None,
            })
            .take(limits::FLOWS_MAX)
            .collect();
        let answer = |fid| answers.iter().find(|(it, _)| *it == fid).map(|(_, status)| *status);
        for (fid, revision) in update.flows.iter().copied() {
            // A home agent that does not know flow bindings skips the options.
            let status = answer(fid).unwrap_or(FlowStatus::ADMINISTRATIVELY_PROHIBITED);
            self.flow_answered(fid, revision, status);
        }
        for (fid, revision) in update.flow_summary.iter().copied() {
            if let Some(status) = answer(fid) {
                self.flow_answered(fid, revision, status);
            }
        }
        let more = self.flows.entries.iter().any(|entry| {
            entry.state == FlowState::New && entry.flow.bids.iter().all(|bid| self.is_bound(*bid))
        });
        let under_way = self.exchanges.iter().any(|it| it.purpose == Purpose::Register);
        if more && !under_way {
            self.tell_flows();
        }
    }

    fn flow_answered(&mut self, fid: u16, revision: u32, status: FlowStatus) {
        let Some(entry) = self.flows.find(fid, revision) else {
            return;
        };
        entry.state = match status {
            FlowStatus::ACCEPTED => FlowState::Known,
            FlowStatus::FID_NOT_FOUND if entry.state == FlowState::Known => FlowState::New,
            FlowStatus::REASON_UNSPECIFIED
            | FlowStatus::BID_NOT_FOUND
            | FlowStatus::FID_NOT_FOUND => FlowState::Waiting,
            // 128, 130, 133, and what nobody has registered: asking again would not help.
            _ => FlowState::Refused,
        };
        self.event(Event::Flow { fid, status });
    }

    /// The binding for a packet of the node: of the first flow that it belongs to and that has one.
    pub(crate) fn flow_of(&self, packet: &[u8]) -> Option<Bid> {
        if self.flows.entries.is_empty() {
            return None;
        }
        let classified = Classified::outgoing(packet)?;
        let known = self.flows.entries.iter().filter(|entry| entry.state == FlowState::Known);
        let mut active = known.filter_map(|entry| {
            let bid = entry.flow.bids.iter().copied().find(|bid| self.is_bound(*bid))?;
            Some((&entry.flow.selector, bid))
        });
        active.find(|(selector, _)| classified.matches(selector)).map(|(_, bid)| bid)
    }

    /// The flows that the home agent has, by priority.
    #[must_use]
    pub fn flows(&self) -> Vec<u16> {
        let known = self.flows.entries.iter().filter(|entry| entry.state == FlowState::Known);
        known.map(|entry| entry.flow.fid).collect()
    }
}

/// The options of an update.
pub(crate) fn push_flows(draft: &FlowDraft, options: &mut homeport_wire::OptionsBuilder) {
    for (flow, _) in &draft.flows {
        let octets = flow.selector.octets();
        let selector = TrafficSelector { format: flow.selector.format(), octets: &octets };
        options.push_flow(
            flow.fid,
            flow.priority,
            FlowStatus::ACCEPTED,
            &flow.bids,
            Some(selector),
        );
    }
    if !draft.summary.is_empty() {
        let fids: Vec<u16> = draft.summary.iter().map(|(fid, _)| *fid).collect();
        options.push_flow_summary(&fids);
    }
}
