"""Ray's own metrics that panels read, as its exporter has them; tests/dashboards/test_ray.py asks a running Ray.

Ray's exporter is one for each node. The label `cluster` is ours: the scrape configuration names a cluster after the
deployment that it serves, since Ray Serve means something else by `deployment`.
"""

from collections.abc import Mapping, Sequence

from llama4coder.obs.catalogue import DeclaredMetric

CLUSTER = 'cluster="$deployment"'
_NODE = ("ip",)
_GPU = ("ip", "GpuIndex")
_SERVE = ("application", "deployment")

_METRICS: Sequence[DeclaredMetric] = (
    DeclaredMetric("ray_node_cpu_utilization", "gauge", _NODE, "Percent of a node's CPUs in use"),
    DeclaredMetric("ray_node_mem_used", "gauge", _NODE, "Memory of a node, or its container, in use"),
    DeclaredMetric("ray_node_mem_total", "gauge", _NODE, "Memory of a node, or its container"),
    DeclaredMetric("ray_node_disk_utilization_percentage", "gauge", _NODE, "Percent of a node's disk in use"),
    DeclaredMetric("ray_node_gpus_utilization", "gauge", _GPU, "Percent of a GPU's time in use"),
    DeclaredMetric("ray_node_gram_used", "gauge", _GPU, "MiB of a GPU's memory in use"),
    DeclaredMetric("ray_node_gram_available", "gauge", _GPU, "MiB of a GPU's memory that are free"),
    DeclaredMetric("ray_object_store_memory", "gauge", ("Location",), "Bytes in Ray's object store, by where they are"),
    DeclaredMetric("ray_resources", "gauge", ("Name", "State"), "CPUs, GPUs and memory that Ray has, and gave away"),
    DeclaredMetric("ray_serve_deployment_replica_healthy", "gauge", _SERVE, "1 for a replica that Serve finds healthy"),
    DeclaredMetric("ray_serve_replica_startup_latency_ms", "histogram", _SERVE, "Starts of replicas, in milliseconds"),
    DeclaredMetric("ray_serve_health_check_latency_ms", "histogram", _SERVE, "Health checks, in milliseconds"),
    DeclaredMetric("ray_serve_replica_processing_queries", "gauge", _SERVE, "Calls that replicas work at"),
    DeclaredMetric("ray_serve_deployment_queued_queries", "gauge", _SERVE, "Calls that wait for a replica"),
)
RAY_SERIES: Mapping[str, DeclaredMetric] = {series: metric for metric in _METRICS for series in metric.series}


def of_ray(series: str, where: str = "") -> str:
    """Of the cluster that the deployment runs on."""
    return f"{series}{{{', '.join(each for each in (CLUSTER, where) if each)}}}"
