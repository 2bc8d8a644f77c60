//! Which bindings a Binding Update leaves: RFC 6275 §10.3 without BID options, RFC 5648 §6.2 with.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_wire::{
    Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Status, is_unicast_routable_v4,
    is_unicast_routable_v6,
};

use crate::choices;
use crate::command::{BidRequest, Registration, WireSource};
use crate::home::{Binding, Bindings, CareOf, Home, HomeBinding};
use crate::prefix::Ipv6Prefix;
use crate::record::{Authentication, HomePrefix, Policy, Subscriber};
use crate::time::LogTime;

use super::networks;

/// What the Binding Acknowledgement says and what is stored.
pub(super) struct Ruling {
    pub(super) status: Status,
    pub(super) bid_statuses: Vec<Status>,
    pub(super) lifetime: Lifetime,
    /// `None`: the bindings stay as they are.
    pub(super) bindings: Option<Bindings>,
    /// `None`: the mobile networks stay as they are.
    pub(super) mobile_networks: Option<BTreeSet<Ipv6Prefix>>,
}

impl Ruling {
    /// The whole Binding Update fails.
    pub(super) fn refuse(r: &Registration, status: Status) -> Self {
        Self {
            status,
            bid_statuses: super::unsaid(r),
            lifetime: Lifetime::DEREGISTER,
            bindings: None,
            mobile_networks: None,
        }
    }
}

/// One Binding Update, the bindings before it, and the policy.
pub(super) struct Rules<'a> {
    now: LogTime,
    r: &'a Registration,
    before: &'a Bindings,
    prefix: &'a HomePrefix,
    subscriber: Option<&'a Subscriber>,
    /// The Binding Update came by way of a NAT.
    is_behind_nat: bool,
    mobile_networks_allowed: bool,
    multiple_care_of_allowed: bool,
    bulk_allowed: bool,
    bindings_max: usize,
    room: usize,
}

/// An option that passed, with the care-of address that it stands for.
struct Survivor {
    bid: Bid,
    care_of: CareOf,
    priority: BidPriority,
    home: bool,
}

impl<'a> Rules<'a> {
    /// `room` is how many bindings the whole store can still take.
    pub(super) fn new(
        now: LogTime,
        r: &'a Registration,
        home: &'a Home,
        policy: &'a Policy,
        prefix: &'a HomePrefix,
        room: usize,
    ) -> Self {
        let subscriber = policy.subscriber.as_ref().map(|subscriber| &subscriber.record);
        let own_max = subscriber.and_then(|s| s.bindings_per_home_address_max);
        Self {
            now,
            r,
            before: &home.bindings,
            prefix,
            subscriber,
            is_behind_nat: super::is_behind_nat(r, Some(home)),
            mobile_networks_allowed: subscriber
                .and_then(|s| s.mobile_networks_allowed)
                .unwrap_or(prefix.mobile_networks_allowed),
            multiple_care_of_allowed: subscriber
                .and_then(|s| s.multiple_care_of_allowed)
                .unwrap_or(prefix.multiple_care_of_allowed),
            bulk_allowed: subscriber.and_then(|s| s.bulk_allowed).unwrap_or(prefix.bulk_allowed),
            bindings_max: usize::from(own_max.unwrap_or(prefix.bindings_per_home_address_max)),
            room,
        }
    }

    /// `is_ours` says whether an address is one that we would tunnel to ourselves.
    pub(super) fn decide(&self, is_ours: impl Fn(Ipv6Addr) -> bool) -> Ruling {
        let ruling = match (self.r.bids.is_empty(), super::is_deregistration(self.r)) {
            (true, true) => return self.deregister_all(),
            (true, false) => self.register_regular(is_ours),
            (false, _) => self.decide_options(is_ours),
        };
        if ruling.bindings.is_none() || self.r.lifetime.is_deregistration() {
            return ruling;
        }
        if let Some(status) = self.refuse_forced_udp() {
            return Ruling::refuse(self.r, status);
        }
        match self.mobile_networks() {
            Ok(networks) => Ruling { mobile_networks: Some(networks), ..ruling },
            Err(status) => Ruling::refuse(self.r, status),
        }
    }

    /// RFC 3963 §6.2: all prefixes of a mobile router, or none.
    fn mobile_networks(&self) -> Result<BTreeSet<Ipv6Prefix>, Status> {
        if !self.r.flags.contains(BuFlags::MOBILE_ROUTER) {
            return Ok(BTreeSet::new());
        }
        if !self.mobile_networks_allowed {
            return Err(Status::MOBILE_ROUTER_NOT_PERMITTED);
        }
        networks::mobile_networks(self.r, self.subscriber)
    }

