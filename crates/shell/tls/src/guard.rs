//! Refuses calls that the role of the caller's certificate may not make, before anything of them is read.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use tonic::{
    Code, Status,
    codegen::{Service, http},
};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::Layer;

use crate::{accept::Link, metrics::Metrics, rights};

const DOMAIN: &str = "homeport";
/// `google.rpc.ErrorInfo.reason` of a call that the caller's certificate does not allow; programs may rely on it.
pub const REASON: &str = "CERTIFICATE_INSUFFICIENT";
/// The section about it.
const HELP: &str = "docs/operations/errors.md#certificate_insufficient";

/// Puts a [`Guard`] around all services of a server.
#[derive(Clone, Debug)]
pub struct GuardLayer(Option<Arc<Metrics>>);

impl GuardLayer {
    /// Without metrics links are plain, and everybody may call.
    pub(crate) const fn new(protected: Option<Arc<Metrics>>) -> Self {
        Self(protected)
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, protected: self.0.clone() }
    }
}

/// Services behind the guard.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    protected: Option<Arc<Metrics>>,
}

impl<S> Guard<S> {
    /// Lets a call on or says why not. What is behind finds the addresses and the identity of the caller.
    fn admit(&self, path: &str, extensions: &mut http::Extensions) -> Result<(), Status> {
        let link = extensions.get::<Link>().cloned();
        if let Some(link) = &link {
            extensions.insert(link.tcp.clone());
        }
        let Some(metrics) = &self.protected else { return Ok(()) };
        let Some(peer) = link.and_then(|link| link.peer) else {
            return Err(Status::unauthenticated("the connection has no certificate"));
        };
        if !rights::may(peer.role, path) {
            metrics.call_refused(peer.role);
            let holders = rights::holders(path);
            let text = format!("{peer} may not call {path}; it needs a certificate of {holders}");
            let metadata = HashMap::from([
                ("call".to_owned(), path.to_owned()),
                ("roles".to_owned(), holders),
            ]);
            let mut details = ErrorDetails::with_error_info(REASON, DOMAIN, metadata);
            details.add_help_link("what to do about it", HELP);
            return Err(Status::with_error_details(Code::PermissionDenied, text, details));
        }
        extensions.insert(peer);
        Ok(())
    }
}

impl<S, B, R> Service<http::Request<B>> for Guard<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        match self.admit(&path, request.extensions_mut()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}
