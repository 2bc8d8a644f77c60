//! One packet's way through the front-end: the pure steps of `homeport-signalling`, and the waiting
//! between them.

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use homeport_binding::{CareOfVerified, Command, Outcome, Policy, RequestId, Verdict};
use homeport_runtime::clock::{Monotonic, unix_ms};
use homeport_runtime::config::Live;
use homeport_runtime::trace;
use homeport_signalling::{
    Arrival, Concluded, CorrespondentProposal, Discovered, Discovery, DiscoveryLimit, DropReason,
    ErrorBudget, Judged, Receipt, Received, Reply, RevocationAcknowledgement, Role, Sealed,
    SharedKey, UdpOuter, Update, protect, receive_as,
};
use tracing::{Instrument as _, Span};

use crate::endpoints::Endpoints;
use crate::limits;
use crate::metrics::{Addressee, Metrics};
use crate::policies::{Freshness, Policies};
use crate::store_link::StoreLink;

/// What all streams share.
pub(crate) struct Registrar {
    link: StoreLink,
    policies: Arc<Policies>,
    endpoints: Endpoints,
    pub(crate) metrics: Arc<Metrics>,
    deadline_ms: Live,
    errors: Mutex<ErrorBudget>,
    /// Answers to who looks for home agents: anybody may ask.
    discoveries: Mutex<ErrorBudget>,
    advertisements: Mutex<DiscoveryLimit>,
    /// Set where the home agent is a correspondent node too.
    correspondent: Option<SharedKey>,
    address_tests: Mutex<ErrorBudget>,
    clock: Monotonic,
}

impl Unanswered {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Drop(reason) => reason.name(),
            Self::Late(reason) => reason,
        }
    }
}

/// A packet to send, once the forwarder's table has reached the revision.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) revision: u64,
}

