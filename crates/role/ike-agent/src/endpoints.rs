//! The service for front-ends: an IKE association's endpoint follows the mobile node, or the association is
//! closed.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use homeport_api::ike::{
    CloseEndpointRequest, CloseEndpointResponse, MoveEndpointRequest, MoveEndpointResponse,
    ike_agent_server::{IkeAgent, IkeAgentServer},
};
use homeport_hostnet::{Endpoints as Ends, Xfrm};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status};

use crate::{
    charon::{Charon, CharonError, IkeAssociation},
    known::{Association, Known, Peer, Unclaimed},
    limits,
    metrics::Metrics,
};

/// What calls work on.
pub(crate) struct Endpoints {
    pub(crate) charon: Charon,
    pub(crate) xfrm: Xfrm,
    pub(crate) known: Arc<Known>,
    pub(crate) metrics: Arc<Metrics>,
    closings: Arc<Semaphore>,
}

/// Why an endpoint is not where it should be.
#[derive(Debug, thiserror::Error)]
enum Unmoved {
    #[error(transparent)]
    Daemon(#[from] CharonError),
    #[error(transparent)]
    Kernel(#[from] homeport_hostnet::Error),
    #[error("the IKE association has gone")]
    Gone,
    #[error("the IKE association is over IPv4, which cannot be moved")]
    Ipv4,
    #[error("the daemon has not moved its association in time")]
    Unconfirmed,
}

impl Unmoved {
    /// A counter's label.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Daemon(error) => error.reason(),
            Self::Kernel(_) => "kernel_refused",
            Self::Gone => "association_gone",
            Self::Ipv4 => "over_ipv4",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// What a call names.
struct Asked {
    peer: Peer,
    care_of: Ipv6Addr,
    revision: u64,
}

impl Endpoints {
    pub(crate) fn new(
        charon: Charon,
        xfrm: Xfrm,
        known: Arc<Known>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let closings = Arc::new(Semaphore::new(limits::CLOSINGS_MAX));
        Self { charon, xfrm, known, metrics, closings }
    }

    pub(crate) fn service(self) -> IkeAgentServer<Self> {
        IkeAgentServer::new(self)
    }

    /// The daemon is told through the kernel, and asked whether it has heard.
    async fn moved(&self, association: &Association, care_of: Ipv6Addr) -> Result<(), Unmoved> {
        let ike = self.find(association).await?;
        if ike.is_at(care_of) {
            return Ok(());
        }
        let (Some(IpAddr::V6(local)), Some(IpAddr::V6(remote))) = (ike.local_host, ike.remote_host)
        else {
            return Err(Unmoved::Ipv4);
        };
        let (from, to) = (Ends { local, remote }, Ends { local, remote: care_of });
        match self.xfrm.migrate(&association.protected, &from, &to).await {
            // Somebody has taken the policies away.
            Err(error) if error.is_not_found() => {
                self.xfrm.install_policies(&association.protected).await?;
                self.xfrm.migrate(&association.protected, &from, &to).await?;
            }
            migrated => migrated?,
        }
        loop {
            let ike = self.charon.find(ike.id).await?.ok_or(Unmoved::Gone)?;
            if ike.is_at(care_of) {
                return Ok(());
            }
            sleep(limits::CONFIRM_PAUSE).await;
        }
    }

    /// By the number that it had when it was looked, or by its reqid: a rekey of IKE gives another number and
    /// changes nothing in the kernel.
    async fn find(&self, association: &Association) -> Result<IkeAssociation, Unmoved> {
        if let Some(ike) = self.charon.find(association.ike_id).await? {
            return Ok(ike);
        }
        let reqid = association.protected.reqid;
        let all = self.charon.list().await?;
        let newest = all.into_iter().filter(|ike| ike.has(reqid)).max_by_key(|ike| ike.id);
        newest.ok_or(Unmoved::Gone)
    }

    /// Claims the association for this binding.
    fn claim(&self, asked: &Asked) -> Result<Association, Status> {
        self.known.claim(&asked.peer, asked.revision).map_err(|unclaimed| match unclaimed {
            Unclaimed::Unknown => {
                self.metrics.unclaimed.count("unknown");
                Status::not_found("no association of this home address, home agent and reqid")
            }
            Unclaimed::Outdated => {
                self.metrics.unclaimed.count("outdated");
                Status::failed_precondition("a newer Binding Update has been here")
            }
        })
    }
}

#[tonic::async_trait]
impl IkeAgent for Endpoints {
    async fn move_endpoint(
        &self,
        request: Request<MoveEndpointRequest>,
    ) -> Result<Response<MoveEndpointResponse>, Status> {
        let MoveEndpointRequest { home_address, home_agent, reqid, care_of, revision } =
            request.into_inner();
        let asked = asked(&home_address, &home_agent, reqid, &care_of, revision)?;
        let association = self.claim(&asked)?;
        let moved = timeout(limits::CONFIRM_MAX, self.moved(&association, asked.care_of)).await;
        let moved = match moved.unwrap_or(Err(Unmoved::Unconfirmed)) {
            Ok(()) => {
                self.metrics.moves.count("moved");
                true
            }
            Err(error) => {
                tracing::warn!(reqid, %error, "an IKE endpoint was not moved");
                self.metrics.moves.count(error.reason());
                false
            }
        };
        Ok(Response::new(MoveEndpointResponse { moved }))
    }

    async fn close_endpoint(
        &self,
        request: Request<CloseEndpointRequest>,
    ) -> Result<Response<CloseEndpointResponse>, Status> {
        let CloseEndpointRequest { home_address, home_agent, reqid, care_of, revision } =
            request.into_inner();
        let asked = asked(&home_address, &home_agent, reqid, &care_of, revision)?;
        let association = self.claim(&asked)?;
        let all = self.charon.list().await;
        let all = all.map_err(|error| Status::unavailable(error.to_string()))?;
        let is_elsewhere = |ike: &IkeAssociation| {
            !ike.is_at(asked.care_of) && ike.has(association.protected.reqid)
        };
        let elsewhere: Vec<u32> = all.into_iter().filter(is_elsewhere).map(|it| it.id).collect();
        let closing = !elsewhere.is_empty();
        if closing {
            let turn = Arc::clone(&self.closings).try_acquire_owned();
            let turn = turn.map_err(|_full| Status::resource_exhausted("too many are closing"))?;
            let (charon, known) = (self.charon.clone(), Arc::clone(&self.known));
            let metrics = Arc::clone(&self.metrics);
            // Ends with the process at the latest, and at most this many.
            drop(tokio::spawn(async move {
                let _turn = turn;
                sleep(limits::CLOSE_DELAY).await;
                if known.is_newest(&asked.peer, asked.revision) {
                    close(&charon, &metrics, &elsewhere, asked.care_of).await;
                }
            }));
        }
        Ok(Response::new(CloseEndpointResponse { closing }))
    }
}

/// Those that are still elsewhere.
async fn close(charon: &Charon, metrics: &Metrics, ike_ids: &[u32], care_of: Ipv6Addr) {
    for ike_id in ike_ids {
        let closed = async {
            match charon.find(*ike_id).await? {
                Some(ike) if !ike.is_at(care_of) => charon.close(*ike_id).await,
                Some(_) | None => Ok(false),
            }
        };
        match closed.await {
            Ok(true) => metrics.closes.count("closed"),
            Ok(false) => metrics.closes.count("association_gone"),
            Err(error) => {
                tracing::warn!(ike_id, %error, "an IKE association was not closed");
                metrics.closes.count(error.reason());
            }
        }
    }
}

fn asked(
    home_address: &[u8],
    home_agent: &[u8],
    reqid: u32,
    care_of: &[u8],
    revision: u64,
) -> Result<Asked, Status> {
    let address = |field: &str, octets: &[u8]| {
        let octets = <[u8; 16]>::try_from(octets);
        octets.map(Ipv6Addr::from).map_err(|_len| {
            Status::invalid_argument(format!("{field}: an IPv6 address of 16 octets is expected"))
        })
    };
    let peer = Peer {
        home_address: address("home_address", home_address)?,
        home_agent: address("home_agent", home_agent)?,
        reqid,
    };
    Ok(Asked { peer, care_of: address("care_of", care_of)?, revision })
}
