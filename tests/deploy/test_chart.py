"""The chart: what Helm makes of it is valid, and its pods can do little.

Needs the extra `deploy`, which brings Helm as a library, and Kubernetes' schemas.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tests.support.each import each
from tests.support.paths import ROOT

CHART = ROOT / "deploy" / "helm" / "clearline"
KUBERNETES = "1.31"  # a version whose schemas are checked
EVERYTHING = {
    "replicas": 3,
    "metrics": {"serviceMonitor": True},
    "nodeSelector": {"disk": "fast"},
    "imagePullSecrets": [{"name": "registry"}],
    "tolerations": [{"key": "credit", "operator": "Exists"}],
    "state": {"storageClassName": "fast"},
}
Manifest = dict[str, Any]


def helm() -> Any:
    return pytest.importorskip("helm_python.chart", reason="the extra `deploy` is not installed")


def rendered(values: Manifest | None = None) -> dict[str, Manifest]:
    """What Helm makes of the chart, by kind and name."""
    texts = helm().Chart.load(str(CHART)).render(values, name="limits", namespace="credit")
    found = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def validate(manifest: Manifest) -> None:
    reason = "the extra `deploy` is not installed"
    schemas = pytest.importorskip("kubernetes_validate", reason=reason)
    schemas.validate(manifest, KUBERNETES, strict=True)


def test_helm_finds_no_fault() -> None:
    report = helm().lint(str(CHART), strict=True)
    assert report["errors"] == []


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["default", "everything"])
def test_kubernetes_accepts_every_manifest(values: Manifest | None) -> None:
    for manifest in each(list(rendered(values).values())):
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            validate(manifest)


def test_a_manifest_with_a_fault_would_be_found() -> None:
    broken = copy.deepcopy(rendered()["StatefulSet limits"])
    broken["spec"]["template"]["spec"]["readOnly"] = True
    with pytest.raises(Exception, match="readOnly"):
        validate(broken)


def test_pods_can_do_little_and_keep_their_state() -> None:
    spec = rendered()["StatefulSet limits"]["spec"]
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in each([*pod["initContainers"], *pod["containers"]]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    [claim] = spec["volumeClaimTemplates"]
    [container] = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/clearline"
    assert set(mounts) == {one["name"] for one in pod["volumes"]} - {"given"} | {"state"}


def test_pods_are_probed_and_not_all_ended_at_once() -> None:
    manifests = rendered()
    [container] = manifests["StatefulSet limits"]["spec"]["template"]["spec"]["containers"]
    paths = {
        name: probe["httpGet"]["path"]
        for name, probe in container.items()
        if name.endswith("Probe")
    }
    assert paths == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    budget = manifests["PodDisruptionBudget limits"]["spec"]
    assert budget["maxUnavailable"] == 1
    labels = manifests["StatefulSet limits"]["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert manifests["StatefulSet limits"]["spec"]["replicas"] >= 2


def test_prometheus_reads_each_pod_once() -> None:
    manifests = rendered(EVERYTHING)
    wanted = manifests["ServiceMonitor limits"]["spec"]["selector"]["matchLabels"].items()
    services = [name for name in manifests if name.startswith("Service ")]
    chosen = [name for name in services if wanted <= manifests[name]["metadata"]["labels"].items()]
    assert chosen == ["Service limits-pods"]
