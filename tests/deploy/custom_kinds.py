"""The fields of custom resources that we may use, by hand: their schemas are in no package.

They are those of KubeRay 1.6.0's CRDs, which 1.7.0 has as well, less what is deprecated or what KubeRay refuses in a
RayService, and some of Prometheus Operator 0.93.0's. Pods within them are checked as Pods. References of all kinds are
found wherever they are.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

KINDS: Mapping[str, str] = {"RayService": "ray.io/v1", "PodMonitor": "monitoring.coreos.com/v1"}

_FIELDS: Mapping[str, frozenset[str]] = {
    "RayService": frozenset({"apiVersion", "kind", "metadata", "spec"}),
    "RayServiceSpec": frozenset(
        {
            *("serveConfigV2", "rayClusterConfig", "excludeHeadPodFromServeSvc", "serveService", "upgradeStrategy"),
            *("rayClusterDeletionDelaySeconds", "managedBy"),
        }
    ),
    "RayClusterSpec": frozenset(
        {
            *("rayVersion", "authOptions", "gcsFaultToleranceOptions", "headGroupSpec", "workerGroupSpecs"),
            *("enableInTreeAutoscaling", "autoscalerOptions", "headServiceAnnotations", "suspend", "managedBy"),
        }
    ),
    "AuthOptions": frozenset({"mode", "secretName"}),
    "GcsFaultToleranceOptions": frozenset(
        {"redisAddress", "redisPassword", "redisUsername", "externalStorageNamespace"}
    ),
    "HeadGroupSpec": frozenset(
        {"rayStartParams", "template", "labels", "resources", "headService", "serviceType", "enableIngress"}
    ),
    "WorkerGroupSpec": frozenset(
        {
            *("groupName", "labels", "resources", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds"),
            *("rayStartParams", "template", "scaleStrategy", "numOfHosts", "suspend"),
        }
    ),
    "PodMonitor": frozenset({"apiVersion", "kind", "metadata", "spec"}),
    "PodMonitorSpec": frozenset(
        {"selector", "podMetricsEndpoints", "namespaceSelector", "jobLabel", "podTargetLabels"}
    ),
    "PodMetricsEndpoint": frozenset(
        {"port", "path", "scheme", "interval", "scrapeTimeout", "authorization", "relabelings", "metricRelabelings"}
    ),
}


def unknown_fields(manifest: Mapping[str, Any]) -> list[str]:
    """Fields that their kind does not have, and an apiVersion that is not its own."""
    kind, spec = manifest["kind"], manifest["spec"]
    found = [] if manifest["apiVersion"] == KINDS[kind] else [f"{kind}.apiVersion"]
    if kind == "PodMonitor":
        parts = [("PodMonitor", manifest), ("PodMonitorSpec", spec)]
        parts += [("PodMetricsEndpoint", each) for each in spec["podMetricsEndpoints"]]
    else:
        cluster = spec["rayClusterConfig"]
        parts = [("RayService", manifest), ("RayServiceSpec", spec), ("RayClusterSpec", cluster)]
        parts += [("AuthOptions", cluster["authOptions"]), ("HeadGroupSpec", cluster["headGroupSpec"])]
        parts += [("WorkerGroupSpec", each) for each in cluster["workerGroupSpecs"]]
        if "gcsFaultToleranceOptions" in cluster:
            parts.append(("GcsFaultToleranceOptions", cluster["gcsFaultToleranceOptions"]))
    return found + [f"{name}.{field}" for name, part in parts for field in part if field not in _FIELDS[name]]


def references(manifests: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Kind and name of every ConfigMap, Secret and claim that is asked for."""
    found = set()
    for field, content in _walk(list(manifests)):
        match field, content:
            case "configMapRef" | "configMapKeyRef" | "configMap", {"name": name}:
                found.add(("ConfigMap", name))
            case "secretKeyRef" | "credentials", {"name": name}:
                found.add(("Secret", name))
            case "secretName", str(name):
                found.add(("Secret", name))
            case "claimName", str(name):
                found.add(("PersistentVolumeClaim", name))
            case _:
                pass
    return found


def secret_keys(manifests: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Name and key of every value of a Secret that is asked for by its key."""
    return {
        (content["name"], content["key"])
        for field, content in _walk(list(manifests))
        if field in ("secretKeyRef", "credentials")
    }


def _walk(content: object) -> Iterator[tuple[str, Any]]:
    """Every field at any depth, with what it holds."""
    if isinstance(content, Mapping):
        for field, value in content.items():
            yield str(field), value
            yield from _walk(value)
    elif isinstance(content, list):
        for value in content:
            yield from _walk(value)
