//! A Binding Update against the state: steps 10 to 21 of the pipeline, in their order.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{BidCareOf, BuFlags, Lifetime, Sequence, Status, is_unicast_routable_v4};

use crate::cache::{BindingCache, Change};
use crate::command::{Registration, WireSource};
use crate::home::{CareOf, Home};
use crate::limits;
use crate::record::{HomePrefix, Policy};
use crate::verdict::{Answer, NatDetection, Outcome, Silence, Verdict};

mod rules;

use rules::{Rules, Ruling};

impl BindingCache {
    pub(crate) fn register(&mut self, registration: Registration) -> Verdict {
        let home_address = registration.home_address;
        let known = self.homes.get(&home_address);
        if let Some(verdict) = known.and_then(|home| home.recall(&registration.request_id)) {
            return verdict.clone();
        }
        let policy = self.policy(home_address, registration.home_agent);
        let revision = self.revision;
        if policy.revisions() != registration.policy_revisions {
            return Verdict { revision, outcome: Outcome::StalePolicy };
        }
        let outcome = self.decide(&registration, &policy);
        let verdict = Verdict { revision, outcome };
        if let Some(home) = self.homes.get_mut(&home_address) {
            home.remember(registration.request_id, verdict.clone());
        }
        verdict
    }

    fn decide(&mut self, r: &Registration, policy: &Policy) -> Outcome {
        if r.bids.len() > limits::BID_OPTIONS_MAX {
            return Outcome::Silent(Silence::TooManyBidOptions);
        }
        let stale = self.check_message_id(r, policy);
        if let Some(ntp_secs) = stale {
            let Outcome::Answer(answer) = self.refuse(r, Status::ID_MISMATCH) else {
                return Outcome::StalePolicy;
            };
            return Outcome::Answer(Answer { ntp_secs: Some(ntp_secs), ..answer });
        }
        let served = policy.home_prefix.as_ref().filter(|_| policy.home_address_served);
        let Some(prefix) = served.map(|prefix| &prefix.record) else {
            return self.refuse(r, Status::NOT_HOME_SUBNET);
        };
        if prefix.home_agent != r.home_agent {
            return self.refuse(r, Status::NOT_HOME_AGENT);
        }
        if r.home_address == prefix.home_agent || r.home_address == prefix.prefix.address() {
            return self.refuse(r, Status::ADMINISTRATIVELY_PROHIBITED);
        }
        if !care_of_is_routable(r, prefix) {
            return Outcome::Silent(Silence::CareOfNotRoutable);
        }
        self.decide_in_sequence(r, policy, prefix)
    }

    /// Steps 12 and 13, then the rules.
    fn decide_in_sequence(
        &mut self,
        r: &Registration,
        policy: &Policy,
        prefix: &HomePrefix,
    ) -> Outcome {
        let known = self.take_home(r.home_address);
        // RFC 4285 §5.3: where MESG-ID protects against replay the sequence number does not.
        let by_sequence = r.message_id.is_none() || policy.subscriber.is_none();
        if let Some(home) = known.as_ref().filter(|_| by_sequence)
            && !r.sequence.is_newer_than(home.sequence)
        {
            let mut answer = refusal(r, Status::SEQUENCE_OUT_OF_WINDOW);
            answer.sequence = home.sequence;
            answer.nat_detection = nat_detection(r, Some(home));
            let home = home.clone();
            self.put_home(r.home_address, home);
            return Outcome::Answer(answer);
        }
        let existed = known.is_some();
        let mut home = known.unwrap_or_else(|| Home::new(r.home_agent, r.sequence));
        home.sequence = r.sequence;
        let nat = nat_detection(r, Some(&home));
        let ruling = if r.flags.contains(BuFlags::MOBILE_ROUTER) {
            Ruling::refuse(r, Status::MOBILE_ROUTER_NOT_PERMITTED)
        } else {
            let room = limits::BINDINGS_MAX.saturating_sub(self.binding_count());
            let rules = Rules::new(self.now(), r, &home, policy, prefix, room);
            rules.decide(|address| self.is_ours(address))
        };
        let answer = Answer {
            status: ruling.status,
            bid_statuses: ruling.bid_statuses,
            lifetime: ruling.lifetime,
            sequence: r.sequence,
            nat_detection: nat,
            ntp_secs: None,
            mobile_router: false,
            ipv4_address: None,
            flow_statuses: Vec::new(),
            flows_not_found: Vec::new(),
        };
        match ruling.bindings {
            Some(bindings) => {
                home.home_agent = r.home_agent;
                home.revision = self.revision();
                home.bindings = bindings;
                home.forget = None;
                if home.bindings.is_empty() {
                    home.bury(self.now());
                }
                self.changed(Change::Home(r.home_address));
                self.put_home(r.home_address, home);
            }
            // A refused Binding Update leaves no record where there was none.
            None if existed => self.put_home(r.home_address, home),
            None => {}
        }
        Outcome::Answer(answer)
    }

    /// RFC 4285 §5.3: returns our own NTP seconds when the timestamp is not acceptable, else keeps it.
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
    fn refuse(&self, r: &Registration, status: Status) -> Outcome {
        let mut answer = refusal(r, status);
        answer.nat_detection = nat_detection(r, self.home(r.home_address));
        Outcome::Answer(answer)
    }

    /// A care-of address that we would tunnel to ourselves (RFC 6275 §15.1): an address of a home
    /// prefix, and so of a home agent or of any other mobile node, too.
    fn is_ours(&self, address: Ipv6Addr) -> bool {
        self.home_prefixes.keys().any(|prefix| prefix.contains(address))
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
fn nat_detection(r: &Registration, home: Option<&Home>) -> Option<NatDetection> {
    let WireSource::Udp(source, _) = r.source else {
        return None;
    };
    let in_options = r.bids.iter().find_map(|option| match option.care_of {
        BidCareOf::V4(address) => Some(address),
        BidCareOf::Absent => match home?.bindings.get(&option.bid)?.care_of {
            CareOf::Ipv4 { announced, .. } => Some(announced),
            CareOf::Ipv6(_) => None,
        },
        BidCareOf::V6(_) => None,
    });
    Some(NatDetection::observed(
        source,
        in_options.or(r.ipv4_care_of),
        true,
        limits::NAT_KEEPALIVE_SECS,
    ))
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
