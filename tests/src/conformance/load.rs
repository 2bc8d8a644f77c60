//! Many home addresses at once: Binding Updates on the wire as fast as they are acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::decode::Packet;
use super::packet::{CareOf, Update, bid, bid_with};
use super::stage::Stage;

/// Binding Updates without their acknowledgement yet: what a forwarder hands up, and little enough for
/// the interface's queue.
const UNDER_WAY_MAX: usize = 256;
/// After this a Binding Update is sent again with the next sequence number (RFC 6275 section 11.8).
const RETRANSMISSION: Duration = Duration::from_secs(1);
/// How often, while processes are killed and start again.
const SENDS_MAX: u16 = 60;
/// Units of four seconds: one hour, the longest that is granted.
const LIFETIME: u16 = 900;
/// Between two lines about how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// BIDs of each home address.
pub(super) const BIDS: [u16; 2] = [1, 2];

/// Home address number `n` of many, apart from those of the cases.
pub(super) fn home(stage: &Stage, n: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(stage.home.prefix) | 1 << 56 | u128::from(n))
}

/// The number of such a home address.
pub(super) fn number(stage: &Stage, home: Ipv6Addr) -> Option<u32> {
    let first = u128::from(self::home(stage, 0));
    u32::try_from(u128::from(home).checked_sub(first)?).ok()
}

/// Care-of address of a home address on foreign link `link`, 1 to 9.
pub(super) fn care_of(stage: &Stage, link: u16, n: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(stage.coa(link)) & !0xffff | 1 << 48 | u128::from(n) << 16)
}

/// A Binding Update that lasts until the case is at its end.
pub(super) fn lasting(sequence: u16) -> Update {
    Update::new(sequence).lifetime(LIFETIME)
}

/// Both BIDs in one Binding Update, each on the link of its number; the first is preferred.
pub(super) fn both(stage: &Stage, n: u32, sequence: u16) -> Update {
    let options = BIDS.map(|id| {
        let priority = u8::try_from(id).unwrap_or_default() * 10;
        bid_with(id, 0, priority, CareOf::V6(care_of(stage, id, n)))
    });
    Update { options: options.to_vec(), ..lasting(sequence) }
}

/// The first BID on another link.
pub(super) fn moved(stage: &Stage, n: u32, sequence: u16, link: u16) -> Update {
    lasting(sequence).with(bid_with(BIDS[0], 0, 10, CareOf::V6(care_of(stage, link, n))))
}

/// Both BIDs for as long again, where they are.
pub(super) fn refreshed(sequence: u16) -> Update {
    let options =
        BIDS.map(|id| bid_with(id, 0, u8::try_from(id).unwrap_or_default() * 10, CareOf::Absent));
    Update { options: options.to_vec(), ..lasting(sequence) }
}

/// One BID less.
pub(super) fn without(sequence: u16, id: u16) -> Update {
    Update::new(sequence).lifetime(0).with(bid(id, CareOf::Absent))
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) acknowledged: u32,
    pub(super) sent: u32,
    pub(super) took: Duration,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.sent += other.sent;
        self.took += other.took;
    }
}

impl Sent {
    pub(super) fn per_second(&self) -> f64 {
        f64::from(self.acknowledged) / self.took.as_secs_f64()
    }
}

/// A Binding Update without acknowledgement yet.
struct UnderWay {
    n: u32,
    sequence: u16,
}

/// Binding Updates of one kind for many home addresses.
struct Load<'s, U> {
    stage: &'s Stage,
    first: u16,
    update: U,
    under_way: BTreeMap<Ipv6Addr, UnderWay>,
    /// When which is sent again, the earliest first; what was acknowledged since is passed over.
    due: VecDeque<(Instant, Ipv6Addr, u16)>,
    done: Sent,
}

/// Sends a Binding Update for each of these numbers, from the first link, and waits until each is
/// accepted; `update` makes it with a sequence number, `first` or a later one.
///
/// # Errors
/// When one is refused, or not answered however often it is sent.
pub(super) async fn all_accepted(
    stage: &Stage,
    numbers: impl IntoIterator<Item = u32>,
    first: u16,
    update: impl Fn(u32, u16) -> Update,
) -> Result<Sent> {
    let (started, mut told) = (Instant::now(), Instant::now());
    let (under_way, due) = (BTreeMap::new(), VecDeque::new());
    let mut load = Load { stage, first, update, under_way, due, done: Sent::default() };
    let mut numbers = numbers.into_iter();
    loop {
        while load.under_way.len() < UNDER_WAY_MAX {
            let Some(n) = numbers.next() else { break };
            load.send(n, first).await?;
        }
        load.done.took = started.elapsed();
        if load.under_way.is_empty() {
            return Ok(load.done);
        }
        let next = load.due.front().map(|(at, ..)| at.saturating_duration_since(Instant::now()));
        if let Some(packet) = stage.arrival(next.unwrap_or(RETRANSMISSION)).await? {
            load.arrived(&packet)?;
        }
        load.send_again().await?;
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            println!(
                "{} acknowledged, {:.0} a second",
                load.done.acknowledged,
                load.done.per_second()
            );
        }
    }
}

impl<U: Fn(u32, u16) -> Update> Load<'_, U> {
    async fn send(&mut self, n: u32, sequence: u16) -> Result<()> {
        let home = home(self.stage, n);
        let update = (self.update)(n, sequence);
        let packet = self.stage.packet_of(&update, care_of(self.stage, BIDS[0], n), home);
        self.stage.send(&packet).await?;
        self.done.sent += 1;
        self.under_way.insert(home, UnderWay { n, sequence });
        self.due.push_back((Instant::now() + RETRANSMISSION, home, sequence));
        Ok(())
    }

    fn arrived(&mut self, packet: &Packet) -> Result<()> {
        let Some(ba) = packet.acknowledgement() else { return Ok(()) };
        let Some(home) = ba.routing else { return Ok(()) };
        // One that was sent again may be acknowledged twice.
        let Some(sent) = self.under_way.remove(&home) else { return Ok(()) };
        let is_known = (self.first..=sent.sequence).contains(&ba.sequence);
        let is_good = ba.status == 0 && ba.bids().iter().all(|bid| bid.status == 0);
        ensure!(is_good && is_known, "{home}: {}", packet.summary());
        self.done.acknowledged += 1;
        Ok(())
    }

    async fn send_again(&mut self) -> Result<()> {
        while let Some((_, home, sequence)) =
            self.due.pop_front_if(|(at, ..)| *at <= Instant::now())
        {
            let sent = self.under_way.get(&home).filter(|sent| sent.sequence == sequence);
            let Some(UnderWay { n, .. }) = sent else { continue };
            let sends = sequence - self.first + 1;
            ensure!(sends < SENDS_MAX, "{home}: no acknowledgement of {sends} Binding Updates");
            self.send(*n, sequence + 1).await?;
        }
        Ok(())
    }
}
