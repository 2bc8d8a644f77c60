//! Who calls the admin API, and whether he may: asked before anything of the request is read.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use homeport_api::bearer::{HEADER, token_of};
use tonic::Status;
use tonic::codegen::{Service, http};

use super::refusal::{Reason, Refused};
use super::roles::needed;
use super::tokens::{Holder, Tokens};
use crate::metrics::Metrics;

/// Lets calls pass.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Without, everybody may do everything.
    pub(crate) tokens: Option<Tokens>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Guard {
    /// Who calls; nobody in particular where there are no tokens.
    fn admit(&self, path: &str, headers: &http::HeaderMap) -> Result<Option<Holder>, Status> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let (call, right) = needed(path);
        let refused = |reason: Reason, why: &str| {
            self.metrics.admin_calls_refused.count(reason.counted());
            let refused = Refused::of_field(reason, HEADER, why);
            refused.with("call", call).with("roles", right.holders()).status()
        };
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(token_of) else {
            let why =
                "the call has no token; expected \"Bearer TOKEN\": homeportctl --token-file FILE";
            return Err(refused(Reason::TokenMissing, why));
        };
        let Some(holder) = tokens.holder(token) else {
            let why = "nobody has this token; expected one of admin.tokens_file of this replica";
            return Err(refused(Reason::TokenUnknown, why));
        };
        if !holder.role.has(right) {
            let Holder { name, role } = &holder;
            let holders = right.holders();
            let why =
                format!("{name} has the role {role}; {call} needs a token of the role {holders}");
            return Err(refused(Reason::RoleInsufficient, &why));
        }
        Ok(Some(holder))
    }
}

impl Reason {
    /// The label of what the guard refuses.
    const fn counted(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenUnknown => "token_unknown",
            _ => "role_insufficient",
        }
    }
}

/// The admin API behind the guard.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    pub(crate) inner: S,
    pub(crate) guard: Guard,
}

impl<S, B, R> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.guard.admit(request.uri().path(), request.headers()) {
            Ok(holder) => {
                if let Some(holder) = holder {
                    request.extensions_mut().insert(holder);
                }
                Either::Right(self.inner.call(request))
            }
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}
