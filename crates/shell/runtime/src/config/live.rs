//! A number of a configuration that may change while the role runs.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// A number that is taken anew when the role is told to read its configuration again. Clones share it, so
/// whoever needs it keeps one and asks each time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "u64", into = "u64")]
pub struct Live(Arc<AtomicU64>);

impl Live {
    /// With this value.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self(Arc::new(AtomicU64::new(value)))
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes it what the other is, here and in all clones.
    pub fn take(&self, new: &Self) {
        self.0.store(new.get(), Ordering::Relaxed);
    }
}

impl From<u64> for Live {
    fn from(value: u64) -> Self {
        Self::new(value)
    }
}

impl From<Live> for u64 {
    fn from(live: Live) -> Self {
        live.get()
    }
}

impl PartialEq for Live {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Live {}

impl JsonSchema for Live {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Live".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = u64::json_schema(generator);
        schema.insert("x-reload".to_owned(), true.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_change_together() {
        let live = Live::new(1);
        let clone = live.clone();
        live.take(&Live::new(7));
        assert_eq!(clone.get(), 7);
        assert_eq!(live, clone);
    }
}
