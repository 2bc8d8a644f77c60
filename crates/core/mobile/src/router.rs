//! The mobile router (RFC 3963 §5): what it asks for, and whether the home agent serves it.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_wire::{BaFlags, BindingAcknowledgement};

use crate::compose::Draft;
use crate::event::Event;
use crate::exchange::SentUpdate;
use crate::node::MobileNode;
use crate::reaction::AskedRouter;
use crate::settings::{MobileRouter, NetworkPrefix};

/// How the node stands as a router.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RouterState {
    /// Registers as a host from now on: the home agent does not serve routers (140).
    pub(crate) as_host: bool,
    /// Names its prefixes although it was told not to: the home agent does not know them (143).
    pub(crate) names_prefixes: bool,
    /// The last acknowledgement had the R flag, so packets of the prefixes may go through the
    /// tunnel.
    pub(crate) served: bool,
}

impl MobileNode {
    /// The role that the next update asks for.
    pub(crate) fn router(&self) -> Option<&MobileRouter> {
        self.settings.mobile_router.as_ref().filter(|_| !self.router.as_host)
    }

    /// True when updates name the prefixes (explicit mode).
    pub(crate) fn names_prefixes(&self) -> bool {
        self.router().is_some_and(|router| {
            !router.prefixes.is_empty() && (router.explicit || self.router.names_prefixes)
        })
    }

    /// The prefixes for an update.
    pub(crate) fn named_prefixes(&self, registers: bool) -> Vec<NetworkPrefix> {
        let router = self.router().filter(|_| registers && self.names_prefixes());
        router.map_or_else(Vec::new, |router| router.prefixes.clone())
    }

    /// How this update asks.
    pub(crate) fn asked_router(&self, draft: &Draft) -> Option<AskedRouter> {
        self.router().map(|router| AskedRouter {
            explicit: !draft.prefixes.is_empty(),
            has_prefixes: !router.prefixes.is_empty(),
            host_when_refused: router.host_when_refused,
        })
    }

    /// The home agent carries packets of the mobile network.
    #[must_use]
    pub const fn is_served_as_router(&self) -> bool {
        self.router.served
    }

    /// RFC 3963 §5.3: an acceptance without the R flag comes from a home agent that does not know
    /// mobile routers. The binding of the home address stands; the prefixes have no way.
    pub(crate) fn note_router(&mut self, update: &SentUpdate, ba: &BindingAcknowledgement<'_>) {
        if ba.status.is_accepted() && !update.lifetime.is_deregistration() {
            self.router_served(
                update.router.is_some() && ba.flags.contains(BaFlags::MOBILE_ROUTER),
            );
            if update.router.is_some() && !self.router.served {
                self.event(Event::NotServedAsRouter);
            }
        }
    }

    pub(crate) fn router_served(&mut self, served: bool) {
        if self.router.served != served {
            self.router.served = served;
            self.event(Event::Router { served });
        }
    }

    /// True for addresses behind the node, when the home agent carries their packets.
    pub(crate) fn is_behind(&self, address: Ipv6Addr) -> bool {
        let router = self.settings.mobile_router.as_ref().filter(|_| self.router.served);
        router.is_some_and(|router| router.prefixes.iter().any(|p| p.contains(address)))
    }
}
