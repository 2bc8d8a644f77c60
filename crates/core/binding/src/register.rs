//! A Binding Update against the state: steps 10 to 21 of the pipeline, in their order.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{
    BidCareOf, BuFlags, FlowStatus, Ipv4AddressStatus, Lifetime, Sequence, Status,
    is_unicast_routable_v4,
};

use crate::cache::{BindingCache, Change};
use crate::choices;
use crate::command::{Ipv4HomeAddressRequest, Registration, WireSource};
use crate::event::{self, BindingEvent};
use crate::home::{CareOf, Home};
use crate::limits;
use crate::record::{HomePrefix, Policy};
use crate::verdict::{Answer, Ipv4AddressAnswer, NatDetection, Outcome, Silence, Verdict};

mod detection;
mod flows;
mod ipv4;
mod networks;
mod rules;

use detection::Detection;
use ipv4::Ipv4Rules;
use rules::Rules;

impl BindingCache {
    pub(crate) fn register(&mut self, registration: Registration) -> Verdict {
        let home_address = registration.home_address;
        let known = self.homes.get(&home_address);
        if let Some(verdict) =
            known.and_then(|home| home.remembered.recall(&registration.request_id))
        {
            return verdict;
        }
        let policy = self.policy(home_address, registration.home_agent);
        let revision = self.revision;
        if policy.revisions() != registration.policy_revisions {
            return Verdict { revision, outcome: Outcome::StalePolicy, esp: None };
        }
        let outcome = self.decide(&registration, &policy);
        let verdict = Verdict { revision, outcome, esp: None };
        match &verdict.outcome {
            Outcome::Pending => return verdict,
            Outcome::Answer(answer) if !answer.status.is_accepted() => {
                self.happened_to(home_address, BindingEvent::Refused(answer.status));
            }
            Outcome::Silent(silence) => {
                self.happened_to(home_address, BindingEvent::Dropped(*silence));
            }
            _ => {}
        }
        if let Some(home) = self.homes.get_mut(&home_address) {
            home.remembered.remember(registration.request_id, &verdict);
        }
        verdict
    }

    /// It was answered already, or waits for Duplicate Address Detection: sent again by its front-end.
    pub(crate) fn is_repeated(&self, registration: &Registration) -> bool {
        let home = self.homes.get(&registration.home_address);
        home.is_some_and(|home| home.remembered.recall(&registration.request_id).is_some())
            || self.awaits_probe(registration)
    }

    fn decide(&mut self, r: &Registration, policy: &Policy) -> Outcome {
        if let Some(silence) = exceeds_limits(r) {
            return Outcome::Silent(silence);
        }
        let is_waiting = self.awaits_probe(r);
        let stale = if is_waiting { None } else { self.check_message_id(r, policy) };
        if let Some(ntp_secs) = stale {
            let answer = Answer { ntp_secs: Some(ntp_secs), ..refusal(r, Status::ID_MISMATCH) };
            return self.refuse(r, policy, answer);
        }
        if !r.flags.contains(BuFlags::HOME_REGISTRATION) {
            return self.decide_correspondent(r, policy);
        }
        let served = policy.home_prefix.as_ref().filter(|_| policy.home_address_served);
        let Some(prefix) = served.map(|prefix| &prefix.record) else {
            return self.refuse(r, policy, refusal(r, Status::NOT_HOME_SUBNET));
        };
        if self.is_correspondent(r.home_address, prefix.home_agent) {
            return self.refuse(r, policy, refusal(r, Status::REGISTRATION_TYPE_CHANGE));
        }
        if prefix.home_agent != r.home_agent {
            return self.refuse(r, policy, refusal(r, Status::NOT_HOME_AGENT));
        }
        if r.home_address == prefix.home_agent || r.home_address == prefix.prefix.address() {
            return self.refuse(r, policy, refusal(r, Status::ADMINISTRATIVELY_PROHIBITED));
        }
        if !care_of_is_routable(r, prefix) {
            return Outcome::Silent(Silence::CareOfNotRoutable);
        }
        let mut known = self.take_home(r.home_address);
        let refused = known.as_ref().filter(|_| !is_waiting);
        let refused = refused.and_then(|home| check_record(r, policy, home));
        if let Some(mut answer) = refused {
            answer.nat_detection = nat_detection(r, known.as_ref(), policy);
            let is_late = known.as_ref().is_some_and(|home| home.probe.is_some());
            if let Some(home) = known.take() {
                self.put_home(r.home_address, home);
            }
            // The newer one gets the answer.
            return if is_late {
                Outcome::Silent(Silence::Superseded)
            } else {
                Outcome::Answer(answer)
            };
        }
        if r.home_address_option_missing {
            if let Some(home) = known.take() {
                self.put_home(r.home_address, home);
            }
            return Outcome::Silent(Silence::HomeAddressOptionMissing);
        }
        self.decide_in_sequence(r, policy, prefix, known)
    }

