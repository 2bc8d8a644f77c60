//! What no pod of the chart may have, whatever the values: the forwarder's capabilities are named one by one.

use serde_json::Value;

use super::objects::{Objects, Pod, at, items, text};

/// What the forwarder and what is beside it may add.
const FORWARDER: [&str; 3] = ["NET_ADMIN", "BPF", "PERFMON"];
const BIRD: [&str; 3] = ["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"];

pub(super) fn faults(objects: &Objects) -> Vec<String> {
    let mut faults = Vec::new();
    for pod in objects.pods() {
        for what in of(&pod) {
            faults.push(format!("{}: {what}", pod.name()));
        }
    }
    faults
}

fn of(pod: &Pod<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let spec = &pod.pod["spec"];
    let is_forwarder = text(&pod.owner["kind"]) == "DaemonSet";
    if spec["automountServiceAccountToken"] != false {
        faults.push("it has a token of Kubernetes".to_owned());
    }
    if !is_forwarder {
        if spec["hostNetwork"] == true {
            faults.push("it is in the host's network".to_owned());
        }
        if at(spec, "securityContext/runAsNonRoot") != true {
            faults.push("it may run as root".to_owned());
        }
        let volumes = items(&spec["volumes"]);
        if volumes.iter().any(|it| !it["hostPath"].is_null()) {
            faults.push("it has a path of the host".to_owned());
        }
    }
    if text(at(spec, "securityContext/seccompProfile/type")) != "RuntimeDefault" {
        faults.push("it has no seccomp profile".to_owned());
    }
    for container in pod.containers() {
        let allowed: &[&str] = match (is_forwarder, text(&container["name"])) {
            (true, "bird") => &BIRD,
            (true, _) => &FORWARDER,
            (false, _) => &[],
        };
        let name = text(&container["name"]);
        faults.extend(container_faults(container, allowed).map(|what| format!("{name} {what}")));
    }
    faults
}

fn container_faults<'c>(
    container: &'c Value,
    allowed: &'c [&'c str],
) -> impl Iterator<Item = String> + 'c {
    let context = &container["securityContext"];
    let is = |wanted: bool, what: &str| (!wanted).then(|| what.to_owned());
    let added = items(at(context, "capabilities/add")).iter().map(text);
    let added = added.filter(|it| !allowed.contains(it)).map(|it| format!("adds {it}"));
    [
        is(context["privileged"] != true, "is privileged"),
        is(context["allowPrivilegeEscalation"] == false, "may get more privileges"),
        is(context["readOnlyRootFilesystem"] == true, "may write into its image"),
        is(items(at(context, "capabilities/drop")) == ["ALL"], "keeps capabilities"),
        is(!container["resources"].is_null(), "has no resources"),
    ]
    .into_iter()
    .flatten()
    .chain(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
kind: Job
metadata: {name: a}
spec:
  template:
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: a
          resources: {}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
"#;

    #[test]
    fn more_than_a_pod_may_have_is_found() {
        let found = |text: &str| faults(&Objects::read(text).unwrap()).len();
        assert_eq!(found(GOOD), 0);
        let worse = [
            ("drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]"),
            ("drop: [ALL]", "drop: [NET_RAW]"),
            ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
            ("runAsNonRoot: true", "runAsNonRoot: false"),
            ("          resources: {}\n", ""),
            (
                "automountServiceAccountToken: false",
                "hostNetwork: true\n      automountServiceAccountToken: false",
            ),
        ];
        for (from, to) in worse {
            assert_eq!(found(&GOOD.replace(from, to)), 1, "{to}");
        }
    }
}
