//! Scripts that need a real home link: hosts and routers on it, and the home agent's Neighbour Discovery.

use anyhow::Result;

use super::catalogue::Row;
use super::decode::{Acknowledgement, Packet};
use super::packet::Update;
use super::stage::{CannotRun, Stage};

fn missing<T>() -> Result<T> {
    Err(CannotRun("there is no home link in the laboratory".to_owned()).into())
}

impl Stage {
    /// A packet that the mobile node sends on its home link, and the answer on that link.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask_from_home<T>(
        &self,
        _packet: &[u8],
        _what: &str,
        _read: impl Fn(&Packet) -> Option<T>,
    ) -> Result<T> {
        missing()
    }

    /// A Binding Update from the home address on the home link, with or without a Home Address option.
    ///
    /// # Errors
    /// When no answer comes, or with a routing header.
    pub async fn register_from_home(
        &self,
        _update: &Update,
        _option: bool,
    ) -> Result<Acknowledgement> {
        missing()
    }

    /// Valid lifetime of the home prefix in the home agent's Router Advertisements, in seconds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn advertised_valid_lifetime(&self) -> Result<u32> {
        missing()
    }
}

/// Duplicate Address Detection of the home address.
pub async fn dad(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// Unsolicited Neighbour Advertisements after the first registration.
pub async fn first_advertisement(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// Neighbour Solicitations for what is and what is not defended.
pub async fn solicit(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// A correspondent node on the home link pings a link-local home address.
pub async fn link_local_ping(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// The Home Agents List that Router Advertisements feed.
pub async fn home_agents(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// A home binding beside foreign ones (RFC 5648 section 5.6).
pub async fn home_binding(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// The forwarder that defends the home link is killed.
pub async fn owner_moves(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}

/// One logical home agent on the home link.
pub async fn one_agent(_stage: &Stage, _row: &Row) -> Result<()> {
    missing()
}
