//! A store replica that takes commands and says to each what the test wants.

use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use homeport_api::{
    binding::Command,
    store::{
        LookUpPolicyRequest, LookUpPolicyResponse, SubmitRequest, SubmitResponse,
        binding_store_server::BindingStore, submit_response::Result as Reply,
    },
};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

type Say = dyn FnMut(Command) -> Option<Reply> + Send;

/// `None`: no word about that command.
#[derive(Clone)]
pub(crate) struct Commands(Arc<Mutex<Say>>);

impl Commands {
    pub(crate) fn new(say: impl FnMut(Command) -> Option<Reply> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(say)))
    }
}

#[tonic::async_trait]
impl BindingStore for Commands {
    type SubmitStream = BoxStream<'static, Result<SubmitResponse, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let say = Arc::clone(&self.0);
        let responses = request.into_inner().filter_map(move |request| {
            let SubmitRequest { ticket, command, .. } = request.ok()?;
            // Without one it says which revision home links have settled.
            let result = say.lock().unwrap()(command?)?;
            Some(Ok(SubmitResponse { ticket, result: Some(result), ..SubmitResponse::default() }))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn look_up_policy(
        &self,
        _request: Request<LookUpPolicyRequest>,
    ) -> Result<Response<LookUpPolicyResponse>, Status> {
        Err(Status::unimplemented("a forwarder asks for no policy"))
    }
}
