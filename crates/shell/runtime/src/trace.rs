//! Traces that cross processes, for the few packets that are traced: which ones ([`Sampler`]), and the steps
//! of each ([`root`], [`step`], [`child`], [`past`]).
//!
//! A step is told to the next process by its `traceparent` (W3C Trace Context, version 00). Who is told none
//! makes no span: a packet that is not traced costs an empty string.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    KeyValue, global,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{Span as _, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::config::{Live, TelemetryConfig};

const TRACEPARENT: &str = "traceparent";
const WINDOW: Duration = Duration::from_secs(1);

/// Says which packets are traced: so many in a second, and none where spans go nowhere.
#[derive(Debug)]
pub struct Sampler {
    per_second_max: Live,
    taken: u64,
    since: Option<Instant>,
}

impl Sampler {
    /// As is configured, and as it is changed while the process runs.
    #[must_use]
    pub fn new(config: &TelemetryConfig) -> Self {
        let goes_somewhere = config.otlp_endpoint.is_some();
        let per_second_max =
            if goes_somewhere { config.traces_per_second_max.clone() } else { Live::new(0) };
        Self { per_second_max, taken: 0, since: None }
    }

    /// Whether anything is traced at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.per_second_max.get() > 0
    }

    /// Whether what is there at `now` may be traced; it is counted then.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (self.since, self.taken) = (Some(now), 0);
        }
        let may = self.taken < self.per_second_max.get();
        self.taken += u64::from(may);
        may
    }
}

/// The first step of a new trace.
#[must_use]
pub fn root(name: &'static str) -> Span {
    tracing::info_span!(parent: None, "step", otel.name = name)
}

/// A step after that of another process; [`Span::none`] when `traceparent` is empty or is none.
#[must_use]
pub fn step(name: &'static str, traceparent: &str) -> Span {
    if traceparent.is_empty() {
        return Span::none();
    }
    let parent = TraceContextPropagator::new().extract(&One(traceparent));
    if !parent.span().span_context().is_valid() {
        tracing::debug!(traceparent, "a traceparent cannot be read");
        return Span::none();
    }
    let span = root(name);
    // Only a span that has begun already refuses it.
    drop(span.set_parent(parent));
    span
}

/// A step within another; [`Span::none`] within none.
#[must_use]
pub fn child(name: &'static str, of: &Span) -> Span {
    if of.is_none() {
        Span::none()
    } else {
        tracing::info_span!(parent: of, "step", otel.name = name)
    }
}

/// How another process is told of a step; empty when nothing of it is sent anywhere.
#[must_use]
pub fn parent_of(span: &Span) -> String {
    if span.is_none() {
        return String::new();
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut Carrier(&mut carrier));
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

/// A step within another that is over already.
pub fn past(
    name: &'static str,
    of: &Span,
    (began, ended): (SystemTime, SystemTime),
    facts: impl IntoIterator<Item = KeyValue>,
) {
    if of.is_none() {
        return;
    }
    let tracer = global::tracer("homeport");
    let builder = tracer.span_builder(name).with_start_time(began);
    let mut span = builder.with_attributes(facts).start_with_context(&tracer, &of.context());
    span.end_with_timestamp(ended);
}

/// When something was that happened at `at`, by the clock of spans.
#[must_use]
pub fn wall_clock(at: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(at.elapsed()).unwrap_or(now)
}

/// For [`past`].
#[must_use]
pub fn fact(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

struct One<'v>(&'v str);

impl Extractor for One<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

struct Carrier<'m>(&'m mut HashMap<String, String>);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn so_many_a_second_and_none_where_they_go_nowhere() {
        let somewhere = Some("http://127.0.0.1:4317".to_owned());
        let config = TelemetryConfig {
            otlp_endpoint: somewhere,
            traces_per_second_max: Live::new(2),
            ..TelemetryConfig::default()
        };
        let mut sampler = Sampler::new(&config);
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let taken = [0, 1, 2, 999, 1000, 1001, 1002].map(|ms| sampler.take(at(ms)));
        assert_eq!(taken, [true, true, false, false, true, true, false]);
        let mut sampler = Sampler::new(&TelemetryConfig { otlp_endpoint: None, ..config });
        assert!(!sampler.is_on() && !sampler.take(begin));
    }

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn steps_of_two_processes_are_of_one_trace() {
        let exporter = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        global::set_tracer_provider(provider.clone());
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("homeport"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let first = root("first");
            let told = parent_of(&first);
            assert_eq!(told.len(), 55, "{told}");
            let second = step("second", &told);
            let within = child("within", &second);
            let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
            let ended = began + Duration::from_millis(7);
            past("past", &within, (began, ended), [fact("index", 5)]);
            for wrong in
                ["", "00-not-one-01", "00-00000000000000000000000000000000-0000000000000000-01"]
            {
                assert!(step("third", wrong).is_none(), "{wrong}");
            }
            assert!(child("fourth", &Span::none()).is_none());
            assert!(parent_of(&Span::none()).is_empty());
        });
        let spans = exporter.0.lock().unwrap().clone();
        let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(spans.len(), 4, "{spans:?}");
        for (name, parent) in [("second", "first"), ("within", "second"), ("past", "within")] {
            let (span, parent) = (find(name), find(parent));
            assert_eq!(span.parent_span_id, parent.span_context.span_id(), "{name}");
            assert_eq!(span.span_context.trace_id(), find("first").span_context.trace_id());
        }
        let past = find("past");
        assert_eq!(past.end_time.duration_since(past.start_time).unwrap().as_millis(), 7);
    }
}
