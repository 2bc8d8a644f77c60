//! What a command of an operator would come to, without carrying it out.

use crate::admin::no_subscriber;
use crate::cache::BindingCache;
use crate::command::Command;
use crate::verdict::Refusal;

impl BindingCache {
    /// What would be refused of an operator's command if it came now. Commands of front-ends and forwarders
    /// are not looked at.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::PutHomePrefix { home_prefix, must_not_exist } => {
                self.check_put_home_prefix(home_prefix, *must_not_exist)
            }
            Command::UpdateHomePrefix { home_prefix, base_revision } => {
                self.check_update_home_prefix(home_prefix, *base_revision)
            }
            Command::DeleteHomePrefix(prefix) => self.check_delete_home_prefix(*prefix),
            Command::AdvertiseHomePrefix { prefix, .. } => self.check_advertise(*prefix),
            Command::PutSubscriber { subscriber, must_not_exist } => {
                let mut record = subscriber.clone();
                record.mobile_networks.sort_unstable();
                self.check_put_subscriber(&record, *must_not_exist)
            }
            Command::DeleteSubscriber(home_address) => match self.subscribers.get(home_address) {
                Some(_) => Ok(()),
                None => Err(no_subscriber(*home_address)),
            },
            Command::Revoke(revoke) => self.check_revoke(revoke),
            Command::Switch(switch) => self.check_switch(switch),
            Command::Operate(operation) => self.check_operation(operation),
            Command::Audited(audited) => self.check_audited(audited),
            Command::PutSecurityAssociation { association, must_not_exist } => {
                self.check_put_association(association, *must_not_exist)
            }
            Command::DeleteSecurityAssociation { home_address, inbound_spi } => {
                self.check_delete_association(*home_address, *inbound_spi)
            }
            Command::Register(_)
            | Command::Protected(_)
            | Command::Correspond(_)
            | Command::RevocationAnswer(_)
            | Command::PrefixesSolicited(_)
            | Command::CareOfVerified(_)
            | Command::DuplicateAddressDetection(_)
            | Command::DefendHomeLink { .. }
            | Command::ReleaseHomeLink { .. } => Ok(()),
        }
    }
}
