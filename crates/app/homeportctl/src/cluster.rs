//! Finds the store that can answer: the endpoints in their order, and the leader when one names it.

use std::{collections::VecDeque, error::Error as _, time::Duration};

use homeport_api::bearer::{Bearer, Link};
use homeport_tls::{Links, Role};
use tokio::time::timeout;
use tonic::{Code, Response, Status, transport::Endpoint};

use crate::failure::{Failure, reason, reason_of, violations};

/// How often an answer may send us elsewhere: more means that the cluster is electing.
const LEADER_HINTS_MAX: usize = 3;

/// Where a replica that is not the leader names the one that is.
const LEADER_METADATA: &str = "homeport-leader";

/// The endpoints of one cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    endpoints: Vec<String>,
    deadline: Duration,
    bearer: Bearer,
    links: Links,
    /// Who stands at the endpoints.
    role: Role,
    /// Writes are validated only.
    dry_run: bool,
}

/// Whether sending a request twice could do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something: once it may have arrived it is not asked of another store. Where the answer was
    /// lost the same store is asked once more, which knows the request by its id.
    Change,
}

impl Cluster {
    pub(crate) fn new(endpoints: &[String], timeout_secs: u64) -> Result<Self, Failure> {
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|endpoint| endpoint.trim().to_owned())
            .filter(|endpoint| !endpoint.is_empty())
            .collect();
        if endpoints.is_empty() {
            return Err(Failure::Usage("no endpoint is given; expected host:port".to_owned()));
        }
        for endpoint in &endpoints {
            if !is_endpoint(endpoint) {
                let what = format!("{endpoint:?} is not an endpoint; expected host:port");
                return Err(Failure::Usage(what));
            }
        }
        let (deadline, bearer) = (Duration::from_secs(timeout_secs), Bearer::default());
        let (links, role) = (Links::default(), Role::Store);
        Ok(Self { endpoints, deadline, bearer, links, role, dry_run: false })
    }

    /// The same, told who calls.
    pub(crate) fn with(self, bearer: Bearer, links: Links) -> Self {
        Self { bearer, links, ..self }
    }

    /// Forwarders, reached over such links as the stores; a token is none of their business.
    pub(crate) fn forwarders(&self, endpoints: &[String]) -> Result<Self, Failure> {
        let links = self.links.clone();
        Ok(Self { links, role: Role::Forwarder, ..Self::new(endpoints, self.deadline.as_secs())? })
    }

    /// What may be the matter where a store ends plain connections without a word.
    pub(crate) fn hint(&self, failure: &Failure) -> Option<&'static str> {
        const SIGNS: [&str; 4] = ["broken pipe", "reset", "h2 protocol error", "frame with"];
        let Failure::Unreached(tried) = failure else { return None };
        let is_sign = |(_, reason): &(String, String)| SIGNS.iter().any(|it| reason.contains(it));
        let is_meant = !self.links.are_protected() && tried.iter().any(is_sign);
        is_meant.then_some(
            "if their links use TLS, name --tls-ca, --tls-cert and --tls-key: docs/operations/certificates.md",
        )
    }

    /// The same, whose writes are validated only.
    pub(crate) fn dry(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// What each write is sent with: whether it is validated only, and an id that no other has.
    pub(crate) fn marks(&self) -> (bool, String) {
        (self.dry_run, format!("{:032x}", rand::random::<u128>()))
    }

    /// How long one store may take to answer.
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Asks one endpoint, whoever it is.
    pub(crate) async fn ask<T, F>(
        &self,
        endpoint: &str,
        request: impl FnOnce(Link) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.connect(endpoint).await.map_err(Status::unavailable)?;
        self.in_time(request(channel)).await
    }

    /// Asks the endpoints in turn until one answers, and the leader where only it can.
    pub(crate) async fn call<T, F>(
        &self,
        effect: Effect,
        request: impl Fn(Link) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut queue: VecDeque<String> = self.endpoints.iter().cloned().collect();
        let mut hints = 0;
        let mut tried = Vec::new();
        while let Some(endpoint) = queue.pop_front() {
            let channel = match self.connect(&endpoint).await {
                Ok(channel) => channel,
                Err(error) => {
                    tried.push((endpoint, error));
                    continue;
                }
            };
            let answer = match self.in_time(request(channel)).await {
                Ok(answer) => return Ok(answer),
                Err(answer) => answer,
            };
            match next_step(&answer, effect) {
                Next::Unknown if !is_store_at_a_loss(&answer) => {
                    // A store that does not know the id, being older or started anew, may refuse what it has
                    // done already: such an answer says nothing.
                    let again = self.ask(&endpoint, &request).await;
                    let answer = Box::new(answer);
                    return again.map_err(|_| Failure::Unknown { endpoint, answer });
                }
                Next::Refused => return Err(Failure::Refused(Box::new(answer))),
                Next::Unknown => {
                    return Err(Failure::Unknown { endpoint, answer: Box::new(answer) });
                }
                Next::Leader(leader) if hints < LEADER_HINTS_MAX => {
                    hints += 1;
                    tried.push((endpoint, format!("names {leader} as the leader")));
                    queue.push_front(leader);
                }
                Next::Leader(_) | Next::OtherEndpoint => tried.push((endpoint, reason(&answer))),
            }
        }
        Err(Failure::Unreached(tried))
    }

    async fn connect(&self, endpoint: &str) -> Result<Link, String> {
        let target = Endpoint::from_shared(url(endpoint)).map_err(|error| error.to_string())?;
        let target = target.connect_timeout(self.deadline);
        match timeout(self.deadline, self.links.to(self.role).connect(&target)).await {
            Ok(Ok(channel)) => Ok(self.bearer.over(channel)),
            Ok(Err(error)) => Err(innermost(&error)),
            Err(_) => Err(format!("no connection in {} s", self.deadline.as_secs())),
        }
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        match timeout(self.deadline, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => {
                let waited = format!("no answer in {} s", self.deadline.as_secs());
                Err(Status::deadline_exceeded(waited))
            }
        }
    }
}

