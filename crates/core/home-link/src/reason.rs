use homeport_wire::Malformed;

/// Why a packet from the home link changed nothing and got no answer. Each has its own counter in the
/// shell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// The octets are no packet.
    Malformed(Malformed),
    /// Neighbour Discovery with another hop limit than 255 came through a router (RFC 4861 §6.1, §7.1).
    HopLimit,
    /// Neighbour Discovery that breaks a rule of RFC 4861 §6.1 or §7.1.
    Invalid,
    /// It concerns nothing that this node does on the link.
    NotConcerned,
    /// Another node of the cluster defends the link.
    NotDefender,
    /// A bound of [`crate::limits`] is reached.
    Full,
    /// The limit on errors held one back (RFC 4443 §2.4 (f)).
    ErrorRateLimited,
}

impl DropReason {
    /// A word out of a closed set, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::HopLimit => "hop_limit",
            Self::Invalid => "invalid",
            Self::NotConcerned => "not_concerned",
            Self::NotDefender => "not_defender",
            Self::Full => "full",
            Self::ErrorRateLimited => "error_rate_limited",
        }
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
