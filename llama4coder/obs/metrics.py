"""The metrics of one process: all that are declared."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from llama4coder.obs.declared.blocks import BlockMetrics
from llama4coder.obs.declared.drafts import DraftMetrics
from llama4coder.obs.declared.drain import DrainMetrics
from llama4coder.obs.declared.engine import EngineMetrics
from llama4coder.obs.declared.front import FrontMetrics
from llama4coder.obs.declared.life import LifeMetrics
from llama4coder.obs.declared.plan import PlanMetrics
from llama4coder.obs.declared.pool import PoolMetrics
from llama4coder.obs.declared.queue import QueueMetrics
from llama4coder.obs.declared.router import RouterMetrics
from llama4coder.obs.declared.scaling import ScalingMetrics
from llama4coder.obs.declared.telemetry import TelemetryMetrics
from llama4coder.obs.stats import EngineStats


class Metrics(
    FrontMetrics,
    RouterMetrics,
    EngineMetrics,
    QueueMetrics,
    BlockMetrics,
    DraftMetrics,
    PoolMetrics,
    ScalingMetrics,
    TelemetryMetrics,
    LifeMetrics,
    DrainMetrics,
    PlanMetrics,
):
    """An `EngineObserver`, a `SpeculationObserver` and a `PoolObserver` where an engine lives in the process, a
    `DraftObserver` in a draft replica, a `RoutingObserver` in an ingress."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        FrontMetrics.__init__(self, registry)
        RouterMetrics.__init__(self, registry)
        EngineMetrics.__init__(self, registry)
        QueueMetrics.__init__(self, registry)
        BlockMetrics.__init__(self, registry)
        DraftMetrics.__init__(self, registry)
        PoolMetrics.__init__(self, registry)
        TelemetryMetrics.__init__(self, registry)
        LifeMetrics.__init__(self, registry)
        DrainMetrics.__init__(self, registry)
        PlanMetrics.__init__(self, registry)
        ScalingMetrics.__init__(self, registry)

    def render(self) -> bytes:
        """This process's metrics in Prometheus text format."""
        return generate_latest(_WithoutCreated(self._registry))

    def on_state(self, state: EngineStats) -> None:
        """Show queue and blocks as they are now."""
        self.show_queue(state)
        self.show_blocks(state)

    def on_expired(self, num_requests: int) -> None:
        """Count requests that waited too long."""
        self.admission_rejections.labels(reason="queue_timeout").inc(num_requests)


class _WithoutCreated(CollectorRegistry):
    """A registry's metrics without the `_created` samples that double every series and that nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._inner = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_created"]
            yield metric
