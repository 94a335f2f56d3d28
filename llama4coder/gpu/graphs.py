"""Decoding and verification as CUDA graphs: one launch per step instead of one per kernel.

A graph reads everything from tensors that never move: the tokens of all sequences, their block tables, and which rows
take part. So the host sends three integers per row, and not even the token that the step before has sampled.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.attention.backend import StepAttention
from llama4coder.gpu.graph_sizes import GraphSize, GraphSizes
from llama4coder.gpu.metadata import AttentionMetadata
from llama4coder.gpu.transfer import upload
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import LayerKV
from llama4coder.models.llama import Llama

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records what a call does on the device.

    Returns what does it again, on whatever the tensors hold by then that the call reads. The call allocates only what
    it also frees.
    """

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]: ...


class CudaRecorder:
    """Implements `Recorder`; all graphs share one pool of memory, since one runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, call: Callable[[], None]) -> Callable[[], None]:
        call()  # compiles kernels and makes workspaces, none of which can be captured
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            call()
        return graph.replay


class GraphableAttention(Protocol):
    """Attention whose rows lie on the device alone."""

    def at(self, metadata: AttentionMetadata) -> StepAttention: ...


@dataclass(frozen=True, slots=True)
class SequenceTables:
    """What the device holds of all sequences, one row each; graphs keep the addresses."""

    tokens: Tensor  # [max_sequences, context_length] int64
    blocks: Tensor  # [max_sequences, max_blocks] int32


class ModelGraphs:
    """The forward pass of every batch of the staircase, recorded at load."""

    def __init__(
        self,
        model: Llama,
        attention: GraphableAttention,
        kv: Sequence[LayerKV],
        tables: SequenceTables,
        sizes: GraphSizes,
        recorder: Recorder,
    ) -> None:
        start_s = time.monotonic()
        self.sizes = sizes
        self._model = model
        self._attention = attention
        self._kv = kv
        self._tables = tables
        self._device = tables.tokens.device
        largest = sizes.all()
        self._rows = torch.zeros(max(size.num_rows for size in largest), 3, dtype=torch.int64, device=self._device)
        self._logits = torch.empty(0)
        self._replays: dict[GraphSize, Callable[[], None]] = {}
        for size in largest:
            self._replays[size] = recorder(partial(self._forward, size))
        _log.info("recorded %d graphs in %.1f s", len(self._replays), time.monotonic() - start_s)

    def replay(self, size: GraphSize, rows: npt.NDArray[np.int64]) -> Tensor:
        """Logits `[num_rows * size.tokens_per_row, vocab_size]` of the ends of these sequences, until the next call.

        A row of `rows` `[num_rows, 3]` says where a sequence lies in the tables, how long it is, and how many of its
        tokens are new: where these are fewer than `size.tokens_per_row`, those before them are computed again, and
        stored nowhere. There may be fewer rows than `size.num_rows`.
        """
        padded = np.zeros((size.num_rows, 3), dtype=np.int64)  # of length 0
        padded[: len(rows)] = rows
        self._rows[: size.num_rows].copy_(upload(padded, self._device), non_blocking=True)
        self._replays[size]()
        return self._logits[: len(rows) * size.tokens_per_row]

    def _forward(self, size: GraphSize) -> None:
        table_rows, lengths, nums_new = self._rows[: size.num_rows].unbind(1)
        tables = self._tables.blocks.index_select(0, table_rows)
        steps = torch.arange(size.tokens_per_row, device=self._device) - size.tokens_per_row
        positions = (lengths.unsqueeze(1) + steps).clamp(min=0)  # [num_rows, tokens_per_row]
        slots = tables.gather(1, positions // BLOCK_SIZE) * BLOCK_SIZE + positions % BLOCK_SIZE
        slots = slots.masked_fill(steps < -nums_new.unsqueeze(1), -1)
        starts = torch.arange(size.num_rows + 1, dtype=torch.int32, device=self._device) * size.tokens_per_row
        metadata = AttentionMetadata(
            query_starts=starts,
            lengths=lengths.int(),
            new_from=(lengths - nums_new).int(),
            table_rows=table_rows.int(),
            tables=tables,
            slots=slots.flatten(),
            max_query_tokens=size.tokens_per_row,
            max_length=self._tables.tokens.shape[1],
        )
        token_ids = self._tables.tokens[table_rows.unsqueeze(1), positions].flatten()
        hidden = self._model.forward(token_ids, positions.flatten(), self._kv, self._attention.at(metadata))
        self._keep(self._model.logits(hidden))

    def _keep(self, logits: Tensor) -> None:
        """In memory of their own, so that the graphs can share theirs."""
        if not len(self._logits):  # the first graph is the largest, and runs once before it is captured
            self._logits = torch.empty_like(logits)
        self._logits[: len(logits)].copy_(logits)
