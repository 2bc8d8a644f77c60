//! Limits on the errors that are sent (RFC 4443 §2.4 (f), RFC 6275 §9.3.3) and on what is handed on: token
//! buckets driven by the caller's clock.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::entry::Millis;
use crate::hash::Mix;
use crate::limits::{ERROR_BUCKETS, SIGNALLING_HOME_BUCKETS};

/// Tokens are counted in thousandths, so that a rate per second is a refill per millisecond.
const TOKEN: u64 = 1000;
/// Seed of the spread over buckets.
const SEED: u64 = 0x7261_7465;

/// A steady rate and the burst that a quiet time allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens per second.
    pub per_sec: u32,
    /// Tokens that a full bucket holds.
    pub burst: u32,
}

impl Rate {
    fn capacity(self) -> u64 {
        u64::from(self.burst).saturating_mul(TOKEN)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u64,
    at: Millis,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { tokens: rate.capacity(), at: Millis(0) }
    }

    /// Refills for the time that went by; true when a token is there.
    fn refill(&mut self, now: Millis, rate: Rate) -> bool {
        let elapsed_ms = now.0.saturating_sub(self.at.0);
        let refilled = self.tokens.saturating_add(elapsed_ms.saturating_mul(rate.per_sec.into()));
        self.tokens = refilled.min(rate.capacity());
        self.at = self.at.max(now);
        self.tokens >= TOKEN
    }

    fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }
}

/// Says whether one more may go: an error to a network, or signalling from it.
#[derive(Debug)]
pub(crate) struct NetworkLimit {
    seed: u64,
    per_network: Rate,
    overall: Rate,
    networks: Vec<Bucket>,
    all: Bucket,
}

impl NetworkLimit {
    /// `seed` is nobody else's to know: who does can choose networks that share a bucket with another one.
    pub(crate) fn new(per_network: Rate, overall: Rate, seed: u64) -> Self {
        Self {
            seed: SEED ^ seed,
            per_network,
            overall,
            networks: vec![Bucket::full(per_network); ERROR_BUCKETS],
            all: Bucket::full(overall),
        }
    }

    /// Takes a token for an error to `to`. Receivers share a bucket by /64 network, because one
    /// host can have as many source addresses in its network as it likes.
    pub(crate) fn allow(&mut self, now: Millis, to: Ipv6Addr) -> bool {
        let network = Ipv6Addr::from_bits(to.to_bits() >> 64 << 64);
        self.take(now, Mix::new(self.seed).v6(network).finish())
    }

    /// The same for a node whose address others cannot choose: it shares no bucket with its neighbours.
    pub(crate) fn allow_node(&mut self, now: Millis, node: Ipv6Addr) -> bool {
        self.take(now, Mix::new(self.seed).v6(node).finish())
    }

    /// The same for IPv4, where a /24 network shares a bucket.
    pub(crate) fn allow_v4(&mut self, now: Millis, to: Ipv4Addr) -> bool {
        let network = Ipv4Addr::from_bits(to.to_bits() >> 8 << 8);
        self.take(now, Mix::new(self.seed).v4(Some(network)).finish())
    }

    fn take(&mut self, now: Millis, hash: u64) -> bool {
        let Some(bucket) = bucket_of(&mut self.networks, hash) else {
            return false;
        };
        let allowed = bucket.refill(now, self.per_network) & self.all.refill(now, self.overall);
        if allowed {
            bucket.take();
            self.all.take();
        }
        allowed
    }
}

fn bucket_of(buckets: &mut [Bucket], hash: u64) -> Option<&mut Bucket> {
    let count = u64::try_from(buckets.len()).unwrap_or(1).max(1);
    buckets.get_mut(usize::try_from(hash.checked_rem(count).unwrap_or(0)).unwrap_or(0))
}

/// Says whether one more packet of signalling is handed on, before anything of it is decrypted or looked up.
///
/// Who sends from a care-of address that is bound to his home address has a bucket of his own, so that no flood
/// from elsewhere, however many sources it has, keeps a mobile node from refreshing its bindings. Everybody
/// else shares the bucket of his network, and that of all.
#[derive(Debug)]
pub(crate) struct SignallingLimit {
    seed: u64,
    per_home: Rate,
    homes: Vec<Bucket>,
    strangers: NetworkLimit,
}

impl SignallingLimit {
    pub(crate) fn new(per_home: Rate, per_network: Rate, overall: Rate, seed: u64) -> Self {
        Self {
            seed: seed.rotate_left(32),
            per_home,
            homes: vec![Bucket::full(per_home); SIGNALLING_HOME_BUCKETS],
            strangers: NetworkLimit::new(per_network, overall, seed),
        }
    }

    /// `bound` is the home address that the source is bound to, if it is.
    pub(crate) fn allow(&mut self, now: Millis, source: IpAddr, bound: Option<Ipv6Addr>) -> bool {
        if let Some(home_address) = bound {
            let hash = Mix::new(self.seed).v6(home_address).finish();
            if let Some(bucket) = bucket_of(&mut self.homes, hash)
                && bucket.refill(now, self.per_home)
            {
                bucket.take();
                return true;
            }
        }
        match source {
            IpAddr::V6(source) => self.strangers.allow(now, source),
            IpAddr::V4(source) => self.strangers.allow_v4(now, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> NetworkLimit {
        NetworkLimit::new(Rate { per_sec: 10, burst: 3 }, Rate { per_sec: 100, burst: 5 }, 7)
    }

    /// A flood from as many networks as there are leaves who is bound alone; so does one from his own network.
    #[test]
    fn who_is_bound_is_not_kept_out_by_strangers() {
        let rate = |per_sec| Rate { per_sec, burst: per_sec };
        let mut limit = SignallingLimit::new(rate(5), rate(10), rate(100), 7);
        let network = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1);
        let home = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x100);
        let now = Millis(1000);
        let strangers = (0..5000).filter(|n| limit.allow(now, network(*n).into(), None)).count();
        assert_eq!(strangers, 100, "all of them have a limit");
        let source = IpAddr::V6(network(3));
        let own = (0..8).filter(|_| limit.allow(now, source, Some(home))).count();
        assert_eq!(own, 5, "his own bucket, and then he is one of many");
        let v4 = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!((0..50).filter(|_| limit.allow(Millis(9000), v4, None)).count(), 10);
    }

    #[test]
    fn a_network_gets_its_burst_then_its_rate() {
        let mut limit = limit();
        let to = |host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, host);
        let sent = (0..10).filter(|host| limit.allow(Millis(5), to(*host))).count();
        assert_eq!(sent, 3, "other addresses of the network do not help");
        assert!(
            !limit.allow(Millis(104), to(1)),
            "99 ms give less than one token at 10 per second"
        );
        assert!(limit.allow(Millis(105), to(1)));
        assert!(!limit.allow(Millis(105), to(1)));
        assert_eq!((0..10).filter(|_| limit.allow(Millis(60_000), to(1))).count(), 3);
    }

    #[test]
    fn all_networks_together_have_a_limit_too() {
        let mut limit = limit();
        let to = |network: u16| Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 1);
        let sent = (0..500).filter(|network| limit.allow(Millis(5), to(*network))).count();
        assert_eq!(sent, 5);
    }

    #[test]
    fn time_that_runs_back_refills_nothing() {
        let mut limit = limit();
        let to = Ipv6Addr::LOCALHOST;
        assert_eq!((0..10).filter(|_| limit.allow(Millis(10_000), to)).count(), 3);
        assert!(!limit.allow(Millis(1), to));
        assert!(!limit.allow(Millis(10_000), to));
    }
}
