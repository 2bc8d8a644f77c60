//! Front-ends that are being drained say so to forwarders that understand it; from others they close the stream.

use tonic::metadata::{MetadataMap, MetadataValue};

const KEY: &str = "homeport-drains";

/// Says that this forwarder understands it.
pub fn understand(metadata: &mut MetadataMap) {
    metadata.insert(KEY, MetadataValue::from_static("1"));
}

/// The forwarder understands it.
#[must_use]
pub fn are_understood(metadata: &MetadataMap) -> bool {
    metadata.contains_key(KEY)
}
