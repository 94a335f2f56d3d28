"""From what the operator wrote about the draft model to what will run; see `llama4coder.resolve`."""

from pathlib import Path

from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import DraftConfig, SpeculationConfig
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import kv_bytes_per_block, num_blocks_for, weight_bytes
from llama4coder.machine import Machine
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve import choose_dtype
from llama4coder.resolve_quant import QuantSetting, resolve_quant
from llama4coder.resolved import ResolvedDraft
from llama4coder.shape import ModelShape

_AUTO_KV_BYTES = {"cpu": 512 * 2**20, "cuda": 4 * 2**30}
_AUTO_WINDOWS = 4  # that the memory holds at least
_MIN_WINDOW = 4  # times what is guessed at once: what the window keeps when it moves must be more than what is guessed


def resolve_draft(
    config: SpeculationConfig,
    checkpoint: Path,
    shape: ModelShape,
    machine: Machine,
    num_threads: int,
    stored: StoredQuant | None = None,
) -> ResolvedDraft:
    """Derive every `auto` for a draft model on a machine like this one, with the threads of a rank of its target.

    `stored` is how the checkpoint is quantised.

    Raises:
        ConfigError: a combination that cannot work.
        NotEnoughMemory: weights and one window do not fit.
    """
    draft, plan = config.draft, RankPlan.alone(shape)
    served = resolve_quant(QuantSetting("speculation.draft.quant", draft.quant), stored, [plan], machine.device)
    dtype = choose_dtype(draft.dtype, served.quant, machine)
    window_tokens = _window_tokens(config, shape)
    block_bytes = kv_bytes_per_block(plan, dtype)
    kv_bytes = _kv_bytes(draft, num_blocks_for(window_tokens) * block_bytes, machine)
    resolved = ResolvedDraft(
        path=str(checkpoint),
        dtype=dtype,
        quant=served.quant,
        quant_exclude=served.exclusions.patterns,
        device=machine.device,
        window_tokens=window_tokens,
        num_blocks=kv_bytes // block_bytes,
        weight_bytes=weight_bytes(plan, dtype, served.quant, served.exclusions),
        kv_bytes=kv_bytes,
        num_threads=num_threads if draft.num_threads == "auto" else draft.num_threads,
    )
    if resolved.memory_bytes > machine.memory_bytes:
        raise NotEnoughMemory(
            f"the draft model needs {_gib(resolved.memory_bytes)}, and {_gib(machine.memory_bytes)} are free: "
            "lower speculation.draft.kv_memory_bytes, or take a smaller model"
        )
    return resolved


def _window_tokens(config: SpeculationConfig, shape: ModelShape) -> int:
    window_tokens = min(config.draft.window_tokens, shape.num_positions)
    least = _MIN_WINDOW * (2 * config.max_draft_tokens + 1)
    if window_tokens < least:
        raise ConfigError(
            f"speculation.draft.window_tokens is {window_tokens}, and speculation.max_draft_tokens "
            f"{config.max_draft_tokens} needs {least}: raise the one or lower the other"
        )
    return window_tokens


def _kv_bytes(draft: DraftConfig, window_bytes: int, machine: Machine) -> int:
    if draft.kv_memory_bytes == "auto":
        return max(_AUTO_KV_BYTES[machine.device], _AUTO_WINDOWS * window_bytes)
    if draft.kv_memory_bytes < window_bytes:
        raise NotEnoughMemory(
            f"speculation.draft.kv_memory_bytes ({_gib(draft.kv_memory_bytes)}) cannot hold one window "
            f"({_gib(window_bytes)}): raise it, or lower speculation.draft.window_tokens"
        )
    return draft.kv_memory_bytes


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
