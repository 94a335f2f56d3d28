"""Request bodies of the Responses dialect.

Unknown fields are ignored, as are the hints `store`, `user`, `safety_identifier` and `prompt_cache_key`, `include` of
what our replies never hold, and `max_tool_calls`, which counts calls of tools that run at the server. What is known
and not supported is refused by name. Source: the parameter types of OpenAI's SDK.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from llama4coder.server.body import FAIL_FAST, UNSUPPORTED, RequestModel, kind_tag
from llama4coder.server.fields import Temperature, TopP, refused_unless
from llama4coder.server.openai.schemas import CacheSalt, Seed
from llama4coder.server.responses.items import Items
from llama4coder.server.responses.tool_fields import AnyChoice, AnyTools

LOGPROBS = "message.output_text.logprobs"
"""What `include` calls log-probabilities."""


_MAX_PAIRS, _MAX_KEY, _MAX_TEXT = 16, 64, 512  # OpenAI's own limits
_FORMATS = "a format of text must be of type 'text', 'json_object' or 'json_schema'"
_NO_MEMORY = "'{name}' needs a memory, and nothing is kept here: send the whole conversation in 'input'"


def _not_kept(value: object, info: ValidationInfo) -> None:
    if value not in (None, False, "", {}):
        raise PydanticCustomError(UNSUPPORTED, _NO_MEMORY, {"name": info.field_name})


def _text_pairs(value: object) -> dict[str, str] | None:
    """Checked as a whole, since a path would repeat a key."""
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > _MAX_PAIRS:
        raise ValueError(f"must be an object of no more than {_MAX_PAIRS} texts")
    if not all(
        isinstance(text, str) and len(key) <= _MAX_KEY and len(text) <= _MAX_TEXT for key, text in value.items()
    ):
        raise ValueError(f"keys have up to {_MAX_KEY} characters, and values are texts of up to {_MAX_TEXT}")
    return value


NotKept = Annotated[None, BeforeValidator(_not_kept)]
Hint = str | None


class Reasoning(RequestModel):
    """How the model thinks, and where its thoughts are shown."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Annotated[None, refused_unless("standard")] = None


class PlainText(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(RequestModel):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    name: str
    description: str | None = None
    json_schema: Annotated[dict[str, object], Field(alias="schema")]
    strict: bool | None = None


TextFormat = Annotated[
    Annotated[PlainText, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<json_object>")]
    | Annotated[JsonSchemaFormat, Tag("<json_schema>")],
    Discriminator(kind_tag, custom_error_type=UNSUPPORTED, custom_error_message=_FORMATS),
]


class TextConfig(RequestModel):
    """What the answer's text is to be like."""

    format: TextFormat | None = None
    verbosity: Annotated[None, refused_unless("medium")] = None


class StreamOptions(RequestModel):
    """Our streams are never padded, whatever `include_obfuscation` says."""

    include_obfuscation: bool | None = None


class InputRequest(RequestModel):
    """Body of `POST /v1/responses/input_tokens`, and the part of a response's that makes its prompt."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "context_management": (),
        "functions": (),
        "max_completion_tokens": (),
        "max_tokens": (),
        "messages": (),
        "moderation": (),
        "n": (1,),
        "reasoning_effort": (),
        "response_format": (),
        "stop": (),
        "truncation": ("disabled",),
    }

    model: str
    input: Items
    instructions: str | None = None
    tools: AnyTools | None = None
    tool_choice: AnyChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    previous_response_id: NotKept = None
    conversation: NotKept = None
    prompt: NotKept = None

    @property
    def asks_for_summary(self) -> bool:
        """Whether the client shows summaries of reasoning."""
        reasoning = self.reasoning
        return reasoning is not None and bool(reasoning.summary or reasoning.generate_summary)


class ResponseRequest(InputRequest):
    """Body of `POST /v1/responses`."""

    background: NotKept = None
    include: Annotated[list[str], FAIL_FAST] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[
        dict[str, str] | None, PlainValidator(_text_pairs, json_schema_input_type=dict[str, str] | None)
    ] = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    seed: Seed | None = None
    cache_salt: CacheSalt | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Hint = None
    prompt_cache_key: Hint = None
    safety_identifier: Hint = None

    @property
    def num_logprobs(self) -> int | None:
        """How many candidates each token is to be shown with; None: not even itself."""
        wants_them = self.top_logprobs is not None or LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if wants_them else None
