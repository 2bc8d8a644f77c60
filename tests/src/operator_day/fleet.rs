//! The subscribers of the day, and their mobile nodes.

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use homeport_runtime::clock;
use mobile_node::{AuthenticationConfig, MobileNode};

use crate::dev::DevCluster;
use crate::updates::home_address;

/// The host part of the first home address.
const FIRST: u16 = 0x1000;
/// Each mobile node refreshes that often while something is drained.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// So many mobile nodes register at once.
const REGISTERING_MAX: usize = 32;
/// What refreshes were answered is looked at after so long without new ones.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

/// See the module.
pub(super) struct Fleet {
    keys: Vec<[u8; 16]>,
    nodes: Vec<MobileNode>,
    refreshing_since_ms: u64,
}

/// What became of refreshes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Binding Updates that were not sent again.
    pub refreshes: u64,
    /// Those among them whose acknowledgement came only after they were sent again.
    pub repeated: u64,
    /// Those that were never acknowledged.
    pub lost: u64,
}

impl Fleet {
    pub(super) fn of(len: u16) -> Self {
        let keys = (0..len).map(|_| rand::random()).collect();
        Self { keys, nodes: Vec::new(), refreshing_since_ms: 0 }
    }

    pub(super) fn len(&self) -> u16 {
        u16::try_from(self.keys.len()).unwrap_or(u16::MAX)
    }

    /// One that is neither the first nor the last.
    pub(super) fn middle(&self) -> u16 {
        self.len() / 2
    }

    fn address(n: u16) -> Ipv6Addr {
        home_address(FIRST.saturating_add(n))
    }

    pub(super) fn home_address(&self, n: u16) -> String {
        Self::address(n).to_string()
    }

    pub(super) fn home_addresses(&self) -> impl Iterator<Item = String> {
        (0..self.len()).map(|n| Self::address(n).to_string())
    }

    fn nai(n: u16) -> String {
        format!("node-{n}@fleet.example.net")
    }

    fn mobile_network(n: u16) -> String {
        format!("2001:db8:{:x}::/56", 0x1000 + u32::from(n))
    }

    fn ipv4_home_address(n: u16) -> String {
        format!("198.51.{}.{}", 100 + n / 250, 1 + n % 250)
    }

    fn key_hex(&self, n: u16) -> String {
        let key = self.keys.get(usize::from(n)).copied().unwrap_or_default();
        key.iter().fold(String::new(), |mut digits, octet| {
            write!(digits, "{octet:02x}").unwrap_or_default();
            digits
        })
    }

    /// What `homeportctl subscribers import` reads.
    pub(super) fn csv(&self) -> String {
        let head = "home_address,nai,spi,key_hex,mobile_networks,ipv4_home_address\n".to_owned();
        (0..self.len()).fold(head, |mut csv, n| {
            let line = [
                self.home_address(n),
                Self::nai(n),
                "256".to_owned(),
                self.key_hex(n),
                Self::mobile_network(n),
                Self::ipv4_home_address(n),
            ];
            writeln!(csv, "{}", line.join(",")).unwrap_or_default();
            csv
        })
    }

    /// All that one subscriber can be found by, its care-of address as it is now.
    pub(super) fn keys_of(&self, n: u16) -> Vec<String> {
        vec![
            Self::nai(n),
            self.home_address(n),
            Self::ipv4_home_address(n),
            Self::care_of(n).to_string(),
            Self::mobile_network(n).replace("::/56", "::1"),
            Self::mobile_network(n),
        ]
    }

    /// What nobody may find in what is given to others.
    pub(super) fn secrets(&self, n: u16) -> Vec<Vec<u8>> {
        let key = self.keys.get(usize::from(n)).copied().unwrap_or_default();
        let texts =
            [self.key_hex(n), Self::nai(n), self.home_address(n), Self::care_of(n).to_string()];
        std::iter::once(key.to_vec()).chain(texts.map(String::into_bytes)).collect()
    }

    /// Its own address on loopback.
    fn care_of(n: u16) -> std::net::Ipv4Addr {
        let [high, low] = n.to_be_bytes();
        std::net::Ipv4Addr::new(127, 1, high, low.max(1))
    }

    /// Starts all mobile nodes, which register.
    pub(super) async fn start(&mut self, cluster: &DevCluster) -> Result<()> {
        let configs = (0..self.len()).map(|n| {
            let mut config = cluster.mobile_node(&self.home_address(n), 1)?;
            config.lifetime_secs = 3600;
            config.refresh.automatic = false;
            config.request_timeout_ms = 60_000;
            config.journal_updates_max = 256;
            let (spi, key, nai) = (256, self.key_hex(n), Self::nai(n));
            config.authentication = Some(AuthenticationConfig { spi, key, nai, mesg_id: false });
            for care_of in &mut config.care_of {
                care_of.address = Self::care_of(n).into();
            }
            Ok(config)
        });
        let configs = configs.collect::<Result<Vec<_>>>()?;
        let nodes = stream::iter(configs).map(|config| cluster.registered(config));
        self.nodes = nodes.buffered(REGISTERING_MAX).try_collect().await.context("registration")?;
        Ok(())
    }

    pub(super) async fn begin_refreshing(&mut self) -> Result<()> {
        self.refreshing_since_ms = clock::unix_ms();
        // Not all in one moment.
        let pause = REFRESH_INTERVAL / u32::from(self.len().max(1));
        for node in &self.nodes {
            node.refresh_every(Some(REFRESH_INTERVAL), false).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Ends it, and says what became of all refreshes.
    pub(super) async fn end_refreshing(&mut self) -> Result<Seen> {
        for node in &self.nodes {
            node.refresh_every(None, false).await?;
        }
        // What is under way is answered or sent again meanwhile.
        tokio::time::sleep(SETTLED_AFTER).await;
        let mut seen = Seen::default();
        for node in &self.nodes {
            let updates = node.journal().await?;
            let updates = updates.iter().filter(|it| it.sent_unix_ms >= self.refreshing_since_ms);
            let mut open = false;
            for update in updates {
                let first = update.attempt == 1;
                seen.refreshes += u64::from(first);
                seen.repeated += u64::from(update.attempt == 2);
                seen.lost += u64::from(first && open);
                open = (first || open) && !update.is_accepted();
            }
            seen.lost += u64::from(open);
        }
        Ok(seen)
    }

    /// All mobile nodes end.
    pub(super) fn end(&mut self) {
        self.nodes.clear();
    }
}
