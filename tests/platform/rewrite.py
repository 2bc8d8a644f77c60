#!/usr/bin/env python3
"""A Helm post-renderer, for tests only: what the chart uses and Kubernetes 1.20 has not yet, written as it was then."""

import sys

import yaml

OLDER = {
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
    ("batch/v1", "CronJob"): "batch/v1beta1",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
}

objects = [it for it in yaml.safe_load_all(sys.stdin) if it]
for it in objects:
    it["apiVersion"] = OLDER.get((it["apiVersion"], it["kind"]), it["apiVersion"])
    if it["kind"] == "PodDisruptionBudget":
        it["spec"].pop("unhealthyPodEvictionPolicy", None)
    if it["kind"] == "StatefulSet":
        it["spec"].pop("persistentVolumeClaimRetentionPolicy", None)
yaml.safe_dump_all(objects, sys.stdout)