/// Why nothing is sent.
enum Unanswered {
    Drop(DropReason),
    Late(&'static str),
}

impl Registrar {
    /// From now on for one Binding Update.
    fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.get())
    }

    pub(crate) fn new(
        link: StoreLink,
        policies: Arc<Policies>,
        endpoints: Endpoints,
        metrics: Arc<Metrics>,
        deadline_ms: Live,
        correspondent: Option<SharedKey>,
    ) -> Self {
        let errors = Mutex::new(ErrorBudget::new(limits::ERRORS_PER_SECOND_MAX));
        let discoveries = Mutex::new(ErrorBudget::new(limits::DISCOVERIES_PER_SECOND_MAX));
        let address_tests = Mutex::new(ErrorBudget::new(limits::ADDRESS_TESTS_PER_SECOND_MAX));
        Self {
            link,
            policies,
            endpoints,
            metrics,
            deadline_ms,
            errors,
            discoveries,
            advertisements: Mutex::default(),
            correspondent,
            address_tests,
            clock: Monotonic::start(),
        }
    }

    /// The answer to a packet, or `None` when there is none: the reason is counted.
    pub(crate) async fn handle(&self, packet: &[u8], outer: Option<UdpOuter>) -> Option<Answer> {
        self.metrics.packets.inc();
        let started = Instant::now();
        let arrival = Arrival { packet, outer };
        let role = self.correspondent.as_ref().map(|key| Role { key, now_ms: unix_ms() });
        let received = match self.read(arrival, role).await {
            Ok(received) => received,
            Err(unanswered) => return self.dropped(unanswered.reason()),
        };
        let reason = match received {
            Received::Update(update) => {
                self.metrics.count_update(Addressee::HomeAgent);
                let mut detection = false;
                match self.register(arrival, *update, &mut detection).await {
                    Ok(answer) => {
                        self.metrics.count_reply(answer.reply.kind);
                        let elapsed = started.elapsed().as_secs_f64();
                        self.metrics.observe_registration(elapsed, detection);
                        return Some(answer);
                    }
                    Err(unanswered) => unanswered.reason(),
                }
            }
            Received::Discovery(discovery) => match self.discover(&discovery).await {
                Ok(reply) => {
                    self.metrics.count_reply(reply.kind);
                    return Some(Answer { reply, revision: 0 });
                }
                Err(unanswered) => unanswered.reason(),
            },
            Received::CareOfAnswer(answer) => match self.care_of_answered(answer).await {
                Ok(()) => {
                    self.metrics.care_ofs_verified.inc();
                    return None;
                }
                Err(unanswered) => unanswered.reason(),
            },
            Received::Test(reply) if self.may_test() => {
                self.metrics.count_reply(reply.kind);
                return Some(Answer { reply, revision: 0 });
            }
            Received::Test(_) => DropReason::AddressTestRateLimited.name(),
            Received::Correspondence(proposal) => {
                self.metrics.count_update(Addressee::CorrespondentNode);
                match self.correspond(&proposal).await {
                    Ok(answer) => {
                        self.metrics.count_correspondent_reply(answer.reply.kind);
                        return Some(answer);
                    }
                    Err(unanswered) => unanswered.reason(),
                }
            }
            Received::Revocation(acknowledgement) => match self.revoked(&acknowledgement).await {
                Ok(()) => {
                    self.metrics.revocations_acknowledged.inc();
                    return None;
                }
                Err(unanswered) => unanswered.reason(),
            },
            Received::Reply(reply) if self.may_send_error() => {
                self.metrics.count_reply(reply.kind);
                return Some(Answer { reply, revision: 0 });
            }
            Received::Reply(_) => DropReason::ErrorRateLimited.name(),
            // ESP in ESP protects nothing more.
            Received::Protected(_) => DropReason::EspSelector.name(),
            Received::Drop(reason) => reason.name(),
        };
        self.dropped(reason)
    }

    fn dropped(&self, reason: &'static str) -> Option<Answer> {
        tracing::debug!(reason, "packet dropped");
        self.metrics.drops.count(reason);
        None
    }

    /// What the packet is; out of ESP, where it came in ESP.
    async fn read(
        &self,
        arrival: Arrival<'_>,
        role: Option<Role<'_>>,
    ) -> Result<Received, Unanswered> {
        match receive_as(arrival, role) {
            Received::Protected(sealed) => self.open(&sealed).await,
            received => Ok(received),
        }
    }

    async fn open(&self, sealed: &Sealed) -> Result<Received, Unanswered> {
        let (home_address, home_agent) = (sealed.home_address(), sealed.home_agent());
        let until = Instant::now() + self.deadline();
        let mut again = true;
        loop {
            let looked_up = self.policies.look_up(home_address, home_agent, Freshness::Cached);
            let policy = in_time(until, looked_up).await?;
            let policy = policy.ok_or(Unanswered::Late("store_unreachable"))?;
            match sealed.open(&policy) {
                Ok(received) => return Ok(received),
                // The association may be new.
                Err(reason) if !(again && self.policies.doubt(home_address, home_agent)) => {
                    return Err(Unanswered::Drop(reason));
                }
                Err(_outdated) => again = false,
            }
        }
    }

    /// The reply in ESP, with the number that the verdict has.
    async fn protected(
        &self,
        reply: &Reply,
        verdict: &Verdict,
        policy: &Policy,
        (home_address, home_agent): (Ipv6Addr, Ipv6Addr),
    ) -> Result<Reply, Unanswered> {
        let number = verdict.esp.ok_or(Unanswered::Drop(DropReason::EspNumbersSpent))?;
        match protect(reply, number, policy, rand::random()) {
            // A newer one, which this policy does not have yet.
            Err(DropReason::NoSecurityAssociation) => {}
            protected => return protected.map_err(Unanswered::Drop),
        }
        let freshness = Freshness::AtLeast(verdict.revision);
        let looked_up = self.policies.look_up(home_address, home_agent, freshness);
        let policy = in_time(Instant::now() + self.deadline(), looked_up).await?;
        let policy = policy.ok_or(Unanswered::Late("store_unreachable"))?;
        protect(reply, number, &policy, rand::random()).map_err(Unanswered::Drop)
    }

    /// Has the store see that what came in ESP is no replay, where it has nothing else to decide.
    async fn received(
        &self,
        receipt: &Receipt,
        command: Option<Command>,
        until: Instant,
    ) -> Result<Verdict, Unanswered> {
        let submitted = self.link.submit(receipt.command(command));
        let verdict = in_time(until, submitted).await?.map_err(Unanswered::Late)?;
        match verdict.outcome {
            Outcome::Silent(silence) => Err(Unanswered::Drop(DropReason::Store(silence))),
            _ => Ok(verdict),
        }
    }

    /// The verdict. While Duplicate Address Detection runs the store answers that it waits: each time
    /// the deadline begins anew, so that it does not have to be longer than that for everybody. Sets
    /// `detection` when it ran.
    async fn decided(
        &self,
        command: Command,
        until: &mut Instant,
        detection: &mut bool,
    ) -> Result<Verdict, Unanswered> {
        let detected_by = Instant::now() + limits::DETECTION_MAX;
        loop {
            let submitted = self.link.submit(command.clone());
            let verdict = in_time(*until, submitted).await?.map_err(Unanswered::Late)?;
            if verdict.outcome != Outcome::Pending {
                return Ok(verdict);
            }
            *detection = true;
            if Instant::now() >= detected_by {
                return Err(Unanswered::Late("detection_timeout"));
            }
            tokio::time::sleep(limits::DETECTION_POLL_INTERVAL).await;
            *until = Instant::now() + self.deadline();
        }
    }

    async fn register(
        &self,
        arrival: Arrival<'_>,
        mut update: Update,
        detection: &mut bool,
    ) -> Result<Answer, Unanswered> {
        let mut until = Instant::now() + self.deadline();
        // The same for each attempt of the store link, and while the store waits for Duplicate Address
        // Detection, though the policy changes meanwhile: applied once, whatever happens.
        let request_id: RequestId = rand::random();
        let mut freshness = Freshness::Cached;
        for _ in 0..limits::JUDGEMENTS_MAX {
            let (home_address, home_agent) = (update.home_address(), update.home_agent());
            let looked_up = self.policies.look_up(home_address, home_agent, freshness);
            let looked_up =
                looked_up.instrument(trace::child("front_end.policy", &Span::current()));
            let policy =
                in_time(until, looked_up).await?.ok_or(Unanswered::Late("store_unreachable"))?;
            let receipt = update.receipt().cloned();
            let judged = update.judge(&policy);
            // The key may be new: nobody is refused by an old record.
            let is_refused = !matches!(judged, Judged::Propose(_));
            if is_refused
                && self.policies.doubt(home_address, home_agent)
                && let Ok(Received::Update(again)) = self.read(arrival, None).await
            {
                update = *again;
                continue;
            }
            let proposal = match judged {
                Judged::Propose(proposal) => proposal,
                Judged::Answer(reply) => {
                    let Some(receipt) = receipt else {
                        return Ok(Answer { reply, revision: 0 });
                    };
                    let verdict = self.received(&receipt, None, until).await?;
                    let names = (home_address, home_agent);
                    let reply = self.protected(&reply, &verdict, &policy, names).await?;
                    return Ok(Answer { reply, revision: 0 });
                }
                Judged::Drop(reason) => return Err(Unanswered::Drop(reason)),
            };
            let command = proposal.command(request_id);
            let verdict = self.decided(command, &mut until, detection).await?;
            // Committed, and not acknowledged yet (RFC 6275 §10.3.1).
            let endpoint_moved = match proposal.endpoint_change(&policy, &verdict) {
                Some(change) => self.endpoints.changed(change).await,
                None => false,
            };
            match proposal.conclude_with(&verdict, endpoint_moved) {
                Concluded::Reply(reply, revision) if receipt.is_some() => {
                    let names = (home_address, home_agent);
                    let reply = self.protected(&reply, &verdict, &policy, names).await?;
                    return Ok(Answer { reply, revision });
                }
                Concluded::Reply(reply, revision) => return Ok(Answer { reply, revision }),
                Concluded::Drop(reason) => return Err(Unanswered::Drop(reason)),
                Concluded::CheckAgain(again) => {
                    update = again;
                    freshness = Freshness::AtLeast(verdict.revision);
                }
            }
        }
        Err(Unanswered::Late("policy_unstable"))
    }

    /// A Binding Update to the correspondent node.
    async fn correspond(&self, proposal: &CorrespondentProposal) -> Result<Answer, Unanswered> {
        let command = Command::Correspond(proposal.correspondence(rand::random()));
        let until = Instant::now() + self.deadline();
        let verdict = in_time(until, self.link.submit(command)).await?;
        match proposal.conclude(&verdict.map_err(Unanswered::Late)?) {
            Concluded::Reply(reply, revision) => Ok(Answer { reply, revision }),
            Concluded::Drop(reason) => Err(Unanswered::Drop(reason)),
            Concluded::CheckAgain(_) => Err(Unanswered::Late("verdict_invalid")),
        }
    }

    /// Answers out of the policy alone. Nothing sends it back to be checked again, as the store does
    /// with a Binding Update, so it is never much older than a moment.
    async fn discover(&self, discovery: &Discovery) -> Result<Reply, Unanswered> {
        if !self.may_discover(discovery) {
            return Err(Unanswered::Drop(DropReason::DiscoveryRateLimited));
        }
        let (home_address, home_agent) = (discovery.home_address(), discovery.home_agent());
        let _is_stale = self.policies.doubt(home_address, home_agent);
        let looked_up = self.policies.look_up(home_address, home_agent, Freshness::Cached);
        let policy = tokio::time::timeout(self.deadline(), looked_up)
            .await
            .map_err(|_elapsed| Unanswered::Late("store_timeout"))?
            .ok_or(Unanswered::Late("store_unreachable"))?;
        let reply = match discovery.answer(&policy) {
            Discovered::Reply(reply) => reply,
            Discovered::Drop(reason) => return Err(Unanswered::Drop(reason)),
        };
        let confirmed = discovery.confirms(&policy).map(Command::PrefixesSolicited);
        if let Some(receipt) = discovery.receipt() {
            let until = Instant::now() + self.deadline();
            let verdict = self.received(receipt, confirmed, until).await?;
            return self.protected(&reply, &verdict, &policy, (home_address, home_agent)).await;
        }
        if let Some(confirmed) = confirmed {
            let submitted = self.link.submit(confirmed);
            // The answer is as good without: the mobile node is told once more, and asks once more.
            if !matches!(tokio::time::timeout(self.deadline(), submitted).await, Ok(Ok(_))) {
                tracing::debug!("the store did not hear that a mobile node has solicited");
            }
        }
        Ok(reply)
    }

    fn may_discover(&self, discovery: &Discovery) -> bool {
        let now_ms = self.clock.now_ms();
        if let Some(home_address) = discovery.asks_for_prefixes() {
            let mut limit = self.advertisements.lock().unwrap_or_else(PoisonError::into_inner);
            return limit.allow(home_address, now_ms);
        }
        self.discoveries.lock().unwrap_or_else(PoisonError::into_inner).allow(now_ms)
    }

    /// RFC 5846 §7.2: nothing answers the answer.
    async fn revoked(&self, acknowledgement: &RevocationAcknowledgement) -> Result<(), Unanswered> {
        let revoked = self.revoked_in_time(acknowledgement);
        match tokio::time::timeout(self.deadline(), revoked).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Unanswered::Late("store_timeout")),
        }
    }

    async fn revoked_in_time(
        &self,
        acknowledgement: &RevocationAcknowledgement,
    ) -> Result<(), Unanswered> {
        let (home_address, agent) = (acknowledgement.home_address(), acknowledgement.home_agent());
        let mut again = true;
        let command = loop {
            let policy = self
                .policies
                .look_up(home_address, agent, Freshness::Cached)
                .await
                .ok_or(Unanswered::Late("store_unreachable"))?;
            match acknowledgement.judge(&policy) {
                Ok(command) => break command,
                // The key may be new: nobody is refused by an old record.
                Err(reason) if !(again && self.policies.doubt(home_address, agent)) => {
                    return Err(Unanswered::Drop(reason));
                }
                Err(_outdated) => again = false,
            }
        };
        let verdict = self.link.submit(command).await.map_err(Unanswered::Late)?;
        match verdict.outcome {
            Outcome::Done => Ok(()),
            Outcome::Silent(silence) => Err(Unanswered::Drop(DropReason::Store(silence))),
            Outcome::Answer(_) | Outcome::StalePolicy | Outcome::Pending | Outcome::Refused(_) => {
                Err(Unanswered::Late("verdict_invalid"))
            }
        }
    }

    /// RFC 5648 §10: the store knows whether the care-of address was tested. Nothing answers the answer.
    async fn care_of_answered(&self, answer: CareOfVerified) -> Result<(), Unanswered> {
        let until = Instant::now() + self.deadline();
        let submitted = self.link.submit(Command::CareOfVerified(answer));
        let verdict = in_time(until, submitted).await?.map_err(Unanswered::Late)?;
        match verdict.outcome {
            Outcome::Done => Ok(()),
            Outcome::Silent(silence) => Err(Unanswered::Drop(DropReason::Store(silence))),
            Outcome::Answer(_) | Outcome::StalePolicy | Outcome::Pending | Outcome::Refused(_) => {
                Err(Unanswered::Late("verdict_invalid"))
            }
        }
    }

    fn may_test(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.address_tests.lock().unwrap_or_else(PoisonError::into_inner).allow(now_ms)
    }

    fn may_send_error(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).allow(now_ms)
    }
}

async fn in_time<T>(until: Instant, future: impl Future<Output = T>) -> Result<T, Unanswered> {
    let timed = tokio::time::timeout_at(until.into(), future);
    timed.await.map_err(|_elapsed| Unanswered::Late("store_timeout"))
}
