use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use homeport_binding::{
    Answer, Authentication, BidRequest, Command, FlowRequest, Ipv4HomeAddressRequest, Key,
    MobileNetworkRequest, NatDetection, Outcome, Policy, Registration, RequestId, SelectorRequest,
    Verdict, WireSource, limits,
};
use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BindingUpdate, BuFlags, FlowIdentification, Lifetime,
    Message, MobilityOption, Status, Walk,
};

use crate::acknowledge;
use crate::authenticate::{Presented, mapped, mn_ha_authenticator, verify};
use crate::choices;
use crate::drop_reason::DropReason;
use crate::esp::Receipt;
use crate::receive::{Reply, UdpOuter};

/// MN-HA subtype of the authentication option (RFC 4285 §5.1).
pub(crate) const MN_HA: u8 = 1;
/// NAI subtype of the Mobile Node Identifier option (RFC 4283 §3.1).
pub(crate) const NAI: u8 = 1;

/// A Binding Update that is well formed.
#[derive(Debug)]
pub struct Update {
    pub(crate) home_address: Ipv6Addr,
    pub(crate) home_agent: Ipv6Addr,
    /// IPv6 source on the wire.
    pub(crate) source: Ipv6Addr,
    /// The home address stands in a Home Address option.
    pub(crate) has_home_address_option: bool,
    pub(crate) outer: Option<UdpOuter>,
    pub(crate) message: BindingUpdate<'static>,
    /// The Mobility Header as received: the authenticator covers its octets.
    octets: Vec<u8>,
    /// It came in ESP, and was authentic.
    pub(crate) receipt: Option<Receipt>,
}

/// What authentication gave.
#[derive(Debug)]
pub enum Judged {
    /// To the store.
    Propose(Box<Proposal>),
    /// Refused; nothing is asked of the store.
    Answer(Reply),
    /// No answer.
    Drop(DropReason),
}

/// An authentic Binding Update on its way to the store.
#[derive(Debug)]
pub struct Proposal {
    update: Update,
    policy_revisions: (u64, u64),
    pub(crate) association: Option<Association>,
}

/// With what the answer is authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Association {
    pub(crate) spi: u32,
    pub(crate) key: Key,
    /// The care-of address that the authenticator covers.
    pub(crate) care_of: Ipv6Addr,
}

impl Association {
    /// Fills in the authenticator that the message has reserved.
    pub(crate) fn seal(&self, message: Message<'_>, home_address: Ipv6Addr) -> Message<'static> {
        let octets = message.emit_unchecked();
        let authenticator = mn_ha_authenticator(&self.key, self.care_of, home_address, &octets);
        message.with_authenticator(&authenticator)
    }
}

/// What the verdict asks for.
#[derive(Debug)]
pub enum Concluded {
    /// To send, once the forwarder's table has reached this revision.
    Reply(Reply, u64),
    /// No answer.
    Drop(DropReason),
    /// The policy has changed: look it up and judge again.
    CheckAgain(Update),
}

impl Update {
    pub(crate) fn new(
        walk: &Walk<'_>,
        message: BindingUpdate<'_>,
        outer: Option<UdpOuter>,
    ) -> Self {
        let BindingUpdate { sequence, flags, lifetime, options } = message;
        let options = options.into_owned();
        Self {
            home_address: walk.pseudo_source(),
            home_agent: walk.header.destination,
            source: walk.header.source,
            has_home_address_option: walk.home_address.is_some(),
            outer,
            message: BindingUpdate { sequence, flags, lifetime, options },
            octets: Vec::from(walk.payload),
            receipt: None,
        }
    }

    /// Whose policy decides.
    #[must_use]
    pub const fn home_address(&self) -> Ipv6Addr {
        self.home_address
    }

    /// To whom it was sent.
    #[must_use]
    pub const fn home_agent(&self) -> Ipv6Addr {
        self.home_agent
    }

