use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use homeport_wire::{Bid, BidPriority, Sequence};

use crate::advertisement::PrefixAdvertisement;
use crate::care_of_test::CareOfTests;
use crate::flow::FlowBinding;
use crate::limits;
use crate::notice::Notice;
use crate::prefix::{Ipv4Prefix, Ipv6Prefix};
use crate::probe::Probe;
use crate::remembered::Memory;
use crate::sorted::Sorted;
use crate::time::LogTime;

/// A registered care-of address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CareOf {
    /// IPv6-in-IPv6.
    Ipv6(Ipv6Addr),
    /// IPv6 over IPv4 (RFC 5555).
    Ipv4 {
        /// Outer source address of the Binding Update that registered it.
        address: Ipv4Addr,
        /// UDP port towards which packets go.
        port: u16,
        /// The address that the mobile node named itself; differs behind a NAT.
        announced: Ipv4Addr,
        /// In UDP 4191; else by protocol 41, or 4 for IPv4 packets: never behind a NAT.
        udp: bool,
    },
}

impl CareOf {
    /// The care-of address itself.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        match self {
            Self::Ipv6(address) => IpAddr::V6(address),
            Self::Ipv4 { address, .. } => IpAddr::V4(address),
        }
    }

    /// The mobile node sits behind a NAT.
    #[must_use]
    pub fn is_behind_nat(self) -> bool {
        matches!(self, Self::Ipv4 { address, announced, .. } if address != announced)
    }
}

/// What only a home binding has (RFC 5648 §5.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeBinding {
    /// From the MH-LLA option: where home-link packets are delivered. May be empty.
    pub link_layer_address: Vec<u8>,
}

/// One binding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Where packets go.
    pub care_of: CareOf,
    /// BID-PRI.
    pub priority: BidPriority,
    /// Set for a home binding.
    pub home: Option<HomeBinding>,
    /// First moment at which it no longer holds.
    pub ends: LogTime,
    /// When signalling last confirmed it.
    pub verified: LogTime,
    /// When it was first registered.
    pub registered: LogTime,
    /// Nothing has shown yet that the mobile node is there (RFC 5648 §10): packets do not take it.
    pub unverified: bool,
}

/// By BID; `None` is the binding of plain RFC 6275.
pub type Bindings = Sorted<Option<Bid>, Binding>;

/// Everything that is known of one home address. Without bindings it is a tombstone, which keeps
/// the sequence number until `forget` (RFC 6275 §10.3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    /// Address that the mobile node registered with: the tunnel's other end.
    pub home_agent: Ipv6Addr,
    /// Last accepted sequence number: one for all BIDs (RFC 5648 §4.1).
    pub sequence: Sequence,
    /// By BID; `None` is the binding of plain RFC 6275, which never stands beside others.
    pub bindings: Bindings,
    /// The mobile node is a mobile router: its Binding Updates have the R flag (RFC 3963 §6.1).
    pub mobile_router: bool,
    /// Mobile network prefixes in force: every binding carries them (RFC 5648 §7).
    pub mobile_networks: BTreeSet<Ipv6Prefix>,
    /// IPv4 home address in force, or prefix of them (RFC 5555): every binding carries it.
    pub ipv4_home_address: Option<Ipv4Prefix>,
    /// Flow bindings by FID (RFC 6089).
    pub flows: BTreeMap<u16, FlowBinding>,
    /// L flag of the last accepted Binding Update: the link-local address is defended as well.
    pub link_local: bool,
    /// Duplicate Address Detection before the first binding; never beside a binding.
    pub probe: Option<Probe>,
    /// End of the tombstone.
    pub forget: Option<LogTime>,
    /// Log index of the last change.
    pub revision: u64,
    /// At most [`limits::REMEMBERED_PER_HOME_ADDRESS`], oldest first.
    pub remembered: Memory,
    /// What the mobile node is being told, while it has bindings: few at a time.
    pub notice: Option<Box<Notice>>,
    /// What it is told of its home prefix, while it is away.
    pub advertisement: Option<PrefixAdvertisement>,
    /// Care-of addresses that are tested, or were not long ago. Few home addresses have any.
    pub care_of_tests: Option<Box<CareOfTests>>,
}

impl Home {
    pub(crate) const fn new(home_agent: Ipv6Addr, sequence: Sequence) -> Self {
        Self {
            home_agent,
            sequence,
            bindings: Bindings::new(),
            mobile_router: false,
            mobile_networks: BTreeSet::new(),
            ipv4_home_address: None,
            flows: BTreeMap::new(),
            link_local: false,
            probe: None,
            forget: None,
            revision: 0,
            remembered: Memory::new(),
            notice: None,
            advertisement: None,
            care_of_tests: None,
        }
    }

    /// A binding is in force.
    pub(crate) fn is_bound(&self, now: LogTime) -> bool {
        self.bindings.values().any(|binding| binding.ends > now)
    }

    /// The binding without BID exists.
    #[must_use]
    pub fn has_regular_binding(&self) -> bool {
        self.bindings.contains_key(&None)
    }

    /// When something of this record ends next.
    #[must_use]
    pub fn deadline(&self) -> Option<LogTime> {
        let notice = self.notice.as_deref().map(Notice::deadline);
        let advertisement = self.advertisement.and_then(|advertisement| advertisement.next);
        let ends = self.bindings.values().map(|binding| binding.ends);
        let tests = self.care_of_tests_deadline();
        // The last test that is forgotten takes the tombstone with it.
        let forget = self.forget.filter(|_| tests.is_none());
        ends.chain(forget).chain(notice).chain(advertisement).chain(tests).min()
    }

    /// Drops what has ended by `now`; true when a binding went.
    pub(crate) fn expire(&mut self, now: LogTime) -> bool {
        let before = self.bindings.len();
        self.bindings.retain(|_, binding| binding.ends > now);
        let went = self.bindings.len() != before;
        if went && self.bindings.is_empty() {
            self.bury(now);
        }
        went
    }

    /// Starts the tombstone: no bindings are left, the sequence number is kept for a while.
    pub(crate) fn bury(&mut self, now: LogTime) {
        self.bindings.clear();
        self.mobile_router = false;
        self.mobile_networks.clear();
        self.ipv4_home_address = None;
        self.flows.clear();
        self.notice = None;
        self.advertisement = None;
        self.link_local = false;
        self.probe = None;
        self.forget = Some(now.after(limits::MAX_DELETE_BCE_TIMEOUT));
    }

    /// Nothing is left that anybody could ask for.
    pub(crate) fn is_forgotten(&self, now: LogTime) -> bool {
        self.bindings.is_empty()
            && self.care_of_tests.is_none()
            && self.forget.is_none_or(|at| at <= now)
    }
}