    /// RFC 5555 §4.4: UDP is asked for where no NAT needs it. The status there, 144, is another
    /// one's (RFC 4285, erratum 3463): only whom IPsec protects is sure to understand it.
    fn refuse_forced_udp(&self) -> Option<Status> {
        let is_asked = matches!(self.r.source, WireSource::Udp(..))
            && self.r.flags.contains(BuFlags::FORCE_UDP);
        let needs_none = self.prefix.force_udp_encapsulation || self.is_behind_nat;
        if !is_asked || needs_none || self.prefix.force_udp_requests_allowed {
            return None;
        }
        match self.prefix.authentication {
            Authentication::Ipsec => Some(choices::FORCED_UDP_REFUSED_UNDER_IPSEC),
            Authentication::None | Authentication::MnHa => Some(choices::FORCED_UDP_REFUSED),
        }
    }

    /// RFC 6275 §10.3.2; with several bindings all go (RFC 5648 §6.2).
    fn deregister_all(&self) -> Ruling {
        if self.before.is_empty() {
            return Ruling::refuse(self.r, Status::NOT_HOME_AGENT);
        }
        Ruling {
            status: Status::ACCEPTED,
            bid_statuses: Vec::new(),
            lifetime: Lifetime::DEREGISTER,
            bindings: Some(Bindings::new()),
            mobile_networks: None,
        }
    }

    /// RFC 6275 §10.3.1: one binding, which replaces all others (RFC 5648 §6.2).
    fn register_regular(&self, is_ours: impl Fn(Ipv6Addr) -> bool) -> Ruling {
        let care_of = match self.r.source {
            WireSource::Udp(address, port) => {
                self.ipv4(address, port, self.r.ipv4_care_of.unwrap_or(address))
            }
            WireSource::Ipv6(source) => CareOf::Ipv6(self.r.alternate_care_of.unwrap_or(source)),
        };
        if matches!(care_of, CareOf::Ipv6(address) if is_ours(address)) {
            return Ruling::refuse(self.r, choices::CARE_OF_LOOPS);
        }
        if self.before.is_empty() && self.room == 0 {
            return Ruling::refuse(self.r, Status::INSUFFICIENT_RESOURCES);
        }
        let binding = self.binding(None, care_of, BidPriority::UNSET, None);
        Ruling {
            status: self.accepted(),
            bid_statuses: Vec::new(),
            lifetime: self.granted(),
            bindings: Some(Bindings::from([(None, binding)])),
            mobile_networks: None,
        }
    }

    /// RFC 5648 §6.2: first what refuses the whole Binding Update, then option by option.
    fn decide_options(&self, is_ours: impl Fn(Ipv6Addr) -> bool) -> Ruling {
        if !self.multiple_care_of_allowed {
            return Ruling::refuse(self.r, Status::MCOA_PROHIBITED);
        }
        if self.r.bids.iter().any(|option| option.malformed || option.bid.is_none()) {
            return Ruling::refuse(self.r, Status::MCOA_MALFORMED);
        }
        if self.is_bulk() && !self.bulk_allowed {
            return Ruling::refuse(self.r, Status::MCOA_BULK_REGISTRATION_PROHIBITED);
        }
        if self.r.lifetime.is_deregistration() {
            return self.deregister_options();
        }
        let (statuses, survivors) = self.judge_options(is_ours);
        let overwrite = self.overwrites();
        if !overwrite && self.before.contains_key(&None) {
            return Ruling::refuse(self.r, Status::MCOA_NON_MCOA_BINDING_EXISTS);
        }
        let (status, bid_statuses) = compose(statuses, self.accepted());
        if survivors.is_empty() {
            let lifetime = Lifetime::DEREGISTER;
            return Ruling {
                status,
                bid_statuses,
                lifetime,
                bindings: None,
                mobile_networks: None,
            };
        }
        let mut bindings = if overwrite { Bindings::new() } else { self.before.clone() };
        if choices::HOME_BINDING_ENDS_WITH_ANY {
            bindings.retain(|_, binding| binding.home.is_none());
        }
        for survivor in survivors {
            let home = survivor
                .home
                .then(|| HomeBinding { link_layer_address: self.r.link_layer_address.clone() });
            let bid = Some(survivor.bid);
            let binding = self.binding(bid, survivor.care_of, survivor.priority, home);
            bindings.insert(bid, binding);
        }
        let (lifetime, bindings) = (self.granted(), Some(bindings));
        Ruling { status, bid_statuses, lifetime, bindings, mobile_networks: None }
    }

