//! Commands straight to a store replica, as a front-end sends them.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, bail, ensure};
use homeport_api::convert::ipv6_octets;
use homeport_api::store::binding_store_client::BindingStoreClient;
use homeport_api::store::{LookUpPolicyRequest, SubmitRequest, SubmitResponse, submit_response};
use homeport_binding::{BidRequest, Command, Registration, Verdict, WireSource};
use homeport_wire::{Bid, BidCareOf, BidPriority, BuFlags, Lifetime, Sequence};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::PATIENCE;
use crate::updates::{CARE_OF, HOME_AGENT};

/// Commands on their way before the sender waits.
const COMMANDS_SENT_MAX: usize = 1024;

/// A stream of commands to one replica.
pub struct Submitter {
    client: BindingStoreClient<Channel>,
    requests: mpsc::Sender<SubmitRequest>,
    responses: Streaming<SubmitResponse>,
    tickets: u64,
}

impl Submitter {
    /// Opens the stream.
    ///
    /// # Errors
    /// When the replica does not take it.
    pub async fn open(channel: Channel) -> Result<Self> {
        let mut client = BindingStoreClient::new(channel);
        let (requests, outgoing) = mpsc::channel(COMMANDS_SENT_MAX);
        let responses = client.submit(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { client, requests, responses, tickets: 0 })
    }

    /// Revisions of the records that decide about a home address of [`HOME_AGENT`].
    ///
    /// # Errors
    /// When the replica does not answer.
    pub async fn policy_revisions(&mut self, home_address: Ipv6Addr) -> Result<(u64, u64)> {
        let request = LookUpPolicyRequest {
            home_address: ipv6_octets(home_address),
            home_agent: ipv6_octets(HOME_AGENT),
            linearizable: false,
        };
        let policy = self.client.look_up_policy(request).await?.into_inner();
        let home_prefix = policy.home_prefix.map_or(0, |home_prefix| home_prefix.revision);
        Ok((home_prefix, policy.subscriber.map_or(0, |subscriber| subscriber.revision)))
    }

    /// Sends registrations all at once; the verdicts in their order.
    ///
    /// # Errors
    /// When one gets none.
    pub async fn register_all(
        &mut self,
        registrations: impl IntoIterator<Item = Registration>,
    ) -> Result<Vec<Verdict>> {
        let mut verdicts = BTreeMap::new();
        let mut waiting = 0_usize;
        for registration in registrations {
            self.send(Command::Register(registration)).await?;
            waiting += 1;
            if waiting == COMMANDS_SENT_MAX {
                self.collect(&mut verdicts, waiting).await?;
                waiting = 0;
            }
        }
        self.collect(&mut verdicts, waiting).await?;
        Ok(verdicts.into_values().collect())
    }

    /// Sends one registration; its verdict.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn register(&mut self, registration: Registration) -> Result<Verdict> {
        let verdicts = self.register_all([registration]).await?;
        verdicts.into_iter().next().context("no verdict")
    }

    /// Sends any command; its verdict.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn command(&mut self, command: Command) -> Result<Verdict> {
        self.send(command).await?;
        let mut verdicts = BTreeMap::new();
        self.collect(&mut verdicts, 1).await?;
        verdicts.into_values().next().context("no verdict")
    }

    /// Says, as the defender of a home link does, up to which revision it has settled that.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn settled(&mut self, revision: u64) -> Result<()> {
        let settled_revision = Some(revision);
        let told = SubmitRequest { settled_revision, ..SubmitRequest::default() };
        Ok(self.requests.send(told).await?)
    }

    async fn send(&mut self, command: Command) -> Result<()> {
        self.tickets += 1;
        let command = Some(command.into());
        let request = SubmitRequest { ticket: self.tickets, command, ..SubmitRequest::default() };
        self.requests.send(request).await?;
        Ok(())
    }

    async fn collect(&mut self, verdicts: &mut BTreeMap<u64, Verdict>, count: usize) -> Result<()> {
        for _ in 0..count {
            let response = tokio::time::timeout(PATIENCE, self.responses.message()).await??;
            let response = response.context("the replica ended the stream")?;
            match response.result {
                Some(submit_response::Result::Verdict(verdict)) => {
                    let new = verdicts.insert(response.ticket, verdict.try_into()?).is_none();
                    ensure!(new, "two verdicts for one command");
                }
                other => bail!("no verdict but {other:?}"),
            }
        }
        Ok(())
    }
}

/// A registration without BID from a foreign link, lifetime a quarter of an hour.
#[must_use]
pub fn registration(
    home_address: Ipv6Addr,
    sequence: u16,
    request_id: u128,
    policy_revisions: (u64, u64),
) -> Registration {
    Registration {
        request_id: request_id.to_be_bytes(),
        home_address,
        home_agent: HOME_AGENT,
        source: WireSource::Ipv6(CARE_OF),
        sequence: Sequence(sequence),
        lifetime: Lifetime(225),
        flags: BuFlags::ACKNOWLEDGE.with(BuFlags::HOME_REGISTRATION),
        alternate_care_of: None,
        ipv4_care_of: None,
        bids: Vec::new(),
        link_layer_address: Vec::new(),
        message_id: None,
        policy_revisions,
        mobile_networks: Vec::new(),
        ipv4_home_address: None,
        flows: Vec::new(),
        flow_summary: Vec::new(),
        home_address_option_missing: false,
    }
}

/// A BID at a care-of address, as a Binding Identifier mobility option asks for it.
#[must_use]
pub const fn bid_request(bid: u16, care_of: Ipv6Addr) -> BidRequest {
    BidRequest {
        bid: Some(Bid(bid)),
        home: false,
        priority: BidPriority::UNSET,
        care_of: BidCareOf::V6(care_of),
        malformed: false,
    }
}
