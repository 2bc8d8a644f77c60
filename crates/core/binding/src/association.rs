//! Security associations that protect signalling (RFC 4877 §3, RFC 3776 §3): the records, and of each the
//! anti-replay window and the last number that was sent. Both are decided here, in the log, so that any
//! front-end can take any packet and no number is ever used twice.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use homeport_esp::{KeyError, Keys, Suite, WINDOW_SIZE_MAX, Window};

use crate::cache::BindingCache;
use crate::command::Command;
use crate::limits;
use crate::record::{Authentication, Revised};
use crate::verdict::{EspNumber, Outcome, Refusal, RefusalKind, Silence, Verdict};

/// RFC 4303 §2.1: parameter indexes below are reserved.
const SPI_MIN: u32 = 256;

/// What a security association protects between mobile node and home agent: its selector (RFC 4877 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protects {
    /// Mobility Headers of all types.
    Mobility,
    /// Prefix discovery: ICMPv6.
    PrefixDiscovery,
    /// Both.
    Signalling,
}

impl Protects {
    /// The other one's packets are among its own.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self == other || self == Self::Signalling
    }
}

/// Who made the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// An operator.
    Static,
    /// IKEv2: the agent of this name, beside whose IKE daemon they were negotiated.
    Ike {
        /// The agent's name.
        agent: String,
        /// `host:port` at which front-ends reach it.
        address: String,
        /// The `reqid` by which the IKE daemon knows the associations of this mobile node.
        request_id: u32,
    },
}

/// A pair of security associations for ESP in transport mode, one for each direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityAssociation {
    /// Its selector: nobody else's packets are believed under it.
    pub home_address: Ipv6Addr,
    /// Its selector.
    pub protects: Protects,
    /// Encryption and integrity.
    pub suite: Suite,
    /// Sequence numbers have 64 bits (RFC 4303 §2.2.1).
    pub extended_sequence_numbers: bool,
    /// Packets that may come behind the newest, 0 to 1024; 0 takes replays, which the sequence number of the
    /// Binding Update still refuses.
    pub replay_window: u32,
    /// SPI of what the mobile node sends. Names the pair among those of the home address.
    pub inbound_spi: u32,
    /// Keys of what the mobile node sends.
    pub inbound: Keys,
    /// SPI of what the home agent sends.
    pub outbound_spi: u32,
    /// Keys of what the home agent sends.
    pub outbound: Keys,
    /// Who made the keys.
    pub origin: Origin,
}

impl SecurityAssociation {
    /// Whether the keys fit the suite. The cache does not look at them.
    ///
    /// # Errors
    /// With the field, and what would do.
    pub fn check_keys(&self) -> Result<(), (&'static str, KeyError)> {
        let field = |direction: [&'static str; 2]| {
            move |error| match error {
                KeyError::Encryption { .. } => (direction[0], error),
                KeyError::Authentication { .. } => (direction[1], error),
            }
        };
        let inbound = field(["inbound.encryption_key", "inbound.authentication_key"]);
        let outbound = field(["outbound.encryption_key", "outbound.authentication_key"]);
        self.suite.check(&self.inbound).map_err(inbound)?;
        self.suite.check(&self.outbound).map_err(outbound)
    }
}

/// A pair with what the log has decided of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Association {
    /// The record.
    pub revised: Revised<SecurityAssociation>,
    /// Numbers that have come.
    pub window: Window,
    /// Last number that was given out; 0 for none.
    pub sent: u64,
}

impl Association {
    fn new(revised: Revised<SecurityAssociation>) -> Self {
        let window = Window::new(revised.record.replay_window);
        Self { revised, window, sent: 0 }
    }

    /// The next number, `None` when all are used: never wraps (RFC 4303 §3.3.3).
    fn take_number(&mut self) -> Option<EspNumber> {
        let record = &self.revised.record;
        let max = if record.extended_sequence_numbers { u64::MAX } else { u32::MAX.into() };
        if self.sent >= max {
            return None;
        }
        self.sent = self.sent.saturating_add(1);
        Some(EspNumber { inbound_spi: record.inbound_spi, sequence: self.sent })
    }
}

