#!/usr/bin/env python3
"""Nodes that are none, and what a kubelet would say of pods on them: those that are bound run and are ready, those that
end have succeeded. Takes the address of an API server and a token; runs until it is ended."""

import json
import ssl
import sys
import time
import urllib.request

API, TOKEN = sys.argv[1], sys.argv[2]
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
NODES = {f"edge-{zone}{n}": zone for zone in "abc" for n in (1, 2)}


def call(method, path, body=None, kind="application/json"):
    request = urllib.request.Request(API + path, method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Content-Type", kind)
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, context=TLS) as answer:
        return json.load(answer)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def make_nodes():
    for name, zone in NODES.items():
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": zone,
            "homeport.example/edge": "true",
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        try:
            call("POST", "/api/v1/nodes", node)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
        room = {"cpu": "16", "memory": "64Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True", "reason": "Fake", "lastHeartbeatTime": now()}
        status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
        call("PATCH", f"/api/v1/nodes/{name}/status", status, "application/merge-patch+json")
        call("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None}}, "application/merge-patch+json")


def look_after(pod, n):
    meta, spec = pod["metadata"], pod["spec"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
    if meta.get("deletionTimestamp"):
        call("DELETE", path, {"gracePeriodSeconds": 0})
        return
    ends = spec["restartPolicy"] == "Never"
    phase = "Succeeded" if ends else "Running"
    if pod["status"].get("phase") == phase:
        return

    def state(container, done):
        value = {"terminated": {"exitCode": 0, "finishedAt": now()}} if done else {"running": {"startedAt": now()}}
        return {"name": container["name"], "image": container["image"], "imageID": "", "ready": not done,
                "restartCount": 0, "started": not done, "state": value}

    conditions = [{"type": it, "status": "False" if ends and it != "PodScheduled" else "True", "lastTransitionTime": now()}
                  for it in ("Initialized", "Ready", "ContainersReady", "PodScheduled")]
    status = {
        "phase": phase, "startTime": now(), "podIP": f"10.1.{n // 250}.{n % 250 + 1}", "conditions": conditions,
        "containerStatuses": [state(it, ends) for it in spec["containers"]],
        "initContainerStatuses": [state(it, True) for it in spec.get("initContainers", [])],
    }
    call("PATCH", f"{path}/status", {"status": status}, "application/strategic-merge-patch+json")


def bind_claims():
    """Nobody provisions volumes either."""
    for claim in call("GET", "/api/v1/persistentvolumeclaims")["items"]:
        if claim["status"].get("phase") == "Bound" or claim["spec"].get("volumeName"):
            continue
        meta = claim["metadata"]
        volume = f"fake-{meta['namespace']}-{meta['name']}"
        spec = {
            "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
            "hostPath": {"path": f"/nowhere/{volume}"}, "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
            "storageClassName": claim["spec"].get("storageClassName", ""),
        }
        body = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": spec}
        try:
            call("POST", "/api/v1/persistentvolumes", body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise


seen = {}
make_nodes()
while True:
    try:
        bind_claims()
        for pod in call("GET", "/api/v1/pods")["items"]:
            if pod["spec"].get("nodeName"):
                look_after(pod, seen.setdefault(pod["metadata"]["uid"], len(seen)))
    except urllib.error.HTTPError as error:
        if error.code not in (404, 409):
            print(error, error.read().decode()[:300], file=sys.stderr)
    time.sleep(0.5)
