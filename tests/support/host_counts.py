"""What an engine says of its host memory, added up."""

from llama4coder.engine.engine import Engine
from llama4coder.obs.stats import NullObserver, StepStats


class HostCounts(NullObserver):
    """Counts from when it is made; takes the place of the engine's observer."""

    def __init__(self, engine: Engine) -> None:
        self.num_loaded = 0
        self.num_computed = 0
        self.num_host_tokens = 0
        engine.observer = self

    def on_step(self, stats: StepStats) -> None:
        self.num_loaded += stats.num_loaded_blocks
        self.num_computed += stats.num_prefill_tokens + stats.num_decode_tokens

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None:
        self.num_host_tokens += num_host_tokens
