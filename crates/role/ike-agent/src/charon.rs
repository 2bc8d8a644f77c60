//! strongSwan's charon by its vici socket. Each question has a connection of its own: they are few, and a
//! daemon that was started anew is found again.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::{TryStreamExt as _, pin_mut};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::{sync::Semaphore, time::timeout};

use crate::limits;

/// The daemon.
#[derive(Clone, Debug)]
pub(crate) struct Charon {
    socket: PathBuf,
    questions: Arc<Semaphore>,
}

/// An IKE association, of what the daemon says of it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct IkeAssociation {
    /// Its number in this daemon.
    #[serde(rename = "uniqueid")]
    pub(crate) id: u32,
    pub(crate) state: String,
    /// Where it is here.
    #[serde(deserialize_with = "address")]
    pub(crate) local_host: Option<IpAddr>,
    /// Where the peer is; `None` before the daemon knows it.
    #[serde(deserialize_with = "address")]
    pub(crate) remote_host: Option<IpAddr>,
    #[serde(default)]
    pub(crate) child_sas: BTreeMap<String, Child>,
}

/// Written as text, `%any` where there is none.
fn address<'de, D: Deserializer<'de>>(text: D) -> Result<Option<IpAddr>, D::Error> {
    Ok(String::deserialize(text)?.parse().ok())
}

impl IkeAssociation {
    /// Its peer is there.
    pub(crate) fn is_at(&self, address: Ipv6Addr) -> bool {
        self.remote_host == Some(IpAddr::V6(address))
    }

    /// Something under it has this reqid.
    pub(crate) fn has(&self, reqid: u32) -> bool {
        self.child_sas.values().any(|child| child.reqid == reqid)
    }
}

/// A pair of IPsec associations under it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Child {
    /// Its number in this daemon: a newer one has a higher.
    #[serde(rename = "uniqueid")]
    pub(crate) id: u32,
    pub(crate) reqid: u32,
    pub(crate) state: String,
    /// As hexadecimal digits; absent before there is one.
    pub(crate) spi_in: Option<String>,
    pub(crate) spi_out: Option<String>,
    /// `2001:db8:a::1/128[mobility-header]`
    #[serde(default)]
    pub(crate) local_ts: Vec<String>,
    #[serde(default)]
    pub(crate) remote_ts: Vec<String>,
}

/// The daemon was not there, or said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CharonError {
    #[error("{socket} cannot be used: {source}; is the daemon running, with the vici plugin?")]
    Connect { socket: String, source: std::io::Error },
    #[error("the daemon: {0}")]
    Refused(#[from] rsvici::Error),
    #[error("the daemon has not answered within {0:?}")]
    Late(Duration),
}

impl CharonError {
    /// A counter's label.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "daemon_unreachable",
            Self::Refused(_) => "daemon_refused",
            Self::Late(_) => "daemon_late",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ListRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    ike_id: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TerminateRequest {
    ike_id: u32,
    /// Without waiting for an answer that will not come.
    force: bool,
    /// Milliseconds.
    timeout: u64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    errmsg: Option<String>,
}

impl Charon {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, questions: Arc::new(Semaphore::new(limits::QUESTIONS_MAX)) }
    }

    /// All IKE associations.
    pub(crate) async fn list(&self) -> Result<Vec<IkeAssociation>, CharonError> {
        in_time(limits::LIST_TIMEOUT, self.listed(None)).await
    }

    /// One of them; `None` when it is gone.
    pub(crate) async fn find(&self, ike_id: u32) -> Result<Option<IkeAssociation>, CharonError> {
        let listed = in_time(limits::QUESTION_TIMEOUT, self.listed(Some(ike_id))).await?;
        Ok(listed.into_iter().find(|it| it.id == ike_id))
    }

    async fn listed(&self, ike_id: Option<u32>) -> Result<Vec<IkeAssociation>, CharonError> {
        let _turn = self.questions.acquire().await;
        let mut client = self.connect().await?;
        let request = ListRequest { ike_id };
        // An event for each association, with its configuration's name.
        let events = client
            .stream_request::<_, BTreeMap<String, IkeAssociation>>("list-sas", "list-sa", request);
        pin_mut!(events);
        let mut found = Vec::new();
        while let Some(event) = events.try_next().await? {
            found.extend(event.into_values());
        }
        Ok(found)
    }

    /// Ends an IKE association, and all that was negotiated under it. False when it was gone already.
    pub(crate) async fn close(&self, ike_id: u32) -> Result<bool, CharonError> {
        let until_forced = u64::try_from(limits::CLOSE_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let request = TerminateRequest { ike_id, force: true, timeout: until_forced };
        let closed = async {
            let _turn = self.questions.acquire().await;
            let mut client = self.connect().await?;
            Ok(client.request::<_, Answer>("terminate", request).await?)
        };
        let answer: Answer =
            in_time(limits::CLOSE_TIMEOUT.saturating_add(limits::QUESTION_TIMEOUT), closed).await?;
        if answer.success == Some(false) {
            tracing::debug!(ike_id, answer = ?answer.errmsg, "not closed");
        }
        Ok(answer.success != Some(false))
    }

    async fn connect(&self) -> Result<rsvici::Client, CharonError> {
        let connected = rsvici::unix::connect(&self.socket).await;
        connected.map_err(|source| {
            let socket = self.socket.display().to_string();
            CharonError::Connect { socket, source }
        })
    }
}

async fn in_time<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, CharonError>>,
) -> Result<T, CharonError> {
    timeout(limit, asked).await.unwrap_or(Err(CharonError::Late(limit)))
}

#[cfg(test)]
mod tests;
