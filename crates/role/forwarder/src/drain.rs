//! Draining: others take over what this forwarder has, and then it can be stopped.
//!
//! First it is only not ready any more, so that whatever looks at readiness leads packets elsewhere,
//! and it forwards all that comes. Then routes and the UDP socket are taken off, for routing that
//! follows those; what XDP receives still goes on. When nothing has come for a while it is drained.

use tokio::sync::watch;

use crate::{
    fast::Fast, headless::Contact, home_link::HomeLinkOutlet, limits, port::Port,
    routes::RoutesOutlet,
};

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Stage {
    #[default]
    Serving,
    /// Not ready, and serves.
    Announced,
    /// Nothing leads here any more.
    Left,
    /// Nothing comes.
    Drained,
}

/// See the module. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub(crate) struct Drain {
    stage: Stage,
    since_ms: u64,
    looked_ms: u64,
    /// How many packets had been forwarded when that number last moved, and when.
    forwarded: (u64, u64),
    /// Whether it is drained, for the store.
    report: watch::Sender<bool>,
}

impl Drain {
    pub(crate) fn new(report: watch::Sender<bool>) -> Self {
        Self { stage: Stage::Serving, since_ms: 0, looked_ms: 0, forwarded: (0, 0), report }
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The store wants it so; `serves`: packets may come here already. True when the stage is another.
    pub(crate) fn want(&mut self, now_ms: u64, drained: bool, serves: bool) -> bool {
        match (drained, self.stage) {
            (true, Stage::Serving) if serves => self.turn(now_ms, Stage::Announced),
            // It has just started: nobody needs to be led away.
            (true, Stage::Serving) => self.turn(now_ms, Stage::Left),
            (false, Stage::Announced | Stage::Left | Stage::Drained) => {
                self.turn(now_ms, Stage::Serving)
            }
            _ => false,
        }
    }

    /// Looks at the clock, and at how many packets were forwarded ever. True when the stage is another.
    pub(crate) fn look(&mut self, now_ms: u64, forwarded: u64) -> bool {
        self.looked_ms = now_ms;
        if self.forwarded.0 != forwarded {
            self.forwarded = (forwarded, now_ms);
        }
        let quiet_since_ms = self.since_ms.max(self.forwarded.1);
        match self.stage {
            Stage::Announced if now_ms >= self.since_ms.saturating_add(limits::LEAVE_AFTER_MS) => {
                self.turn(now_ms, Stage::Left)
            }
            Stage::Left if now_ms >= quiet_since_ms.saturating_add(limits::QUIET_MS) => {
                self.turn(now_ms, Stage::Drained)
            }
            _ => false,
        }
    }

    /// When to look again, however often it is asked meanwhile.
    pub(crate) fn next_look_ms(&self) -> Option<u64> {
        let looks = matches!(self.stage, Stage::Announced | Stage::Left);
        looks.then(|| self.looked_ms.saturating_add(limits::DRAIN_LOOK_MS))
    }

    fn turn(&mut self, now_ms: u64, stage: Stage) -> bool {
        tracing::info!(from = ?self.stage, to = ?stage, "drain");
        (self.stage, self.since_ms) = (stage, now_ms);
        self.report.send_replace(stage == Stage::Drained);
        true
    }
}

/// What is taken off the host, so that packets go elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TakenOff {
    routes: bool,
    udp: bool,
    home_link: bool,
    fast: bool,
}

/// Where it is taken off.
pub(crate) struct Host<'e> {
    pub(crate) port: &'e mut Port,
    pub(crate) routes: Option<&'e mut RoutesOutlet>,
    pub(crate) home_link: Option<&'e HomeLinkOutlet>,
    pub(crate) fast: Option<&'e mut Fast>,
}

impl TakenOff {
    /// What follows from the store's wish and from hearing no store.
    pub(crate) fn of(stage: Stage, contact: Contact) -> Self {
        let (left, withdrawn) = (stage >= Stage::Left, contact == Contact::Withdrawn);
        Self {
            routes: left || withdrawn,
            udp: left,
            home_link: left,
            fast: stage == Stage::Drained || withdrawn,
        }
    }

    /// Makes the host like this; `come_back` is what the fast path does to serve again.
    pub(crate) fn apply(self, before: Self, host: Host<'_>, come_back: impl FnOnce(&mut Fast)) {
        if self.routes != before.routes
            && let Some(routes) = host.routes
        {
            routes.withdraw(self.routes);
        }
        if self.udp != before.udp
            && let Err(error) = host.port.leave_udp(self.udp)
        {
            tracing::warn!(%error, "the UDP socket stays as it was");
        }
        if self.home_link != before.home_link
            && let Some(link) = host.home_link
        {
            link.left.send_replace(self.home_link);
        }
        match host.fast {
            Some(fast) if self.fast && !before.fast => fast.withdraw(),
            Some(fast) if before.fast && !self.fast => come_back(fast),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_so_then_leaves_and_is_drained_when_nothing_has_come_for_a_while() {
        let (report, seen) = watch::channel(false);
        let mut drain = Drain::new(report);
        assert!(!drain.want(1000, false, true) && drain.next_look_ms().is_none());
        assert!(drain.want(1000, true, true));
        assert_eq!(drain.stage(), Stage::Announced);
        assert!(!drain.want(1500, true, true), "it knows that");
        assert!(!drain.look(1000 + limits::LEAVE_AFTER_MS - 1, 5));
        let looked_ms = 1000 + limits::LEAVE_AFTER_MS - 1;
        assert_eq!(drain.next_look_ms(), Some(looked_ms + limits::DRAIN_LOOK_MS));
        assert!(drain.look(1000 + limits::LEAVE_AFTER_MS, 6));
        assert_eq!((drain.stage(), *seen.borrow()), (Stage::Left, false));
        let left_ms = 1000 + limits::LEAVE_AFTER_MS;
        assert!(!drain.look(left_ms + limits::QUIET_MS - 1, 7), "something came");
        assert!(!drain.look(left_ms + limits::QUIET_MS, 7));
        assert!(drain.look(left_ms + 2 * limits::QUIET_MS - 1, 7));
        assert_eq!((drain.stage(), *seen.borrow()), (Stage::Drained, true));
        assert!(!drain.look(u64::MAX, 8), "it stays so");
        assert!(drain.want(90_000, false, true));
        assert_eq!((drain.stage(), *seen.borrow()), (Stage::Serving, false));
    }

    #[test]
    fn who_starts_drained_never_attracts_anything() {
        let mut drain = Drain::new(watch::Sender::new(false));
        assert!(drain.want(0, true, false));
        assert_eq!(drain.stage(), Stage::Left);
        let off = TakenOff::of(drain.stage(), Contact::Fresh);
        assert!(off.routes && off.udp && off.home_link && !off.fast);
        assert!(drain.look(limits::QUIET_MS, 0));
        assert!(TakenOff::of(drain.stage(), Contact::Fresh).fast);
    }

    #[test]
    fn cut_off_it_takes_off_what_leads_packets_here_and_nothing_else() {
        let off = TakenOff::of(Stage::Serving, Contact::Withdrawn);
        assert!(off.routes && off.fast && !off.udp && !off.home_link);
        assert_eq!(TakenOff::of(Stage::Announced, Contact::Stale), TakenOff::default());
    }
}