/// An authentic packet under a security association: what it asks for, and a number for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protected {
    /// The association's.
    pub home_address: Ipv6Addr,
    /// Names the association.
    pub inbound_spi: u32,
    /// Revision of the association that it was checked against.
    pub association_revision: u64,
    /// Sequence number, all bits of it.
    pub sequence: u64,
    /// What the answer is.
    pub protects: Protects,
    /// What the packet asks for: a Binding Update, an answer to a notice. `None` where it is answered without
    /// the store.
    pub command: Option<Box<Command>>,
}

impl BindingCache {
    pub(crate) fn check_put_association(
        &self,
        record: &SecurityAssociation,
        must_not_exist: bool,
    ) -> Result<(), Refusal> {
        let home_address = record.home_address;
        if self.subscriber(home_address).is_none() {
            let message = format!("there is no subscriber with {home_address}: create it first");
            return refusal(RefusalKind::Invalid, "home_address", message);
        }
        for (field, spi) in
            [("inbound.spi", record.inbound_spi), ("outbound.spi", record.outbound_spi)]
        {
            if spi < SPI_MIN {
                let message = format!("must be at least {SPI_MIN}: RFC 4303 reserves those below");
                return refusal(RefusalKind::Invalid, field, message);
            }
        }
        if record.origin == Origin::Static && record.suite.has_counter_iv() {
            let message = format!(
                "{} takes keys of IKEv2 alone: where they are set by hand a peer that starts anew would use an \
                 IV twice",
                record.suite.name()
            );
            return refusal(RefusalKind::Invalid, "suite", message);
        }
        if record.replay_window > WINDOW_SIZE_MAX {
            let message = format!("{}; at most {WINDOW_SIZE_MAX}", record.replay_window);
            return refusal(RefusalKind::Invalid, "replay_window", message);
        }
        if let Origin::Ike { agent, address, .. } = &record.origin {
            for (field, text) in [("ike.agent", agent), ("ike.address", address)] {
                if text.is_empty() || text.len() > limits::IKE_AGENT_LEN_MAX {
                    let message = format!("1 to {} octets", limits::IKE_AGENT_LEN_MAX);
                    return refusal(RefusalKind::Invalid, field, message);
                }
            }
        }
        let known = self.associations(home_address);
        let exists = known.iter().any(|it| it.revised.record.inbound_spi == record.inbound_spi);
        if exists && must_not_exist {
            let message = format!(
                "an association of {home_address} with SPI {} exists already",
                record.inbound_spi
            );
            return refusal(RefusalKind::Exists, "inbound.spi", message);
        }
        if !exists && known.len() >= limits::ASSOCIATIONS_PER_HOME_ADDRESS_MAX {
            let limit = limits::ASSOCIATIONS_PER_HOME_ADDRESS_MAX;
            let message = format!("{home_address} has {limit} associations, the limit");
            return refusal(RefusalKind::Full, "home_address", message);
        }
        Ok(())
    }

    /// The same record again changes nothing, so that no number comes twice; other keys begin anew.
    pub(crate) fn put_association(
        &mut self,
        record: SecurityAssociation,
        must_not_exist: bool,
    ) -> Outcome {
        if let Err(refusal) = self.check_put_association(&record, must_not_exist) {
            return Outcome::Refused(refusal);
        }
        let (home_address, spi) = (record.home_address, record.inbound_spi);
        let mut known = self.associations.remove(&home_address).unwrap_or_default();
        let old = known.iter().position(|it| it.revised.record.inbound_spi == spi);
        let mut new = Association::new(Revised { record, revision: self.revision });
        if let Some(old) = old.map(|place| known.remove(place)) {
            let (was, is) = (&old.revised.record, &new.revised.record);
            if was.outbound == is.outbound && was.suite == is.suite {
                new.sent = old.sent;
            }
            if was.inbound == is.inbound && was.replay_window == is.replay_window {
                new.window = old.window;
            }
            if was == is {
                new.revised.revision = old.revised.revision;
            }
        }
        known.push(new);
        self.associations.insert(home_address, known);
        Outcome::Done
    }

    pub(crate) fn check_delete_association(
        &self,
        home_address: Ipv6Addr,
        inbound_spi: u32,
    ) -> Result<(), Refusal> {
        let known = self.associations(home_address);
        if known.iter().any(|it| it.revised.record.inbound_spi == inbound_spi) {
            return Ok(());
        }
        let message = format!("{home_address} has no association with SPI {inbound_spi}");
        refusal(RefusalKind::NotFound, "inbound.spi", message)
    }

