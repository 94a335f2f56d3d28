"""What Ray itself tells, for those who ask why a replica is not there."""

from dashboards.panels import Panel, Query, Section, Unit
from dashboards.promql import WINDOW, zero_if_none
from dashboards.ray_series import of_ray

_NOTE = "From Ray's own exporters, which `llama4coder serve` turns off."
_GPU_NOTE = f"{_NOTE} Nothing without a GPU."
_STARTS, _CHECKS = "ray_serve_replica_startup_latency_ms", "ray_serve_health_check_latency_ms"
_GPU = "{{ip}} GPU {{GpuIndex}}"
_USED, _FREE = of_ray("ray_node_gram_used"), of_ray("ray_node_gram_available")
_MIB = 2**20


def _lines(title: str, unit: Unit, promql: str, legend: str, note: str = _NOTE, highest: float | None = None) -> Panel:
    return Panel(title, unit, (Query(promql, legend),), note=note, highest=highest)


def _by_deployment(series: str) -> str:
    return f"sum by (deployment) ({of_ray(series)})"


def _each_check(share: float) -> str:
    checks = f"sum by (le) (rate({of_ray(f'{_CHECKS}_bucket')}[{WINDOW}]))"
    return f"histogram_quantile({share:g}, {checks}) / 1000"


def _devices(where: str) -> str:
    devices = 'Name=~"CPU|GPU"'
    return f"sum by (Name) ({of_ray('ray_resources', f'{devices}, {where}')})"


SERVE = Section(
    "Ray Serve",
    (
        _lines(
            "Replicas that Serve finds healthy",
            Unit.COUNT,
            _by_deployment("ray_serve_deployment_replica_healthy"),
            "{{deployment}}",
        ),
        _lines(
            "Replicas that Serve has started", Unit.COUNT, _by_deployment(f"{_STARTS}_count"), "{{deployment}}, ever"
        ),
        _lines(
            "A start, mean",
            Unit.SECONDS,
            f"{_by_deployment(f'{_STARTS}_sum')} / {_by_deployment(f'{_STARTS}_count')} / 1000",
            "{{deployment}}",
        ),
        Panel(
            "Health checks",
            Unit.SECONDS,
            tuple(Query(_each_check(share), f"p{share * 100:g}") for share in (0.5, 0.95)),
            note=f"{_NOTE} A replica that fails three of them is replaced.",
        ),
        _lines("Calls under way", Unit.COUNT, _by_deployment("ray_serve_replica_processing_queries"), "{{deployment}}"),
        _lines(
            "Calls that wait for a replica",
            Unit.COUNT,
            _by_deployment("ray_serve_deployment_queued_queries"),
            "{{deployment}}",
        ),
    ),
)

NODES = Section(
    "Nodes",
    (
        _lines("CPU in use", Unit.SHARE, f"{of_ray('ray_node_cpu_utilization')} / 100", "{{ip}}", highest=1),
        _lines(
            "Memory in use",
            Unit.SHARE,
            f"{of_ray('ray_node_mem_used')} / {of_ray('ray_node_mem_total')}",
            "{{ip}}",
            highest=1,
        ),
        _lines(
            "Disk in use", Unit.SHARE, f"{of_ray('ray_node_disk_utilization_percentage')} / 100", "{{ip}}", highest=1
        ),
        _lines(
            "GPU in use",
            Unit.SHARE,
            zero_if_none(f"{of_ray('ray_node_gpus_utilization')} / 100"),
            _GPU,
            note=_GPU_NOTE,
            highest=1,
        ),
        Panel(
            "GPU memory in use",
            Unit.BYTES,
            (
                Query(zero_if_none(f"{_USED} * {_MIB}"), _GPU),
                Query(zero_if_none(f"sum ({_USED} + {_FREE}) * {_MIB}"), "all that there is"),
            ),
            note=_GPU_NOTE,
        ),
        Panel(
            "Given away by Ray",
            Unit.COUNT,
            (
                Query(_devices('State="USED"'), "{{Name}} given"),
                Query(_devices('State=~"USED|AVAILABLE"'), "{{Name}} in all"),
            ),
            note=f"{_NOTE} A replica for which there is no room waits.",
        ),
        Panel(
            "Object store",
            Unit.BYTES,
            (Query(f"sum by (Location) ({of_ray('ray_object_store_memory')})", "{{Location}}"),),
            note=f"{_NOTE} Prompts and tokens do not pass through it; what is spilled would be on a disk.",
            is_stacked=True,
        ),
    ),
)
