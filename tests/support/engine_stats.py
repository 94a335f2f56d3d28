"""Snapshots of engines that do nothing."""

from collections.abc import Sequence
from dataclasses import fields

from llama4coder.obs.stats import EngineStats, ShardBlocks

ONE_SHARD = (ShardBlocks(4, 5, 1),)


def engine_stats(shards: Sequence[ShardBlocks] = ONE_SHARD, **numbers: int) -> EngineStats:
    """Zero but for these, and for a shard."""
    return EngineStats(**{field.name: 0 for field in fields(EngineStats)} | numbers | {"shards": shards})