    /// How it came in ESP: its answer goes back in ESP.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// Steps 7 and 8 of the pipeline: the rest needs state.
    #[must_use]
    pub fn judge(self, policy: &Policy) -> Judged {
        let Some(prefix) = policy.home_prefix.as_ref() else {
            return Judged::Drop(DropReason::HomeAgentNotServed);
        };
        let authenticated = match prefix.record.authentication {
            Authentication::None => Ok(None),
            Authentication::MnHa => self.authenticate(policy).map(Some),
            Authentication::Ipsec if self.receipt.is_some() => Ok(None),
            Authentication::Ipsec => Err(Unauthentic::Drop(DropReason::EspRequired)),
        };
        let association = match authenticated {
            Ok(association) => association,
            Err(Unauthentic::Drop(reason)) => return Judged::Drop(reason),
            Err(Unauthentic::Refuse(status, association)) => {
                let association = Some(&association);
                return Judged::Answer(acknowledge::refusal(&self, association, status, policy));
            }
        };
        if self.message.flags.contains(BuFlags::PROXY) {
            let status = Status::PROXY_REGISTRATION_NOT_ENABLED;
            let reply = acknowledge::refusal(&self, association.as_ref(), status, policy);
            return Judged::Answer(reply);
        }
        let policy_revisions = policy.revisions();
        Judged::Propose(Box::new(Proposal { update: self, policy_revisions, association }))
    }

    /// RFC 4285 §5: the MN-HA option, the identity and the presence of MESG-ID.
    fn authenticate(&self, policy: &Policy) -> Result<Association, Unauthentic> {
        let subscriber = policy.subscriber.as_ref().map(|subscriber| &subscriber.record);
        let Presented { spi, key } =
            Presented::find(&self.message.options, subscriber).map_err(Unauthentic::Drop)?;
        let verified = verify(&key, self.wire_addresses(), self.home_address, &self.octets);
        let care_of = verified.unwrap_or_else(|| self.wire_address());
        let association = Association { spi, key, care_of };
        if verified.is_none() {
            return Err(Unauthentic::Refuse(Status::AUTH_FAIL, association));
        }
        let is_required = subscriber.is_some_and(|subscriber| subscriber.message_id_required);
        if is_required && self.message_id().is_none() {
            return Err(Unauthentic::Refuse(Status::MESG_ID_REQUIRED, association));
        }
        Ok(association)
    }

    /// The mobile node's address on the wire, which the authenticator covers. Over UDP that is the
    /// announced IPv4 care-of address; a Binding Update that announces none is taken to come from
    /// its outer source.
    fn wire_addresses(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        let over_udp = self.outer.is_some();
        let announced = self.announced().filter(move |_| over_udp).map(mapped);
        core::iter::once(self.wire_address()).chain(announced)
    }

    /// IPv4 care-of addresses that the mobile node names.
    fn announced(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.message.options.iter().filter_map(|option| match option {
            MobilityOption::BindingIdentifier(BidOption {
                care_of: BidCareOf::V4(address),
                ..
            })
            | MobilityOption::Ipv4CareOf(address) => Some(address),
            _ => None,
        })
    }

    fn wire_address(&self) -> Ipv6Addr {
        self.outer.map_or(self.source, |outer| mapped(outer.peer.0))
    }

    pub(crate) fn message_id(&self) -> Option<u64> {
        self.message.options.iter().find_map(|option| match option {
            MobilityOption::MessageId { timestamp } => Some(timestamp),
            _ => None,
        })
    }

    /// The IPv4 Home Address option: the first, should there be several.
    pub(crate) fn ipv4_home_address(&self) -> Option<Ipv4HomeAddressRequest> {
        self.message.options.iter().find_map(|option| match option {
            MobilityOption::Ipv4HomeAddress { prefix_len, prefix_wanted, address } => {
                Some(Ipv4HomeAddressRequest { address, prefix_len, prefix_wanted })
            }
            _ => None,
        })
    }

