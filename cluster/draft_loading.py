"""The draft model: whether it can be used, and as the pool loads it on the machine of a replica."""

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.placement import draft_resources
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.env import cache_dir
from llama4coder.errors import ConfigError
from llama4coder.machine import detect_machine
from llama4coder.progress import NullProgress
from llama4coder.resolve_draft import resolve_draft
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.spec.compatibility import check_same_tokens
from llama4coder.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llama4coder.spec.forecast import Drafter


def check_draft(config: ResolvedConfig) -> None:
    """Find the draft model if one is wanted, converting it if need be.

    Raises:
        ConfigError: it is not there, has other tokens than the target, or cannot run where it would have to.
    """
    method = config.speculation.method
    if method not in ("local", "pool"):
        return
    if method == "local" and config.engine.device == "cuda":
        raise ConfigError(
            "speculation.method local drafts in the engine's own process, which has no GPU in a cluster: "
            "use pool, whose replicas may share a GPU (speculation.pool.gpus_per_replica)"
        )
    checkpoint = find_checkpoint(config.speculation.draft.path, cache_dir(), NullProgress())
    check_same_tokens(Tokenizer.from_folder(Path(config.model.path)), Tokenizer.from_folder(checkpoint))


def load_drafter(config: ResolvedConfig) -> "Drafter":
    """Read the weights and take the KV memory.

    Torch is imported here: whoever only asks a replica where it is has no use for it.

    Raises:
        ConfigError: it cannot run here.
    """
    import torch

    from llama4coder.spec.draft_model import DraftModel
    from llama4coder.spec.drafter import DrafterLimits, TreeDrafter
    from llama4coder.spec.ranking import Ranking

    speculation, progress = config.speculation, NullProgress()
    checkpoint = find_checkpoint(speculation.draft.path, cache_dir(), progress)
    machine = detect_machine("cuda" if "GPU" in draft_resources(config) else "cpu", lends_gpus=True)
    shape, stored = read_shape(checkpoint), read_stored_quant(checkpoint)
    resolved = resolve_draft(speculation, checkpoint, shape, machine, config.engine.num_threads, stored)
    limits = DrafterLimits(max_draft_tokens=speculation.max_draft_tokens, max_forks=speculation.draft.max_forks)
    torch.set_num_threads(resolved.num_threads)
    return TreeDrafter(DraftModel.load(resolved, Ranking(limits.max_forks_per_place + 1), progress), limits)
