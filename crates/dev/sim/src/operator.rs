//! An operator: sets the home prefix up and changes it, revokes bindings, reads, and looks at each replica.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeport_api::admin::cluster_client::ClusterClient;
use homeport_api::admin::home_prefixes_client::HomePrefixesClient;
use homeport_api::admin::revocations_client::RevocationsClient;
use homeport_api::admin::{
    Authentication, CreateHomePrefixRequest, GetStatusRequest, HomePrefix, RevokeBindingsRequest,
    UpdateHomePrefixRequest,
};
use homeport_api::convert::ipv6_octets;
use homeport_api::store::LookUpPolicyRequest;
use homeport_api::store::binding_store_client::BindingStoreClient;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::bugs::Bug;
use crate::chance::Chance;
use crate::checks::{Checks, Event};
use crate::host::Main;
use crate::mobile::{HOME_AGENT, home_address};
use crate::net::{HostId, Net};
use crate::servers::store_address;
use crate::trace::Trace;

/// The only home prefix.
const PREFIX: &str = "2001:db8:0:1::/64";
/// How long one question may take.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Replicas that are no longer who they were: their disk is another one.
pub(crate) type Replaced = Arc<Mutex<BTreeSet<u64>>>;

/// What an operator needs.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) replicas: u64,
    pub(crate) mobile_nodes: u64,
    pub(crate) host: HostId,
    pub(crate) seed: u64,
    pub(crate) net: Net,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    pub(crate) replaced: Replaced,
    pub(crate) bug: Option<Bug>,
}

impl Operator {
    /// The process.
    pub(crate) fn main(&self) -> Main {
        let this = self.clone();
        Box::pin(async move {
            let dial = this.net.dial(this.host);
            let channels = (1..=this.replicas).map(|node_id| {
                let uri = format!("http://{}", store_address(node_id));
                let endpoint = Endpoint::from_shared(uri)?;
                let endpoint = endpoint
                    .connect_timeout(Duration::from_millis(500))
                    .http2_keep_alive_interval(Duration::from_secs(1))
                    .keep_alive_timeout(Duration::from_secs(1))
                    .keep_alive_while_idle(true);
                Ok::<_, tonic::transport::Error>((node_id, dial(&endpoint)))
            });
            let channels: Result<Vec<_>, _> = channels.collect();
            let channels = channels.map_err(|error| error.to_string())?;
            let looks = channels.iter().map(|(node_id, channel)| this.look(*node_id, channel));
            let looks = futures_util::future::join_all(looks);
            tokio::join!(this.operate(&channels), this.read(&channels), looks);
            Ok(())
        })
    }

    async fn operate(&self, channels: &[(u64, Channel)]) {
        let mut chance = Chance::new(self.seed, "operator");
        while !self.create(&mut chance, channels).await {
            tokio::time::sleep(Duration::from_millis(chance.range(20, 100))).await;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(chance.range(400, 3000))).await;
            let Some((_, channel)) = at(channels, &mut chance) else { return };
            if chance.percent(50) {
                let node = u16::try_from(chance.range(0, self.mobile_nodes)).unwrap_or(0);
                let home_address = home_address(node).to_string();
                let request = RevokeBindingsRequest {
                    home_address,
                    bids: Vec::new(),
                    trigger: None,
                    ..Default::default()
                };
                drop(
                    timeout(PATIENCE, RevocationsClient::new(channel).revoke_bindings(request))
                        .await,
                );
            } else {
                let lifetime_max_secs = u32::try_from(chance.range(3, 7) * 4).unwrap_or(20);
                let prefix = PREFIX.to_owned();
                let home_prefix =
                    Some(HomePrefix { prefix, lifetime_max_secs, ..Default::default() });
                let update_mask = vec!["lifetime_max_secs".to_owned()];
                let request =
                    UpdateHomePrefixRequest { home_prefix, update_mask, ..Default::default() };
                let mut client = HomePrefixesClient::new(channel);
                drop(timeout(PATIENCE, client.update_home_prefix(request)).await);
            }
        }
    }

    async fn create(&self, chance: &mut Chance, channels: &[(u64, Channel)]) -> bool {
        let Some((node_id, channel)) = at(channels, chance) else { return true };
        let home_prefix = HomePrefix {
            prefix: PREFIX.to_owned(),
            home_agent: HOME_AGENT.to_string(),
            authentication: Authentication::None.into(),
            ..HomePrefix::default()
        };
        let request =
            CreateHomePrefixRequest { home_prefix: Some(home_prefix), ..Default::default() };
        let mut client = HomePrefixesClient::new(channel);
        let created = match timeout(PATIENCE, client.create_home_prefix(request)).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => status.code() == Code::AlreadyExists,
            Err(_elapsed) => false,
        };
        self.trace.event(&format!("the home prefix is created at {node_id}: {created}"));
        created
    }

    async fn read(&self, channels: &[(u64, Channel)]) {
        let mut chance = Chance::new(self.seed, "reads");
        loop {
            tokio::time::sleep(Duration::from_millis(chance.range(20, 120))).await;
            let Some((replica, channel)) = at(channels, &mut chance) else { return };
            let linearizable =
                self.bug != Some(Bug::LeaseRead) || !believes_to_lead(channel.clone()).await;
            let at_least = self.checks.acknowledged();
            let request = LookUpPolicyRequest {
                home_address: ipv6_octets(home_address(0)),
                home_agent: ipv6_octets(HOME_AGENT),
                linearizable,
            };
            let mut client = BindingStoreClient::new(channel);
            let read = timeout(PATIENCE, client.look_up_policy(request)).await;
            if let Ok(Ok(response)) = read {
                let revision = response.into_inner().revision;
                self.checks.see(&Event::Read { replica, revision, at_least });
            }
        }
    }

    /// Looks at what a replica says of itself.
    async fn look(&self, replica: u64, channel: &Channel) {
        let mut client = ClusterClient::new(channel.clone());
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let status = timeout(PATIENCE, client.get_status(GetStatusRequest {})).await;
            let is_replaced = || {
                let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
                replaced.contains(&replica)
            };
            if let Ok(Ok(status)) = status
                && !is_replaced()
            {
                let term = status.into_inner().term;
                self.checks.see(&Event::Status { replica, term });
            }
        }
    }
}

fn at(channels: &[(u64, Channel)], chance: &mut Chance) -> Option<(u64, Channel)> {
    let count = u64::try_from(channels.len()).unwrap_or(1);
    channels.get(usize::try_from(chance.range(0, count)).unwrap_or(0)).cloned()
}

async fn believes_to_lead(channel: Channel) -> bool {
    let mut client = ClusterClient::new(channel);
    let status = timeout(PATIENCE, client.get_status(GetStatusRequest {})).await;
    matches!(status, Ok(Ok(status)) if status.get_ref().role == "leader")
}
