"""Constraints of outputs, compiled once before they are asked of the engine."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.constraint.check import check_grammar
from llama4coder.constraint.lark import Lark
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.errors import UnsupportedOption
from llama4coder.server.answer_format import AnswerFormat
from llama4coder.server.output_language import Calls, OutputLanguage
from llama4coder.server.tools import Tool
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint

_NO_PARAMETERS: Mapping[str, object] = {"type": "object"}


class Constraints:
    """Makes them for one model; may take a while, so that it is for threads other than the event loop's."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size

    def of_format(self, answer_format: AnswerFormat, field: str) -> Constraint:
        """For an output that is the answer and nothing else; see `of`."""
        return self.of(OutputLanguage(answer_format, None, None), field)

    def of(self, language: OutputLanguage, format_field: str) -> Constraint:
        """For a whole output; tools that are not strict are held to their schemas as far as that can be.

        Raises:
            UnsupportedOption: it cannot be compiled within the limits, or nothing could match it; names the field of
            the answer's format, or that of tools.
        """
        if self._vocabulary is None:
            raise UnsupportedOption("this model has no token that ends an output", format_field)
        try:
            return self._compiled(language)
        except BadGrammar as error:
            problem = str(error)
        self._check_format(language.answer_format, format_field)
        if language.calls is None:
            raise UnsupportedOption(f"the output cannot be held to '{format_field}': {problem}", format_field)
        self._check_tools(language.calls)
        try:
            return self._compiled(replace(language, calls=_loosened(language.calls)))
        except BadGrammar as error:
            problem = str(error)
        raise UnsupportedOption(f"calls cannot be held to the tools' schemas: {problem}", "tools")

    def _compiled(self, language: OutputLanguage) -> Constraint:
        constraint = language.constraint(Lark(self._tokenizer.special_id_of))
        assert self._vocabulary is not None, "`of` has seen that"
        check_grammar(self._vocabulary, constraint)
        return constraint

    def _check_format(self, answer_format: AnswerFormat | None, field: str) -> None:
        if answer_format is None:
            return
        try:
            self._compiled(OutputLanguage(answer_format, None, None))
        except BadGrammar as error:
            problem = str(error)
        else:
            return
        raise UnsupportedOption(f"the output cannot be held to '{field}': {problem}", field)

    def _check_tools(self, calls: Calls) -> None:
        """Each strict tool alone, to find the one to blame."""
        for index, tool in enumerate(calls.limits.tools):
            if not tool.strict:
                continue
            alone = replace(calls, limits=replace(calls.limits, tools=(tool,)), are_required=True)
            try:
                self._compiled(OutputLanguage(None, alone, None))
            except BadGrammar as error:
                problem = str(error)
            else:
                continue
            message = f"calls of the strict tool number {index + 1} cannot be held to its parameters: {problem}"
            raise UnsupportedOption(message, "tools")

    @cached_property
    def _vocabulary(self) -> GrammarVocabulary | None:
        return GrammarVocabulary.of(self._tokenizer, self._vocab_size)


def _loosened(calls: Calls) -> Calls:
    """With any object as the arguments of tools that are not strict."""
    tools = tuple(tool if tool.strict else _without_schema(tool) for tool in calls.limits.tools)
    return replace(calls, limits=replace(calls.limits, tools=tools))


def _without_schema(tool: Tool) -> Tool:
    return replace(tool, parameters=_NO_PARAMETERS)
