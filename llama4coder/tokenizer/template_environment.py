"""The Jinja environment that chat templates are written for: the one of the `transformers` library.

Templates come with model folders and are not trusted: they run in the sandbox.
"""

import json
from datetime import datetime
from typing import NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


class TemplateRefusal(TemplateError):
    """The template called `raise_exception`."""


class _GenerationBlock(Extension):
    # {% generation %} marks the assistant's text for training; here it is only its body.
    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _SafeNamespace(Namespace):
    # Jinja's own lets a template store names such as `__class__`. No named self: a template may pass that keyword.
    def __init__(*args: object, **kwargs: object) -> None:
        self, *rest = args
        assert isinstance(self, _SafeNamespace)
        Namespace.__init__(self, {})
        for name, value in dict(*rest, **kwargs).items():
            self[name] = value

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            raise SecurityError("a namespace name must not begin with an underscore")
        super().__setitem__(name, value)


def _make_dict(*args: object, **kwargs: object) -> dict[str, object]:
    return dict(*args, **kwargs)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefusal(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own escapes HTML and sorts keys.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def template_environment() -> ImmutableSandboxedEnvironment:
    """A fresh environment with the settings, extensions, filters and globals of `transformers`."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_now, dict=_make_dict, namespace=_SafeNamespace
    )
    return environment
