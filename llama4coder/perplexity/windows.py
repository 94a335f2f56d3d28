"""A long text as windows that a model reads one by one."""

from collections.abc import Sequence

Window = tuple[int, ...]


def cut_windows(token_ids: Sequence[int], length: int, bos_token_id: int | None = None) -> list[Window]:
    """All tokens in windows of at most `length`, one after the other, each behind a BOS if there is one.

    The first token of a window has nothing before it to be predicted from; a last window of one token is left out.
    """
    beginning = () if bos_token_id is None else (bos_token_id,)
    step = length - len(beginning)
    windows = [(*beginning, *token_ids[first : first + step]) for first in range(0, len(token_ids), step)]
    return [window for window in windows if len(window) > 1]
