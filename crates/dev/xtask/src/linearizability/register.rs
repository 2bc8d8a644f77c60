//! What one home address is to its clients: a register of a sequence number and the bindings under it.
//! Written for itself, from RFC 6275 §10.3.1 and RFC 5648 §6.2, and not with the store's own rules: those are
//! what is looked at.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Bindings by BID; `None` is that of plain RFC 6275.
pub(crate) type Bindings = BTreeMap<Option<u16>, Ipv6Addr>;

/// What is known of the home address; `None` before its first registration.
pub(crate) type State = Option<Home>;

/// A home address that was registered once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Home {
    /// Last sequence number that was in the window.
    pub(crate) sequence: u16,
    pub(crate) bindings: Bindings,
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    Write {
        sequence: u16,
        change: Change,
    },
    Read,
    /// No client's: what is known of a home address without bindings may go with its number, from
    /// [`REMEMBERED_NS`] after its de-registration on.
    Forget,
}

/// MAX_DELETE_BCE_TIMEOUT (RFC 6275 §12), in nanoseconds.
pub(crate) const REMEMBERED_NS: u64 = 10_000_000_000;

/// What a Binding Update does to the bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Without BID: the one binding from now on.
    Plain(Ipv6Addr),
    /// With BIDs, beside the others.
    Bids(BTreeMap<u16, Ipv6Addr>),
    /// With BIDs and the O flag, instead of all others.
    Overwrite(BTreeMap<u16, Ipv6Addr>),
    /// Lifetime zero: none is left.
    Deregister,
}

/// What it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    Accepted,
    /// The sequence number is not newer than the last one, which is said.
    OutOfWindow {
        last: u16,
    },
    /// Refused for what is registered, or is not.
    Refused,
    State(State),
}

/// The answer, and the state afterwards.
pub(crate) fn apply(state: &State, input: &Input) -> (Output, State) {
    let (sequence, change) = match input {
        Input::Write { sequence, change } => (sequence, change),
        Input::Read => return (Output::State(state.clone()), state.clone()),
        Input::Forget => {
            let bound = state.clone().filter(|home| !home.bindings.is_empty());
            return (Output::Accepted, bound);
        }
    };
    if let Some(home) = state
        && !is_newer(*sequence, home.sequence)
    {
        return (Output::OutOfWindow { last: home.sequence }, state.clone());
    }
    let before = state.as_ref().map(|home| &home.bindings);
    let with = |bindings| Some(Home { sequence: *sequence, bindings });
    match bindings_after(before, change) {
        Some(bindings) => (Output::Accepted, with(bindings)),
        // What is refused for another reason has used its sequence number all the same.
        None => (Output::Refused, before.and_then(|before| with(before.clone()))),
    }
}

/// `None`: the Binding Update is refused.
fn bindings_after(before: Option<&Bindings>, change: &Change) -> Option<Bindings> {
    let with_bids = |bids: &BTreeMap<u16, Ipv6Addr>| {
        bids.iter().map(|(bid, care_of)| (Some(*bid), *care_of)).collect::<Bindings>()
    };
    match change {
        Change::Plain(care_of) => Some(Bindings::from([(None, *care_of)])),
        Change::Overwrite(bids) => Some(with_bids(bids)),
        Change::Bids(bids) => {
            let mut bindings = before.cloned().unwrap_or_default();
            let is_plain = bindings.contains_key(&None);
            bindings.extend(with_bids(bids));
            (!is_plain).then_some(bindings)
        }
        Change::Deregister => before.filter(|it| !it.is_empty()).map(|_| Bindings::new()),
    }
}

/// RFC 6275 §9.5.1: the circle's next half.
const fn is_newer(sequence: u16, last: u16) -> bool {
    matches!(sequence.wrapping_sub(last), 1..=0x7fff)
}
