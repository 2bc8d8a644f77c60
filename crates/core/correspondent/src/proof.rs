//! Whether a Binding Update was made by who has both tokens (RFC 6275 §9.5.1).

use core::net::Ipv6Addr;

use homeport_wire::Status;

use crate::acknowledge::Association;
use crate::cache::{Home, NoncePair};
use crate::keys::{BindingKey, TokenKind};
use crate::secret::Issued;
use crate::time::Millis;
use crate::update::Update;

/// What the nonces of an update gave.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    pub(crate) association: Association,
    /// The first moment at which a replay of the update is refused for its nonces.
    pub(crate) replay_ends: Millis,
}

/// Makes the key again that the mobile node must have made of its tokens. `Ok(None)` when the
/// authenticator was not made with it; a status when the nonces are not known.
pub(crate) fn prove(
    update: &Update,
    (home, care_of): NoncePair,
    correspondent: Ipv6Addr,
    known: Option<&Home>,
    recognize: impl Fn(u16) -> Option<Issued>,
) -> Result<Option<Proof>, Status> {
    let (home, care_of) = match (recognize(home), recognize(care_of)) {
        // The care-of nonce is not looked at (RFC 6275 §9.5.1).
        (Some(home), _) if update.deletes() => (home, None),
        (None, _) if update.deletes() => return Err(Status::EXPIRED_HOME_NONCE_INDEX),
        (Some(home), Some(care_of)) => (home, Some(care_of)),
        (None, Some(_)) => return Err(Status::EXPIRED_HOME_NONCE_INDEX),
        (Some(_), None) => return Err(Status::EXPIRED_CARE_OF_NONCE_INDEX),
        (None, None) => return Err(Status::EXPIRED_NONCES),
    };
    let of_care_of = care_of.as_ref();
    let replay_ends = of_care_of.map_or(home.ends(), |care_of| home.ends().min(care_of.ends()));
    let home_token = home.secret.token(TokenKind::Home, update.home_address);
    let association = update.covered(known).into_iter().find_map(|address| {
        let key = match of_care_of {
            Some(care_of) => {
                let care_of_token = care_of.secret.token(TokenKind::CareOf, address);
                BindingKey::to_register(home_token, care_of_token)
            }
            None => BindingKey::to_delete(home_token),
        };
        key.authenticates(address, correspondent, &update.octets)
            .then_some(Association { key, care_of: address })
    });
    Ok(association.map(|association| Proof { association, replay_ends }))
}
