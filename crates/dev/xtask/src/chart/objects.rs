//! Rendered objects, and what one says of another: a selector, a port, a volume or an address that fits nothing is what
//! no schema sees.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::Value;

/// All objects of one rendering.
#[derive(Debug)]
pub(crate) struct Objects(Vec<Value>);

/// What is at a path such as `spec/template`; null when nothing is.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('/').fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// The items of a list; none of what is no list.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; empty when it is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Objects {
    pub(crate) fn read(rendered: &str) -> anyhow::Result<Self> {
        let mut objects = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_str(rendered) {
            let value = Value::deserialize(document).context("what is rendered is no YAML")?;
            if !value.is_null() {
                objects.push(value);
            }
        }
        Ok(Self(objects))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn of_kind<'o>(&'o self, kind: &'o str) -> impl Iterator<Item = &'o Value> {
        self.0.iter().filter(move |it| text(&it["kind"]) == kind)
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        let mut all = self.0.iter();
        all.find(|it| text(&it["kind"]) == kind && text(at(it, "metadata/name")) == name)
    }

    /// Of kinds that Kubernetes itself does not have.
    pub(super) fn custom(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(|it| {
            let api = text(&it["apiVersion"]);
            api.contains(".com/") || (api.contains(".io/") && !api.contains(".k8s.io/"))
        })
    }

    /// The TOML files in the config maps.
    pub(super) fn configurations(&self) -> Vec<(String, String)> {
        let files = self.of_kind("ConfigMap").filter_map(|map| map["data"].as_object()).flatten();
        let files = files.filter(|(name, _)| name.ends_with(".toml"));
        files.map(|(name, content)| (name.clone(), text(content).to_owned())).collect()
    }

    /// Every pod, by the name of its workload.
    pub(crate) fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        self.0.iter().filter_map(|object| {
            let path = match text(&object["kind"]) {
                "Pod" => "",
                "CronJob" => "spec/jobTemplate/spec/template",
                "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "spec/template",
                _ => return None,
            };
            let pod = if path.is_empty() { object } else { at(object, path) };
            Some(Pod { owner: object, pod })
        })
    }

    /// Everything that does not fit together.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        for object in &self.0 {
            if !names.insert(name(object)) {
                faults.push(format!("{} is there twice", name(object)));
            }
            self.selectors(object, &mut faults);
        }
        for pod in self.pods() {
            self.volumes(&pod, &mut faults);
            self.account(&pod, &mut faults);
            probes(&pod, &mut faults);
        }
        for (file, content) in self.configurations() {
            self.addresses(&file, &content, &mut faults);
        }
        for pod in self.pods() {
            for container in pod.containers() {
                for variable in items(&container["env"]) {
                    self.addresses(&pod.name(), text(&variable["value"]), &mut faults);
                }
            }
        }
        faults
    }

    fn selectors(&self, object: &Value, faults: &mut Vec<String>) {
        let (spec, name) = (&object["spec"], name(object));
        let mut fault = |what: &str| faults.push(format!("{name}: {what}"));
        match text(&object["kind"]) {
            "Service" => {
                let pods = self.selected(object, &spec["selector"]);
                if pods.is_empty() {
                    fault("its selector matches no pod");
                }
                for port in items(&spec["ports"]) {
                    if !pods.iter().all(|pod| pod.has_port(&port["targetPort"])) {
                        fault(&format!("port {} is none of its pods", port["targetPort"]));
                    }
                    if port["protocol"].is_null() {
                        fault("a port has no protocol: server-side apply needs one");
                    }
                }
            }
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                let pods = self.selected(object, at(spec, "selector/matchLabels"));
                if pods.len() != 1 {
                    fault(&format!("its selector matches {} pods", pods.len()));
                }
                let labels = at(spec, "selector/matchLabels");
                if labels.get("app.kubernetes.io/version").is_some() {
                    fault("its selector has a version in it");
                }
                let peers = self.find("Service", text(&spec["serviceName"]));
                let is_good = peers.is_some_and(|it| {
                    it["spec"]["clusterIP"] == "None"
                        && it["spec"]["publishNotReadyAddresses"] == true
                });
                if text(&object["kind"]) == "StatefulSet" && !is_good {
                    fault("serviceName is no headless service that shows who is not ready");
                }
            }
            "PodDisruptionBudget"
                if self.selected(object, at(spec, "selector/matchLabels")).len() != 1 =>
            {
                fault("it is not for one workload");
            }
            "NetworkPolicy" => {
                let pods = self.selected(object, at(spec, "podSelector/matchLabels"));
                if pods.is_empty() {
                    fault("its selector matches no pod");
                }
                for port in items(&spec["ingress"]).iter().flat_map(|rule| items(&rule["ports"])) {
                    if !pods.iter().all(|pod| pod.has_port(&port["port"])) {
                        fault(&format!("port {} is none of its pods", port["port"]));
                    }
                }
            }
            "HorizontalPodAutoscaler" => {
                let target = &spec["scaleTargetRef"];
                match self.find(text(&target["kind"]), text(&target["name"])) {
                    None => fault("its target is not there"),
                    Some(target) if !at(target, "spec/replicas").is_null() => {
                        fault("its target sets replicas, too: each upgrade would undo it");
                    }
                    Some(_) => {}
                }
            }
            "PodMonitor" => {
                let wanted = at(spec, "selector/matchLabels");
                for port in items(&spec["podMetricsEndpoints"]) {
                    let pods = self.pods().filter(|pod| pod.has_labels(wanted));
                    if !pods.into_iter().any(|pod| pod.has_port(&port["port"])) {
                        fault(&format!("no pod has a port {}", port["port"]));
                    }
                }
            }
            "ServiceMonitor" => {
                for port in items(&spec["endpoints"]) {
                    let mut services = self.of_kind("Service");
                    if !services.any(|it| {
                        items(at(it, "spec/ports")).iter().any(|it| it["name"] == port["port"])
                    }) {
                        fault(&format!("no service has a port {}", port["port"]));
                    }
                }
            }
            _ => {}
        }
    }

    /// Pods that serve, in the object's namespace.
    fn selected(&self, object: &Value, labels: &Value) -> Vec<Pod<'_>> {
        let namespace = at(object, "metadata/namespace");
        self.pods()
            .filter(|pod| {
                at(pod.owner, "metadata/namespace") == namespace && pod.has_labels(labels)
            })
            .collect()
    }

    fn volumes(&self, pod: &Pod<'_>, faults: &mut Vec<String>) {
        let claims = items(at(pod.owner, "spec/volumeClaimTemplates"));
        let claims = claims.iter().map(|it| text(at(it, "metadata/name")));
        let volumes = items(at(pod.pod, "spec/volumes"));
        let known: BTreeSet<&str> =
            volumes.iter().map(|it| text(&it["name"])).chain(claims).collect();
        let mut used = BTreeSet::new();
        for container in pod.containers() {
            for mount in items(&container["volumeMounts"]) {
                let volume = text(&mount["name"]);
                used.insert(volume);
                if !known.contains(volume) {
                    faults.push(format!("{}: there is no volume {volume}", pod.name()));
                }
            }
        }
        for volume in known.difference(&used) {
            faults.push(format!("{}: nothing uses the volume {volume}", pod.name()));
        }
        for map in
            volumes.iter().map(|it| text(at(it, "configMap/name"))).filter(|it| !it.is_empty())
        {
            let found = self.find("ConfigMap", map).is_some_and(|it| {
                at(it, "metadata/namespace") == at(pod.owner, "metadata/namespace")
            });
            if !found {
                faults.push(format!("{}: there is no config map {map} there", pod.name()));
            }
        }
    }

    fn account(&self, pod: &Pod<'_>, faults: &mut Vec<String>) {
        let account = text(at(pod.pod, "spec/serviceAccountName"));
        let accounts: Vec<&Value> = self.of_kind("ServiceAccount").collect();
        let is_there = accounts.iter().any(|it| text(at(it, "metadata/name")) == account);
        // None is made when values name one.
        if !accounts.is_empty() && !is_there {
            faults.push(format!("{}: there is no service account {account}", pod.name()));
        }
    }

    /// Names of services in configurations are those of services with that port.
    fn addresses(&self, whose: &str, content: &str, faults: &mut Vec<String>) {
        let words = content.split(|c: char| c.is_whitespace() || "\",=".contains(c));
        for (host, port) in words.filter_map(|word| word.rsplit_once(':')) {
            let Some((host, _domain)) = host.split_once(".homeport.svc.") else { continue };
            let service = host.rsplit('.').next().unwrap_or_default();
            let port: Value = port.parse::<u16>().map_or(Value::Null, Value::from);
            let ports = self.find("Service", service).map(|it| items(at(it, "spec/ports")));
            let has = ports.is_some_and(|ports| ports.iter().any(|it| it["port"] == port));
            if !has {
                faults.push(format!("{whose}: no service {service} with port {port}"));
            }
        }
    }
}

