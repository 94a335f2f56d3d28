"""Fill-in-the-middle: the prompt that a model was trained to fill a hole from, by the tokens that it has for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llama4coder.tokenizer.fim_families import FAMILIES, FimMarkers
from llama4coder.tokenizer.fim_files import FileContext, FileFormat, SourceFile
from llama4coder.tokenizer.tokenizer import Tokenizer

_SUFFIX_SHARE = 4  # what follows the hole gets one part in so many, and more where the rest is short


@dataclass(frozen=True, slots=True, repr=False)
class Hole:
    """A place in a file, and what is known around it; what looks like a special token in any of it is text."""

    prefix: str
    suffix: str
    middle: str = ""  # the beginning of what fills it, if that is known
    files: tuple[SourceFile, ...] = ()  # of the same repository, the most useful last
    path: str = ""  # of the file with the hole


def find_markers(is_known: Callable[[str], bool]) -> FimMarkers | None:
    """Those of the first family all of whose markers a vocabulary knows; None if there is none."""
    for markers in FAMILIES:
        needed = (marker for marker in (markers.prefix, markers.suffix, markers.middle) if marker is not None)
        if all(map(is_known, needed)):
            return markers
    return None


@dataclass(frozen=True, slots=True, repr=False)
class FimPrompt:
    """A hole as tokens, and how much of its surroundings had to be left out."""

    token_ids: tuple[int, ...]
    num_cut_before: int  # tokens, at the beginning of what precedes the hole
    num_cut_after: int  # at the end of what follows it
    num_cut_files: int = 0  # left out, or not whole

    @property
    def was_cut(self) -> bool:
        """Whether anything was left out."""
        return bool(self.num_cut_before or self.num_cut_after or self.num_cut_files)


class FimFormat:
    """One model's way of writing a hole."""

    def __init__(self, tokenizer: Tokenizer, markers: FimMarkers) -> None:
        self._tokenizer = tokenizer
        self._suffix_first = markers.suffix_first
        self._files = FileFormat.of(tokenizer, markers.files)
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

    def prompt(self, hole: Hole, max_tokens: int) -> FimPrompt:
        """The hole in at most `max_tokens`, cut at the far ends: the nearer a text is to it, the sooner it has room.

        Of what the known middle leaves, up to a quarter, or what the prefix leaves, is the suffix's; the files come
        last. Raises `InvalidRequest` for text that is not valid Unicode.
        """
        # SentencePiece would write a space before the prefix, where files make it no beginning.
        encode = self._tokenizer.encode_inside if hole.files else self._encode_beginning
        before, after = encode(hole.prefix), self._tokenizer.encode_inside(hole.suffix)
        middle = self._tokenizer.encode_inside(hole.middle)
        bos = self._tokenizer.bos_token_id if self._tokenizer.adds_bos else None
        markers = (bos, self._prefix_id, self._suffix_id, self._middle_id)
        room = max(0, max_tokens - sum(marker is not None for marker in markers))
        num_middle = min(len(middle), room)
        room -= num_middle
        num_after = min(len(after), max(room // _SUFFIX_SHARE, room - len(before)))
        num_before = min(len(before), room - num_after)
        files = self._files.write(hole.files, hole.path, room - num_before - num_after)
        parts = self._parts(files, _last(before, num_before), after[:num_after])
        token_ids = tuple(id for id in (bos, *parts, *_last(middle, num_middle)) if id is not None)
        num_cut_before = len(before) - num_before + len(middle) - num_middle
        return FimPrompt(token_ids, num_cut_before, len(after) - num_after, files.num_cut)

    def _encode_beginning(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_bos=False, parse_special=False)

    def _parts(self, files: FileContext, before: Sequence[int], after: Sequence[int]) -> tuple[int | None, ...]:
        with_prefix = (self._prefix_id, *files.inside, *before)
        with_suffix = (self._suffix_id, *after)
        pair = (*with_suffix, *with_prefix) if self._suffix_first else (*with_prefix, *with_suffix)
        return (*files.outside, *pair, self._middle_id)


def _last(token_ids: Sequence[int], number: int) -> Sequence[int]:
    return token_ids[len(token_ids) - number :]
