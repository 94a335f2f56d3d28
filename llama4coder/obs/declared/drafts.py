"""What became of guesses in an engine; a `SpeculationObserver`."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.stats import DraftFallback, DraftStats

_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_POSITIONS = tuple(map(str, range(1, 9)))  # of a token in its draft; later ones count as "more"


class DraftMetrics:
    """What became of guesses in an engine; a `SpeculationObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.draft_proposals = Counter(
            "llama4coder_draft_proposals_total", "Drafts that were checked", ("source",), registry=registry
        )
        self.draft_tokens = Counter(
            "llama4coder_draft_tokens_total",
            "Guessed tokens that were checked, by position in their draft",
            ("position",),
            registry=registry,
        )
        self.draft_accepted_tokens = Counter(
            "llama4coder_draft_accepted_tokens_total",
            "Guessed tokens that were right, by position in their draft",
            ("position",),
            registry=registry,
        )
        self.draft_length = Histogram(
            "llama4coder_draft_length_tokens", "Guesses per draft", buckets=_LENGTHS, registry=registry
        )
        self.draft_fallbacks = Counter(
            "llama4coder_draft_fallbacks_total", "Rows that went without a draft", ("reason",), registry=registry
        )
        for reason in DraftFallback:
            self.draft_fallbacks.labels(reason=reason.value)
        self.draft_speedup = Gauge(
            "llama4coder_draft_speedup_ratio",
            "Tokens/s of late over those that plain decoding would have made, estimated",
            registry=registry,
        )

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        """Count what a step made of its drafts."""
        for draft in drafts:
            self.draft_proposals.labels(source=draft.source).inc()
            self.draft_length.observe(draft.num_drafted)
        _count_positions(self.draft_tokens, [draft.num_drafted for draft in drafts])
        _count_positions(self.draft_accepted_tokens, [draft.num_accepted for draft in drafts])

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None:
        """Count rows that went without a draft."""
        self.draft_fallbacks.labels(reason=reason.value).inc(num_rows)

    def on_speedup(self, ratio: float) -> None:
        """Show what speculation is worth now."""
        self.draft_speedup.set(ratio)


def _count_positions(counter: Counter, lengths: Sequence[int]) -> None:
    for number, position in enumerate(_POSITIONS, 1):
        counter.labels(position=position).inc(sum(length >= number for length in lengths))
    counter.labels(position="more").inc(sum(max(0, length - len(_POSITIONS)) for length in lengths))
