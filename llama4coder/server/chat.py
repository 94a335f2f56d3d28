"""Chats by the model's own template: their prompts, and how their replies read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llama4coder.errors import InvalidRequest, ToolsUnsupported, UnsupportedOption
from llama4coder.inspection.template import ToolFormat, read_template
from llama4coder.server.answer_format import AnswerFormat
from llama4coder.server.constraints import Constraints
from llama4coder.server.generation import Prompt
from llama4coder.server.output_language import Calls, OutputLanguage, ReasoningBudget, Thinking
from llama4coder.server.reply.families import GRAMMARS, THINK_MARKS, think_marks_of, writes
from llama4coder.server.reply.grammar import CallLimits, Grammar
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.reply.thinking import ThinkMarks
from llama4coder.server.tools import FREE_CHOICE, Message, Tool, ToolChoice, with_short_ids
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.control_text import ControlText, without_cuts
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint

_THINK_TEXTS = frozenset(text for marks in THINK_MARKS for text in (marks.opening, marks.closing))
_THINK_SWITCH = "enable_thinking"  # Qwen3, SmolLM3 and others
_EFFORT = "reasoning_effort"
_NO_EFFORT = "none"


@dataclass(frozen=True, slots=True, repr=False)
class ChatExtras:
    """What a chat wants besides its messages, in any dialect."""

    add_generation_prompt: bool = True
    continues_last: bool = False  # an assistant's message at the end is the beginning of the answer
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = FREE_CHOICE
    max_calls: int | None = None  # None: any number
    answer_format: AnswerFormat | None = None  # None: any text
    format_field: str = "response_format"  # of the request, for what is wrong with it
    reasoning_effort: str | None = None
    reasoning_tokens: int | None = None  # after which reasoning is closed; None: as many as it takes
    insists_on_effort: bool = True  # refuse what could have no effect on reasoning, or leave the model as it is
    template_settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def may_bind(self) -> bool:
        """Whether outputs may have to be held to anything."""
        bounds = (self.answer_format, self.reasoning_tokens)
        return bool(self.tools) or self.tool_choice.is_required or any(bound is not None for bound in bounds)


NO_EXTRAS = ChatExtras()


class Chats:
    """Knows one model's template, and what its replies may hold."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, constraints: Constraints) -> None:
        self._template = template
        self._constraints = constraints
        self._tokenizer = tokenizer
        self._tool_format = read_template(template.source).tools
        self._think_marks = think_marks_of(template.source, tokenizer.control_texts)
        self._thinks = self._think_marks is not None and writes(template.source, self._think_marks)
        self._quoted = ControlText(tokenizer)
        # What an assistant has thought may come back in its content, and templates look for it there.
        self._own = ControlText(tokenizer, allowed=_THINK_TEXTS)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the model can do in chats."""
        return ("tools",) * (self._tool_format in GRAMMARS) + ("reasoning",) * self._thinks

    @property
    def can_think(self) -> bool:
        """Whether it reasons, or its template has a setting for that."""
        return self._thinks or not self._template.settings.isdisjoint((_EFFORT, _THINK_SWITCH))

    def prompt(self, messages: Sequence[Message], extras: ChatExtras) -> Prompt:
        """The prompt; control tokens in messages, tools and settings are ordinary text.

        Raises:
            ToolsUnsupported: the model knows no tools, or no calls among the messages.
            UnsupportedOption: the template has no such setting.
            InvalidRequest: the template refuses the messages.
        """
        self._check_tools(messages, extras)
        if extras.continues_last and messages and "tool_calls" in messages[-1]:
            raise InvalidRequest("the last message calls tools, and the results of its calls are missing", "messages")
        tools = [tool.as_json() for tool in extras.tools]
        begun = ""
        if extras.continues_last and messages and messages[-1]["role"] == "assistant":
            begun, messages = self._own.disarm(str(messages[-1]["content"])), messages[:-1]
        text = self._template.render(
            [self._disarmed(message) for message in messages],
            add_generation_prompt=extras.add_generation_prompt,
            tools=self._quoted.disarm(tools) or None,
            settings=self._quoted.disarm(self._settings(extras)),
        )
        text += begun
        return Prompt(tuple(self._quoted.encode(text)), without_cuts(text), "messages")

    def reply_format(self, extras: ChatExtras, prompt: Prompt) -> ReplyFormat | None:
        """How replies to the prompt read; None where they are content and nothing else."""
        marks = self._think_marks
        schemas = {tool.name: tool.parameters for tool in extras.tools}
        grammar = GRAMMARS[self._tool_format](schemas) if schemas else None
        if grammar is None and marks is None:
            return None
        return ReplyFormat(grammar, marks, self._is_thinking(prompt), extras.max_calls, self._shown_ids(grammar, marks))

    def _is_thinking(self, prompt: Prompt) -> bool:
        """Whether the prompt has opened the reasoning."""
        marks = self._think_marks
        return marks is not None and (prompt.text or "").rstrip().endswith(marks.opening)

    def constraint(self, extras: ChatExtras, prompt: Prompt) -> Constraint | None:
        """What the output must be a sentence of, its reasoning and calls included; None where it may be anything.

        Raises:
            InvalidRequest: a tool is to be called that is not offered.
            UnsupportedOption: see `Constraints.of`.
        """
        budget = self._budget(extras)
        calls = self._calls(extras)
        if extras.answer_format is None and calls is None and budget is None:
            return None
        marks = self._think_marks
        thinking = None if marks is None else Thinking(marks, self._is_thinking(prompt), budget)
        return self._constraints.of(OutputLanguage(extras.answer_format, calls, thinking), extras.format_field)

    def _budget(self, extras: ChatExtras) -> ReasoningBudget | None:
        if extras.reasoning_tokens is None:
            return None
        marks, id_of = self._think_marks, self._tokenizer.id_of
        opening_id, closing_id = (None, None) if marks is None else (id_of(marks.opening), id_of(marks.closing))
        if opening_id is not None and closing_id is not None:
            end_ids = tuple(sorted(self._tokenizer.eos_token_ids))
            return ReasoningBudget(extras.reasoning_tokens, opening_id, closing_id, end_ids)
        if extras.insists_on_effort:
            message = "this model has no tokens that open and close reasoning, so that no budget can be kept"
            raise UnsupportedOption(message, "thinking_token_budget")
        return None

    def _calls(self, extras: ChatExtras) -> Calls | None:
        """None where calls may be anything, or there are none."""
        choice, tools = extras.tool_choice, extras.tool_choice.of(extras.tools)
        if choice.is_required and not tools:
            raise InvalidRequest("'tool_choice' asks for a call, and no such tool is offered", "tool_choice")
        is_held = choice.is_required or len(tools) < len(extras.tools) or any(tool.strict for tool in tools)
        if not tools or not (is_held or extras.answer_format is not None):
            return None
        schemas = {tool.name: tool.parameters for tool in tools}
        return Calls(GRAMMARS[self._tool_format](schemas), CallLimits(tools, extras.max_calls), choice.is_required)

    def _shown_ids(self, grammar: Grammar | None, marks: ThinkMarks | None) -> frozenset[int]:
        texts = () if grammar is None else (*grammar.marks, *grammar.inner_marks)
        texts += () if marks is None else (marks.opening, marks.closing)
        ids = map(self._tokenizer.special_id_of, texts)
        return frozenset(token_id for token_id in ids if token_id is not None)

    def _disarmed(self, message: Message) -> Message:
        if self._tool_format is ToolFormat.MISTRAL:
            message = with_short_ids(message)
        return (self._own if message["role"] == "assistant" else self._quoted).disarm(message)

    def _check_tools(self, messages: Sequence[Message], extras: ChatExtras) -> None:
        if extras.tools and self._tool_format is ToolFormat.NONE:
            raise ToolsUnsupported(
                "the chat template of this model knows no tools; leave them out, or serve a model that was trained to "
                "call tools",
                "tools",
            )
        if extras.tools and self._tool_format not in GRAMMARS:
            raise ToolsUnsupported(
                "this model takes tools, but the way in which it writes calls is not known here; leave them out, or "
                "serve a model whose calls can be read (see docs/tools.md)",
                "tools",
            )
        if "tool_calls" not in self._template.source and any("tool_calls" in message for message in messages):
            raise ToolsUnsupported(
                "the chat template of this model knows no calls of tools; leave 'tool_calls' out of the messages",
                "messages",
            )

    def _settings(self, extras: ChatExtras) -> dict[str, object]:
        """The template's settings: what it reads is passed on, what could have no effect is refused."""
        known, settings = self._template.settings, dict(extras.template_settings)
        for name in settings.keys() - known:
            if settings.pop(name) or self._thinks:
                names = ", ".join(sorted(known)) or "nothing"
                message = f"'chat_template_kwargs' may set only what the chat template of this model reads: {names}"
                raise UnsupportedOption(message, "chat_template_kwargs")
        effort = extras.reasoning_effort
        if effort is None:
            return settings
        if _EFFORT in known:
            return {_EFFORT: effort} | settings
        if _THINK_SWITCH in known:
            return {_THINK_SWITCH: effort != _NO_EFFORT} | settings
        if extras.insists_on_effort and (effort != _NO_EFFORT or self._thinks):
            raise UnsupportedOption("the chat template of this model has no setting for 'reasoning_effort'", _EFFORT)
        return settings
