"""KV of each format in Triton: what torch stores, and what the definition reads."""

import pytest
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from llama4coder.config import KVFormat
from llama4coder.gpu import pool
from llama4coder.gpu.attention import PagedAttention
from llama4coder.gpu.pool import Pool, PoolFormat
from llama4coder.kv.formats.tail import TailedKV
from tests.support.format_contract import FORMATS, STEPS, STEPS_WITH_PAST, FormatContract, FormatSubject
from tests.support.format_steps import FormatStep, format_step
from tests.support.steps import Row, assert_like

ODD = HeadLayout(6, 2, 48)  # sizes that are no powers of two
ROWS = [Row(6, 12), Row(1, 31), Row(19, 30), Row(1, 0)]


def paged(heads: HeadLayout, _: KVFormat) -> PagedAttention:
    return PagedAttention(heads)


def case(kind: str, *others: int) -> object:
    """The interpreter takes seconds for a step: what says most comes in every run, the rest with the slow tests."""
    is_quick = kind in ("later chunk", "mixed") or others == (1,)
    return pytest.param(kind, *others, marks=() if is_quick else pytest.mark.slow)


WINDOWED = [case(kind, window) for kind in STEPS_WITH_PAST for window in (16, 45)]


class TestTriton(FormatContract):
    @pytest.fixture
    def subject(self, device: torch.device) -> FormatSubject:
        return FormatSubject(paged, HeadLayout(2, 1, 32), torch.float32, device, rounding=1e-5)

    @pytest.mark.parametrize(("kind", "num_shards"), [case(kind, shards) for kind in STEPS for shards in (1, 3)])
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_tokens_see_their_own_block_dense_and_the_others_compressed(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str, num_shards: int
    ) -> None:
        super().test_tokens_see_their_own_block_dense_and_the_others_compressed(subject, kv_format, kind, num_shards)

    @pytest.mark.parametrize(
        ("kind", "window"), [case(kind, window) for kind in STEPS_WITH_PAST for window in (16, 45)]
    )
    @pytest.mark.parametrize("kv_format", ("dense", *FORMATS))
    def test_nothing_is_seen_before_the_window(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str, window: int
    ) -> None:
        super().test_nothing_is_seen_before_the_window(subject, kv_format, kind, window)

    @pytest.mark.parametrize("kind", [case(kind) for kind in STEPS])
    @pytest.mark.parametrize("kv_format", FORMATS)
    def test_what_is_kept_is_the_nearest_that_the_format_has(
        self, subject: FormatSubject, kv_format: KVFormat, kind: str
    ) -> None:
        super().test_what_is_kept_is_the_nearest_that_the_format_has(subject, kv_format, kind)


def attend(step: FormatStep) -> Tensor:
    return PagedAttention(step.heads).prepare(step.layout)(step.qkv, step.rotation, step.kv)


def codes(kept: Tensor) -> Tensor:
    """Steps of a format, as numbers that differ by one where they are neighbours."""
    if kept.dtype == torch.uint8:
        return torch.cat((kept & 15, kept >> 4)).int()
    return kept.view(torch.uint8).int() if kept.dtype == torch.float8_e4m3fn else kept.int()


@pytest.mark.parametrize("kv_format", FORMATS)
def test_a_step_is_stored_and_read_as_torch_does(device: torch.device, half: torch.dtype, kv_format: KVFormat) -> None:
    ours, theirs = (format_step(ROWS, ODD, kv_format, half, device) for _ in range(2))
    actual = attend(ours)
    expected = torch_attention(ODD, kv_format).prepare(theirs.layout)(theirs.qkv, theirs.rotation, theirs.kv)
    assert_like(actual, expected, rounding=0.008)
    for kept, other in zip(ours.kv.per_block, theirs.kv.per_block, strict=True):
        if kept.dtype in (torch.float32, torch.float16):
            assert_like(kept, other, rounding=0.008)
        else:
            assert ((codes(kept) - codes(other)).abs() <= 1).float().mean() >= 0.999
    if isinstance(ours.kv, TailedKV) and isinstance(theirs.kv, TailedKV):
        assert_like(ours.kv.tail.keys, theirs.kv.tail.keys)
        assert torch.equal(ours.kv.tail.values, theirs.kv.tail.values)


def wide_ranging(kv_format: KVFormat, device: torch.device) -> FormatStep:
    """A block of values from 1 down to 1e-4, zeros among them."""
    step = format_step([Row(16, 0)], ODD, kv_format, torch.float32, device)
    values = step.qkv.view(16, -1, ODD.head_dim)[:, -ODD.num_kv_heads :]
    values *= 10 ** (-torch.arange(ODD.head_dim, device=device) / 12)
    values[:, 1] = 0
    return step


def test_small_numbers_and_zeros_are_rounded_to_the_nearest_e4m3(device: torch.device) -> None:
    ours, theirs = wide_ranging("fp8", device), wide_ranging("fp8", device)
    attend(ours)
    torch_attention(ODD, "fp8").prepare(theirs.layout)(theirs.qkv, theirs.rotation, theirs.kv)
    _, values, _, scales = ours.kv.per_block
    _, other_values, _, other_scales = theirs.kv.per_block
    torch.testing.assert_close(scales, other_scales)
    assert (codes(values) & 0x7F < 8).float().mean() > 0.1, "numbers below the normal ones"
    assert (codes(values) == codes(other_values)).float().mean() >= 0.999


def test_devices_without_e4m3_read_the_same(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (format_step(ROWS[:2], ODD, "fp8", torch.float32, device) for _ in range(2))
    expected = attend(one)
    monkeypatch.setattr(pool, "fp8_format", lambda _: PoolFormat.FP8_BY_BITS)
    assert torch.equal(attend(other), expected)


def test_which_devices_have_e4m3(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((8, 0), PoolFormat.FP8_BY_BITS), ((8, 9), PoolFormat.FP8)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert pool.fp8_format(torch.device("cuda")) is expected


def test_kv_that_no_kernel_reads() -> None:
    with pytest.raises(AssertionError, match="no kernel reads str"):
        Pool.of("")  # type: ignore[arg-type]
