//! Duplicate Address Detection for somebody else's address (RFC 6275 §10.3.1, RFC 4862 §5.4).

use alloc::collections::BTreeMap;
use core::net::Ipv6Addr;

use crate::address::link_local_of;
use crate::limits;
use crate::link::RequestId;
use crate::reason::DropReason;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Probe {
    pub(crate) request_id: RequestId,
    link_local: bool,
    ends_ms: u64,
}

impl Probe {
    /// The addresses asked for: the link-local one only with L.
    pub(crate) fn targets(&self, home_address: Ipv6Addr) -> impl Iterator<Item = Ipv6Addr> {
        core::iter::once(home_address).chain(self.link_local.then_some(link_local_of(home_address)))
    }
}

/// By home address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Probes(BTreeMap<Ipv6Addr, Probe>);

impl Probes {
    /// Begins one; a newer request for the same home address takes its place and its time, for what has
    /// been asked need not be asked again. True when solicitations are to be sent.
    pub(crate) fn begin(
        &mut self,
        now_ms: u64,
        home_address: Ipv6Addr,
        request_id: RequestId,
        link_local: bool,
    ) -> Result<bool, DropReason> {
        if let Some(probe) = self.0.get_mut(&home_address) {
            probe.request_id = request_id;
            if !link_local || probe.link_local {
                return Ok(false);
            }
        } else if self.0.len() >= limits::PROBES_MAX {
            return Err(DropReason::Full);
        }
        let ends_ms = now_ms.saturating_add(limits::RETRANSMISSION_MS);
        self.0.insert(home_address, Probe { request_id, link_local, ends_ms });
        Ok(true)
    }

    /// Forgets one.
    pub(crate) fn cancel(&mut self, home_address: Ipv6Addr) {
        self.0.remove(&home_address);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn get(&self, home_address: Ipv6Addr) -> Option<&Probe> {
        self.0.get(&home_address)
    }

    /// Somebody has or wants `target`: the home addresses whose probes fail by that.
    pub(crate) fn objected(&mut self, target: Ipv6Addr) -> impl Iterator<Item = (Ipv6Addr, Probe)> {
        self.0.extract_if(.., move |home_address, probe| {
            probe.targets(*home_address).any(|asked| asked == target)
        })
    }

    /// The probes to which nobody objected in time.
    pub(crate) fn passed(&mut self, now_ms: u64) -> impl Iterator<Item = (Ipv6Addr, Probe)> {
        self.0.extract_if(.., move |_, probe| probe.ends_ms <= now_ms)
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.0.values().map(|probe| probe.ends_ms).min()
    }
}
