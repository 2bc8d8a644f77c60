//! What the host lacks for a front-end: it needs two addresses to listen on and no privileges.

use homeport_runtime::config::Configuration as _;
use homeport_runtime::preflight::{Check, open_files, tcp_listen};

use crate::{Config, limits};

/// Tries everything that a front-end with this configuration needs; without, what any does.
pub async fn preflight(config: Option<&Config>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(config) = config {
        let summary = format!("front-end, {} stores", config.stores.len());
        checks.extend(Check::configuration(config.refusals(), summary));
        checks.push(tcp_listen("listen", config.listen));
        checks.push(tcp_listen("ops.listen", config.ops.listen));
    }
    checks.push(open_files(limits::OPEN_FILES));
    checks
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use homeport_runtime::preflight::Verdict;

    use super::*;
    use crate::CorrespondentConfig;

    #[tokio::test]
    async fn each_refusal_is_told() {
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            stores: vec!["no such address".to_owned()],
            deadline_ms: 1000.into(),
            ike_deadline_ms: 500.into(),
            correspondent: Some(CorrespondentConfig {
                key_file: PathBuf::from("/nonexistent/key"),
            }),
            tls: None,
            telemetry: Default::default(),
            ops: Default::default(),
        };
        let failed = |checks: &[Check]| {
            let failed = checks.iter().filter(|it| it.verdict == Verdict::Fail);
            failed.map(|it| it.found.clone()).collect::<Vec<_>>()
        };
        let checks = preflight(Some(&config)).await;
        let [stores, key] = failed(&checks).try_into().expect("two");
        assert!(stores.starts_with("stores: "), "{stores}");
        assert!(key.starts_with("correspondent.key_file: is \"/nonexistent/key\": "), "{key}");
        config.stores = vec!["127.0.0.1:7101".to_owned()];
        config.correspondent = None;
        assert_eq!(failed(&preflight(Some(&config)).await), [""; 0]);
    }
}
