//! What an authentic Binding Update does to the bindings of its home address: RFC 6275 §9.5.1 to
//! §9.5.3, RFC 5648 §6.2.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{
    Bid, BidCareOf, BidOption, BidPriority, BuFlags, Lifetime, Sequence, Status,
    is_unicast_routable_v6,
};

use crate::cache::{Binding, Home, NoncePair};
use crate::event::EndReason;
use crate::limits::SPENT_PAIRS_MAX;
use crate::time::Millis;

/// A Binding Update whose authenticator was made with both tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The address of this node that it was sent to.
    pub correspondent: Ipv6Addr,
    /// Sequence number.
    pub sequence: Sequence,
    /// Lifetime asked for.
    pub lifetime: Lifetime,
    /// Flags.
    pub flags: BuFlags,
    /// The readable BID options in their order.
    pub bids: Vec<BidOption>,
    /// There is one that cannot be read.
    pub has_malformed_bid: bool,
    /// Alternate Care-of Address option, else the source.
    pub care_of: Ipv6Addr,
    /// The address that the authenticator covers.
    pub proven: Ipv6Addr,
    /// Nonce indices: home, care-of.
    pub nonces: NoncePair,
    /// The first moment at which a replay is refused for its nonces.
    pub nonces_end: Millis,
}

impl Request {
    const fn deletes(&self) -> bool {
        self.lifetime.is_deregistration()
    }

    /// RFC 5648 §4.2: only together with a BID option, and P gives the bit another meaning.
    fn overwrites(&self) -> bool {
        self.flags.contains(BuFlags::OVERWRITE) && !self.flags.contains(BuFlags::PROXY)
    }

    /// The BID option of an update that may have one.
    fn single_option(&self, allowance: &Allowance) -> Result<Option<&BidOption>, Status> {
        let has_bids = self.has_malformed_bid || !self.bids.is_empty();
        if has_bids && !allowance.multiple_care_of_allowed {
            return Err(Status::MCOA_PROHIBITED);
        }
        if self.has_malformed_bid {
            return Err(Status::MCOA_MALFORMED);
        }
        if self.bids.len() > 1 {
            return Err(Status::MCOA_BULK_REGISTRATION_PROHIBITED);
        }
        let first = self.bids.first();
        let is_wrong = first.is_some_and(|option| {
            option.bid == Bid::RESERVED
                || match option.care_of {
                    BidCareOf::Absent => false,
                    BidCareOf::V4(_) => true,
                    BidCareOf::V6(address) => !is_unicast_routable_v6(address),
                }
        });
        if is_wrong { Err(Status::MCOA_MALFORMED) } else { Ok(first) }
    }
}

/// What a node allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Longest lifetime granted.
    pub lifetime_max: Lifetime,
    /// Bindings of one home address, at most [`SPENT_PAIRS_MAX`]; one more gets status 130.
    pub bindings_per_home_address_max: usize,
    /// RFC 5648; else status 166.
    pub multiple_care_of_allowed: bool,
    /// There is room for a home address that is not known yet; else status 130.
    pub has_room: bool,
}

/// What an accepted update does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// A binding is there, new or again.
    Store {
        /// Which one; `None` is that of plain RFC 6275.
        bid: Option<Bid>,
        /// Where packets go.
        care_of: Ipv6Addr,
        /// BID-PRI.
        priority: BidPriority,
        /// Granted.
        lifetime: Lifetime,
        /// All others go.
        replaces_all: bool,
    },
    /// One goes.
    Delete(Bid),
    /// All go.
    DeleteAll,
}

impl Ruling {
    /// The lifetime for the Binding Acknowledgement.
    #[must_use]
    pub const fn lifetime(&self) -> Lifetime {
        match self {
            Self::Store { lifetime, .. } => *lifetime,
            Self::Delete(_) | Self::DeleteAll => Lifetime::DEREGISTER,
        }
    }
}