    pub(crate) fn delete_association(
        &mut self,
        home_address: Ipv6Addr,
        inbound_spi: u32,
    ) -> Outcome {
        if let Err(refusal) = self.check_delete_association(home_address, inbound_spi) {
            return Outcome::Refused(refusal);
        }
        let mut known = self.associations.remove(&home_address).unwrap_or_default();
        known.retain(|it| it.revised.record.inbound_spi != inbound_spi);
        if !known.is_empty() {
            self.associations.insert(home_address, known);
        }
        Outcome::Done
    }

    /// False when it is there already.
    pub(crate) fn restore_association(&mut self, association: Association) -> bool {
        let record = &association.revised.record;
        let (home_address, spi) = (record.home_address, record.inbound_spi);
        let mut known = self.associations.remove(&home_address).unwrap_or_default();
        let fresh = known.iter().all(|it| it.revised.record.inbound_spi != spi);
        known.push(association);
        self.associations.insert(home_address, known);
        fresh
    }

    /// Those of a home address; the newest is the last.
    #[must_use]
    pub fn associations(&self, home_address: Ipv6Addr) -> &[Association] {
        self.associations.get(&home_address).map_or(&[], Vec::as_slice)
    }

    /// Associations by home address in order, those after `after` only.
    pub fn associations_after(
        &self,
        after: Option<Ipv6Addr>,
    ) -> impl Iterator<Item = (Ipv6Addr, &[Association])> {
        let rest = self.associations.from(crate::cache::start_after(after));
        rest.map(|(home_address, all)| (home_address, all.as_slice()))
    }

    /// The newest association that protects this gives the next number.
    fn take_number(&mut self, home_address: Ipv6Addr, protects: Protects) -> Option<EspNumber> {
        let known = self.associations.get_mut(&home_address)?;
        let newest =
            known.iter_mut().rev().find(|it| it.revised.record.protects.covers(protects))?;
        newest.take_number()
    }

    /// Numbers for what the home agent says of its own accord, from this place of the list on.
    pub(crate) fn number_notices(&mut self, from: usize) {
        let mut notices = core::mem::take(&mut self.notices);
        for dispatch in notices.iter_mut().skip(from) {
            let serving = self.serving_prefix(dispatch.home_address);
            if serving.is_some_and(|it| it.record.authentication == Authentication::Ipsec) {
                let protects = dispatch.message.protected_by();
                let (home_address, cache) = (dispatch.home_address, &mut *self);
                dispatch.esp = protects.and_then(|it| cache.take_number(home_address, it));
            }
        }
        self.notices = notices;
    }

    pub(crate) fn protected(&mut self, protected: Protected) -> Verdict {
        let Protected {
            home_address,
            inbound_spi,
            association_revision,
            sequence,
            protects,
            command,
        } = protected;
        let known = self.associations(home_address).iter().find(|it| {
            it.revised.record.inbound_spi == inbound_spi
                && it.revised.revision == association_revision
        });
        let silent = |outcome| Verdict { revision: self.revision, outcome, esp: None };
        let Some(association) = known else {
            return silent(Outcome::StalePolicy);
        };
        let is_repeated = match command.as_deref() {
            Some(Command::Register(registration)) => {
                registration.home_address == home_address && self.is_repeated(registration)
            }
            _ => false,
        };
        if !is_repeated && !association.window.is_fresh(sequence) {
            return silent(Outcome::Silent(Silence::EspReplayed));
        }
        let verdict = match command {
            Some(command) if command.is_of(home_address) => self.run(*command),
            // Not made by our front-end: it proves nothing about another's home address.
            Some(_) => return silent(Outcome::Silent(Silence::EspReplayed)),
            None => Verdict { revision: self.revision, outcome: Outcome::Done, esp: None },
        };
        if verdict.outcome == Outcome::StalePolicy {
            return verdict;
        }
        // It may have gone with its subscriber.
        if let Some(known) = self.associations.get_mut(&home_address)
            && let Some(it) =
                known.iter_mut().find(|it| it.revised.record.inbound_spi == inbound_spi)
        {
            it.window.mark(sequence);
        }
        let is_answered = matches!(verdict.outcome, Outcome::Answer(_) | Outcome::Done);
        let esp = if is_answered { self.take_number(home_address, protects) } else { None };
        Verdict { esp, ..verdict }
    }
}

fn refusal<T>(kind: RefusalKind, field: &'static str, message: String) -> Result<T, Refusal> {
    Err(Refusal { kind, field: field.into(), message })
}
