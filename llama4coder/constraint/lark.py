"""Grammars as llguidance reads them: a dialect of Lark, written rule by rule.

Source: llguidance's docs/syntax.md and docs/json_schema.md.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import llguidance
from llguidance.gbnf_to_lark import any_to_lark

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.types import Constraint

# Between the parts of a JSON text: without an end a model could go on with it for ever.
_OPTIONS = {"whitespace_pattern": r"[ \t]|\r?\n[ \t]{0,60}"}
_LENIENT = {**_OPTIONS, "lenient": True}  # what cannot be held to is left out
_MAX_DEPTH, _MAX_KEYS = 64, 1000
_MAX_GRAMMAR_CHARS = 64 * 1024
_ANY = "/(?s:.*)/"
_ANY_TOKENS = "<[*]>*"


class Lark:
    """A grammar that grows; what its methods return are expressions, to be put together and given to `constraint`.

    `special_id_of` gives the token that a vocabulary declares special for a marker, if there is one.
    """

    def __init__(self, special_id_of: Callable[[str], int | None]) -> None:
        self.special_id_of = special_id_of
        self._lines: list[str] = []
        self._parts: list[dict[str, str]] = []  # grammars of their own, with names

    def mark(self, text: str) -> str:
        """A marker, as its special token or else as text."""
        token_id = self.special_id_of(text)
        return literal(text) if token_id is None else f"<[{token_id}]>"

    def pattern(self, regex: str) -> str:
        """Text that a regular expression matches whole."""
        return self._add("P", f"/{llguidance.regex_to_lark(regex)}/")

    def json(self, schema: Mapping[str, object], *, lenient: bool = False) -> str:
        """JSON that a schema describes; its references begin at its own root. `BadGrammar` if it is too large."""
        _check_shape(schema)
        options = {"x-guidance": _LENIENT if lenient else _OPTIONS}
        return self._add("j", f"%json {json.dumps({**schema, **options}, ensure_ascii=False)}")

    def part(self, grammar: str) -> str:
        """What another grammar describes, in Lark from its own `start`, or in GBNF; `BadGrammar` if it is neither."""
        if len(grammar) > _MAX_GRAMMAR_CHARS:
            raise BadGrammar(f"it is too large: more than {_MAX_GRAMMAR_CHARS} characters")
        lines = "\n".join(stripped for line in grammar.splitlines() if (stripped := line.strip()))  # else it is slow
        try:
            lark = any_to_lark(lines)
        except Exception:  # noqa: BLE001 - the library raises nothing more precise
            raise BadGrammar("it is neither Lark nor GBNF") from None
        name = f"part{len(self._parts)}"
        self._parts.append({"name": name, "lark_grammar": lark})
        return f"@{name}"

    def text(self, but: Iterable[str] = ()) -> str:
        """Any text, special tokens apart, that does not match any of these terminals."""
        return self._add("T", _without(but))

    def through(self, mark: str, but: Iterable[str] = (), before: str = _ANY) -> str:
        """Text as above, then a marker, the first one that comes; in `before` the text's own terminal."""
        text = _without(but, before)
        token_id = self.special_id_of(mark)
        as_text = self._add("l", self._add("M", f"({text}) {literal(mark)}"), "[lazy]")
        return as_text if token_id is None else one_of((as_text, f"{self._add('T', text)} <[{token_id}]>"))

    def rule(self, body: str) -> str:
        """A part with a name, which keeps what is used again and again short."""
        return self._add("r", body)

    def constraint(self, start: str) -> Constraint:
        """The whole grammar."""
        own = "\n".join((f"start: {start}", *self._lines))
        if not self._parts:
            return Constraint(own)
        return Constraint(json.dumps({"grammars": [{"lark_grammar": own}, *self._parts]}))

    def _add(self, kind: str, body: str, attributes: str = "") -> str:
        name = f"{kind}{len(self._lines)}"
        self._lines.append(f"{name}{attributes}: {body}")
        return name


def anything(but_first: int | None = None) -> str:
    """Any tokens, special ones too, of which the first is not this one."""
    return _ANY_TOKENS if but_first is None else f"(<[^{but_first}]> {_ANY_TOKENS})?"


def within(max_tokens: int, closing_id: int, end_ids: Iterable[int]) -> str:
    """No more than so many tokens, none of which ends the output, then the one that closes them.

    As a repetition: `max_tokens` of llguidance's own forbids to take guesses back.
    """
    inner = ",".join(map(str, (closing_id, *end_ids)))
    return f"<[^{inner}]>{{0,{max_tokens}}} <[{closing_id}]>"


def literal(text: str) -> str:
    """This text and nothing else; it is not empty."""
    return json.dumps(text, ensure_ascii=False)


def one_of(expressions: Iterable[str]) -> str:
    """Any of these."""
    return f"({' | '.join(expressions)})"


def several(one: str, separator: str, max_number: int | None) -> str:
    """One or more of the same."""
    if max_number == 1:
        return one
    return f"{one} ({separator} {one}){'*' if max_number is None else f'{{0,{max_number - 1}}}'}"


def holding(texts: Sequence[str]) -> str:
    """The terminal of whatever holds any of these texts."""
    return f"{_ANY} {one_of(map(literal, texts))} {_ANY}"


def _without(but: Iterable[str], text: str = _ANY) -> str:
    return " & ".join((text, *(f"~({terminal})" for terminal in but)))


def _check_shape(schema: Mapping[str, object]) -> None:
    """Level by level: the libraries' own limits are those of their stacks, or come after seconds of work."""
    level: list[object] = [schema]
    for _ in range(_MAX_DEPTH):
        if any(isinstance(one, Mapping) and len(one) > _MAX_KEYS for one in level):
            raise BadGrammar(f"it has more than {_MAX_KEYS} keys in one place, which is too large")
        level = [value for one in level for value in _inner(one)]
        if not level:
            return
    raise BadGrammar(f"it is nested deeper than {_MAX_DEPTH} levels")


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
