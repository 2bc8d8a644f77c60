//! A scan by somebody else's rules for workloads. What it finds is either put right or stands here with its reason.

use std::{path::Path, process::Command};

use anyhow::Context as _;

use super::{Rendered, items, skip, text, tools};
use crate::report::Report;

const SCANNER: (&str, &str) = ("checkov", "3.3.30");
/// These have every part, and what is optional beside it.
const SCANNED: [&str; 2] = ["values-ha", "full-values"];

/// A rule, of which objects it is not wanted (the end of their names, or all), and why.
const EXCEPTIONS: [(&str, &str, &str); 11] = [
    ("CKV_K8S_11", "", "a limit of CPU holds back heartbeats, and makes elections"),
    ("CKV_K8S_43", "", "image.digest names one: it is the operator's who loads the image"),
    ("CKV_K8S_15", "", "image.pullPolicy; a tag of a release does not move"),
    ("CKV_K8S_21", "", "the namespace is the release's"),
    ("CKV_K8S_19", "-forwarder", "it forwards the host's packets"),
    ("CKV_K8S_23", "-forwarder", "a capability of another user is lost when the program starts"),
    ("CKV_K8S_40", "-forwarder", "as above: root with NET_ADMIN alone"),
    (
        "CKV_K8S_25",
        "-forwarder",
        "NET_ADMIN for the device, BPF and PERFMON for XDP, BIRD's for BGP",
    ),
    ("CKV_K8S_9", "-forwarder", "BIRD has a liveness probe; it serves nobody"),
    ("CKV2_K8S_6", "-forwarder", "policies do not apply to the hosts' network"),
    ("CKV_K8S_8 CKV_K8S_9", "-test", "a pod that ends"),
];

pub(super) fn check(
    report: &mut Report,
    tools: &Path,
    rendered: &[Rendered],
) -> anyhow::Result<()> {
    if rendered.is_empty() {
        return Ok(());
    }
    let Some(scanner) = tools::python(tools, SCANNER.0, SCANNER.1) else {
        skip(report, "policy scan (install python3)");
        return Ok(());
    };
    for one in rendered.iter().filter(|one| SCANNED.contains(&one.name.as_str())) {
        let mut command = Command::new(&scanner);
        command.args(["--framework", "kubernetes", "--compact", "--skip-download", "-o", "json"]);
        let output = command.arg("-f").arg(&one.file).output().context("cannot start checkov")?;
        let found: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let passed = found["summary"]["passed"].as_u64().unwrap_or(0);
        report.count(passed > 100);
        let mut unwanted = 0;
        for fault in items(&found["results"]["failed_checks"]) {
            let (rule, object) = (text(&fault["check_id"]), text(&fault["resource"]));
            // A pod of a workload is named with its labels.
            let name = object.split(".app.kubernetes.io").next().unwrap_or_default();
            let is_excepted = EXCEPTIONS.iter().any(|(rules, end, _why)| {
                rules.split(' ').any(|it| it == rule) && name.ends_with(end)
            });
            if is_excepted {
                unwanted += 1;
            } else {
                eprintln!("chart: {}: {rule}: {object}: {}", one.name, text(&fault["check_name"]));
                report.count(false);
            }
        }
        println!("chart: {}: policy: {passed} hold, {unwanted} are not wanted", one.name);
    }
    Ok(())
}
