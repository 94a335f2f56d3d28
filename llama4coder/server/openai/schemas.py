"""Request bodies of OpenAI's dialect, with the extras that vLLM made common.

Unknown fields are ignored, as are the hints `user`, `metadata`, `store`, `safety_identifier` and `prompt_cache_key`.
What is known and not supported is in `unsupported`.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from llama4coder.config import TopBlocks
from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.fields import Refused, StopStrings
from llama4coder.server.fim_fields import HoleFields
from llama4coder.server.openai.format_fields import FormatFields
from llama4coder.server.openai.tool_fields import ToolCallField, ToolChoiceField, ToolFields
from llama4coder.server.openai.validators import (
    content_text,
    prompt_list,
    token_biases,
)

Role = Literal["system", "developer", "user", "assistant", "tool"]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
CacheSalt = Annotated[str, Field(min_length=1, max_length=256)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
# The shapes that are accepted, for the OpenAPI document.
ContentShapes = str | list[dict[str, object]] | None
PromptShapes = str | list[str] | list[int] | list[list[int]]

# A known option -> the values with which it asks for nothing, besides null, false, zero and the empty ones.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": (),
    "chat_template": (),
    "continue_final_message": (),
    "documents": (),
    "early_stopping": (),
    "function_call": ("none", "auto"),
    "functions": (),
    "guided_whitespace_pattern": (),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logits_processors": (),
    "mm_processor_kwargs": (),
    "modalities": (["text"],),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class StreamOptions(RequestModel):
    """What a stream tells besides its text."""

    include_usage: bool | None = None
    continuous_usage_stats: Refused = None


class Prediction(RequestModel):
    """What the client believes the answer to be much like; its content has become plain text."""

    type: Literal["content"]
    content: Annotated[str, BeforeValidator(content_text, json_schema_input_type=ContentShapes)]


class GenerationFields(FormatFields):
    """What chat and completions have in common."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = _UNSUPPORTED

    model: str
    n: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: Annotated[
        dict[int, float] | None, PlainValidator(token_biases, json_schema_input_type=dict[str, float] | None)
    ] = None
    seed: Seed | None = None
    stop: StopStrings = None
    stop_token_ids: Annotated[list[int], FAIL_FAST] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    prediction: Prediction | None = None
    speculation: bool | None = None
    priority: Literal["interactive", "batch"] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    cache_salt: CacheSalt | None = None
    top_blocks: TopBlocks | None = None


class ChatMessage(RequestModel):
    """One turn; its content has become plain text."""

    role: Role
    content: Annotated[
        str,
        Field(default=None, validate_default=True),
        BeforeValidator(content_text, json_schema_input_type=ContentShapes),
    ]
    name: str | None = None
    tool_calls: Annotated[list[ToolCallField], FAIL_FAST] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    function_call: Refused = None
    audio: Refused = None


Messages = Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]


class ChatRequest(GenerationFields):
    """Body of `POST /v1/chat/completions`."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **_UNSUPPORTED,
        "add_special_tokens": (),
        "best_of": (1,),
        "cut": (),
        "echo": (),
        "input_extra": (),
        "suffix": (),
    }

    messages: Messages
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    add_generation_prompt: bool | None = None
    tools: ToolFields | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    thinking_token_budget: Annotated[int, Field(ge=-1)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: dict[str, object] | None = None


class CompletionRequest(GenerationFields, HoleFields):
    """Body of `POST /v1/completions`; `prompt` has become a list of texts or of token id lists.

    With a `suffix`, even an empty one, each prompt is what precedes a hole and the suffix what follows it, and other
    files of the repository may come along, and the answer be cut by syntax.
    """

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **_UNSUPPORTED,
        "chat_template_kwargs": (),
        "reasoning_effort": ("none",),
        "thinking_token_budget": (-1,),
        "tool_choice": ("none", "auto"),
        "tools": (),
    }

    prompt: Annotated[list[str | list[int]], PlainValidator(prompt_list, json_schema_input_type=PromptShapes)]
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    add_special_tokens: bool | None = None


class TokenizeRequest(RequestModel):
    """Body of `POST /tokenize`: a prompt, or messages as for a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(RequestModel):
    """Body of `POST /detokenize`."""

    model: str | None = None
    tokens: Annotated[list[int], FAIL_FAST]
