//! A subscriber of the binding feed that checks the feed's rules while it reads.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, ensure};
use homeport_api::binding::{Home, HomePrefix};
use homeport_api::convert::ipv6;
use homeport_api::feed::binding_feed_client::BindingFeedClient;
use homeport_api::feed::{WatchRequest, WatchResponse};
use homeport_store::limits::HOMES_PER_FEED_MESSAGE_MAX;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::PATIENCE;

/// What a subscriber knows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Picture {
    /// Home prefixes by address and length.
    pub home_prefixes: BTreeMap<(Ipv6Addr, u32), HomePrefix>,
    /// Homes that have bindings, or wait for Duplicate Address Detection.
    pub homes: BTreeMap<Ipv6Addr, Home>,
    /// The picture is that of this revision.
    pub revision: u64,
}

/// A subscription.
pub struct Watch {
    messages: Streaming<WatchResponse>,
    picture: Picture,
    /// A snapshot has begun and not ended.
    in_snapshot: bool,
    /// Revision 0 was said since: the picture is between two revisions.
    between: bool,
    log_time_ms: u64,
    /// Snapshots that have begun.
    pub snapshots: usize,
    /// Changes of home addresses read, repeated ones too.
    pub changes: usize,
}

impl Watch {
    /// Subscribes with what `picture` holds.
    ///
    /// # Errors
    /// When the replica does not take the subscription.
    pub async fn resume(channel: Channel, name: &str, picture: Picture) -> Result<Self> {
        let request = WatchRequest {
            after_revision: picture.revision,
            subscriber: name.to_owned(),
            node: None,
        };
        let messages = BindingFeedClient::new(channel).watch(request).await?.into_inner();
        Ok(Self {
            messages,
            picture,
            in_snapshot: false,
            between: false,
            log_time_ms: 0,
            snapshots: 0,
            changes: 0,
        })
    }

    /// Subscribes with nothing.
    ///
    /// # Errors
    /// When the replica does not take the subscription.
    pub async fn start(channel: Channel, name: &str) -> Result<Self> {
        Self::resume(channel, name, Picture::default()).await
    }

    /// The store's time that was heard last.
    #[must_use]
    pub const fn log_time_ms(&self) -> u64 {
        self.log_time_ms
    }

    /// What is known.
    #[must_use]
    pub const fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Reads one message and applies it.
    ///
    /// # Errors
    /// When none comes or it breaks a rule of the feed.
    pub async fn next(&mut self) -> Result<WatchResponse> {
        let message = tokio::time::timeout(PATIENCE, self.messages.message()).await??;
        let message = message.context("the feed ended")?;
        self.apply(&message)?;
        Ok(message)
    }

    /// Reads until the picture is that of `revision` or a later one.
    ///
    /// # Errors
    /// When the feed breaks a rule or ends before.
    pub async fn reach(&mut self, revision: u64) -> Result<&Picture> {
        while self.between || self.in_snapshot || self.picture.revision < revision {
            self.next().await?;
        }
        Ok(&self.picture)
    }

    fn apply(&mut self, message: &WatchResponse) -> Result<()> {
        ensure!(message.log_time_ms > 0, "a message without time");
        ensure!(message.log_time_ms >= self.log_time_ms, "the store's time runs back");
        self.log_time_ms = message.log_time_ms;
        ensure!(message.homes.len() <= HOMES_PER_FEED_MESSAGE_MAX, "a message is too large");
        if message.snapshot_begin {
            ensure!(!self.in_snapshot, "a snapshot inside another");
            self.in_snapshot = true;
            self.snapshots += 1;
            self.picture = Picture::default();
        }
        ensure!(self.in_snapshot || !message.snapshot_end, "a snapshot ends that never began");
        ensure!(!self.in_snapshot || message.revision == 0, "a revision inside a snapshot");
        for change in &message.home_prefixes {
            let key = (ipv6(&change.prefix, "prefix")?, change.prefix_len);
            match &change.home_prefix {
                Some(home_prefix) => {
                    self.picture.home_prefixes.insert(key, home_prefix.clone());
                }
                None => drop(self.picture.home_prefixes.remove(&key)),
            }
        }
        for change in &message.homes {
            self.changes += 1;
            let home_address = ipv6(&change.home_address, "home_address")?;
            match &change.home {
                Some(home) => {
                    ensure!(home.home_address == change.home_address, "another home's state");
                    let is_probing = home.probe.as_ref().is_some_and(|it| it.duplicate.is_none());
                    ensure!(home.bindings.is_empty() == is_probing, "neither bound nor probed");
                    let rest = (home.sequence, home.remembered.len(), home.forget_ms);
                    ensure!(rest == (0, 0, None), "what moves without the bindings: {rest:?}");
                    self.picture.homes.insert(home_address, home.clone());
                }
                None => drop(self.picture.homes.remove(&home_address)),
            }
        }
        self.in_snapshot &= !message.snapshot_end;
        self.between = message.revision == 0;
        if !self.between {
            ensure!(message.revision >= self.picture.revision, "the revision goes back");
            self.picture.revision = message.revision;
        }
        Ok(())
    }
}
