"""KV shards: who has the memory, and what becomes of those who find none."""

from dashboards.objectives import HEADROOM_BYTES, KV_FULL
from dashboards.panels import Board, Colour, Panel, Query, Section, Threshold, Unit, number, warn_from
from dashboards.promql import DEPLOYMENT, REPLICA, of_targets, quantile, rate, recorded

_BLOCKS = f"llama4coder_kv_blocks{{{DEPLOYMENT}, {REPLICA}}}"
_SHARDS = f"llama4coder_kv_shard_blocks{{{DEPLOYMENT}, {REPLICA}"


def _memory(kind: str) -> str:
    return f'max by (part) (llama4coder_memory_bytes{{{DEPLOYMENT}, {REPLICA}, kind="{kind}"}})'


KV = Board(
    "llama4coder-kv",
    "llama4coder: KV shards",
    "Who has the memory, and what becomes of those who find none.",
    (
        Section(
            "Now",
            (
                number("Fullest shard", Unit.SHARE, recorded("llama4coder:kv_usage:max"), *warn_from(0.85, KV_FULL)),
                number("Blocks", Unit.COUNT, f"sum ({_BLOCKS})"),
                number("Prompt tokens found cached", Unit.SHARE, recorded("llama4coder:prefix_hits:ratio5m")),
                number(
                    "Least memory left",
                    Unit.BYTES,
                    f"min (llama4coder_memory_headroom_bytes{{{DEPLOYMENT}, {REPLICA}}})",
                ),
                number("Waiting", Unit.COUNT, recorded("llama4coder:queue_depth:sum")),
                number(
                    "Sent back to the queue",
                    Unit.SHARE,
                    recorded("llama4coder:preemptions:ratio15m"),
                    *warn_from(0.02, 0.05),
                ),
            ),
        ),
        Section(
            "Blocks",
            (
                Panel(
                    "Used or promised",
                    Unit.SHARE,
                    (Query(of_targets("llama4coder_kv_usage_ratio"), "{{replica}}"),),
                    note="What decides whether a request is admitted.",
                    thresholds=warn_from(0.85, KV_FULL),
                    highest=1,
                ),
                Panel(
                    "By state",
                    Unit.COUNT,
                    (Query(f"sum by (state) ({_BLOCKS})", "{{state}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Used, by replica",
                    Unit.COUNT,
                    (
                        Query(
                            f'sum by (replica) (llama4coder_kv_blocks{{{DEPLOYMENT}, {REPLICA}, state="used"}})',
                            "{{replica}}",
                        ),
                    ),
                ),
                Panel(
                    "Used, by shard",
                    Unit.COUNT,
                    (Query(f'{_SHARDS}, state="used"}}', "{{replica}} shard {{shard}}"),),
                ),
                Panel(
                    "Free or cached, by shard",
                    Unit.COUNT,
                    (
                        Query(
                            f'sum by (replica, shard) ({_SHARDS}, state=~"free|cached"}})',
                            "{{replica}} shard {{shard}}",
                        ),
                    ),
                ),
                Panel(
                    "Imbalance of shards",
                    Unit.SHARE,
                    (Query(of_targets("llama4coder_kv_shard_imbalance_ratio"), "{{replica}}"),),
                    note="The more tokens, the smaller: a sequence takes its blocks from all shards in turn.",
                ),
                Panel("Promised", Unit.COUNT, (Query(of_targets("llama4coder_kv_promised_blocks"), "{{replica}}"),)),
                Panel("Evicted", Unit.PER_S, (Query(rate("llama4coder_kv_evicted_blocks_total"), "blocks"),)),
                Panel(
                    "Found cached",
                    Unit.SHARE,
                    (
                        Query(recorded("llama4coder:prefix_hits:ratio5m"), "of prompt tokens"),
                        Query(
                            f"{rate('llama4coder_host_input_tokens_total')} / {rate('llama4coder_input_tokens_total')}",
                            "of it in host memory",
                        ),
                    ),
                    highest=1,
                ),
            ),
        ),
        Section(
            "Those who wait",
            (
                Panel(
                    "Generating",
                    Unit.COUNT,
                    (Query(of_targets("llama4coder_running_requests"), "{{replica}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Prompt tokens waiting",
                    Unit.COUNT,
                    (Query(of_targets("llama4coder_queue_depth_tokens"), "{{replica}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Waiting for admission, p95",
                    Unit.SECONDS,
                    (Query(quantile(0.95, "llama4coder_queue_time_seconds"), "p95"),),
                ),
                Panel(
                    "Preemptions",
                    Unit.PER_S,
                    (Query(rate("llama4coder_preemptions_total", by="outcome"), "{{outcome}}"),),
                ),
                Panel(
                    "Refused",
                    Unit.REQUESTS_PER_S,
                    (Query(rate("llama4coder_admission_rejections_total", by="reason"), "{{reason}}"),),
                ),
                Panel(
                    "Tokens of preempted sequences",
                    Unit.PER_S,
                    (Query(rate("llama4coder_readmitted_tokens_total", by="source"), "{{source}}"),),
                ),
            ),
        ),
        Section(
            "Memory",
            (
                Panel(
                    "Left, by rank",
                    Unit.BYTES,
                    (
                        Query(
                            f"llama4coder_memory_headroom_bytes{{{DEPLOYMENT}, {REPLICA}}}",
                            "{{replica}} rank {{rank}}",
                        ),
                    ),
                    thresholds=(Threshold(HEADROOM_BYTES, Colour.WARNING),),
                ),
                Panel(
                    "Of the fullest rank",
                    Unit.BYTES,
                    (Query(_memory("actual"), "{{part}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "As predicted, less as measured",
                    Unit.BYTES,
                    (
                        Query(
                            f"{_memory('predicted')} - {_memory('actual')}",
                            "{{part}}",
                        ),
                    ),
                    lowest_is_zero=False,
                ),
                Panel(
                    "Blocks in host memory",
                    Unit.COUNT,
                    (Query(f"sum by (state) (llama4coder_host_blocks{{{DEPLOYMENT}, {REPLICA}}})", "{{state}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Blocks to and from host memory",
                    Unit.PER_S,
                    (
                        Query(rate("llama4coder_host_saved_blocks_total"), "saved"),
                        Query(rate("llama4coder_host_loaded_blocks_total"), "loaded"),
                    ),
                ),
            ),
        ),
    ),
)
