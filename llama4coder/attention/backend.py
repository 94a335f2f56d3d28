"""How attention over paged KV is computed."""

from typing import Protocol

from torch import Tensor

from llama4coder.attention.batch import StepLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation


class StepAttention(Protocol):
    """Attention of one step, the same for every layer.

    Takes the projections `[num_tokens, (num_heads + 2 * num_kv_heads) * head_dim]`, rotates queries and keys, writes
    keys and values to the tokens' slots of `kv`, and returns what each token attends to, causally within its own
    sequence: `[num_tokens, num_heads * head_dim]`. Scores are scaled by head_dim ** -0.5.
    """

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor: ...


class ShardAttention(Protocol):
    """The part of `StepAttention` that one KV shard can compute, from the keys and values that it holds.

    Writes those of the tokens whose slot is not negative. The output is in float32; a token that sees none of the
    shard's keys has zeros and an LSE of -inf.
    """

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> AttentionOutput: ...


class AttentionBackend(Protocol):
    """Prepares what all layers of a step share; one suite of tests runs on every implementation."""

    def prepare(self, layout: StepLayout) -> StepAttention: ...


class ShardableAttention(AttentionBackend, Protocol):
    """An attention backend for one rank, which can also leave out what other KV shards hold.

    `prepare` is for layouts with a single shard.
    """

    def prepare_shard(self, layout: StepLayout) -> ShardAttention: ...

    def merge(self, outs: Tensor, lses: Tensor) -> AttentionOutput:
        """See `attention.merge.merge`."""
        ...