    /// Step 9: the correspondent node's part (RFC 6275 §9.5.1) is not played here. The type of what
    /// is registered does not change all the same.
    fn decide_correspondent(&self, r: &Registration, policy: &Policy) -> Outcome {
        let now = self.now();
        let bound = self.home(r.home_address).is_some_and(|home| home.is_bound(now));
        let status = if bound {
            Status::REGISTRATION_TYPE_CHANGE
        } else if r.flags.contains(BuFlags::MOBILE_ROUTER) {
            Status::MOBILE_ROUTER_NOT_PERMITTED
        } else if r.flags.contains(BuFlags::ACKNOWLEDGE) {
            Status::REASON_UNSPECIFIED
        } else {
            return Outcome::Silent(Silence::CorrespondentUnsupported);
        };
        self.refuse(r, policy, refusal(r, status))
    }

    /// From step 13 on: the sequence number is new.
    fn decide_in_sequence(
        &mut self,
        r: &Registration,
        policy: &Policy,
        prefix: &HomePrefix,
        known: Option<Home>,
    ) -> Outcome {
        let existed = known.is_some();
        let mut home = known.unwrap_or_else(|| Home::new(r.home_agent, r.sequence));
        home.sequence = r.sequence;
        let nat = nat_detection(r, Some(&home), policy);
        let room = limits::BINDINGS_MAX.saturating_sub(self.binding_count());
        let rules = Rules::new(self.now(), r, &home, policy, prefix, room);
        let ruling = rules.decide(|address| self.is_ours(r.home_address, address));
        let is_registered = ruling.bindings.as_ref().is_some_and(|bindings| !bindings.is_empty());
        let detection = self.detect(r, prefix, &mut home, is_registered);
        let other = match detection {
            Detection::Passed => None,
            Detection::Pending => Some(Outcome::Pending),
            Detection::Duplicate => {
                let answer = refusal(r, Status::DAD_FAILED);
                Some(Outcome::Answer(Answer { nat_detection: nat, ..answer }))
            }
        };
        if let Some(outcome) = other {
            self.put_home(r.home_address, home);
            return outcome;
        }
        let mut answer = Answer {
            status: ruling.status,
            bid_statuses: ruling.bid_statuses,
            lifetime: ruling.lifetime,
            nat_detection: nat,
            mobile_router: r.flags.contains(BuFlags::MOBILE_ROUTER) && ruling.status.is_accepted(),
            ..refusal(r, ruling.status)
        };
        match ruling.bindings {
            Some(bindings) => {
                home.home_agent = r.home_agent;
                home.revision = self.revision();
                if let Some(what) = event::change(&home.bindings, &bindings) {
                    self.happened_to(r.home_address, what);
                }
                let before = core::mem::replace(&mut home.bindings, bindings);
                home.begin_care_of_tests(&before, &r.request_id, self.now);
                if let Some(networks) = ruling.mobile_networks {
                    home.mobile_router = r.flags.contains(BuFlags::MOBILE_ROUTER);
                    home.mobile_networks = networks;
                    home.link_local = r.flags.contains(BuFlags::LINK_LOCAL);
                }
                self.settle(r, policy, prefix, &mut home, &mut answer);
                home.update_heard(is_deregistration(r));
                home.begin_advertisement_again(is_deregistration(r), self.now);
                let moment = (self.now, self.revision);
                home.advance_care_of_tests(r.home_address, moment, &mut self.notices);
                self.changed(Change::Home(r.home_address));
                self.put_home(r.home_address, home);
            }
            // A refused Binding Update leaves no record where there was none.
            None if existed => self.put_home(r.home_address, home),
            None => {}
        }
        Outcome::Answer(answer)
    }

