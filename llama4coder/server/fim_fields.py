"""What a request may say of the repository around a hole, under the same names in every dialect."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from llama4coder.errors import InvalidRequest
from llama4coder.server.body import FAIL_FAST, RequestModel
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


class RepositoryFields(RequestModel):
    """Files besides the one with the hole, the most useful last, and the path of that one."""

    input_extra: Annotated[list[ExtraFile], FAIL_FAST] | None = None
    filename: FilePath | None = None

    def hole(self, prefix: str, suffix: str, middle: str = "") -> Hole:
        """A hole among these files."""
        files = tuple(SourceFile(file.filename or "", file.text) for file in self.input_extra or ())
        return Hole(prefix, suffix, middle, files, self.filename or "")

    def refuse_without_hole(self) -> None:
        """Raise `InvalidRequest` if any of these fields is set: they mean nothing to a plain prompt."""
        for name in RepositoryFields.model_fields:
            if getattr(self, name):
                raise InvalidRequest(f"'{name}' is only allowed together with 'suffix'", name)