    /// The Flow Identification options in their order.
    pub(crate) fn flows(&self) -> impl Iterator<Item = FlowIdentification<'_>> + '_ {
        self.message.options.iter().filter_map(|option| match option {
            MobilityOption::FlowIdentification(flow) => Some(flow),
            _ => None,
        })
    }

    /// RFC 6275 §10.3.1 wants a Home Address option, except over UDP and of whom is at home.
    fn lacks_home_address_option(&self) -> bool {
        let has_one = self.has_home_address_option || self.outer.is_some();
        let is_registration = self.message.flags.contains(BuFlags::HOME_REGISTRATION)
            && !self.message.lifetime.is_deregistration();
        if has_one || !is_registration {
            return false;
        }
        let has_home_bid = self.bids().any(|option| option.home && !option.malformed);
        if has_home_bid && !choices::HOME_BINDING_NEEDS_HOME_ADDRESS_OPTION {
            return false;
        }
        // RFC 3963 §6.2: a mobile router whose care-of address is its home address is at home.
        let is_router = self.message.flags.contains(BuFlags::MOBILE_ROUTER);
        let is_elsewhere = self.message.options.iter().any(|option| {
            matches!(option, MobilityOption::AlternateCareOf(it) if it != self.home_address)
        });
        !is_router || self.bids().next().is_some() || is_elsewhere
    }

    /// Octets of the Mobility Header, and options in it.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.octets.len(), self.message.options.iter().count())
    }

    /// The BID options in their order, the unreadable ones too.
    pub(crate) fn bids(&self) -> impl Iterator<Item = BidRequest> + '_ {
        self.message.options.iter().filter_map(|option| match option {
            MobilityOption::BindingIdentifier(option) => Some(BidRequest {
                bid: Some(option.bid),
                home: option.home,
                priority: option.priority,
                care_of: option.care_of,
                malformed: false,
            }),
            MobilityOption::Malformed { kind, data }
                if kind == homeport_wire::options::kind::BINDING_IDENTIFIER =>
            {
                Some(malformed_bid(data))
            }
            _ => None,
        })
    }
}

/// What can be read of a BID option with an impossible length: the answer names it all the same.
fn malformed_bid(data: &[u8]) -> BidRequest {
    let (home, priority) = match data.get(3) {
        Some(octet) => (octet & 0x80 != 0, BidPriority::new(*octet)),
        None => (false, BidPriority::UNSET),
    };
    BidRequest {
        bid: data.first_chunk::<2>().map(|bid| Bid(u16::from_be_bytes(*bid))),
        home,
        priority,
        care_of: BidCareOf::Absent,
        malformed: true,
    }
}

fn flow_request(flow: FlowIdentification<'_>) -> FlowRequest {
    FlowRequest {
        fid: flow.fid,
        priority: flow.priority,
        malformed: !flow.is_well_formed(),
        bids: flow.bids().collect(),
        selector: flow.traffic_selector().map(|selector| SelectorRequest {
            format: selector.format,
            octets: Vec::from(selector.octets),
        }),
    }
}

enum Unauthentic {
    Drop(DropReason),
    Refuse(Status, Association),
}

