"""The draft model beside a target, from the configuration."""

from pathlib import Path

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.checkpoint.stored_quant import read_stored_quant
from llama4coder.env import cache_dir
from llama4coder.machine import Machine
from llama4coder.progress import Progress
from llama4coder.resolve_draft import resolve_draft
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import read_shape
from llama4coder.spec.compatibility import check_same_tokens
from llama4coder.spec.draft_model import DraftModel
from llama4coder.spec.local import LocalLimits, LocalProposer
from llama4coder.spec.ranking import Ranking
from llama4coder.tokenizer.tokenizer import Tokenizer


def load_local(config: ResolvedConfig, machine: Machine, progress: Progress) -> LocalProposer:
    """Read the draft model's weights and take its KV memory, on a machine like this one.

    Raises:
        ConfigError: it has other tokens than the target, or cannot run here.
    """
    speculation = config.speculation
    checkpoint = find_checkpoint(speculation.draft.path, cache_dir(), progress)
    check_same_tokens(Tokenizer.from_folder(Path(config.model.path)), Tokenizer.from_folder(checkpoint))
    # Threads belong to the process, and the target's are right for it: never those of the draft's own setting.
    shape, stored = read_shape(checkpoint), read_stored_quant(checkpoint)
    draft = resolve_draft(speculation, checkpoint, shape, machine, config.engine.num_threads, stored)
    draft = draft.model_copy(update={"num_threads": config.engine.num_threads})
    limits = LocalLimits(speculation.max_draft_tokens, config.engine.max_sequences)
    return LocalProposer(DraftModel.load(draft, Ranking(num_ranked=1), progress), limits)
