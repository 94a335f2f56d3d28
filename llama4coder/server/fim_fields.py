"""What a request may say of the repository around a hole, under the same names in every dialect."""

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator

from llama4coder.errors import InvalidRequest, UnsupportedOption
from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.languages import LANGUAGES, language_of
from llama4coder.tokenizer.fim import Hole
from llama4coder.tokenizer.fim_files import SourceFile

_LINE_BREAKS = frozenset({"Cc", "Zl", "Zp"})  # and what terminals and models may take for one


def one_line(path: str) -> str:
    """A path that can stand in a heading; whatever follows a line break would pass for a file's text."""
    if any(unicodedata.category(char) in _LINE_BREAKS for char in path):
        raise ValueError("must be one line without control characters")
    return path


FilePath = Annotated[str, AfterValidator(one_line)]


class ExtraFile(RequestModel):
    """A file, or a part of one."""

    text: str
    filename: FilePath | None = None


class HoleFields(RequestModel):
    """Files besides the one with the hole, the most useful last; the path of that one; and how the answer is cut.

    `language` is for the cut alone, where the path's extension does not tell it.
    """

    input_extra: Annotated[list[ExtraFile], FAIL_FAST] | None = None
    filename: FilePath | None = None
    cut: Literal["syntax"] | None = None
    language: str | None = None

    def hole(self, prefix: str, suffix: str, middle: str = "") -> Hole:
        """A hole among these files."""
        files = tuple(SourceFile(file.filename or "", file.text) for file in self.input_extra or ())
        return Hole(prefix, suffix, middle, files, self.filename or "")

    def refuse_without_hole(self) -> None:
        """Raise `InvalidRequest` if any of these fields is set: they mean nothing to a plain prompt."""
        for name in ("input_extra", "filename", "cut"):
            if getattr(self, name):
                raise InvalidRequest(f"'{name}' is only allowed together with 'suffix'", name)

    def cut_language(self, *, streams: bool) -> str | None:
        """The language by whose syntax the answer is cut; None if it is not to be.

        Raises `UnsupportedOption` for a stream, whose text could not be taken back, and `InvalidRequest` if no language
        of ours is told.
        """
        if self.cut is None:
            return None
        if streams:
            raise UnsupportedOption("'cut' needs the whole answer, and does not go together with 'stream'", "cut")
        language = self.language or language_of(self.filename or "")
        if language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            raise InvalidRequest(
                f"'cut' needs a 'filename' with a known extension or a 'language' of {known}", "language"
            )
        return language
