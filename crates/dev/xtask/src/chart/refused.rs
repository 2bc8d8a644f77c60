//! What the chart must refuse, and what its message must name: a mistake in the values is found when the chart is
//! installed, not when a pod does not come up.

use std::{path::Path, process::Command};

use anyhow::Context as _;

use crate::report::Report;

const REFUSED: [(&[&str], &str); 31] = [
    (&["--set", "store.replicas=2"], "/store/replicas"),
    (&["--set", "store.replica=3"], "'replica' not allowed"),
    (&["--set", "store.founders=4"], "/store/founders"),
    (&["--set", "store.nodeIds.1=2"], "/store/nodeIds/1"),
    (&["--set", "telemetry.format=xml"], "/telemetry/format"),
    (&["--set", "noc.service.port=0"], "/noc/service/port"),
    (&["--set", "image.digest=sha256:12"], "/image/digest"),
    (&["--set", "signalling.autoscaling.cpuPercent=0"], "/signalling/autoscaling/cpuPercent"),
    (
        &["--set", "signalling.autoscaling.enabled=true,signalling.autoscaling.minReplicas=11"],
        "signalling.autoscaling.minReplicas",
    ),
    (&["--set", "forwarder.preflight=yes"], "/forwarder/preflight"),
    (&["--set", "forwarder.headlessSecs=5"], "/forwarder/headlessSecs"),
    (&["--set", "forwarder.namespace.create=true"], "forwarder.namespace.create"),
    (&["--set", "forwarder.xdp.keepSecs=4"], "/forwarder/xdp/keepSecs"),
    (&["--set", "forwarder.xdp.mode=fast"], "/forwarder/xdp/mode"),
    (
        &["--set", "forwarder.tunnels.encapsulationLimit=256"],
        "/forwarder/tunnels/encapsulationLimit",
    ),
    (
        &["--set", "forwarder.tunnels.weights[0].bid=1,forwarder.tunnels.weights[0].weight=17"],
        "/forwarder/tunnels/weights/0/weight",
    ),
    (
        &["--set", "forwarder.tunnels.weights[0].bid=1,forwarder.tunnels.weights[0].weight=2"],
        "forwarder.tunnels.weights",
    ),
    (&["--set", "monitoring.podMonitor.interval=often"], "/monitoring/podMonitor/interval"),
    (
        &["--set", "monitoring.prometheusRule.runbookUrlPrefix=wiki"],
        "/monitoring/prometheusRule/runbookUrlPrefix",
    ),
    (&["--set", "exposure.bgp.enabled=true"], "exposure.bgp.image"),
    (&["--set", "exposure.bgp.enabled=true,exposure.bgp.image=bird"], "exposure.bgp.neighbors"),
    (
        &["--set", "exposure.bgp.neighbors[0].address=router,exposure.bgp.neighbors[0].as=1"],
        "/exposure/bgp/neighbors/0/address",
    ),
    (&["--set", "exposure.bgp.enabled=true,forwarder.enabled=false"], "exposure.bgp.enabled"),
    (&["--set", "backup.schedule=daily"], "/backup/schedule"),
    (&["--set", "backup.keep=0"], "/backup/keep"),
    (&["--set", "test.homeAgentIpv4=home"], "/test/homeAgentIpv4"),
    (&["--set", "store.adminTokensSecret=tokens"], "jobs.tokenSecret"),
    (&["--set", "tls.mode=plain"], "/tls/mode"),
    (&["--set", "tls.mode=secret"], "tls.secrets."),
    (&["--set", "tls.mode=certManager"], "tls.certManager.issuerRef.name"),
    (&["--kube-version", "1.26"], "incompatible with Kubernetes"),
];

/// Tries each wrong value.
pub(super) fn check(report: &mut Report, helm: &Path, chart: &Path) -> anyhow::Result<()> {
    for (arguments, named) in REFUSED {
        let mut command = Command::new(helm);
        command.args(["template", "homeport"]).arg(chart).args(arguments);
        let output = command.output().context("cannot start helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Helm 3 writes the path of a value with dots.
        let dotted = format!("{}:", named.trim_start_matches('/').replace('/', "."));
        let property = named.replace("'replica' not", "Additional property replica is not");
        let names = [named, &dotted, &property].iter().any(|it| said.contains(*it));
        let is_refused = !output.status.success() && names;
        report.count(is_refused);
        if !is_refused {
            eprintln!("chart: {} is not refused by {named}: {said}", arguments.join(" "));
        }
    }
    println!("chart: {} wrong values tried", REFUSED.len());
    Ok(())
}