/// Decides about an update with a sequence number that is new: RFC 5648 §6.2, in its order, then RFC
/// 6275 §9.5.2 or §9.5.3.
///
/// # Errors
/// The status that it is refused with.
pub fn rule(
    now: Millis,
    request: &Request,
    home: Option<&Home>,
    allowance: &Allowance,
) -> Result<Ruling, Status> {
    if request.flags.contains(BuFlags::PROXY) {
        return Err(Status::PROXY_REGISTRATION_NOT_ENABLED);
    }
    // RFC 3963 §6.2: a mobile router registers with home agents only.
    if request.flags.contains(BuFlags::MOBILE_ROUTER) {
        return Err(Status::MOBILE_ROUTER_NOT_PERMITTED);
    }
    // The H flag of the option means nothing here (RFC 5648 §6.2).
    let option = request.single_option(allowance)?;
    let bid = option.map(|option| option.bid);
    let stored = home.and_then(|home| home.bindings.get(&bid));
    if request.deletes() {
        return match bid {
            Some(bid) if stored.is_some() => Ok(Ruling::Delete(bid)),
            Some(_) => Err(Status::NOT_HOME_AGENT),
            None => Ok(Ruling::DeleteAll),
        };
    }
    let care_of = match option.map(|option| option.care_of) {
        None => request.care_of,
        Some(BidCareOf::V6(address)) => address,
        // What is stored was proven once: it is refreshed by who proves it again.
        Some(_) => stored
            .map(|stored| stored.care_of)
            .filter(|care_of| *care_of == request.proven)
            .ok_or(Status::MCOA_UNKNOWN_COA)?,
    };
    // What is sent there would come back.
    if care_of == request.correspondent {
        return Err(Status::INVALID_CARE_OF_ADDRESS);
    }
    let replaces_all = bid.is_none() || request.overwrites();
    if let Some(home) = home {
        if !replaces_all && home.bindings.contains_key(&None) {
            return Err(Status::MCOA_NON_MCOA_BINDING_EXISTS);
        }
        if home.is_spent(now, request.nonces, care_of) {
            return Err(Status::EXPIRED_NONCES);
        }
    }
    check_room(now, home, bid, replaces_all, allowance)?;
    let lifetime = request.lifetime.min(allowance.lifetime_max);
    let priority = option.map_or(BidPriority::UNSET, |option| option.priority);
    Ok(Ruling::Store { bid, care_of, priority, lifetime, replaces_all })
}

/// RFC 6275 §9.5.2: a new binding may be refused for want of room.
fn check_room(
    now: Millis,
    home: Option<&Home>,
    bid: Option<Bid>,
    replaces_all: bool,
    allowance: &Allowance,
) -> Result<(), Status> {
    let has_room = match home {
        None => allowance.has_room,
        Some(home) => {
            let stays = home.bindings.keys().filter(|other| !replaces_all && **other != bid);
            let others = stays.count();
            let spent = home.spent.iter().filter(|spent| spent.until > now).count();
            others < allowance.bindings_per_home_address_max
                && others.saturating_add(spent) < SPENT_PAIRS_MAX
        }
    };
    if has_room { Ok(()) } else { Err(Status::INSUFFICIENT_RESOURCES) }
}

/// Changes the bindings, and says which are gone.
pub fn carry_out(
    home: &mut Home,
    now: Millis,
    ruling: &Ruling,
    request: &Request,
) -> Vec<(Option<Bid>, EndReason)> {
    let before: Vec<Option<Bid>> = home.bindings.keys().copied().collect();
    let (ended, reason): (Vec<Option<Bid>>, EndReason) = match ruling {
        Ruling::Store { bid, care_of, priority, lifetime, replaces_all } => {
            let others = before.into_iter().filter(|other| *replaces_all && other != bid);
            let ended: Vec<Option<Bid>> = others.collect();
            for other in &ended {
                home.bindings.remove(other);
            }
            let (nonces, end) = (request.nonces, request.nonces_end);
            let binding = Binding::new(now, *care_of, *priority, *lifetime, nonces, end);
            home.bindings.insert(*bid, binding);
            (ended, EndReason::Replaced)
        }
        Ruling::Delete(bid) => {
            home.delete(now, Some(*bid));
            (Vec::from([Some(*bid)]), EndReason::Deleted)
        }
        Ruling::DeleteAll => {
            for bid in &before {
                home.delete(now, *bid);
            }
            (before, EndReason::Deleted)
        }
    };
    ended.into_iter().map(|bid| (bid, reason)).collect()
}
