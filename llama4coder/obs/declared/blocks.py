"""KV blocks, and memory."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

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
        self.kv_usage = Gauge(
            "llama4coder_kv_usage_ratio",
            "Share of the fullest KV shard's blocks that are used or promised",
            registry=registry,
        )
        self.kv_shard_blocks = Gauge(
            "llama4coder_kv_shard_blocks", "KV blocks of one KV shard by state", ("shard", "state"), registry=registry
        )
        self.kv_shard_imbalance = Gauge(
            "llama4coder_kv_shard_imbalance_ratio",
            "By how much the fullest KV shard has more blocks in use than the average one",
            registry=registry,
        )
        self.kv_evicted_blocks = Counter(
            "llama4coder_kv_evicted_blocks_total",
            "Cached KV blocks that were taken for other content",
            registry=registry,
        )
        self.memory_bytes = Gauge(
            "llama4coder_memory_bytes",
            "Memory of a target replica's fullest rank at start, by part, predicted and actual",
            ("part", "kind"),
            registry=registry,
        )
        self.memory_headroom = Gauge(
            "llama4coder_memory_headroom_bytes",
            "Memory that nobody has taken on a rank's device, its GPU or the machine of a CPU rank",
            ("rank",),
            registry=registry,
        )
        self._num_evicted = 0
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

    def on_headroom(self, free_bytes: Mapping[int, int]) -> None:
        """Show what is free beside each rank."""
        for rank, num_bytes in free_bytes.items():
            self.memory_headroom.labels(rank=str(rank)).set(num_bytes)

    def show_blocks(self, state: EngineStats) -> None:
        """Show the blocks as they are now."""
        self.kv_blocks.labels(state="used").set(state.num_used_blocks)
        self.kv_blocks.labels(state="cached").set(state.num_cached_blocks)
        self.kv_blocks.labels(state="free").set(state.num_free_blocks)
        self.kv_promised_blocks.set(state.num_promised_blocks)
        self.host_blocks.labels(state="cached").set(state.num_cached_host_blocks)
        self.host_blocks.labels(state="pinned").set(state.num_pinned_host_blocks)
        self.host_blocks.labels(state="free").set(state.num_free_host_blocks)
        self.kv_evicted_blocks.inc(state.num_evicted_blocks - self._num_evicted)
        self._num_evicted = state.num_evicted_blocks
        self._show_shards(state)

    def _show_shards(self, state: EngineStats) -> None:
        for index, shard in enumerate(state.shards):
            for name, number in (("used", shard.num_used), ("cached", shard.num_cached), ("free", shard.num_free)):
                self.kv_shard_blocks.labels(shard=str(index), state=name).set(number)
        most_blocks = max(shard.num_blocks for shard in state.shards)
        most_used = max(shard.num_used for shard in state.shards)
        self.kv_usage.set(1 - state.num_available_blocks / most_blocks)
        mean_used = state.num_used_blocks / len(state.shards)
        self.kv_shard_imbalance.set(most_used / mean_used - 1 if mean_used else 0.0)
