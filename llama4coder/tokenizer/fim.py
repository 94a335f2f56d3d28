"""Fill-in-the-middle: the prompt that a model was trained to fill a hole from, by the tokens that it has for it.

Sources: arXiv 2207.14255 (the method and its two orders), arXiv 2308.12950 (Code Llama), and the model cards of
StarCoder, Qwen2.5-Coder, CodeGemma, DeepSeek-Coder and Codestral.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama4coder.tokenizer.tokenizer import Tokenizer

_SUFFIX_SHARE = 4  # what follows the hole gets one part in so many, and more where the rest is short


@dataclass(frozen=True, slots=True)
class FimMarkers:
    """How a family writes a hole; each marker is one token of its vocabulary."""

    prefix: str
    suffix: str
    middle: str | None  # after both texts; None where the second one leads on to the middle by itself
    ends: tuple[str, ...]  # of the middle, besides the model's end of text; what other models of the family lack
    suffix_first: bool = False


FAMILIES: tuple[FimMarkers, ...] = (
    FimMarkers(  # Qwen2.5-Coder, CodeGemma
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|file_separator|>", "<|endoftext|>"),
    ),
    FimMarkers(  # StarCoder and 2, Granite Code
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ("<fim_pad>", "<reponame>", "<repo_name>", "<filename>", "<file_sep>", "<|endoftext|>"),
    ),
    FimMarkers("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", ()),  # DeepSeek-Coder  # noqa: RUF001
    FimMarkers("▁<PRE>", "▁<SUF>", "▁<MID>", ("▁<EOT>",)),  # Code Llama
    FimMarkers("[PREFIX]", "[SUFFIX]", None, (), suffix_first=True),  # Codestral
)


def find_markers(is_known: Callable[[str], bool]) -> FimMarkers | None:
    """Those of the first family all of whose markers a vocabulary knows; None if there is none."""
    for markers in FAMILIES:
        needed = (marker for marker in (markers.prefix, markers.suffix, markers.middle) if marker is not None)
        if all(map(is_known, needed)):
            return markers
    return None


@dataclass(frozen=True, slots=True)
class FimPrompt:
    """A hole as tokens, and how much of its surroundings had to be left out."""

    token_ids: tuple[int, ...]
    num_cut_before: int  # tokens, at the beginning of what precedes the hole
    num_cut_after: int  # at the end of what follows it


class FimFormat:
    """One model's way of writing a hole."""

    def __init__(self, tokenizer: Tokenizer, markers: FimMarkers) -> None:
        self._tokenizer = tokenizer
        self._suffix_first = markers.suffix_first
        self._prefix_id, self._suffix_id = (tokenizer.id_of(marker) for marker in (markers.prefix, markers.suffix))
        self._middle_id = None if markers.middle is None else tokenizer.id_of(markers.middle)
        known = (tokenizer.id_of(end) for end in (markers.prefix, markers.suffix, markers.middle, *markers.ends) if end)
        self.end_ids = frozenset(token_id for token_id in known if token_id is not None)
        """Tokens that no middle holds: where one comes, it has ended."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "FimFormat | None":
        """The first family all of whose markers this vocabulary has; None if there is none."""
        markers = find_markers(lambda piece: tokenizer.id_of(piece) is not None)
        return None if markers is None else cls(tokenizer, markers)

    def prompt(self, prefix: str, suffix: str, max_tokens: int) -> FimPrompt:
        """The hole between two texts in at most `max_tokens`; what looks like a special token in them is text.

        What is too long is cut at the far ends: up to a quarter, or what the prefix leaves, is the suffix's.
        Raises `InvalidRequest` for text that is not valid Unicode.
        """
        before = self._tokenizer.encode(prefix, add_bos=False, parse_special=False)
        after = self._tokenizer.encode_inside(suffix)
        bos = self._tokenizer.bos_token_id if self._tokenizer.adds_bos else None
        markers = (bos, self._prefix_id, self._suffix_id, self._middle_id)
        room = max(0, max_tokens - sum(marker is not None for marker in markers))
        num_after = min(len(after), max(room // _SUFFIX_SHARE, room - len(before)))
        num_before = min(len(before), room - num_after)
        parts = self._parts(before[len(before) - num_before :], after[:num_after])
        token_ids = tuple(token_id for token_id in (bos, *parts) if token_id is not None)
        return FimPrompt(token_ids, len(before) - num_before, len(after) - num_after)

    def _parts(self, before: Sequence[int], after: Sequence[int]) -> tuple[int | None, ...]:
        if self._suffix_first:
            return (self._suffix_id, *after, self._prefix_id, *before, self._middle_id)
        return (self._prefix_id, *before, self._suffix_id, *after, self._middle_id)
