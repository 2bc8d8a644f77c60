//! What the node does about each status of a Binding Acknowledgement: the one table.

use homeport_wire::Status;

/// What an update wanted for its bindings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Lifetime above zero.
    Register,
    /// Lifetime zero.
    Deregister,
}

/// How the refused or accepted binding was asked for. The same status means different things.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Asked {
    /// Registration or the contrary.
    pub purpose: Purpose,
    /// By a Binding Identifier option, as opposed to a plain update.
    pub identified: bool,
    /// Together with other bindings.
    pub bulk: bool,
    /// With the O flag.
    pub overwrite: bool,
    /// The option contained the care-of address.
    pub care_of_given: bool,
    /// The care-of address is an IPv4 one.
    pub ipv4: bool,
    /// With the F flag.
    pub force_udp: bool,
    /// With a MESG-ID option.
    pub message_id: bool,
    /// With the R flag.
    pub router: Option<AskedRouter>,
}

/// How a mobile router asked (RFC 3963 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AskedRouter {
    /// The update named the prefixes.
    pub explicit: bool,
    /// The node has prefixes that it could name.
    pub has_prefixes: bool,
    /// The node would rather be a host than nothing.
    pub host_when_refused: bool,
}

/// What the node does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reaction {
    /// The binding exists.
    Accept,
    /// The binding does not exist, as wanted.
    Gone,
    /// Send again with a newer sequence number than the one the home agent tells (RFC 6275
    /// §11.7.3).
    Resynchronize,
    /// Send again with the O flag (RFC 5648 §5.7).
    Overwrite,
    /// Send again with the care-of address in the option (RFC 5648 §5.7).
    GiveCareOf,
    /// Send again, this binding in an update of its own from its own address (RFC 5648 §8.1).
    SendAlone,
    /// Send again, each binding in an update of its own, and never several in one (RFC 5648 §5.7).
    SingleUpdates,
    /// Use one care-of address by plain updates from now on (RFC 5648 §5.7).
    SingleCareOf,
    /// Send again without the F flag (RFC 5555 §4.3).
    WithoutForceUdp,
    /// Send again with a MESG-ID option (RFC 4285 §6).
    GiveMessageId,
    /// Send again with the home agent's idea of the time (RFC 4285 §6).
    AdjustClock,
    /// Send again without the R flag (RFC 3963 §5.3).
    AsHost,
    /// Send again with the mobile network prefixes (RFC 3963 §5.3).
    GivePrefixes,
    /// End everything, then send again: the home agent has bindings of another type, from when the
    /// node was a router or was none (RFC 3963 §6.2).
    EndFirst,
    /// Tell, and try again later.
    BackOff,
    /// Tell, and wait for a command.
    GiveUp,
    /// As before; besides, the answer shows an error of one side.
    Fault,
}

/// RFC 6275 §11.7.3 and RFC 5648 §5.7 as a function. `status` is the effective one of the binding.
#[must_use]
pub fn reaction(status: Status, asked: Asked) -> Reaction {
    let shared = match status {
        Status::SEQUENCE_OUT_OF_WINDOW => Some(Reaction::Resynchronize),
        Status::ID_MISMATCH if asked.message_id => Some(Reaction::AdjustClock),
        // RFC 5555 §4.4.1 gives the same value another meaning.
        Status::ID_MISMATCH | Status::ADMINISTRATIVELY_PROHIBITED if asked.force_udp => {
            Some(Reaction::WithoutForceUdp)
        }
        Status::MESG_ID_REQUIRED if !asked.message_id => Some(Reaction::GiveMessageId),
        Status::MCOA_BULK_REGISTRATION_PROHIBITED if asked.bulk => Some(Reaction::SingleUpdates),
        Status::ID_MISMATCH | Status::MESG_ID_REQUIRED => Some(Reaction::Fault),
        _ => None,
    };
    match (shared, asked.purpose) {
        (Some(reaction), _) => reaction,
        (None, Purpose::Register) => registering(status, asked),
        (None, Purpose::Deregister) => deregistering(status),
    }
}

