"""What a whole output must look like: reasoning, if the model thinks, then the answer or calls of tools."""

from collections.abc import Iterable
from dataclasses import dataclass

from llama4coder.constraint.lark import Lark, anything, holding, literal, one_of, within
from llama4coder.server.answer_format import AnswerFormat, ContextFree, JsonObject, JsonSchema, Regex
from llama4coder.server.reply.grammar import CallForms, CallLimits, Grammar
from llama4coder.server.reply.thinking import ThinkMarks
from llama4coder.types import Constraint

_SPACE = r"/[\s\x1c-\x1f]*/"  # whatever Python calls white space
_GAP = r"/[ \t\r\n]{0,4}/"  # between reasoning and answer


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of tools that an output may hold, or has to."""

    grammar: Grammar
    limits: CallLimits
    are_required: bool


@dataclass(frozen=True, slots=True)
class ReasoningBudget:
    """How many tokens reasoning may have before it is closed; the tokens that open and close it, and end outputs."""

    max_tokens: int
    opening_id: int
    closing_id: int
    end_ids: tuple[int, ...]

    @property
    def closed(self) -> str:
        """What follows the opening."""
        return within(self.max_tokens, self.closing_id, self.end_ids)


@dataclass(frozen=True, slots=True)
class Thinking:
    """How the model reasons."""

    marks: ThinkMarks
    is_open: bool  # by the prompt
    budget: ReasoningBudget | None = None  # None: as long as it likes


@dataclass(frozen=True, slots=True)
class OutputLanguage:
    """An answer's format, or calls, or either."""

    answer_format: AnswerFormat | None
    calls: Calls | None
    thinking: Thinking | None

    def constraint(self, lark: Lark) -> Constraint:
        """All of it; raises `BadGrammar` where that is seen before it is compiled."""
        if self.thinking is not None and self.thinking.budget is not None and self.is_free:
            return lark.constraint(_bounded(self.thinking.budget, is_open=self.thinking.is_open))
        return lark.constraint(self._thought(lark) + self._answer(lark))

    @property
    def is_free(self) -> bool:
        """Whether the answer may be anything."""
        return self.answer_format is None and self.calls is None

    def _answer(self, lark: Lark) -> str:
        if self.calls is None:
            return _format(lark, self.answer_format)
        forms = self.calls.grammar.forms(lark, self.calls.limits)
        if self.calls.are_required:
            return f"({forms.alone})"
        if self.answer_format is not None:
            return one_of((_format(lark, self.answer_format), forms.alone))
        return self._among_text(lark, forms, self.calls)

    def _among_text(self, lark: Lark, forms: CallForms, calls: Calls) -> str:
        """Text wherever calls may be, and no mark of one in it that no call follows."""
        no_mark = holding(tuple(forms.behind))
        first_only = [f"{_SPACE} {literal(opening)} /(?s:.*)/" for opening in forms.bare_openings]
        first_only += self._no_reasoning()
        first = self._called(lark, forms, (no_mark, *first_only))
        options = [lark.text((no_mark, *first_only))]
        if forms.bare is not None:
            options.append(forms.bare)
        if forms.are_last:
            return one_of((*options, first))
        more = "*" if calls.limits.max_calls is None else f"{{0,{calls.limits.max_calls - 1}}}"
        rest = f"{lark.rule(self._called(lark, forms, (no_mark,)))}{more} {lark.text((no_mark,))}"
        return one_of((*options, f"{first} {rest}"))

    @staticmethod
    def _called(lark: Lark, forms: CallForms, but: Iterable[str]) -> str:
        return one_of(f"{lark.through(mark, but)} {behind}" for mark, behind in forms.behind.items())

    def _no_reasoning(self) -> list[str]:
        """What an answer cannot begin with, since it would be reasoning."""
        if self.thinking is None:
            return []
        return [f"{_SPACE} {literal(self.thinking.marks.opening)} /(?s:.*)/"]

    def _thought(self, lark: Lark) -> str:
        if self.thinking is None:
            return ""
        marks, budget = self.thinking.marks, self.thinking.budget
        gap = lark.rule(_GAP)
        if budget is None:
            closed = lark.through(marks.closing)
        else:
            closed = budget.closed
        if self.thinking.is_open:
            return f"{closed} {gap} "
        return f"({lark.mark(marks.opening)} {closed} {gap})? "


def _bounded(budget: ReasoningBudget, *, is_open: bool) -> str:
    """Reasoning within the budget, then anything; who does not begin with reasoning is not bound."""
    closed = f"{budget.closed} {anything()}"
    if is_open:
        return closed
    return one_of((f"<[{budget.opening_id}]> {closed}", anything(but_first=budget.opening_id)))


def _format(lark: Lark, answer_format: AnswerFormat | None) -> str:
    match answer_format:
        case JsonObject():
            return lark.json({"type": "object"})
        case JsonSchema(schema):
            return lark.json(schema)
        case Regex(pattern):
            return lark.pattern(pattern)
        case ContextFree(grammar):
            return lark.part(grammar)
        case None:
            raise AssertionError("nothing is asked of the output")
