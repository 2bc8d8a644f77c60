//! The home agent's part as a correspondent node: bindings for what it sends itself (RFC 6275 §9.5,
//! RFC 5648 §6.2). What they say is decided by [`homeport_correspondent::rules`].

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_correspondent::rules::{Allowance, Request, Ruling, carry_out, rule};
use homeport_correspondent::{Home, Millis, limits::BINDING_LIFETIME_SECS_MAX};
use homeport_wire::{Lifetime, Sequence, Status};

use crate::cache::{BindingCache, Change};
use crate::command::RequestId;
use crate::deadlines::Deadlines;
use crate::limits;
use crate::pages::Pages;
use crate::record::HomePrefix;
use crate::remembered::Remembered;
use crate::time::LogTime;
use crate::verdict::{Answer, Outcome, Silence, Verdict};

/// A Binding Update to the correspondent node, whose authenticator was made with both tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Correspondence {
    /// Names this Binding Update.
    pub request_id: RequestId,
    /// The mobile node's; seldom one that is served here.
    pub home_address: Ipv6Addr,
    /// What is asked for; its times are log times.
    pub request: Request,
}

/// What is known of a mobile node that sends to one home agent's address. Without bindings it keeps
/// the sequence number while an old Binding Update could be replayed (RFC 6275 §5.2.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Bindings, sequence number and used up nonces; its times are log times.
    pub home: Home,
    /// At most [`limits::REMEMBERED_PER_HOME_ADDRESS`], oldest first.
    pub remembered: VecDeque<Remembered>,
}

/// By the address of the home agent: each is a correspondent node of its own (RFC 6275 §9.1).
pub type Peers = BTreeMap<Ipv6Addr, Peer>;

/// All mobile nodes, by home address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Correspondents {
    pub(crate) peers: Pages<Peers>,
    deadlines: Deadlines,
}

impl Correspondents {
    pub(crate) fn next_deadline(&self) -> Option<LogTime> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Takes the record of a home address out, without what has ended; says whether that changed
    /// the bindings.
    fn take(&mut self, home_address: Ipv6Addr, now: LogTime) -> (Peers, bool) {
        let Some(mut peers) = self.peers.remove(&home_address) else {
            return (Peers::new(), false);
        };
        if let Some(at) = deadline(&peers) {
            self.deadlines.remove(at, home_address);
        }
        let now = Millis(now.0);
        let mut has_ended = false;
        for peer in peers.values_mut() {
            has_ended |= !peer.home.expire(now).is_empty();
        }
        peers.retain(|_, peer| !peer.home.is_forgotten(now));
        (peers, has_ended)
    }

    fn put(&mut self, home_address: Ipv6Addr, peers: Peers) {
        if let Some(at) = deadline(&peers) {
            self.deadlines.insert(at, home_address);
            self.peers.insert(home_address, peers);
        }
    }

    /// Out of a snapshot; false when it was there already.
    pub(crate) fn restore(
        &mut self,
        home_address: Ipv6Addr,
        home_agent: Ipv6Addr,
        peer: Peer,
    ) -> bool {
        let mut peers = self.peers.remove(&home_address).unwrap_or_default();
        if let Some(at) = deadline(&peers) {
            self.deadlines.remove(at, home_address);
        }
        let is_fresh = peers.insert(home_agent, peer).is_none();
        self.put(home_address, peers);
        is_fresh
    }
}

fn deadline(peers: &Peers) -> Option<LogTime> {
    peers.values().map(|peer| LogTime(peer.home.deadline().0)).min()
}

impl BindingCache {
    /// The bindings of a mobile node for what the home agents themselves send to it.
    #[must_use]
    pub fn correspondents(&self, home_address: Ipv6Addr) -> Option<&Peers> {
        self.correspondents.peers.get(&home_address)
    }

    /// The same of all, in order, those after `after` only.
    pub fn correspondents_after(
        &self,
        after: Option<Ipv6Addr>,
    ) -> impl Iterator<Item = (Ipv6Addr, &Peers)> {
        let start = after.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        self.correspondents.peers.from(start)
    }

    /// Number of mobile nodes that are known as correspondents.
    #[must_use]
    pub fn correspondent_count(&self) -> usize {
        self.correspondents.peers.len()
    }

    pub(crate) fn expire_correspondents(&mut self) {
        for _ in 0..limits::EXPIRIES_PER_BATCH_MAX {
            let first = self.correspondents.deadlines.first();
            let Some((_, address)) = first.filter(|(at, _)| *at <= self.now) else { return };
            let (peers, has_ended) = self.correspondents.take(address, self.now);
            if has_ended {
                self.changed(Change::Correspondent(address));
            }
            self.correspondents.put(address, peers);
        }
    }

    /// It is bound as a correspondent of this home agent.
    pub(crate) fn is_correspondent(&self, home_address: Ipv6Addr, home_agent: Ipv6Addr) -> bool {
        let now = Millis(self.now.0);
        let peer = self.correspondents(home_address).and_then(|peers| peers.get(&home_agent));
        peer.is_some_and(|peer| peer.home.preferred(now).is_some())
    }