    /// What follows the bindings: the IPv4 home address, the flows, the tombstone.
    fn settle(
        &mut self,
        r: &Registration,
        policy: &Policy,
        prefix: &HomePrefix,
        home: &mut Home,
        answer: &mut Answer,
    ) {
        home.forget = None;
        let held = home.ipv4_home_address;
        let subscriber = policy.subscriber.as_ref().map(|subscriber| &subscriber.record);
        if home.bindings.is_empty() {
            home.bury(self.now());
            answer.ipv4_address = r.ipv4_home_address.map(released);
            answer.flow_statuses = r.flows.iter().map(|_| FlowStatus::BID_NOT_FOUND).collect();
        } else {
            let own = subscriber.and_then(|subscriber| subscriber.ipv4_home_address);
            let homes = &self.ipv4_homes;
            let rules = Ipv4Rules { homes, home_prefix: prefix.prefix, own, held };
            let decided = r.ipv4_home_address.map(|request| rules.decide(request));
            // RFC 5555 §4.4: who does not ask any more has none.
            home.ipv4_home_address = decided.as_ref().and_then(|(granted, _)| *granted);
            answer.ipv4_address = decided.map(|(_, answer)| answer);
            let max = subscriber
                .and_then(|subscriber| subscriber.flow_bindings_per_home_address_max)
                .unwrap_or(prefix.flow_bindings_per_home_address_max);
            let ruling = flows::decide(r, &home.bindings, &home.flows, max.into());
            home.flows = ruling.flows;
            answer.flow_statuses = ruling.statuses;
            answer.flows_not_found = ruling.not_found;
        }
        if home.ipv4_home_address != held {
            held.into_iter().for_each(|prefix| self.ipv4_homes.release(prefix));
            if let Some(granted) = home.ipv4_home_address {
                self.ipv4_homes.hold(granted, r.home_address);
            }
        }
    }

    /// RFC 4285 §5.3: returns our own NTP seconds when the timestamp is not acceptable, else keeps
    /// it.
    fn check_message_id(&mut self, r: &Registration, policy: &Policy) -> Option<u32> {
        let message_id = r.message_id.filter(|_| policy.subscriber.is_some())?;
        let ours = self.now().ntp_secs();
        let entry = self.subscribers.get_mut(&r.home_address)?;
        let distance = (message_id >> 32).abs_diff(ours);
        if distance > limits::MESSAGE_ID_WINDOW_SECS || message_id <= entry.last_message_id {
            return Some(u32::try_from(ours).unwrap_or(u32::MAX));
        }
        entry.last_message_id = message_id;
        None
    }

    /// Refuses without looking at sequence numbers or changing anything.
    fn refuse(&self, r: &Registration, policy: &Policy, answer: Answer) -> Outcome {
        let nat_detection = nat_detection(r, self.home(r.home_address), policy);
        Outcome::Answer(Answer { nat_detection, ..answer })
    }

    /// A care-of address that we would tunnel to ourselves (RFC 6275 §15.1): a home address, an
    /// address of a home prefix, and so of a home agent, or one behind the mobile node itself. One
    /// in another's mobile network is a visitor's there.
    fn is_ours(&self, home_address: Ipv6Addr, address: Ipv6Addr) -> bool {
        let at_home = match self.mobile_networks.owner(address) {
            Some(owner) => owner == home_address,
            None => self.home_prefixes.keys().any(|prefix| prefix.contains(address)),
        };
        at_home || self.subscribers.contains_key(&address) || self.homes.contains_key(&address)
    }
}

/// More than a Mobility Header can hold: not made by our codec.
fn exceeds_limits(r: &Registration) -> Option<Silence> {
    if r.bids.len() > limits::BID_OPTIONS_MAX {
        return Some(Silence::TooManyBidOptions);
    }
    let too_many = r.mobile_networks.len() > limits::MOBILE_NETWORK_OPTIONS_MAX
        || r.flows.len() > limits::FLOW_OPTIONS_MAX
        || r.flow_summary.len() > limits::FLOW_SUMMARY_MAX;
    too_many.then_some(Silence::TooManyOptions)
}

/// Steps 10 to 12 for a known home address: whether it is kept, the type of the registration, its
/// sequence number.
fn check_record(r: &Registration, policy: &Policy, home: &Home) -> Option<Answer> {
    if home.refuses_renewal() && !is_deregistration(r) {
        return Some(refusal(r, Status::ADMINISTRATIVELY_PROHIBITED));
    }
    let is_router = r.flags.contains(BuFlags::MOBILE_ROUTER);
    if !home.bindings.is_empty() && home.mobile_router != is_router && !is_deregistration(r) {
        return Some(refusal(r, Status::REGISTRATION_TYPE_CHANGE));
    }
    // RFC 4285 §5.3: where MESG-ID protects against replay the sequence number does not.
    let by_sequence = r.message_id.is_none() || policy.subscriber.is_none();
    (by_sequence && !r.sequence.is_newer_than(home.sequence))
        .then(|| Answer { sequence: home.sequence, ..refusal(r, Status::SEQUENCE_OUT_OF_WINDOW) })
}