fn name(object: &Value) -> String {
    let namespace = text(at(object, "metadata/namespace"));
    format!("{}/{}/{namespace}", text(&object["kind"]), text(at(object, "metadata/name")))
}

fn probes(pod: &Pod<'_>, faults: &mut Vec<String>) {
    let host_network = at(pod.pod, "spec/hostNetwork") == true;
    for container in pod.containers() {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = at(&container[probe], "httpGet/port");
            if !port.is_null() && !host_network && !pod.has_port(port) {
                faults.push(format!("{}: {probe} asks port {port}, which is none", pod.name()));
            }
        }
    }
}

/// A pod, and the object that makes it.
pub(crate) struct Pod<'o> {
    pub(crate) owner: &'o Value,
    pub(crate) pod: &'o Value,
}

impl<'o> Pod<'o> {
    pub(crate) fn name(&self) -> String {
        name(self.owner)
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = &'o Value> {
        let spec = &self.pod["spec"];
        items(&spec["initContainers"]).iter().chain(items(&spec["containers"]))
    }

    fn has_labels(&self, wanted: &Value) -> bool {
        let labels = at(self.pod, "metadata/labels");
        let Some(wanted) = wanted.as_object() else { return false };
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn has_port(&self, port: &Value) -> bool {
        let mut ports = self.containers().flat_map(|it| items(&it["ports"]));
        ports.any(|it| it["name"] == *port || it["containerPort"] == *port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FITS: &str = r#"
kind: Service
metadata: {name: a}
spec:
  selector: {part: a}
  ports: [{name: grpc, port: 7, targetPort: grpc, protocol: TCP}]
---
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {part: a}}
  template:
    metadata: {labels: {part: a, version: "1"}}
    spec:
      containers:
        - name: a
          env: [{name: PEER, value: "a.homeport.svc.cluster.local:7"}]
          ports: [{name: grpc, containerPort: 70}]
          readinessProbe: {httpGet: {port: grpc}}
          volumeMounts: [{name: config}]
      volumes: [{name: config, configMap: {name: c}}]
---
kind: ConfigMap
metadata: {name: c}
"#;

    #[track_caller]
    fn assert_fault(from: &str, to: &str, named: &str) {
        let changed = FITS.replacen(from, to, 1);
        assert_ne!(changed, FITS);
        let faults = Objects::read(&changed).unwrap().faults();
        assert!(faults.iter().any(|it| it.contains(named)), "{named}: {faults:?}");
    }

    #[test]
    fn what_does_not_fit_is_found() {
        assert_eq!(Objects::read(FITS).unwrap().faults(), Vec::<String>::new());
        assert_fault("selector: {part: a}", "selector: {part: b}", "matches no pod");
        assert_fault("matchLabels: {part: a}", "matchLabels: {part: b}", "matches 0 pods");
        assert_fault("targetPort: grpc", "targetPort: http", "is none of its pods");
        assert_fault(", protocol: TCP", "", "no protocol");
        assert_fault("httpGet: {port: grpc}", "httpGet: {port: ops}", "readinessProbe");
        assert_fault("[{name: config}]", "[{name: data}]", "no volume data");
        assert_fault("metadata: {name: c}", "metadata: {name: d}", "no config map c");
        assert_fault("cluster.local:7", "cluster.local:8", "no service a with port 8");
    }
}
