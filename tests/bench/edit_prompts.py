"""Edits of real code: a prompt holds a file, the answer is the file again with a name changed."""

import heapq
import inspect
import shlex
import string
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Edit:
    """Rename `old` to `new` throughout `code`."""

    code: str
    old: str
    new: str

    @property
    def instruction(self) -> str:
        return (
            f"Rename `{self.old}` to `{self.new}` everywhere in this Python code. "
            f"Answer with the whole code and nothing else.\n\n```python\n{self.code}```\n"
        )


@dataclass(frozen=True, slots=True)
class EditPrompt:
    """An edit as a model sees it; `prediction` is the code before it."""

    token_ids: tuple[int, ...]
    prediction: tuple[int, ...]


def edit_prompts(folder: Path) -> list[EditPrompt]:
    """The edits in the chat form of the model in `folder`, which must have one."""
    template, tokenizer = ChatTemplate.from_folder(folder), Tokenizer.from_folder(folder)
    assert template is not None, "a chat model is wanted"
    prompts = []
    for edit in _EDITS:
        text = template.render([{"role": "user", "content": edit.instruction}])
        answer = f"```python\n{edit.code}```"
        prompts.append(
            EditPrompt(tuple(tokenizer.encode(text, add_bos=False)), tuple(tokenizer.encode(answer, add_bos=False)))
        )
    return prompts


def _source(function: Callable[..., object]) -> str:
    return textwrap.dedent(inspect.getsource(function))


_EDITS = (
    Edit(_source(heapq.merge), "iterables", "streams"),
    Edit(_source(textwrap.TextWrapper._wrap_chunks), "chunks", "pieces"),
    Edit(_source(shlex.shlex.read_token), "nextchar", "char"),
    Edit(_source(string.Formatter._vformat), "result", "parts"),
)
