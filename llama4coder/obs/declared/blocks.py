"""KV blocks, and memory."""

from prometheus_client import CollectorRegistry, Gauge

from llama4coder.obs.stats import EngineStats, MemoryStats


class BlockMetrics:
    """KV blocks, and memory."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.kv_blocks = Gauge("llama4coder_kv_blocks", "KV blocks of the pool by state", ("state",), registry=registry)
        self.kv_promised_blocks = Gauge(
            "llama4coder_kv_promised_blocks",
            "Free and cached KV blocks that running sequences have been promised",
            registry=registry,
        )
        self.memory_bytes = Gauge(
            "llama4coder_memory_bytes",
            "Memory of a target replica's fullest rank at start, by part, predicted and actual",
            ("part", "kind"),
            registry=registry,
        )
        self.host_blocks = Gauge(
            "llama4coder_host_blocks",
            "Blocks' places in host memory by state: pinned for preempted sequences, cached prefixes, free",
            ("state",),
            registry=registry,
        )

    def on_memory(self, memory: MemoryStats) -> None:
        """Show what memory was meant for, and what it goes to."""
        for kind, num_bytes in (("predicted", memory.predicted), ("actual", memory.actual)):
            for part, its_bytes in num_bytes.items():
                self.memory_bytes.labels(part=part.value, kind=kind).set(its_bytes)

    def show_blocks(self, state: EngineStats) -> None:
        """Show the blocks as they are now."""
        self.kv_blocks.labels(state="used").set(state.num_used_blocks)
        self.kv_blocks.labels(state="cached").set(state.num_cached_blocks)
        self.kv_blocks.labels(state="free").set(state.num_free_blocks)
        self.kv_promised_blocks.set(state.num_promised_blocks)
        self.host_blocks.labels(state="cached").set(state.num_cached_host_blocks)
        self.host_blocks.labels(state="pinned").set(state.num_pinned_host_blocks)
        self.host_blocks.labels(state="free").set(state.num_free_host_blocks)
