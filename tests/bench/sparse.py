"""What reading the best blocks only costs in quality and gains in speed, on real source code; one table.

    python -m tests.bench.sparse [--model embedded|coder.gguf] [--quant int8] [--context 8192] [--tokens 64]
        [--blocks 8 16 32 64 128] [--kv-format dense] [--rounds 3] [--threads 2]

Text is the standard library's own. Recall is the share of dense attention that lies in the blocks that are read, over
all layers, query heads and the last `--tokens` tokens of a context, which are output of a prompt before them; its 5th
percentile, too. Agreement is how often the likeliest next token of those is that of dense, teacher-forced. Speed is
that of decoding 32 tokens at the end of the context, in turns.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.backend import StepAttention
from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.attention.selection import BlockChoice
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.engine.hardware import choose_kernels
from llama4coder.env import cache_dir
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.bounds import bounds_of
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.sizing import BLOCK_SIZE, tail_tokens
from llama4coder.kv.sparsity import Sparsity
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.measure import describe_machine, markdown_table
from tests.support.engines import build_engine, resolved

_MODULES = ("argparse", "inspect", "tarfile", "typing", "pathlib")
_CHUNK = 512
_DECODED = 32
_HEADER = ("blocks read", "of all", "recall, mean", "recall, 5th percentile", "next token as dense", "decode tok/s")


@dataclass(frozen=True, slots=True)
class Watched:
    """Attention that keeps the rotated queries of each layer, `[num_tokens, num_heads, head_dim]` in float32."""

    attention: StepAttention
    num_heads: int
    head_dim: int
    queries: list[Tensor] = field(default_factory=list)

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        heads = qkv.view(len(qkv), -1, self.head_dim)[:, : self.num_heads]
        self.queries.append(rotation(heads).float())
        return self.attention(qkv, rotation, kv)


class Context:
    """One sequence whose last tokens can be computed again and again."""

    def __init__(self, folder: Path, token_ids: Sequence[int], options: argparse.Namespace) -> None:
        placement, shape = Placement.of("bfloat16", "cpu"), read_shape(folder)
        kernels = choose_kernels(placement, options.quant, options.threads, options.kv_format, block_bounds=True)
        self._model = load_llama(folder, RankShare.whole(shape), len(token_ids), kernels, placement, NullProgress())
        num_blocks, tails = -(-len(token_ids) // BLOCK_SIZE), TailSize(1, tail_tokens(options.tokens))
        plan = RankPlan.alone(shape)
        self._kv = allocate_kv(plan, num_blocks, placement, options.kv_format, tails, block_bounds=True)
        self._shape, self._token_ids, self._num_blocks = shape, torch.tensor(token_ids), num_blocks
        self._start = len(token_ids) - options.tokens
        for first in range(0, self._start, _CHUNK):
            self._run(first, min(_CHUNK, self._start - first), None)

    def predict(self, top_blocks: int | None = None) -> Tensor:
        """The likeliest token after each of the last ones, which read so many blocks."""
        sparsity = None if top_blocks is None else Sparsity.of(self._start, top_blocks)
        hidden = self._run(self._start, len(self._token_ids) - self._start, sparsity)
        return self._model.logits(hidden).argmax(-1)

    def recalls(self, numbers: Sequence[int]) -> list[Tensor]:
        """For each number of blocks, the share of its attention that every query of the last tokens keeps."""
        num_tokens = len(self._token_ids) - self._start
        layout = self._layout(self._start, num_tokens, None)
        watched = Watched(self._model.attention.prepare(layout), self._shape.num_heads, self._shape.head_dim)
        self._forward(layout, watched)
        recalls: list[list[Tensor]] = [[] for _ in numbers]
        for queries, kv in zip(watched.queries, self._kv, strict=True):
            shares = self._shares(queries, kv)
            for number, found in zip(numbers, recalls, strict=True):
                sparse = self._layout(self._start, num_tokens, Sparsity.of(self._start, number))
                choice = BlockChoice.of(sparse.rows[0], sparse)
                assert choice is not None, "more blocks than there are"
                left_out = choice.left_out(queries, bounds_of(kv))
                group = shares.shape[1] // left_out.shape[1]
                found.append(1 - (shares * left_out.repeat_interleave(group, dim=1)).sum(-1).flatten())
        return [torch.cat(found) for found in recalls]

    def _shares(self, queries: Tensor, kv: LayerKV) -> Tensor:
        """Of each block `[num_tokens, num_heads, num_blocks]`, of exact attention to keys as the pool has them."""
        keys = kv.read(torch.arange(self._num_blocks)).keys.float().flatten(0, 1)
        keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
        scores = torch.einsum("qhd,khd->qhk", queries, keys) * queries.shape[2] ** -0.5
        positions = torch.arange(self._start, len(self._token_ids))
        hidden = torch.arange(len(keys)) > positions[:, None]
        weights = scores.masked_fill(hidden.unsqueeze(1), -torch.inf).softmax(-1)
        return weights.unflatten(-1, (-1, BLOCK_SIZE)).sum(-1)

    def _run(self, start: int, num_tokens: int, sparsity: Sparsity | None) -> Tensor:
        layout = self._layout(start, num_tokens, sparsity)
        return self._forward(layout, self._model.attention.prepare(layout))

    def _layout(self, start: int, num_tokens: int, sparsity: Sparsity | None) -> StepLayout:
        rows = (RowSpan(0, num_tokens, start, 0, sparsity),)
        return StepLayout(rows, torch.arange(start, start + num_tokens), np.arange(self._num_blocks)[None])

    @torch.inference_mode()
    def _forward(self, layout: StepLayout, attention: StepAttention) -> Tensor:
        positions = layout.slots  # of the only sequence, whose blocks are in order
        return self._model.forward(self._token_ids[positions], positions, self._kv, attention)


def main() -> None:
    """Print the table."""
    options = _parse()
    folder = find_checkpoint(options.model, cache_dir(), NullProgress())
    token_ids = _text(Tokenizer.from_folder(folder))[: options.context]
    print(f"{folder.name}, weights {options.quant}, KV {options.kv_format}", describe_machine(), sep=", ", flush=True)
    context = Context(folder, token_ids, options)
    dense = context.predict()
    num_blocks = -(-options.context // BLOCK_SIZE)
    rows: list[list[str]] = [["all", "100 %", "1", "1", "100 %"]]
    for number, recall in zip(options.blocks, context.recalls(options.blocks), strict=True):
        same = (context.predict(number) == dense).float().mean()
        kept = (f"{recall.mean():.4f}", f"{recall.quantile(0.05):.4f}")
        rows.append([str(number), f"{100 * number / num_blocks:.1f} %", *kept, f"{100 * same:.1f} %"])
    del context
    for row, speed in zip(rows, _speeds(folder, token_ids, options), strict=True):
        row.append(speed)
    print(markdown_table(_HEADER, rows))


def _speeds(folder: Path, token_ids: Sequence[int], options: argparse.Namespace) -> list[str]:
    """Of dense decoding, and with each number of blocks; the prompt is in the prefix cache but for the first time."""
    config = resolved(
        folder,
        num_blocks=2 * options.context // BLOCK_SIZE,
        context_length=options.context,
        dtype="bfloat16",
        quant=options.quant,
        kv_format=options.kv_format,
        num_threads=options.threads,
        block_bounds=True,
    )
    engine = build_engine(config)
    prompt = tuple(token_ids[: options.context - _DECODED])
    taken: list[list[float]] = [[] for _ in (None, *options.blocks)]
    for turn in range(options.rounds + 1):
        for index, number in enumerate((None, *options.blocks)):
            sampling, stop = SamplingParams(temperature=0.0), StopConditions(_DECODED)
            engine.add(GenerateRequest(f"{turn}-{index}", prompt, sampling, stop, seed=0, top_blocks=number))
            num_tokens, start_s = 0, 0.0
            while engine.has_work:
                engine.await_turn()
                for event in engine.step():
                    num_tokens += len(event.token_ids) if start_s else 0
                    start_s = start_s or time.perf_counter()
            if turn:
                taken[index].append(num_tokens / (time.perf_counter() - start_s))
    engine.close()
    medians = [statistics.median(speeds) for speeds in taken]
    return [f"{speed:.1f} ({speed / medians[0]:.2f}x)" for speed in medians]


def _text(tokenizer: Tokenizer) -> list[int]:
    library = Path(argparse.__file__).parent
    texts = ((library / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES)
    return [token for text in texts for token in tokenizer.encode(text, add_bos=False)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--quant", choices=("none", "int8", "int4"), default="none")
    parser.add_argument("--kv-format", choices=("dense", "int8", "fp8", "int4"), default="dense")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--blocks", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