    pub(crate) fn correspond(&mut self, asked: Correspondence) -> Verdict {
        let (home_address, home_agent) = (asked.home_address, asked.request.correspondent);
        let revision = self.revision;
        let (mut peers, has_ended) = self.correspondents.take(home_address, self.now);
        let known = peers.get(&home_agent);
        let verdict = match known.and_then(|peer| recall(peer, &asked.request_id)) {
            Some(verdict) => verdict.clone(),
            None => {
                let outcome = self.decide_correspondence(&mut peers, &asked);
                let verdict = Verdict { revision, outcome, esp: None };
                if let Some(peer) = peers.get_mut(&home_agent) {
                    remember(peer, asked.request_id, verdict.clone());
                }
                verdict
            }
        };
        let accepted = matches!(
            &verdict,
            Verdict { revision: at, outcome: Outcome::Answer(answer), esp: None }
                if *at == revision && answer.status.is_accepted()
        );
        if accepted || has_ended {
            self.changed(Change::Correspondent(home_address));
        }
        self.correspondents.put(home_address, peers);
        verdict
    }

    fn decide_correspondence(&self, peers: &mut Peers, asked: &Correspondence) -> Outcome {
        let home_agent = asked.request.correspondent;
        let mut prefixes = self.home_prefixes.values();
        let Some(prefix) = prefixes.find(|prefix| prefix.record.home_agent == home_agent) else {
            return Outcome::Silent(Silence::CorrespondentUnsupported);
        };
        if asked.request.bids.len() > limits::BID_OPTIONS_MAX {
            return Outcome::Silent(Silence::TooManyBidOptions);
        }
        // Whatever the clock of a front-end says, nothing is kept for long.
        let latest = Millis(self.now.after(limits::CORRESPONDENT_GUARD_MAX).0);
        let nonces_end = asked.request.nonces_end.min(latest);
        let request = &Request { nonces_end, ..asked.request.clone() };
        let known = peers.get_mut(&home_agent).map(|peer| {
            peer.home.guard = peer.home.guard.max(nonces_end);
            peer.home.sequence
        });
        if self.home(asked.home_address).is_some_and(|home| home.is_bound(self.now)) {
            return answer(request, Status::REGISTRATION_TYPE_CHANGE, request.sequence);
        }
        // At home, where this home agent reaches it anyway; and it could not register after that
        // (RFC 6275 §9.5.1).
        if self.serving_prefix(asked.home_address).is_some() {
            return answer(request, Status::ADMINISTRATIVELY_PROHIBITED, request.sequence);
        }
        if let Some(last) = known.filter(|last| !request.sequence.is_newer_than(*last)) {
            return answer(request, Status::SEQUENCE_OUT_OF_WINDOW, last);
        }
        self.rule_correspondence(peers, request, &prefix.record)
    }

    /// The sequence number is new.
    fn rule_correspondence(
        &self,
        peers: &mut Peers,
        request: &Request,
        prefix: &HomePrefix,
    ) -> Outcome {
        let now = Millis(self.now.0);
        let allowance = Allowance {
            lifetime_max: Lifetime::from_secs(BINDING_LIFETIME_SECS_MAX),
            bindings_per_home_address_max: prefix.bindings_per_home_address_max.into(),
            multiple_care_of_allowed: prefix.multiple_care_of_allowed,
            has_room: self.correspondent_count() < limits::CORRESPONDENTS_MAX
                && peers.len() < limits::HOME_AGENTS_PER_CORRESPONDENT_MAX,
        };
        let known = peers.get_mut(&request.correspondent);
        let ruling = rule(now, request, known.as_ref().map(|peer| &peer.home), &allowance);
        let peer = match (known, &ruling) {
            (Some(peer), _) => Some(peer),
            (None, Ok(Ruling::Store { .. })) => {
                let home = Home::new(request.sequence);
                let peer = Peer { home, remembered: VecDeque::new() };
                Some(peers.entry(request.correspondent).or_insert(peer))
            }
            (None, _) => None,
        };
        if let Some(peer) = peer {
            peer.home.sequence = request.sequence;
            peer.home.guard = peer.home.guard.max(request.nonces_end);
            if let Ok(ruling) = &ruling {
                carry_out(&mut peer.home, now, ruling, request);
            }
        }
        match ruling {
            Ok(ruling) => {
                let answer = said(request, Status::ACCEPTED, request.sequence);
                Outcome::Answer(Answer { lifetime: ruling.lifetime(), ..answer })
            }
            Err(status) => answer(request, status, request.sequence),
        }
    }
}

fn recall<'p>(peer: &'p Peer, request_id: &RequestId) -> Option<&'p Verdict> {
    let mut remembered = peer.remembered.iter();
    remembered.find(|it| it.request_id == *request_id).map(|it| &it.verdict)
}

fn remember(peer: &mut Peer, request_id: RequestId, verdict: Verdict) {
    if peer.remembered.len() >= limits::REMEMBERED_PER_HOME_ADDRESS {
        peer.remembered.pop_front();
    }
    peer.remembered.push_back(Remembered { request_id, verdict });
}

fn answer(request: &Request, status: Status, sequence: Sequence) -> Outcome {
    Outcome::Answer(said(request, status, sequence))
}

fn said(request: &Request, status: Status, sequence: Sequence) -> Answer {
    Answer {
        status,
        bid_statuses: request.bids.iter().map(|_| Status::ACCEPTED).collect(),
        lifetime: Lifetime::DEREGISTER,
        sequence,
        nat_detection: None,
        ntp_secs: None,
        mobile_router: false,
        ipv4_address: None,
        flow_statuses: Vec::new(),
        flows_not_found: Vec::new(),
    }
}
