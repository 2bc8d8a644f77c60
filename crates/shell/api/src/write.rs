//! Requests of the admin API that write.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::admin;

/// A request that writes: it may be validated only, and has an id by which a repeat is known.
pub trait Write: Send + 'static {
    /// The name of its call.
    const CALL: &'static str;

    /// Whether it is looked at only.
    fn validate_only(&self) -> bool;

    /// Its id; empty for none.
    fn request_id(&self) -> &str;

    /// By which two requests of one call are told apart.
    fn digest(&self) -> [u8; 32];
}

macro_rules! writes {
    ($($call:literal $request:ident $(, $validate_only:ident)?;)*) => {
        $(impl Write for admin::$request {
            const CALL: &'static str = $call;

            fn validate_only(&self) -> bool {
                false $(|| self.$validate_only)?
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn digest(&self) -> [u8; 32] {
                Sha256::new().chain_update($call).chain_update(self.encode_to_vec()).finalize().into()
            }
        })*
    };
}

writes! {
    "CreateHomePrefix" CreateHomePrefixRequest, validate_only;
    "UpdateHomePrefix" UpdateHomePrefixRequest, validate_only;
    "DeleteHomePrefix" DeleteHomePrefixRequest, validate_only;
    "AdvertiseHomePrefix" AdvertiseHomePrefixRequest, validate_only;
    "CreateSubscriber" CreateSubscriberRequest, validate_only;
    "DeleteSubscriber" DeleteSubscriberRequest, validate_only;
    "CreateSecurityAssociation" CreateSecurityAssociationRequest, validate_only;
    "DeleteSecurityAssociation" DeleteSecurityAssociationRequest, validate_only;
    "RevokeBindings" RevokeBindingsRequest, validate_only;
    "SwitchHomeAgent" SwitchHomeAgentRequest, validate_only;
    "DrainNode" DrainNodeRequest, validate_only;
    "UndrainNode" UndrainNodeRequest, validate_only;
    "AcknowledgeAlarm" AcknowledgeAlarmRequest, validate_only;
    "ShelveAlarm" ShelveAlarmRequest, validate_only;
    "CommentAlarm" CommentAlarmRequest, validate_only;
    "FinishUpgrade" FinishUpgradeRequest, validate_only;
    "AddReplica" AddReplicaRequest;
    "RemoveReplica" RemoveReplicaRequest;
    "TransferLeadership" TransferLeadershipRequest;
}
