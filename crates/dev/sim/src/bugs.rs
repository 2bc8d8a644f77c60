//! Planted bugs: each is a lie of the simulation's own disk, tap, proxy or client, never of the code that
//! is served. A simulation that does not find them proves nothing.

use std::fmt;
use std::str::FromStr;

macro_rules! bugs {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Bug {
            $($(#[$doc])+ $variant,)+
        }

        impl Bug {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name on the command line.
            #[must_use]
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

bugs! {
    /// The disk says that a sync is done which it did not do.
    SkipFsync = "skip-fsync",
    /// A replica answers a Binding Update before its entry is committed.
    AckBeforeCommit = "ack-before-commit",
    /// A replica that believes to lead answers reads without asking a majority.
    LeaseRead = "lease-read",
    /// The vote reaches the disk only with the entries that follow it.
    VoteAfterLog = "vote-after-log",
    /// The last binding of a bulk registration is acknowledged but not stored.
    LostBulkTail = "lost-bulk-tail",
    /// A sequence number that equals the last one passes for newer.
    SequenceOffByOne = "sequence-off-by-one",
    /// Bindings end by the replica's own clock instead of the time in the log.
    LocalClockExpiry = "local-clock-expiry",
    /// A subscriber that reconnects misses a change.
    FeedSkip = "feed-skip",
    /// A disk that lost its log comes back as the one that it was.
    StaleEpoch = "stale-epoch",
    /// Snapshots leave out the sequence numbers of home addresses without bindings.
    SnapshotWithoutTombstones = "snapshot-without-tombstones",
    /// A de-registration is acknowledged but not carried out.
    DroppedDeregistration = "dropped-deregistration",
    /// A command that is sent again is applied again.
    DoubleApply = "double-apply",
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|bug| bug.name() == name);
        known.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|bug| bug.name()).collect();
            format!("there is no planted bug {name:?}, but {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
        }
        assert!("none".parse::<Bug>().unwrap_err().contains("lease-read"));
    }
}