fn registering(status: Status, asked: Asked) -> Reaction {
    match status {
        status if status.is_accepted() => Reaction::Accept,
        Status::REASON_UNSPECIFIED
        | Status::ADMINISTRATIVELY_PROHIBITED
        | Status::INSUFFICIENT_RESOURCES => Reaction::BackOff,
        Status::MCOA_NON_MCOA_BINDING_EXISTS if asked.identified && !asked.overwrite => {
            Reaction::Overwrite
        }
        Status::MCOA_PROHIBITED if asked.identified => Reaction::SingleCareOf,
        Status::MCOA_UNKNOWN_COA if asked.identified && !asked.care_of_given => {
            Reaction::GiveCareOf
        }
        Status::REGISTRATION_TYPE_CHANGE => Reaction::EndFirst,
        Status(ROUTER_NOT_PERMITTED..=FORWARDING_SETUP_FAILED) => router_refused(status, asked),
        Status::INVALID_CARE_OF_ADDRESS if asked.bulk && asked.ipv4 => Reaction::SendAlone,
        status if is_answer_to_something_else(status) => Reaction::Fault,
        // What is left is final: 131 to 134, 146, 151, 169 to 180 say that this node
        // will not be served with what it is. Values that nobody has registered yet may pass.
        status if status.0 <= LAST_REGISTERED => Reaction::GiveUp,
        _ => Reaction::BackOff,
    }
}

/// RFC 3963 §5.3. Each mode has its own refusals; those of the other mode are errors.
fn router_refused(status: Status, asked: Asked) -> Reaction {
    match (status.0, asked.router) {
        (_, None) => Reaction::Fault,
        (ROUTER_NOT_PERMITTED, Some(AskedRouter { host_when_refused: true, .. })) => {
            Reaction::AsHost
        }
        (INVALID_PREFIX | PREFIX_NOT_AUTHORIZED, Some(AskedRouter { explicit: false, .. }))
        | (FORWARDING_SETUP_FAILED, Some(AskedRouter { explicit: true, .. })) => Reaction::Fault,
        (FORWARDING_SETUP_FAILED, Some(AskedRouter { has_prefixes: true, .. })) => {
            Reaction::GivePrefixes
        }
        (_, Some(_)) => Reaction::GiveUp,
    }
}

fn deregistering(status: Status) -> Reaction {
    match status {
        status if status.is_accepted() => Reaction::Gone,
        // RFC 5648 §5.7 and §6.2 give both for a binding that is not there.
        Status::NOT_HOME_AGENT | Status::MCOA_UNKNOWN_COA => Reaction::Gone,
        status if is_answer_to_something_else(status) => Reaction::Fault,
        _ => Reaction::GiveUp,
    }
}

/// Mobile router operation not permitted (RFC 3963 §4.2).
const ROUTER_NOT_PERMITTED: u8 = 140;
/// Invalid prefix: in answer to named prefixes only.
const INVALID_PREFIX: u8 = 141;
/// Not authorized for prefix: the same.
const PREFIX_NOT_AUTHORIZED: u8 = 142;
/// Forwarding setup failed: the home agent knows no prefixes of a router that named none.
const FORWARDING_SETUP_FAILED: u8 = 143;

/// Highest code of the registry, RFC 8278.
const LAST_REGISTERED: u8 = 180;

