"""Request bodies of Ollama's dialect.

Unknown fields are ignored, as are `keep_alive` (the model is always loaded), `truncate` and `shift` (what does not fit
is refused), the thinking of earlier turns, and the options that tell a host how to run: `num_keep`, `num_batch`,
`num_gpu`, `main_gpu`, `num_thread`, `use_mmap` and their like. What is known and not supported is refused by name.
Source: Ollama's API documentation, and the request types of its own clients.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from llama4coder.server.body import FAIL_FAST, UNSUPPORTED, RequestModel
from llama4coder.server.fields import NO_TOOLS, NoImages, NoTools, StopStrings, Temperature, TopP, refused_unless
from llama4coder.server.fim_fields import HoleFields

Penalty = Annotated[float, Field(ge=-2, le=2)]
Refused = Annotated[None, refused_unless()]
RefusedUnlessOne = Annotated[None, refused_unless(1)]


def _no_tool_role(value: object) -> object:
    if value == "tool":
        raise PydanticCustomError(UNSUPPORTED, NO_TOOLS)
    return value


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
        "format": (),
        "logprobs": (),
        "template": (),
        "think": (),
        "top_logprobs": (),
    }

    model: str
    stream: bool | None = None
    options: ModelOptions | None = None
    images: NoImages = None

    @property
    def streams(self) -> bool:
        """Whether the answer is to come in parts."""
        return self.stream is not False


class ChatMessage(RequestModel):
    """One turn."""

    role: Annotated[Literal["system", "user", "assistant"], BeforeValidator(_no_tool_role)]
    content: str | None = None
    images: NoImages = None
    tool_calls: NoTools = None


class ChatRequest(GenerationFields):
    """Body of `POST /api/chat`; without messages it only asks for the model to be loaded."""

    messages: Annotated[list[ChatMessage], FAIL_FAST] | None = None
    tools: NoTools = None


class GenerateRequest(GenerationFields, HoleFields):
    """Body of `POST /api/generate`; without prompt and suffix it only asks for the model to be loaded.

    With a suffix that is not empty the prompt is what precedes a hole, whether `raw` or not.
    """

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None


class ShowRequest(RequestModel):
    """Body of `POST /api/show`; `name` is what old clients call the model."""

    model: str | None = None
    name: str | None = None
