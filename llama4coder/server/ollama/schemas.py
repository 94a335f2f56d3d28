"""Request bodies of Ollama's dialect.

Unknown fields are ignored, as are `keep_alive` (the model is always loaded), `truncate` and `shift` (what does not fit
is refused), and the options that tell a host how to run: `num_keep`, `num_batch`,
`num_gpu`, `main_gpu`, `num_thread`, `use_mmap` and their like. What is known and not supported is refused by name.
Source: Ollama's API documentation, and the request types of its own clients.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.fields import NoImages, Refused, StopStrings, Temperature, TopP, refused_unless
from llama4coder.server.fim_fields import HoleFields
from llama4coder.server.ollama.tool_fields import ToolCallField, ToolField

Penalty = Annotated[float, Field(ge=-2, le=2)]
RefusedUnlessOne = Annotated[None, refused_unless(1)]


def _nothing_as_none(value: object) -> object:
    return None if value in ("", {}) else value


def _json_or_schema(value: str | dict[str, object] | None) -> str | dict[str, object] | None:
    if isinstance(value, str) and value != "json":
        raise ValueError("must be 'json' or a JSON schema")
    return value


Format = Annotated[str | dict[str, object] | None, BeforeValidator(_nothing_as_none), AfterValidator(_json_or_schema)]


class ModelOptions(RequestModel):
    """How to generate; Ollama's defaults, but nothing is penalised unasked, and nothing limits the answer."""

    temperature: Temperature = 0.8
    top_k: Annotated[int, Field(ge=-1)] = 40
    top_p: TopP = 0.9
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    stop: StopStrings = None
    num_predict: Annotated[int, Field(ge=-2)] = -1
    num_ctx: Annotated[int, Field(ge=0)] = 0
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    repeat_last_n: Annotated[int, Field(ge=-1)] = -1
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    mirostat: Refused = None
    tfs_z: RefusedUnlessOne = None
    typical_p: RefusedUnlessOne = None

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, options: object) -> object:
        """Many clients send null for every option that nobody has set."""
        if not isinstance(options, dict):
            return options
        return {name: value for name, value in options.items() if value is not None}


class GenerationFields(RequestModel):
    """What chats and completions have in common; unlike elsewhere, answers are streamed unless told otherwise."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "context": (),
        "logprobs": (),
        "template": (),
        "top_logprobs": (),
    }

    model: str
    stream: bool | None = None
    options: ModelOptions | None = None
    format: Format = None
    think: bool | Literal["low", "medium", "high"] | None = None
    images: NoImages = None

    @property
    def streams(self) -> bool:
        """Whether the answer is to come in parts."""
        return self.stream is not False


class ChatMessage(RequestModel):
    """One turn; a tool's result names its tool, and may name its call, too."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    tool_calls: Annotated[list[ToolCallField], FAIL_FAST] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    images: NoImages = None


class ChatRequest(GenerationFields):
    """Body of `POST /api/chat`; without messages it only asks for the model to be loaded."""

    messages: Annotated[list[ChatMessage], FAIL_FAST] | None = None
    tools: Annotated[list[ToolField], FAIL_FAST] | None = None


class GenerateRequest(GenerationFields, HoleFields):
    """Body of `POST /api/generate`; without prompt and suffix it only asks for the model to be loaded.

    With a suffix that is not empty the prompt is what precedes a hole, whether `raw` or not.
    """

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None

    def is_chat(self, *, knows_chats: bool) -> bool:
        """Whether the prompt goes through a chat template; what only such a one can do makes a model need it."""
        return not self.raw and not self.suffix and bool(knows_chats or self.system or self.format)


class ShowRequest(RequestModel):
    """Body of `POST /api/show`; `name` is what old clients call the model."""

    model: str | None = None
    name: str | None = None
