"""Other files of a repository before a hole, in a model's own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from llama4coder.tokenizer.fim_families import FileMarkers
from llama4coder.tokenizer.tokenizer import Tokenizer

_REPOSITORY = "repository"  # models that were trained with a name get one, whatever it is
_UNTITLED = "untitled"
_MIN_TOKENS = 32  # of a file that does not fit whole; less than that says nothing


@dataclass(frozen=True, slots=True, repr=False)
class SourceFile:
    """One file; its path must be a single line, and may be empty."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class FileContext:
    """Files as tokens; nothing at all where none fitted."""

    outside: tuple[int, ...] = ()  # before the hole's markers
    inside: tuple[int, ...] = ()  # at the beginning of its prefix
    num_cut: int = 0  # files that were left out, or not whole


class FileFormat:
    """One model's way of writing files."""

    def __init__(self, tokenizer: Tokenizer, markers: FileMarkers) -> None:
        self._tokenizer = tokenizer
        self._markers = markers
        self._file_ids = self._ids_of(markers.file)
        self._repository_ids = self._ids_of(markers.repository)

    @classmethod
    def of(cls, tokenizer: Tokenizer, candidates: Sequence[FileMarkers]) -> "FileFormat":
        """The first candidate whose tokens this vocabulary has, or the last."""
        for markers in candidates[:-1]:
            if all(tokenizer.id_of(token) is not None for token in (markers.file, markers.repository) if token):
                return cls(tokenizer, markers)
        return cls(tokenizer, candidates[-1])

    def write(self, files: Sequence[SourceFile], own_path: str, max_tokens: int) -> FileContext:
        """As many of the last files as fit `max_tokens`, in their order; the first that does not is cut at its end."""
        opening, own_heading = self._opening(), self._text(self._heading(own_path))
        room = max_tokens - len(opening) - len(self._file_ids) - len(own_heading)
        kept: list[list[int]] = []
        num_whole = 0
        for file in reversed(files):
            token_ids = self._one(file)
            is_whole = len(token_ids) <= room
            if is_whole or room >= _MIN_TOKENS:
                kept.insert(0, token_ids[:room])
                room -= len(kept[0])
                num_whole += is_whole
            if not is_whole:
                break
        if not kept:
            return FileContext(num_cut=len(files))
        written = (*opening, *chain.from_iterable(kept), *self._file_ids, *own_heading)
        num_outside = self._num_outside(len(written), len(own_heading))
        return FileContext(written[:num_outside], written[num_outside:], len(files) - num_whole)

    def _num_outside(self, num_tokens: int, num_own_heading: int) -> int:
        if self._markers.file is None:
            return 0
        return num_tokens - num_own_heading if self._markers.own_path_inside else num_tokens

    def _opening(self) -> list[int]:
        if not self._repository_ids:
            return []
        return [*self._repository_ids, *self._text(_REPOSITORY + "\n" * self._markers.name_ends_line)]

    def _one(self, file: SourceFile) -> list[int]:
        end = "" if file.text.endswith("\n") else "\n"
        return [*self._file_ids, *self._text(self._heading(file.path) + file.text + end)]

    def _heading(self, path: str) -> str:
        return f"{self._markers.heading}{path or _UNTITLED}\n"

    def _text(self, text: str) -> list[int]:
        return self._tokenizer.encode_inside(text)

    def _ids_of(self, token: str | None) -> list[int]:
        token_id = None if token is None else self._tokenizer.id_of(token)
        return [] if token_id is None else [token_id]
