//! The records that decide how Binding Updates are checked: a bounded cache in front of the store.
//!
//! A stale record does no harm: the command names its revision, and the store sends the update back
//! to be checked again. Only a refusal is made without the store, so before it is sent the record is
//! looked up again, unless that was done a moment ago.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use homeport_api::convert::ipv6_octets;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{LookUpPolicyRequest, LookUpPolicyResponse};
use homeport_binding::Policy;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimit;
use tower::timeout::Timeout;

use crate::limits;
use crate::store_link::Stores;

type Key = (Ipv6Addr, Ipv6Addr);

/// Look-ups at one replica: so many at once, each within its time.
type Client = BindingStoreClient<ConcurrencyLimit<Timeout<Channel>>>;

/// How new a policy must be.
#[derive(Clone, Copy)]
pub(crate) enum Freshness {
    /// Whatever is known.
    Cached,
    /// Of this revision or a later one.
    AtLeast(u64),
}

struct Cached {
    policy: Policy,
    revision: u64,
    looked_up: Instant,
    /// It refused a Binding Update.
    doubted: bool,
}

impl Cached {
    fn is_trusted(&self) -> bool {
        !self.doubted || self.looked_up.elapsed() < limits::REFUSAL_LOOK_UP_INTERVAL
    }
}

pub(crate) struct Policies {
    cache: Mutex<BTreeMap<Key, Cached>>,
    replicas: BTreeMap<String, Client>,
    /// Address of the leader, as the store link knows it.
    leader: watch::Receiver<String>,
}

impl Policies {
    pub(crate) fn new(stores: &Stores, leader: watch::Receiver<String>) -> Self {
        let client = |endpoint: &Endpoint| {
            let limited = ServiceBuilder::new()
                .concurrency_limit(limits::LOOK_UPS_PER_REPLICA_MAX)
                .timeout(limits::LOOK_UP_TIMEOUT)
                .service(stores.lazy(endpoint));
            BindingStoreClient::new(limited)
        };
        let replicas =
            stores.endpoints.iter().map(|(name, endpoint)| (name.clone(), client(endpoint)));
        Self { cache: Mutex::default(), replicas: replicas.collect(), leader }
    }

    /// `None` when no replica could answer.
    pub(crate) async fn look_up(
        &self,
        home_address: Ipv6Addr,
        home_agent: Ipv6Addr,
        freshness: Freshness,
    ) -> Option<Policy> {
        let key = (home_address, home_agent);
        if let Some(policy) = self.cached(key, freshness) {
            return Some(policy);
        }
        let known_leader = self.leader.borrow().clone();
        let (first, others): (Vec<_>, Vec<_>) =
            self.replicas.iter().partition(|(name, _)| **name == known_leader);
        for (_, client) in first.into_iter().chain(others) {
            let Some(response) = ask(client.clone(), key).await else {
                continue;
            };
            let revision = response.revision;
            // A replica that lags behind the verdict has nothing new to say.
            if matches!(freshness, Freshness::AtLeast(wanted) if revision < wanted) {
                continue;
            }
            let policy = policy_of(response)?;
            self.remember(key, policy.clone(), revision);
            return Some(policy);
        }
        None
    }

    /// The policy refused. True when it may have changed since it was looked up: the next look-up
    /// asks the store.
    pub(crate) fn doubt(&self, home_address: Ipv6Addr, home_agent: Ipv6Addr) -> bool {
        let mut cache = self.lock();
        let Some(cached) = cache.get_mut(&(home_address, home_agent)) else {
            return false;
        };
        cached.doubted = true;
        !cached.is_trusted()
    }

    fn cached(&self, key: Key, freshness: Freshness) -> Option<Policy> {
        let cache = self.lock();
        let cached = cache.get(&key)?;
        let is_fresh = match freshness {
            Freshness::Cached => true,
            Freshness::AtLeast(wanted) => cached.revision >= wanted,
        };
        (is_fresh && cached.is_trusted()).then(|| cached.policy.clone())
    }

    fn remember(&self, key: Key, policy: Policy, revision: u64) {
        let mut cache = self.lock();
        if cache.len() >= limits::POLICIES_MAX && !cache.contains_key(&key) {
            // Any will do: the cache may be lost at any time.
            cache.pop_first();
        }
        let looked_up = Instant::now();
        cache.insert(key, Cached { policy, revision, looked_up, doubted: false });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Cached>> {
        // Each change is one call, so the map is whole after any panic.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(mut client: Client, key: Key) -> Option<LookUpPolicyResponse> {
    let request = LookUpPolicyRequest {
        home_address: ipv6_octets(key.0),
        home_agent: ipv6_octets(key.1),
        linearizable: false,
    };
    match client.look_up_policy(request).await {
        Ok(response) => Some(response.into_inner()),
        Err(status) => {
            tracing::debug!(%status, "a replica did not look up a policy");
            None
        }
    }
}

fn policy_of(response: LookUpPolicyResponse) -> Option<Policy> {
    let home_prefix = response.home_prefix.map(TryInto::try_into).transpose();
    let subscriber = response.subscriber.map(TryInto::try_into).transpose();
    let associations =
        response.associations.into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
    match (home_prefix, subscriber, associations) {
        (Ok(home_prefix), Ok(subscriber), Ok(associations)) => Some(Policy {
            home_prefix,
            home_address_served: response.home_address_served,
            subscriber,
            advertised_revision: response.advertised_revision,
            associations,
        }),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
            tracing::warn!(%error, "the store's policy cannot be read");
            None
        }
    }
}
