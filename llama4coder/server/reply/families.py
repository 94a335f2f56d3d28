"""Which grammar and which marks of reasoning a model has, by its template and its vocabulary, never by its name."""

from collections.abc import Callable, Collection, Mapping

from llama4coder.inspection.template import ToolFormat
from llama4coder.server.reply.grammar import Grammar
from llama4coder.server.reply.hermes import HermesGrammar
from llama4coder.server.reply.llama_json import LlamaJsonGrammar
from llama4coder.server.reply.mistral import MistralGrammar
from llama4coder.server.reply.pythonic import PythonicGrammar
from llama4coder.server.reply.qwen_xml import QwenXmlGrammar
from llama4coder.server.reply.thinking import ThinkMarks

Schemas = Mapping[str, Mapping[str, object]]  # by the tool's name

THINK_MARKS = (ThinkMarks("<think>", "</think>"), ThinkMarks("[THINK]", "[/THINK]"))
GRAMMARS: Mapping[ToolFormat, Callable[[Schemas], Grammar]] = {
    ToolFormat.HERMES: lambda schemas: HermesGrammar(frozenset(schemas)),
    ToolFormat.QWEN_XML: QwenXmlGrammar,
    ToolFormat.LLAMA_JSON: lambda schemas: LlamaJsonGrammar(frozenset(schemas)),
    ToolFormat.PYTHONIC: lambda schemas: PythonicGrammar(frozenset(schemas)),
    ToolFormat.MISTRAL: lambda schemas: MistralGrammar(),
}


def think_marks_of(template_source: str, control_texts: Collection[str]) -> ThinkMarks | None:
    """The marks that the vocabulary has as tokens, or that the template writes; None for a model without any.

    DeepSeek's distilled models and others have them in one of the two only.
    """
    for marks in THINK_MARKS:
        if writes(template_source, marks) or marks.closing in control_texts:
            return marks
    return None


def writes(template_source: str, marks: ThinkMarks) -> bool:
    """Whether a template speaks of reasoning. Some vocabularies have the tokens for models that were not trained to."""
    return marks.opening in template_source or marks.closing in template_source