    fn deregister_options(&self) -> Ruling {
        let mut bindings = self.before.clone();
        let mut seen = BTreeSet::new();
        let statuses: Vec<Status> = self
            .r
            .bids
            .iter()
            .map(|option| {
                if option.bid == Some(Bid::RESERVED) {
                    choices::BID_ZERO
                } else if !seen.insert(option.bid) {
                    choices::BID_REPEATED
                } else if bindings.remove(&option.bid).is_some() {
                    Status::ACCEPTED
                } else {
                    choices::BID_NOT_BOUND
                }
            })
            .collect();
        let changed = bindings.len() != self.before.len();
        let (status, bid_statuses) = compose(statuses, Status::ACCEPTED);
        let lifetime = Lifetime::DEREGISTER;
        let bindings = changed.then_some(bindings);
        Ruling { status, bid_statuses, lifetime, bindings, mobile_networks: None }
    }

    /// A status for each option, and those that are to be stored. Home options come last: whether
    /// they replace an older home binding depends on what became of the others.
    fn judge_options(&self, is_ours: impl Fn(Ipv6Addr) -> bool) -> (Vec<Status>, Vec<Survivor>) {
        let moved = self.moved_mapping();
        let mut statuses = vec![Status::ACCEPTED; self.r.bids.len()];
        let mut survivors: Vec<Survivor> = Vec::new();
        for home_pass in [false, true] {
            let options = self.r.bids.iter().enumerate().zip(&mut statuses);
            for ((at, option), status) in options.filter(|((_, o), _)| o.home == home_pass) {
                let judged = self.judge(at, option, &survivors, moved, &is_ours);
                *status = judged.as_ref().map_or_else(|refused| *refused, |_| Status::ACCEPTED);
                if let Ok(survivor) = judged {
                    if survivor.home && !self.prefix.only_router {
                        *status = Status::MCOA_RETURNHOME_WO_NDP;
                    }
                    survivors.push(survivor);
                }
            }
        }
        (statuses, survivors)
    }

    fn judge(
        &self,
        at: usize,
        option: &BidRequest,
        survivors: &[Survivor],
        moved: Option<Bid>,
        is_ours: &impl Fn(Ipv6Addr) -> bool,
    ) -> Result<Survivor, Status> {
        let bid = option.bid.filter(|bid| *bid != Bid::RESERVED).ok_or(choices::BID_ZERO)?;
        if self.r.bids.iter().take(at).any(|earlier| earlier.bid == option.bid) {
            return Err(choices::BID_REPEATED);
        }
        let care_of = if option.home {
            self.resolve_home(option, bid, survivors)?
        } else {
            self.resolve(option, bid, moved, is_ours)?
        };
        let overwrite = self.overwrites();
        let is_new = |bid| overwrite || !self.before.contains_key(&Some(bid));
        if is_new(bid) {
            let added = survivors.iter().filter(|survivor| is_new(survivor.bid)).count();
            let kept = if overwrite { 0 } else { self.before.len() };
            if kept.saturating_add(added) >= self.bindings_max || added >= self.room {
                return Err(choices::BINDINGS_EXHAUSTED);
            }
        }
        Ok(Survivor { bid, care_of, priority: option.priority, home: option.home })
    }

    fn overwrites(&self) -> bool {
        self.r.flags.contains(BuFlags::OVERWRITE)
    }

    /// RFC 5648 §5.6: a home binding stands for the home address itself; there is one at most.
    fn resolve_home(
        &self,
        option: &BidRequest,
        bid: Bid,
        survivors: &[Survivor],
    ) -> Result<CareOf, Status> {
        if !self.prefix.home_and_foreign_allowed {
            return Err(Status::MCOA_SIMULTANEOUS_HOME_AND_FOREIGN_PROHIBITED);
        }
        let names_another = match option.care_of {
            BidCareOf::Absent => false,
            BidCareOf::V6(address) => address != self.r.home_address,
            BidCareOf::V4(_) => true,
        };
        if names_another {
            return Err(choices::HOME_BINDING_ELSEWHERE);
        }
        if self.other_home_binding_stays(bid, survivors) {
            return Err(choices::HOME_BINDING_SECOND);
        }
        // Status 5 forbids the mobile node to answer for its address: nothing would reach it there.
        if !self.prefix.only_router && self.r.link_layer_address.is_empty() {
            return Err(choices::HOME_BINDING_WITHOUT_LINK_LAYER_ADDRESS);
        }
        Ok(CareOf::Ipv6(self.r.home_address))
    }

