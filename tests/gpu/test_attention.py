"""Paged attention and its log-sum-exp against torch in float32, over steps of every kind."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.attention.torch_backend import TorchAttention
from llama4coder.gpu.attention import AttentionOptions, PagedAttention, attend, supports
from llama4coder.gpu.metadata import AttentionMetadata
from llama4coder.kv.tensors import DenseKV
from tests.support.steps import Row, assert_like, random_step

HEADS = [
    HeadLayout(4, 2, 64),
    HeadLayout(6, 2, 64),
    HeadLayout(8, 1, 128),
    HeadLayout(2, 2, 128),
    HeadLayout(7, 1, 16),
    HeadLayout(5, 1, 96),
]
STEPS = {
    "decode": [Row(1, 0), Row(1, 15), Row(1, 16), Row(1, 300)],
    "verify": [Row(6, 10), Row(1, 40), Row(8, 0), Row(3, 263)],
    "whole prompt": [Row(150, 0)],
    "later chunk": [Row(133, 70), Row(77, 16)],
    "mixed": [Row(1, 299), Row(90, 30), Row(4, 5)],
}
WHOLE, SPLIT = 1, 12  # programs of the device per row
CASES = [(HEADS[0], kind, programs) for kind in STEPS for programs in (WHOLE, SPLIT)]
CASES += [(heads, "mixed", SPLIT) for heads in HEADS[1:]]


def reference(queries: Tensor, kv: DenseKV, rows: list[Row], table: Tensor) -> AttentionOutput:
    """From the definition, in float32, one row after the other."""
    outs, lses = [], []
    num_kv_heads = kv.keys.shape[2]
    for index, part in enumerate(queries.float().cpu().split([row.num_tokens for row in rows])):
        row = rows[index]
        group = part.shape[1] // num_kv_heads
        keys, values = (
            cache.cpu().float()[table[index]].flatten(0, 1)[: row.length].repeat_interleave(group, dim=1)
            for cache in (kv.keys, kv.values)
        )
        scores = torch.einsum("qhd,khd->qhk", part, keys) * part.shape[2] ** -0.5
        hidden = torch.arange(row.length)[None, :] > row.start + torch.arange(row.num_tokens)[:, None]
        scores = scores.masked_fill(hidden[:, None, :], float("-inf"))
        outs.append(torch.einsum("qhk,khd->qhd", scores.softmax(-1), values))
        lses.append(torch.logsumexp(scores, dim=-1))
    return AttentionOutput(torch.cat(outs), torch.cat(lses))


def programs(number: int) -> AttentionOptions:
    return AttentionOptions(device_programs=number)


def random_queries(num_tokens: int, heads: HeadLayout, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(num_tokens, heads.num_heads, heads.head_dim, generator=generator).to(device=device, dtype=dtype)


@pytest.mark.parametrize(("heads", "kind", "programs_per_row"), CASES, ids=str)
def test_output_and_lse_equal_the_definition(
    device: torch.device, half: torch.dtype, heads: HeadLayout, kind: str, programs_per_row: int
) -> None:
    rows = STEPS[kind]
    step = random_step(rows, heads, half, device)
    queries = random_queries(len(step.qkv), heads, half, device)
    actual = attend(queries, step.kv, AttentionMetadata.of(step.layout), programs(programs_per_row * len(rows)))
    expected = reference(queries, step.kv, rows, torch.from_numpy(step.layout.table))
    assert_like(actual.out, expected.out)
    torch.testing.assert_close(actual.lse.cpu(), expected.lse, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["decode", "mixed"])
def test_splits_before_the_window_count_for_nothing(device: torch.device, half: torch.dtype, kind: str) -> None:
    heads, rows = replace(HEADS[0], window=50), STEPS[kind]
    step, exact = random_step(rows, heads, half, device), random_step(rows, heads, half, device).exact()
    queries = random_queries(len(step.qkv), heads, half, device)
    metadata = AttentionMetadata.of(step.layout)
    whole = attend(queries, step.kv, metadata, AttentionOptions(50, device_programs=WHOLE))
    split = attend(queries, step.kv, metadata, AttentionOptions(50, device_programs=SPLIT * len(rows)))
    assert_like(split.out, whole.out)
    actual = PagedAttention(heads).prepare(step.layout)(step.qkv, step.rotation, step.kv)
    expected = TorchAttention(heads).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
    assert_like(actual, expected)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.float16, 1e-3)], ids=str)
def test_other_dtypes_keep_their_precision(device: torch.device, dtype: torch.dtype, rounding: float) -> None:
    heads, rows = HeadLayout(4, 2, 64), [Row(1, 140), Row(70, 10)]
    step = random_step(rows, heads, dtype, device)
    queries = random_queries(len(step.qkv), heads, dtype, device)
    actual = attend(queries, step.kv, AttentionMetadata.of(step.layout))
    expected = reference(queries, step.kv, rows, torch.from_numpy(step.layout.table))
    assert_like(actual.out, expected.out, rounding=rounding)
    assert actual.out.dtype == dtype


def test_a_layer_equals_the_torch_backend(device: torch.device, half: torch.dtype) -> None:
    """Rotation and KV write included."""
    heads, rows = HeadLayout(8, 2, 64), [Row(1, 70), Row(20, 10), Row(3, 0)]
    step = random_step(rows, heads, half, device)
    exact = step.exact()
    actual = PagedAttention(heads).prepare(step.layout)(step.qkv, step.rotation, step.kv)
    expected = TorchAttention(heads).prepare(exact.layout)(exact.qkv, exact.rotation, exact.kv)
    assert_like(step.kv.keys, exact.kv.keys)
    assert torch.equal(step.kv.values.float().cpu(), exact.kv.values)
    assert_like(actual, expected)


@pytest.mark.parametrize(("tokens_per_row", "device_programs"), [(1, 1), (1, 64), (70, 1)])
def test_padding_rows_see_nothing_and_read_no_table(
    device: torch.device, half: torch.dtype, tokens_per_row: int, device_programs: int
) -> None:
    """Rows of length 0, before, between and after real ones, in a batch of fixed size."""
    heads, rows = HeadLayout(4, 2, 64), [Row(tokens_per_row, start) for start in (0, 200, 0)]
    is_padding = torch.tensor([True, False, True])
    step = random_step(rows, heads, half, device)
    metadata = AttentionMetadata.of(step.layout)
    metadata.lengths[is_padding.to(device)] = 0
    metadata.tables[is_padding.to(device)] = 1 << 30  # a read there would fault, or fail in the interpreter
    queries = random_queries(len(step.qkv), heads, half, device)
    actual = attend(queries, step.kv, metadata, programs(device_programs))
    expected = reference(queries, step.kv, rows, torch.from_numpy(step.layout.table))
    pads = is_padding.repeat_interleave(tokens_per_row)
    assert_like(actual.out.cpu()[~pads], expected.out[~pads])
    assert torch.equal(actual.out.cpu()[pads], torch.zeros_like(expected.out[pads]).to(half))
    assert actual.lse.cpu()[pads].eq(float("-inf")).all()


def test_bounds_above_the_contents_change_nothing(device: torch.device, half: torch.dtype) -> None:
    """A captured graph launches for the longest context it serves, and the lengths move under it."""
    heads, rows = HeadLayout(4, 2, 64), [Row(2, 5), Row(3, 600), Row(1, 64)]
    step = random_step(rows, heads, half, device)
    exact = AttentionMetadata.of(step.layout)
    tables = torch.nn.functional.pad(exact.tables, (0, 100))
    roomy = replace(exact, tables=tables, max_query_tokens=4, max_length=2000)
    queries = random_queries(len(step.qkv), heads, half, device)
    assert_like(attend(queries, step.kv, roomy).out, attend(queries, step.kv, exact).out)


@pytest.mark.parametrize("rows", [[Row(1, 20)], [Row(70, 0)]], ids=["short", "long"])
def test_nothing_but_the_rows_own_tokens_counts(device: torch.device, half: torch.dtype, rows: list[Row]) -> None:
    """Whatever else the pool holds, even what is no number."""
    heads = HeadLayout(4, 2, 64)
    step = random_step(rows, heads, half, device)
    is_own = torch.zeros(step.kv.keys.shape[:2], dtype=torch.bool, device=device)
    for index, row in enumerate(rows):
        for position in range(row.length):
            is_own[step.layout.table[index, position // 16], position % 16] = True
    step.kv.keys[~is_own] = float("nan")
    step.kv.values[~is_own] = float("nan")
    queries = random_queries(len(step.qkv), heads, half, device)
    assert attend(queries, step.kv, AttentionMetadata.of(step.layout)).out.isfinite().all()


def test_an_empty_step(device: torch.device, half: torch.dtype) -> None:
    heads = HeadLayout(4, 2, 64)
    step = random_step([Row(1, 0)], heads, half, device)
    none = random_queries(0, heads, half, device)
    metadata = AttentionMetadata.of(step.layout)
    assert attend(none, step.kv, metadata).out.shape == (0, 4, 64)


def test_which_layouts_are_covered() -> None:
    assert supports(HeadLayout(64, 8, 128))
    assert supports(HeadLayout(128, 1, 64))
    assert not supports(HeadLayout(4, 2, 512))
    assert not supports(HeadLayout(256, 1, 64))
    assert not supports(HeadLayout(4, 2, 33))