/// Lifetime zero; or a mobile router's care-of address is its home address (RFC 3963 §6.2, which
/// RFC 6275 no longer says of mobile nodes; a BID option with H says that it is at home and stays).
fn is_deregistration(r: &Registration) -> bool {
    let is_at_home = match r.source {
        WireSource::Ipv6(source) => r.alternate_care_of.unwrap_or(source) == r.home_address,
        WireSource::Udp(..) => false,
    };
    r.lifetime.is_deregistration()
        || (choices::ROUTER_AT_HOME_DEREGISTERS
            && is_at_home
            && r.bids.is_empty()
            && r.flags.contains(BuFlags::MOBILE_ROUTER))
}

/// The IPv4 home address goes with the last binding.
const fn released(request: Ipv4HomeAddressRequest) -> Ipv4AddressAnswer {
    Ipv4AddressAnswer {
        status: Ipv4AddressStatus::ACCEPTED,
        prefix_len: request.prefix_len,
        address: request.address,
    }
}

/// RFC 6275 §6.1.7, for a Binding Update without BID options: those carry a status of their own.
fn care_of_is_routable(r: &Registration, prefix: &HomePrefix) -> bool {
    match r.source {
        WireSource::Udp(address, _) if r.bids.is_empty() && !r.lifetime.is_deregistration() => {
            is_unicast_routable_v4(address)
                || (prefix.loopback_care_of_allowed && address.is_loopback())
        }
        WireSource::Udp(..) | WireSource::Ipv6(_) => true,
    }
}

/// RFC 5555 §4.2: every answer to a Binding Update in UDP says whether there is a NAT.
fn nat_detection(r: &Registration, home: Option<&Home>, policy: &Policy) -> Option<NatDetection> {
    let WireSource::Udp(source, _) = r.source else {
        return None;
    };
    let prefix = policy.home_prefix.as_ref().map(|prefix| &prefix.record);
    let forced = prefix.is_some_and(|prefix| prefix.force_udp_encapsulation)
        || r.flags.contains(BuFlags::FORCE_UDP);
    let keepalive = prefix.map_or(limits::NAT_KEEPALIVE_SECS, |prefix| prefix.nat_keepalive_secs);
    Some(NatDetection::observed(source, announced_ipv4(r, home), forced, keepalive))
}

/// The outer source address is not the one that the mobile node named.
fn is_behind_nat(r: &Registration, home: Option<&Home>) -> bool {
    match r.source {
        WireSource::Udp(source, _) => announced_ipv4(r, home).is_some_and(|named| named != source),
        WireSource::Ipv6(_) => false,
    }
}

/// The IPv4 care-of address that is compared with the outer source: that of the first IPv4 option
/// (RFC 5648 §8.1).
fn announced_ipv4(r: &Registration, home: Option<&Home>) -> Option<Ipv4Addr> {
    let in_options = r.bids.iter().find_map(|option| match option.care_of {
        BidCareOf::V4(address) => Some(address),
        BidCareOf::Absent => match home?.bindings.get(&option.bid)?.care_of {
            CareOf::Ipv4 { announced, .. } => Some(announced),
            CareOf::Ipv6(_) => None,
        },
        BidCareOf::V6(_) => None,
    });
    // RFC 5648 §4.4: the IPv4 Care-of Address option is not used beside BID options.
    if r.bids.is_empty() { r.ipv4_care_of } else { in_options }
}

/// Every BID option that could be read is copied into the answer, with status 0: the status of the
/// Binding Acknowledgement holds for all (RFC 5648 §6.2).
fn unsaid(r: &Registration) -> Vec<Status> {
    r.bids.iter().filter(|option| option.bid.is_some()).map(|_| Status::ACCEPTED).collect()
}

fn refusal(r: &Registration, status: Status) -> Answer {
    Answer {
        status,
        bid_statuses: unsaid(r),
        lifetime: Lifetime::DEREGISTER,
        sequence: Sequence(r.sequence.0),
        nat_detection: None,
        ntp_secs: None,
        mobile_router: false,
        ipv4_address: None,
        flow_statuses: Vec::new(),
        flows_not_found: Vec::new(),
    }
}
