//! Brings what was found to the store, and takes away what is no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    sync::Arc,
};

use homeport_api::{
    admin::{
        ListSecurityAssociationsRequest, security_associations_client::SecurityAssociationsClient,
    },
    bearer::Bearer,
};
use homeport_binding::{Command, Origin, Outcome, Protects, SecurityAssociation};
use homeport_tls::Way;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;

use crate::{
    limits,
    metrics::Metrics,
    pairs::{Found, ICMPV6, MOBILITY, Pair},
    suite,
    write::Writer,
};

/// Home address and inbound SPI.
type Key = (Ipv6Addr, u32);

/// Who brings associations, as it stands beside them.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// What the store has of this agent, as far as it is known.
pub(crate) struct Publisher {
    agent: Agent,
    stores: BTreeMap<String, Endpoint>,
    way: Way,
    bearer: Bearer,
    writer: Writer,
    metrics: Arc<Metrics>,
    brought: BTreeMap<Key, Pair>,
    /// Not asked again before the next comparison.
    refused: BTreeSet<Key>,
    /// In the store by a former process of this name.
    left_behind: BTreeSet<Key>,
    /// When it is compared next.
    compare_at: Instant,
    /// That nobody lists was told once.
    told: bool,
}

impl Publisher {
    pub(crate) fn new(
        agent: Agent,
        (stores, way): (BTreeMap<String, Endpoint>, Way),
        bearer: Bearer,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            agent,
            writer: Writer::new(stores.clone(), way.clone()),
            stores,
            way,
            bearer,
            metrics,
            brought: BTreeMap::new(),
            refused: BTreeSet::new(),
            left_behind: BTreeSet::new(),
            compare_at: Instant::now(),
            told: false,
        }
    }

    /// Makes the store have just these. True when it does, as far as it lets us.
    pub(crate) async fn publish(&mut self, found: &Found) -> bool {
        if self.compare_at <= Instant::now() {
            self.compare().await;
        }
        let work = self.work(found);
        let commands: Vec<Command> = work.iter().map(|(_, _, command)| command.clone()).collect();
        if commands.is_empty() {
            self.count(found);
            return true;
        }
        let written = match self.writer.write(commands).await {
            Ok(outcomes) => {
                for ((key, pair, _), outcome) in work.into_iter().zip(outcomes) {
                    self.settle(key, pair, &outcome);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the store is behind");
                self.metrics.writes.count("store_unreachable");
                false
            }
        };
        self.count(found);
        written
    }

    /// New ones first, the oldest of them first: the store sends under what came last. Therefore all that are
    /// newer than one of them come once more behind it.
    fn work(&self, found: &Found) -> Vec<(Key, Option<Pair>, Command)> {
        let mut oldest: BTreeMap<Ipv6Addr, u32> = BTreeMap::new();
        for (key, pair) in &found.pairs {
            let is_there = self.brought.get(key).is_some_and(|it| is_same(it, pair));
            if !is_there && !self.refused.contains(key) {
                let age = oldest.entry(pair.home_address).or_insert(pair.age);
                *age = pair.age.min(*age);
            }
        }
        let is_put = |(key, pair): &(&Key, &Pair)| {
            let from = oldest.get(&pair.home_address);
            from.is_some_and(|from| *from <= pair.age) && !self.refused.contains(*key)
        };
        let mut puts: Vec<(Key, &Pair)> =
            found.pairs.iter().filter(is_put).map(|(key, pair)| (*key, pair)).collect();
        puts.sort_by_key(|(_, pair)| pair.age);
        let puts = puts.into_iter().filter_map(|(key, pair)| {
            let association = record(&self.agent, pair)?;
            let put = Command::PutSecurityAssociation { association, must_not_exist: false };
            Some((key, Some(pair.clone()), put))
        });
        let gone = self.brought.keys().chain(&self.left_behind);
        let gone: BTreeSet<Key> =
            gone.filter(|key| !found.pairs.contains_key(key)).copied().collect();
        let deletes = gone.into_iter().map(|key| {
            let (home_address, inbound_spi) = key;
            (key, None, Command::DeleteSecurityAssociation { home_address, inbound_spi })
        });
        puts.chain(deletes).collect()
    }

    fn settle(&mut self, key: Key, pair: Option<Pair>, outcome: &Outcome) {
        self.left_behind.remove(&key);
        match (pair, outcome) {
            (Some(pair), Outcome::Done) => {
                self.metrics.writes.count("put");
                self.brought.insert(key, pair);
            }
            (Some(pair), outcome) => {
                let reqid = pair.reqid;
                tracing::warn!(reqid, ?outcome, "the store does not take an association");
                self.metrics.writes.count("refused");
                self.refused.insert(key);
            }
            // Done, or it was gone already.
            (None, _) => {
                self.metrics.writes.count("deleted");
                self.brought.remove(&key);
            }
        }
    }

    fn count(&self, found: &Found) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let has = |key: &&Key| !self.brought.contains_key(key);
        self.metrics.unpublished.set(gauge(found.pairs.keys().filter(has).count()));
    }

    /// What the store has may differ from what was brought: this process is new, or an operator has deleted a
    /// subscriber. Without an answer all stays as it was.
    async fn compare(&mut self) {
        let stores: Vec<Endpoint> = self.stores.values().cloned().collect();
        for store in stores {
            let listed = timeout(limits::LIST_TIMEOUT, self.listed(&store)).await;
            match listed {
                Ok(Ok(listed)) => {
                    self.brought.retain(|key, _| listed.contains(key));
                    self.left_behind = listed;
                    self.refused.clear();
                    self.compare_at = Instant::now() + limits::COMPARE_INTERVAL;
                    self.told = false;
                    return;
                }
                Ok(Err(status)) => tracing::debug!(%status, "a store did not list associations"),
                Err(_elapsed) => tracing::debug!("a store did not list associations in time"),
            }
        }
        if !self.told {
            self.told = true;
            tracing::warn!(
                "no store lists what a former process of this agent has brought (token_file)"
            );
        }
        self.refused.clear();
        self.compare_at = Instant::now() + limits::COMPARE_RETRY;
    }

    /// Those in the store that this agent has brought.
    async fn listed(&self, store: &Endpoint) -> Result<BTreeSet<Key>, tonic::Status> {
        let channel = self.bearer.over(self.way.lazy(store));
        let mut client = SecurityAssociationsClient::new(channel);
        let mut found = BTreeSet::new();
        let mut page_token = String::new();
        loop {
            let request = ListSecurityAssociationsRequest {
                page_size: limits::PAGE,
                page_token,
                ..Default::default()
            };
            let page = client.list_security_associations(request).await?.into_inner();
            for association in page.security_associations {
                let home_address = association.home_address.parse();
                if let (Ok(home_address), Some(inbound), true) =
                    (home_address, association.inbound, association.ike_agent == self.agent.name)
                {
                    found.insert((home_address, inbound.spi));
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() || found.len() > limits::ASSOCIATIONS_MAX {
                return Ok(found);
            }
        }
    }
}

/// Under which IKE association is nothing that the store keeps.
fn is_same(one: &Pair, other: &Pair) -> bool {
    let kept = |pair: &Pair| (pair.home_agent, pair.protocol, pair.reqid);
    kept(one) == kept(other) && one.inbound == other.inbound && one.outbound == other.outbound
}

/// As the store keeps it; `None` where the suite is none of ours.
fn record(agent: &Agent, pair: &Pair) -> Option<SecurityAssociation> {
    let (suite, inbound) = suite::of(&pair.inbound.algorithms)?;
    let (other, outbound) = suite::of(&pair.outbound.algorithms)?;
    if other != suite {
        return None;
    }
    let protects = match pair.protocol {
        MOBILITY => Protects::Mobility,
        ICMPV6 => Protects::PrefixDiscovery,
        _ => Protects::Signalling,
    };
    // The size is this side's own matter; the store counts in words.
    let window = pair.inbound.replay_window.next_multiple_of(64);
    Some(SecurityAssociation {
        home_address: pair.home_address,
        protects,
        suite,
        extended_sequence_numbers: pair.inbound.has_extended_numbers,
        replay_window: window.min(homeport_esp::WINDOW_SIZE_MAX),
        inbound_spi: pair.inbound.spi,
        inbound,
        outbound_spi: pair.outbound.spi,
        outbound,
        origin: Origin::Ike {
            agent: agent.name.clone(),
            address: agent.address.clone(),
            request_id: pair.reqid,
        },
    })
}

#[cfg(test)]
mod tests;
