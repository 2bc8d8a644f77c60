//! Logs to standard error, spans by OTLP when an endpoint is configured.

use std::{io, sync::Arc, time::Duration};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::ParseError,
    fmt,
    layer::SubscriberExt as _,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::config::{LogFormat, TelemetryConfig};

mod one_line;

use one_line::OneLine;

/// How long the last spans may take to leave when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// The exporter's own connection must not be traced, or it would export itself for ever.
const EXPORT_FILTER: &str = "info,h2=off,hyper=off,hyper_util=off,tonic=off,tower=off,\
                             opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off";

type Boxed = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is not a list of directives.
    #[error(
        "telemetry.log: {0:?} is not a filter ({1}); expected such as \"info,homeport_store=debug\""
    )]
    Filter(String, #[source] ParseError),
    /// `telemetry.otlp_endpoint` is not one.
    #[error(
        "telemetry.otlp_endpoint: {0:?} cannot be used ({1}); expected such as \"http://127.0.0.1:4317\""
    )]
    Endpoint(String, #[source] opentelemetry_otlp::ExporterBuildError),
    /// The logs are no longer there.
    #[error("telemetry.log: the filter cannot be changed: {0}")]
    Gone(#[source] reload::Error),
    /// Something else in the process has taken the logs already.
    #[error("telemetry was set up twice: {0}")]
    Twice(#[source] TryInitError),
}

/// Sends what is left when it is dropped; keep it until the end of `main`.
#[must_use = "a dropped guard ends the export of spans"]
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
    /// Changes what is logged.
    pub log: LogHandle,
}

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogHandle(Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogHandle {
    /// Logs by these directives from now on.
    ///
    /// # Errors
    /// They are none; nothing has changed.
    pub fn set(&self, directives: &str) -> Result<(), TelemetryError> {
        (self.0)(filter_of(directives)?).map_err(TelemetryError::Gone)
    }
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogHandle")
    }
}

/// Sets up logs and spans of the whole process, once. `role` names the service in traces
/// (`homeport-store`). With an OTLP endpoint it must be called inside a multi-threaded tokio runtime.
///
/// # Errors
/// A setting is wrong, or telemetry was set up before.
pub fn init(config: &TelemetryConfig, role: &str) -> Result<TelemetryGuard, TelemetryError> {
    let (filter, handle) = reload::Layer::new(filter_of(&config.log)?);
    let provider = config.otlp_endpoint.as_deref().map(|url| provider(url, role)).transpose()?;
    let mut layers = vec![log_layer(config.format, filter)];
    if let Some(provider) = &provider {
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("homeport"));
        layers.push(spans.with_filter(EnvFilter::new(EXPORT_FILTER)).boxed());
    }
    tracing_subscriber::registry().with(layers).try_init().map_err(TelemetryError::Twice)?;
    if let Some(provider) = &provider {
        global::set_tracer_provider(provider.clone());
    }
    let log = LogHandle(Arc::new(move |filter| handle.reload(filter)));
    Ok(TelemetryGuard { provider, log })
}

fn filter_of(directives: &str) -> Result<EnvFilter, TelemetryError> {
    let parsed = EnvFilter::builder().parse(directives);
    parsed.map_err(|error| TelemetryError::Filter(directives.to_owned(), error))
}

fn log_layer(format: LogFormat, filter: reload::Layer<EnvFilter, Registry>) -> Boxed {
    use io::IsTerminal as _;
    let has_colours = matches!(format, LogFormat::Text) && io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(OneLine { to: io::stderr, format, has_colours });
    match format {
        LogFormat::Text => layer.with_ansi(has_colours).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

fn provider(endpoint: &str, role: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(FLUSH_MAX)
        .build()
        .map_err(|error| TelemetryError::Endpoint(endpoint.to_owned(), error))?;
    let resource = Resource::builder().with_service_name(format!("homeport-{role}")).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        let Some(provider) = self.provider.take() else {
            return;
        };
        // On a thread of its own: the exporter blocks, and its connection lives on this runtime.
        let flush = std::thread::spawn(move || provider.shutdown_with_timeout(FLUSH_MAX));
        if let Ok(Err(error)) = flush.join() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named() {
        let config = TelemetryConfig { log: "homeport=loud".to_owned(), ..Default::default() };
        let message = init(&config, "store").expect_err("is wrong").to_string();
        assert!(message.starts_with("telemetry.log: \"homeport=loud\" is not a filter"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sets_up_once_and_ends_though_nobody_takes_the_spans() {
        let config = TelemetryConfig {
            otlp_endpoint: Some("http://127.0.0.1:9".to_owned()),
            format: LogFormat::Json,
            ..Default::default()
        };
        let guard = init(&config, "store").expect("first");
        tracing::info_span!("registration").in_scope(|| tracing::info!("seen"));
        assert!(matches!(init(&config, "store"), Err(TelemetryError::Twice(_))));
        let begun = std::time::Instant::now();
        drop(guard);
        assert!(begun.elapsed() < FLUSH_MAX * 2);
    }
}
