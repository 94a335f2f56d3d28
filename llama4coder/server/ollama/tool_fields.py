"""Fields of Ollama's dialect that speak of tools."""

from typing import Literal

from llama4coder.server.body import RequestModel
from llama4coder.server.fields import NonEmpty, ToolName


class FunctionField(RequestModel):
    """A function that the model may call; without parameters it takes none."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None


class ToolField(RequestModel):
    """One entry of `tools`."""

    type: Literal["function"] | None = None
    function: FunctionField


class CalledFunction(RequestModel):
    """What was called; no arguments at all are an empty object."""

    name: NonEmpty
    arguments: dict[str, object] | None = None


class ToolCallField(RequestModel):
    """A call that an earlier reply made; older clients know no ids."""

    id: str | None = None
    function: CalledFunction
