//! `--dry-run`: which verbs it is for.

use crate::{
    arguments::{
        AlarmAction, AssociationAction, BindingAction, HomeAgentAction, HomePrefixAction,
        NodeAction, RaftAction, SubscriberAction, Verb,
    },
    failure::Failure,
};

/// Refuses what cannot be tried without being done.
pub(crate) fn check(verb: &Verb) -> Result<(), Failure> {
    let writes = match verb {
        Verb::HomePrefixes { action } => matches!(
            action,
            HomePrefixAction::Create(_)
                | HomePrefixAction::Update(_)
                | HomePrefixAction::Advertise { .. }
                | HomePrefixAction::Delete { .. }
        ),
        Verb::Subscribers { action } => matches!(
            action,
            SubscriberAction::Create(_)
                | SubscriberAction::Import(_)
                | SubscriberAction::Delete { .. }
        ),
        Verb::Associations { action } => {
            matches!(action, AssociationAction::Create(_) | AssociationAction::Delete { .. })
        }
        Verb::Bindings { action } => matches!(action, BindingAction::Revoke { .. }),
        Verb::HomeAgents { action: HomeAgentAction::Switch(_) } => true,
        Verb::Node { action } => {
            matches!(action, NodeAction::Drain { .. } | NodeAction::Undrain { .. })
        }
        Verb::Alarms { action } => matches!(
            action,
            AlarmAction::Ack { .. } | AlarmAction::Shelve { .. } | AlarmAction::Comment { .. }
        ),
        Verb::Raft { action } => match action {
            RaftAction::FinishUpgrade => true,
            RaftAction::Add(_)
            | RaftAction::Remove { .. }
            | RaftAction::Reconcile(_)
            | RaftAction::Transfer { .. } => {
                let why = "--dry-run: who is a member and who leads cannot be tried, for what may \
                           refuse is seen only as it is done";
                return Err(Failure::Usage(why.to_owned()));
            }
            RaftAction::Members => false,
        },
        _ => false,
    };
    if writes {
        return Ok(());
    }
    let why = "--dry-run: this verb writes nothing to a store; leave it out";
    Err(Failure::Usage(why.to_owned()))
}