    fn other_home_binding_stays(&self, bid: Bid, survivors: &[Survivor]) -> bool {
        let replaced = |other| survivors.iter().any(|survivor| survivor.bid == other);
        let stored = self.before.iter().filter(|(_, binding)| binding.home.is_some());
        let stored = stored.filter_map(|(other, _)| *other).filter(|_| !self.overwrites());
        survivors.iter().any(|survivor| survivor.home)
            || stored.into_iter().any(|other| other != bid && !replaced(other))
    }

    fn resolve(
        &self,
        option: &BidRequest,
        bid: Bid,
        moved: Option<Bid>,
        is_ours: &impl Fn(Ipv6Addr) -> bool,
    ) -> Result<CareOf, Status> {
        match option.care_of {
            BidCareOf::V6(address) if !is_unicast_routable_v6(address) => {
                Err(Status::MCOA_MALFORMED)
            }
            BidCareOf::V6(address) if is_ours(address) => Err(choices::CARE_OF_LOOPS),
            BidCareOf::V6(address) => Ok(CareOf::Ipv6(address)),
            BidCareOf::V4(address) if !self.is_routable_v4(address) => Err(Status::MCOA_MALFORMED),
            BidCareOf::V4(address) => self.resolve_ipv4(address, bid, moved),
            BidCareOf::Absent => {
                let stored = self.before.get(&Some(bid)).ok_or(choices::CARE_OF_NOT_KNOWN)?;
                match stored.care_of {
                    // What stood for the home address has no foreign care-of address to refresh.
                    CareOf::Ipv6(_) if stored.home.is_some() => Err(choices::CARE_OF_NOT_KNOWN),
                    CareOf::Ipv6(_) => Ok(stored.care_of),
                    CareOf::Ipv4 { .. } => Ok(self.remap(stored.care_of, bid, moved)),
                }
            }
        }
    }

    /// RFC 5648 §8.1: an IPv4 care-of address comes in, or changes, by a Binding Update of its own
    /// over UDP from that address; elsewhere it can only be named as it is.
    fn resolve_ipv4(
        &self,
        announced: Ipv4Addr,
        bid: Bid,
        moved: Option<Bid>,
    ) -> Result<CareOf, Status> {
        if let WireSource::Udp(address, port) = self.r.source
            && !self.is_bulk()
        {
            return if self.is_routable_v4(address) {
                Ok(self.ipv4(address, port, announced))
            } else {
                Err(Status::INVALID_CARE_OF_ADDRESS)
            };
        }
        match self.before.get(&Some(bid)).map(|stored| stored.care_of) {
            Some(stored @ CareOf::Ipv4 { announced: known, .. }) if known == announced => {
                Ok(self.remap(stored, bid, moved))
            }
            Some(CareOf::Ipv4 { .. } | CareOf::Ipv6(_)) | None => {
                Err(choices::IPV4_CARE_OF_NOT_INTRODUCED)
            }
        }
    }

    fn remap(&self, stored: CareOf, bid: Bid, moved: Option<Bid>) -> CareOf {
        match (stored, self.r.source) {
            (CareOf::Ipv4 { announced, .. }, WireSource::Udp(address, port))
                if moved == Some(bid) && self.is_routable_v4(address) =>
            {
                self.ipv4(address, port, announced)
            }
            // The same mapping; whether UDP is needed is asked anew.
            (CareOf::Ipv4 { address, port, announced, .. }, WireSource::Udp(from, from_port))
                if (address, port) == (from, from_port) =>
            {
                self.ipv4(address, port, announced)
            }
            (CareOf::Ipv4 { .. } | CareOf::Ipv6(_), WireSource::Udp(..) | WireSource::Ipv6(_)) => {
                stored
            }
        }
    }