/// host:port
pub(crate) fn is_endpoint(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    matches!(port, Some(Ok(_))) && Endpoint::from_shared(url(text)).is_ok()
}

fn url(endpoint: &str) -> String {
    format!("http://{endpoint}")
}

fn innermost(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// What an answer that is not a result asks of us.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Refused,
    Leader(String),
    OtherEndpoint,
    Unknown,
}

fn next_step(answer: &Status, effect: Effect) -> Next {
    // The connection broke under the call, as opposed to a store that answered with an error.
    let is_broken = answer.source().is_some();
    match answer.code() {
        Code::FailedPrecondition => match leader_of(answer) {
            Some(leader) => Next::Leader(leader),
            None => match reason_of(answer).as_deref() {
                Some("NOT_LEADER") => Next::OtherEndpoint,
                Some(_) => Next::Refused,
                // Of an older store. A rule that the change breaks names its field; without one nobody leads.
                None if violations(answer).is_empty() => Next::OtherEndpoint,
                None => Next::Refused,
            },
        },
        Code::Unavailable if !is_broken => Next::OtherEndpoint,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            match effect {
                Effect::Read => Next::OtherEndpoint,
                Effect::Change => Next::Unknown,
            }
        }
        _ => Next::Refused,
    }
}

/// The store itself does not know what became of the change, and says so again when it is asked again.
fn is_store_at_a_loss(answer: &Status) -> bool {
    reason_of(answer).as_deref() == Some("OUTCOME_UNKNOWN")
}

fn leader_of(answer: &Status) -> Option<String> {
    let leader = answer.metadata().get(LEADER_METADATA)?.to_str().ok()?;
    (!leader.is_empty()).then(|| leader.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn each_answer_has_its_next_step() {
        let mut led = Status::failed_precondition("not the leader");
        led.metadata_mut().insert(LEADER_METADATA, "127.0.0.1:7102".parse().expect("is a value"));
        let in_use = Status::with_error_details(
            Code::FailedPrecondition,
            "in use",
            ErrorDetails::with_bad_request_violation("prefix", "in use"),
        );
        let told = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "homeport", HashMap::new());
            Status::with_error_details(Code::FailedPrecondition, "no", details)
        };
        let leader = || Next::Leader("127.0.0.1:7102".to_owned());
        let rows = [
            (told("NOT_LEADER"), Next::OtherEndpoint, Next::OtherEndpoint),
            (told("OLDER_MEMBERS"), Next::Refused, Next::Refused),
            (led, leader(), leader()),
            (in_use, Next::Refused, Next::Refused),
            (Status::failed_precondition("no leader"), Next::OtherEndpoint, Next::OtherEndpoint),
            (Status::unavailable("no quorum"), Next::OtherEndpoint, Next::OtherEndpoint),
            (Status::deadline_exceeded("late"), Next::OtherEndpoint, Next::Unknown),
            (Status::not_found("no"), Next::Refused, Next::Refused),
            (Status::resource_exhausted("full"), Next::Refused, Next::Refused),
        ];
        for (answer, read, change) in rows {
            assert_eq!(next_step(&answer, Effect::Read), read, "{answer}");
            assert_eq!(next_step(&answer, Effect::Change), change, "{answer}");
        }
    }

    #[test]
    fn endpoints_are_checked_before_anything_is_asked() {
        for wrong in ["", "localhost", "localhost:x", "a b:1", "localhost:99999"] {
            let failure = Cluster::new(&[wrong.to_owned()], 1).map(drop).expect_err("is wrong");
            assert_eq!(failure.exit_code(), 2, "{wrong}");
        }
        for right in ["localhost:7101", "[::1]:7101", " store-0.homeport:7101 "] {
            assert!(Cluster::new(&[right.to_owned()], 1).is_ok(), "{right}");
        }
    }
}
