"""A chat as the text that the model was trained on."""

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import meta
from jinja2.exceptions import TemplateError, TemplateSyntaxError

from llama4coder.errors import CheckpointError, InvalidRequest
from llama4coder.tokenizer.files import TokenSettings
from llama4coder.tokenizer.template_environment import TemplateRefusal, template_environment

_TEMPLATE_FILE = "<template>"  # how Jinja names a template that came from a string
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OWN_NAMES = ("messages", "tools", "documents", "add_generation_prompt")
# What expressions in a template raise when a message has not the shape that it expects.
_EXPRESSION_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class ChatTemplate:
    """A model's own chat template. Rendering may be called from any thread."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = template_environment()
        try:
            self._template = environment.from_string(source)
            names = meta.find_undeclared_variables(environment.parse(source))
        except TemplateSyntaxError as error:
            raise CheckpointError(f"the chat template is damaged at line {error.lineno}: {error.message}") from error
        self.source = source
        self.settings = frozenset(names.difference(_OWN_NAMES, _SPECIAL_TOKENS, environment.globals))
        """Further names that the template reads, such as `enable_thinking`; a request may give them values."""
        self._special_tokens = dict(special_tokens)

    @classmethod
    def from_folder(cls, folder: Path) -> "ChatTemplate | None":
        """The template in chat_template.jinja, else the one in tokenizer_config.json; None for a model without one."""
        settings = TokenSettings.from_folder(folder)
        source = template_source(folder, settings)
        if source is None:
            return None
        tokens = {name: content for name in _SPECIAL_TOKENS if (content := settings.token(name)) is not None}
        return cls(source, tokens)

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> str:
        """The prompt text, special tokens spelled out; `InvalidRequest` where the template refuses or fails.

        `settings` has values for names of `self.settings` only. The error holds the template's own words or its line,
        nothing of the messages.
        """
        try:
            return self._template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
                **(settings or {}),
            )
        except (TemplateError, *_EXPRESSION_ERRORS) as error:
            failure = self._describe(error)
        raise InvalidRequest(failure, "messages")  # outside the handler, so that no cause with user text hangs on it

    def _describe(self, error: Exception) -> str:
        # A template may build its message from user text; only words that stand in the template itself are safe.
        if isinstance(error, TemplateRefusal) and error.message and error.message in self.source:
            return error.message
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == _TEMPLATE_FILE]
        place = f" at its line {lines[-1]}" if lines else ""
        return f"the model's chat template cannot render these messages; it failed{place}"


def template_source(folder: Path, settings: TokenSettings) -> str | None:
    """The template's own text; `CheckpointError` if it cannot be read."""
    return _read_jinja(folder / "chat_template.jinja") or _named_source(settings.tokenizer.get("chat_template"))


def _read_jinja(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _named_source(entry: object) -> str | None:
    """The template itself, or of several named ones the one called `default`."""
    if isinstance(entry, list):
        named = [item for item in entry if isinstance(item, dict) and item.get("name") == "default"]
        entry = named[0].get("template") if named else None
    return entry if isinstance(entry, str) else None