    /// RFC 5555 §4.4.1: without UDP only where there is no NAT and nobody wants it all the same.
    fn ipv4(&self, address: Ipv4Addr, port: u16, announced: Ipv4Addr) -> CareOf {
        let udp = address != announced
            || self.prefix.force_udp_encapsulation
            || self.r.flags.contains(BuFlags::FORCE_UDP);
        CareOf::Ipv4 { address, port, announced, udp }
    }

    /// The BID whose NAT mapping a Binding Update over UDP moves: that of its first IPv4 option,
    /// unless it came by the mapping of another binding of this home address.
    fn moved_mapping(&self) -> Option<Bid> {
        let WireSource::Udp(source, source_port) = self.r.source else {
            return None;
        };
        let is_known = self.before.values().any(|binding| {
            matches!(binding.care_of, CareOf::Ipv4 { address, port, .. }
                if (address, port) == (source, source_port))
        });
        if is_known {
            return None;
        }
        self.r.bids.iter().find_map(|option| {
            let stored = self.before.get(&option.bid)?;
            let is_ipv4 = match option.care_of {
                BidCareOf::V4(_) | BidCareOf::Absent => {
                    matches!(stored.care_of, CareOf::Ipv4 { .. })
                }
                BidCareOf::V6(_) => false,
            };
            option.bid.filter(|_| is_ipv4)
        })
    }

    fn is_bulk(&self) -> bool {
        self.r.bids.len() > 1
    }

    fn is_routable_v4(&self, address: Ipv4Addr) -> bool {
        is_unicast_routable_v4(address)
            || (self.prefix.loopback_care_of_allowed && address.is_loopback())
    }

    /// RFC 6275 §10.3.1: never more than was asked for, than policy allows or than the prefix
    /// lives.
    fn granted(&self) -> Lifetime {
        self.r
            .lifetime
            .min(Lifetime::from_secs(self.prefix.lifetime_max_secs))
            .min(Lifetime::from_secs(self.prefix.valid_lifetime_secs))
            .max(Lifetime(1))
    }

    /// RFC 6275 §10.3.1: status 1 when the prefix is about to be deprecated or to end.
    fn accepted(&self) -> Status {
        let granted = self.granted();
        let deprecated_before_end = self.prefix.preferred_lifetime_secs != u32::MAX
            && Lifetime::from_secs(self.prefix.preferred_lifetime_secs) < granted;
        let runs_to_the_end = self.prefix.valid_lifetime_secs != u32::MAX
            && Lifetime::from_secs(self.prefix.valid_lifetime_secs) <= granted;
        if deprecated_before_end || runs_to_the_end {
            Status::PREFIX_DISCOVERY_NECESSARY
        } else {
            Status::ACCEPTED
        }
    }

    fn binding(
        &self,
        bid: Option<Bid>,
        care_of: CareOf,
        priority: BidPriority,
        home: Option<HomeBinding>,
    ) -> Binding {
        let same = self.before.get(&bid).filter(|stored| stored.care_of == care_of);
        Binding {
            care_of,
            priority,
            ends: self.now.after(self.granted().duration()),
            verified: self.now,
            registered: same.map_or(self.now, |stored| stored.registered),
            unverified: self.is_unverified(care_of, home.is_some()),
            home,
        }
    }

    /// RFC 5648 §10: nothing shows that the mobile node is at this address. Of IPv4 addresses there is none
    /// that did not come as the source of a Binding Update (§8.1).
    fn is_unverified(&self, care_of: CareOf, is_home: bool) -> bool {
        let CareOf::Ipv6(address) = care_of else { return false };
        let is_known = |stored: &Binding| stored.care_of == care_of && !stored.unverified;
        self.prefix.care_of_verification
            && !is_home
            && self.r.source != WireSource::Ipv6(address)
            && !self.before.values().any(is_known)
    }
}

/// The status of the Binding Acknowledgement and of its options (RFC 5648 §6.2): an option speaks
/// for itself only when the acknowledgement cannot speak for all.
fn compose(statuses: Vec<Status>, accepted: Status) -> (Status, Vec<Status>) {
    let silent = vec![Status::ACCEPTED; statuses.len()];
    let Some(first) = statuses.first().copied() else {
        return (accepted, silent);
    };
    if statuses.iter().all(|status| *status == first) {
        let status = if first == Status::ACCEPTED { accepted } else { first };
        return (status, silent);
    }
    if statuses.iter().any(|status| status.is_accepted()) {
        (Status::MCOA_NOTCOMPLETE, statuses)
    } else {
        (choices::BULK_FAILS_VARIOUSLY, statuses)
    }
}