/// Statuses that refuse what this node never sends (nonces, CGA, proxy registrations, GRE), or that
/// say that it sent what it never does (164 to 168 where the table above has no better answer).
fn is_answer_to_something_else(status: Status) -> bool {
    matches!(status.0, 136..=138 | 147..=150 | 152..=168)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked = Asked {
        purpose: Purpose::Register,
        identified: false,
        bulk: false,
        overwrite: false,
        care_of_given: true,
        ipv4: false,
        force_udp: false,
        message_id: false,
        router: None,
    };
    const SINGLE: Asked = Asked { identified: true, ..PLAIN };
    const REFRESH: Asked = Asked { care_of_given: false, ..SINGLE };
    const BULK: Asked = Asked { bulk: true, ..SINGLE };
    const DELETE: Asked = Asked { purpose: Purpose::Deregister, ..REFRESH };
    const DELETE_BULK: Asked = Asked { bulk: true, ..DELETE };

    /// One row for each run of codes with equal reactions, in order and without gaps: status range,
    /// then plain, single with address, refresh without address, bulk, delete, bulk delete.
    const TABLE: &[(u8, u8, [Reaction; 6])] = {
        use Reaction::GiveMessageId as M;
        use Reaction::{
            Accept as A, BackOff as B, EndFirst as E, Fault as F, GiveCareOf as C, GiveUp as U,
            Gone as G, Overwrite as O, Resynchronize as S, SingleCareOf as P, SingleUpdates as N,
        };
        &[
            (0, 127, [A, A, A, A, G, G]),
            (128, 130, [B, B, B, B, U, U]),
            (131, 132, [U, U, U, U, U, U]),
            (133, 133, [U, U, U, U, G, G]),
            (134, 134, [U, U, U, U, U, U]),
            (135, 135, [S, S, S, S, S, S]),
            (136, 138, [F, F, F, F, F, F]),
            (139, 139, [E, E, E, E, U, U]),
            (140, 143, [F, F, F, F, U, U]),
            (144, 144, [F, F, F, F, F, F]),
            (145, 145, [M, M, M, M, M, M]),
            (146, 146, [U, U, U, U, U, U]),
            (147, 150, [F, F, F, F, F, F]),
            (151, 151, [U, U, U, U, U, U]),
            (152, 164, [F, F, F, F, F, F]),
            (165, 165, [F, O, O, O, F, F]),
            (166, 166, [F, P, P, P, F, F]),
            (167, 167, [F, F, C, F, G, G]),
            (168, 168, [F, F, F, N, F, N]),
            (169, 180, [U, U, U, U, U, U]),
            (181, 255, [B, B, B, B, U, U]),
        ]
    };

    #[test]
    fn every_status_has_its_reaction() {
        let mut next = 0_u16;
        for (first, last, expected) in TABLE {
            assert_eq!(u16::from(*first), next, "the table has a gap");
            next = u16::from(*last) + 1;
            for code in *first..=*last {
                let asked = [PLAIN, SINGLE, REFRESH, BULK, DELETE, DELETE_BULK];
                let got = asked.map(|asked| reaction(Status(code), asked));
                assert_eq!(&got, expected, "status {code}");
            }
        }
        assert_eq!(next, 256);
    }

    #[test]
    fn what_was_asked_changes_the_reaction() {
        let rows = [
            (165, Asked { overwrite: true, ..SINGLE }, Reaction::Fault),
            (174, Asked { ipv4: true, ..BULK }, Reaction::SendAlone),
            (174, Asked { ipv4: true, ..SINGLE }, Reaction::GiveUp),
            (144, Asked { message_id: true, ..SINGLE }, Reaction::AdjustClock),
            (144, Asked { message_id: true, force_udp: true, ..SINGLE }, Reaction::AdjustClock),
            (144, Asked { force_udp: true, ..SINGLE }, Reaction::WithoutForceUdp),
            (129, Asked { force_udp: true, ..SINGLE }, Reaction::WithoutForceUdp),
            (129, Asked { force_udp: true, ..DELETE }, Reaction::WithoutForceUdp),
            (145, Asked { message_id: true, ..SINGLE }, Reaction::Fault),
        ];
        for (code, asked, expected) in rows {
            assert_eq!(reaction(Status(code), asked), expected, "status {code} for {asked:?}");
        }
    }

    #[test]
    fn a_router_is_refused_by_mode() {
        use Reaction::{AsHost as H, Fault as F, GivePrefixes as P, GiveUp as U};
        let explicit = AskedRouter { explicit: true, has_prefixes: true, host_when_refused: false };
        let implicit = AskedRouter { explicit: false, has_prefixes: false, ..explicit };
        // Status, then explicit, implicit, implicit with prefixes at hand, explicit and modest.
        let rows =
            [(140, [U, U, U, H]), (141, [U, F, F, U]), (142, [U, F, F, U]), (143, [F, U, P, F])];
        let asked = [
            explicit,
            implicit,
            AskedRouter { has_prefixes: true, ..implicit },
            AskedRouter { host_when_refused: true, ..explicit },
        ];
        for (code, expected) in rows {
            let got = asked
                .map(|router| reaction(Status(code), Asked { router: Some(router), ..SINGLE }));
            assert_eq!(got, expected, "status {code}");
        }
    }
}
