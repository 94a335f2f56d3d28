"""Whether a draft model speaks of the same tokens as its target."""

from itertools import islice

from llama4coder.errors import ConfigError
from llama4coder.tokenizer.tokenizer import Tokenizer, VocabularyEntry

_NUM_SHOWN = 3


def check_same_tokens(target: Tokenizer, draft: Tokenizer) -> None:
    """Raise `ConfigError` if any id stands for one token here and for another one, or none, there.

    Only ids pass between the two, and the target's tokenizer alone makes them from text: how it merges does not matter,
    nor how many ids without a token the models' embeddings are padded with.
    """
    ours, theirs = target.vocabulary(), draft.vocabulary()
    token_ids = sorted(ours.keys() | theirs.keys())
    different = [token_id for token_id in token_ids if ours.get(token_id) != theirs.get(token_id)]
    if not different:
        return
    shown = "; ".join(
        f"{token_id} is {_name(ours.get(token_id))} for the target and {_name(theirs.get(token_id))} for the draft"
        for token_id in islice(different, _NUM_SHOWN)
    )
    raise ConfigError(
        f"the draft model has other tokens than the target: {len(different)} of {len(token_ids)} ids differ "
        f"({shown}{'; ...' if len(different) > _NUM_SHOWN else ''}): set speculation.draft.path to a model of "
        "the target's family, or speculation.method to ngram"
    )


def _name(entry: VocabularyEntry | None) -> str:
    if entry is None:
        return "no token"
    return f"{entry.piece!r} (special)" if entry.is_special else repr(entry.piece)
