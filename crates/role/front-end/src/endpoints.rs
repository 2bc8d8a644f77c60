//! Agents beside IKE daemons: the endpoint of an IKE association follows the mobile node, or the association is
//! closed. Which agent stands in the store, beside the association.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeport_api::convert::ipv6_octets;
use homeport_api::ike::ike_agent_client::IkeAgentClient;
use homeport_api::ike::{CloseEndpointRequest, MoveEndpointRequest};
use homeport_runtime::config::Live;
use homeport_signalling::{Endpoint, EndpointChange};
use homeport_tls::Way;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::transport::{self, Channel};

use crate::metrics::Metrics;
use crate::{Dial, limits};

/// The agents that have been asked for something.
pub(crate) struct Endpoints {
    channels: Mutex<BTreeMap<String, Channel>>,
    dial: Option<Dial>,
    way: Way,
    deadline_ms: Live,
    closings: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why an endpoint is not where it should be: a counter's label.
type Unmoved = &'static str;

impl Endpoints {
    pub(crate) fn new(
        (dial, way): (Option<Dial>, Way),
        deadline_ms: Live,
        metrics: Arc<Metrics>,
    ) -> Self {
        let closings = Arc::new(Semaphore::new(limits::ENDPOINTS_CLOSING_MAX));
        Self { channels: Mutex::default(), dial, way, deadline_ms, closings, metrics }
    }

    /// Carries it out. True when the endpoint is confirmed to be where the mobile node is: then, and only then,
    /// K is set. What is closed is not waited for.
    pub(crate) async fn changed(&self, change: EndpointChange) -> bool {
        let deadline = Duration::from_millis(self.deadline_ms.get());
        match change {
            EndpointChange::Move(endpoint) => {
                let moved = timeout(deadline, self.moved(endpoint)).await;
                let moved = moved.unwrap_or(Err("agent_late"));
                self.metrics.endpoint_moves.count(moved.err().unwrap_or("moved"));
                moved.is_ok()
            }
            EndpointChange::Close(endpoint) => {
                self.close(endpoint, deadline);
                false
            }
        }
    }

    async fn moved(&self, endpoint: Endpoint) -> Result<(), Unmoved> {
        let mut client = self.client(&endpoint.agent)?;
        let request = MoveEndpointRequest {
            home_address: ipv6_octets(endpoint.home_address),
            home_agent: ipv6_octets(endpoint.home_agent),
            reqid: endpoint.request_id,
            care_of: ipv6_octets(endpoint.care_of),
            revision: endpoint.revision,
        };
        match client.move_endpoint(request).await {
            Ok(response) if response.get_ref().moved => Ok(()),
            Ok(_) => Err("unconfirmed"),
            Err(status) => {
                tracing::debug!(%status, "an IKE endpoint was not moved");
                Err(reason(&status))
            }
        }
    }

    /// The agent waits by itself until the acknowledgement has gone.
    fn close(&self, endpoint: Endpoint, deadline: Duration) {
        let Ok(turn) = Arc::clone(&self.closings).try_acquire_owned() else {
            self.metrics.endpoint_closes.count("overloaded");
            return;
        };
        let client = self.client(&endpoint.agent);
        let metrics = Arc::clone(&self.metrics);
        let closed = async move {
            let request = CloseEndpointRequest {
                home_address: ipv6_octets(endpoint.home_address),
                home_agent: ipv6_octets(endpoint.home_agent),
                reqid: endpoint.request_id,
                care_of: ipv6_octets(endpoint.care_of),
                revision: endpoint.revision,
            };
            match client?.close_endpoint(request).await {
                Ok(response) if response.get_ref().closing => Ok("closing"),
                Ok(_) => Ok("none_elsewhere"),
                Err(status) => {
                    tracing::debug!(%status, "an IKE association was not closed");
                    Err(reason(&status))
                }
            }
        };
        // Bounded in number and time; a closing that is lost is left to the daemon's dead peer detection.
        drop(tokio::spawn(async move {
            let _turn = turn;
            let closed = timeout(deadline, closed).await.unwrap_or(Err("agent_late"));
            metrics.endpoint_closes.count(closed.unwrap_or_else(|reason| reason));
        }));
    }

    fn client(&self, agent: &str) -> Result<IkeAgentClient<Channel>, Unmoved> {
        // Each change is one call, so the map is whole after any panic.
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(agent) {
            return Ok(IkeAgentClient::new(channel.clone()));
        }
        let endpoint = transport::Endpoint::from_shared(format!("http://{agent}"));
        let endpoint = endpoint.map_err(|error| {
            tracing::warn!(%error, agent, "the store names an IKE agent that cannot be dialled");
            "agent_unreachable"
        })?;
        let endpoint = endpoint
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT);
        let channel = match &self.dial {
            Some(dial) => dial(&endpoint),
            None => self.way.lazy(&endpoint),
        };
        if channels.len() >= limits::AGENTS_MAX {
            // Any will do: it is dialled again when it is needed.
            channels.pop_first();
        }
        channels.insert(agent.to_owned(), channel.clone());
        Ok(IkeAgentClient::new(channel))
    }
}

fn reason(status: &tonic::Status) -> Unmoved {
    match status.code() {
        tonic::Code::NotFound => "association_unknown",
        tonic::Code::FailedPrecondition => "outdated",
        tonic::Code::Unavailable => "agent_unreachable",
        _ => "agent_refused",
    }
}