impl Proposal {
    /// How it came in ESP: its answer goes back in ESP.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        self.update.receipt.as_ref()
    }

    /// The command for the store. The same `request_id` must be used when it is sent again.
    #[must_use]
    pub fn command(&self, request_id: RequestId) -> Command {
        let command = Command::Register(self.registration(request_id));
        match &self.update.receipt {
            Some(receipt) => receipt.command(Some(command)),
            None => command,
        }
    }

    /// What is asked of the store. The same `request_id` must be used when it is sent again.
    #[must_use]
    pub fn registration(&self, request_id: RequestId) -> Registration {
        let update = &self.update;
        let mut registration = Registration {
            request_id,
            home_address: update.home_address,
            home_agent: update.home_agent,
            source: match update.outer {
                Some(UdpOuter { peer: (address, port), .. }) => WireSource::Udp(address, port),
                None => WireSource::Ipv6(update.source),
            },
            sequence: update.message.sequence,
            lifetime: update.message.lifetime,
            flags: update.message.flags,
            alternate_care_of: None,
            ipv4_care_of: None,
            bids: update.bids().collect(),
            link_layer_address: Vec::new(),
            message_id: update.message_id(),
            policy_revisions: self.policy_revisions,
            mobile_networks: Vec::new(),
            ipv4_home_address: None,
            flows: update.flows().map(flow_request).collect(),
            flow_summary: Vec::new(),
            home_address_option_missing: update.lacks_home_address_option(),
        };
        for option in update.message.options.iter() {
            match option {
                MobilityOption::AlternateCareOf(address) => {
                    registration.alternate_care_of = Some(address);
                }
                MobilityOption::Ipv4CareOf(address) => registration.ipv4_care_of = Some(address),
                MobilityOption::LinkLayerAddress { address, .. }
                    if address.len() <= limits::LINK_LAYER_ADDRESS_LEN_MAX =>
                {
                    registration.link_layer_address = Vec::from(address);
                }
                MobilityOption::MobileNetworkPrefix { length, prefix } => {
                    let request = MobileNetworkRequest { prefix, prefix_len: length };
                    registration.mobile_networks.push(request);
                }
                MobilityOption::FlowSummary(fids) => registration.flow_summary.extend(fids.iter()),
                _ => {}
            }
        }
        registration.ipv4_home_address = update.ipv4_home_address();
        registration
    }

    pub(crate) const fn update(&self) -> &Update {
        &self.update
    }

    /// Makes the answer from the verdict, where no IKE endpoint follows the mobile node.
    #[must_use]
    pub fn conclude(self, verdict: &Verdict) -> Concluded {
        self.conclude_with(verdict, false)
    }

    /// Makes the answer from the verdict. `endpoint_moved`: the IKE endpoint is where
    /// [`Self::endpoint_change`] wanted it, and it is confirmed.
    #[must_use]
    pub fn conclude_with(self, verdict: &Verdict, endpoint_moved: bool) -> Concluded {
        match &verdict.outcome {
            Outcome::Answer(answer) => {
                let association = self.association.as_ref();
                let reply = acknowledge::answer(&self.update, association, answer, endpoint_moved);
                Concluded::Reply(reply, verdict.revision)
            }
            Outcome::Silent(silence) => Concluded::Drop(DropReason::Store(*silence)),
            // Who waits for Duplicate Address Detection sends the command again instead. A registration
            // never gets another command's outcome; if it did, checking again is safe.
            Outcome::StalePolicy | Outcome::Pending | Outcome::Done | Outcome::Refused(_) => {
                Concluded::CheckAgain(self.update)
            }
        }
    }
}

/// A refusal that needs no state.
pub(crate) fn refused(update: &Update, status: Status, policy: &Policy) -> Answer {
    let prefix = policy.home_prefix.as_ref().map(|prefix| &prefix.record);
    let forced = prefix.is_some_and(|prefix| prefix.force_udp_encapsulation);
    let keepalive = prefix.map_or(limits::NAT_KEEPALIVE_SECS, |prefix| prefix.nat_keepalive_secs);
    let nat_detection = update.outer.map(|outer| {
        NatDetection::observed(outer.peer.0, update.announced().next(), forced, keepalive)
    });
    Answer {
        status,
        bid_statuses: Vec::new(),
        lifetime: Lifetime::DEREGISTER,
        sequence: update.message.sequence,
        nat_detection,
        ntp_secs: None,
        mobile_router: false,
        ipv4_address: None,
        flow_statuses: Vec::new(),
        flows_not_found: Vec::new(),
    }
}
