//! Several requests, or responses, in one message of a stream of commands: a message costs more than what
//! is in it. Programs of before know one in each, so both sides say by metadata that they take more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::{Stream, StreamExt as _, iter};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::store::binding_store_client::BindingStoreClient;
use crate::store::{SubmitRequest, SubmitResponse};

/// Requests or responses in one message: what one entry of the log holds fits in a few, and a message is
/// far below the limit of gRPC, 4 MiB.
pub const BATCH_MAX: usize = 128;

const KEY: &str = "homeport-batches";

/// Says that this side takes batches.
pub fn offer(metadata: &mut MetadataMap) {
    metadata.insert(KEY, MetadataValue::from_static("1"));
}

/// The other side takes batches.
#[must_use]
pub fn are_taken(metadata: &MetadataMap) -> bool {
    metadata.contains_key(KEY)
}

/// What can be sent as one message.
pub trait Batch: Sized {
    /// What comes after this one in its message.
    fn more(&mut self) -> &mut Vec<Self>;

    /// One message of them all; `None` of nothing.
    fn join(batch: Vec<Self>) -> Option<Self> {
        let mut batch = batch.into_iter();
        let mut first = batch.next()?;
        first.more().extend(batch);
        Some(first)
    }

    /// Those of a message, in order.
    fn split(mut self) -> impl Iterator<Item = Self> {
        let more = std::mem::take(self.more());
        std::iter::once(self).chain(more)
    }
}

impl Batch for SubmitRequest {
    fn more(&mut self) -> &mut Vec<Self> {
        &mut self.more
    }
}

impl Batch for SubmitResponse {
    fn more(&mut self) -> &mut Vec<Self> {
        &mut self.more
    }
}

/// Opens a stream of commands on which whatever is ready at once goes in one message, where the replica
/// takes that. Each response is to be [`Batch::split`].
///
/// # Errors
///
/// What the call gave.
pub async fn submit(
    client: &mut BindingStoreClient<Channel>,
    requests: impl Stream<Item = SubmitRequest> + Send + 'static,
) -> Result<Streaming<SubmitResponse>, Status> {
    let taken = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&taken);
    let messages = requests.ready_chunks(BATCH_MAX).flat_map(move |ready| {
        iter(if known.load(Ordering::Relaxed) {
            SubmitRequest::join(ready).into_iter().collect()
        } else {
            ready
        })
    });
    let mut call = Request::new(messages);
    offer(call.metadata_mut());
    let response = client.submit(call).await?;
    taken.store(are_taken(response.metadata()), Ordering::Relaxed);
    Ok(response.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split_in_order() {
        let request = |ticket| SubmitRequest { ticket, ..SubmitRequest::default() };
        let batch: Vec<_> = (1..=5).map(request).collect();
        let message = SubmitRequest::join(batch.clone());
        assert_eq!(message.as_ref().map(|message| message.more.len()), Some(4));
        assert_eq!(message.map(|message| message.split().collect()), Some(batch));
        assert_eq!(SubmitRequest::join(Vec::new()), None);
    }

    #[test]
    fn batches_are_for_those_who_take_them() {
        let mut metadata = MetadataMap::new();
        assert!(!are_taken(&metadata));
        offer(&mut metadata);
        assert!(are_taken(&metadata));
    }
}
