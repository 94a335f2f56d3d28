"""Request bodies of Mistral's dialect. Unknown fields are ignored, as are the hints `metadata` and `prompt_cache_key`.

Source: the request model of Mistral's own client.
"""

from typing import Annotated

from pydantic import Field

from llama4coder.server.fields import StopStrings, Temperature
from llama4coder.server.fim_fields import HoleFields


class FimRequest(HoleFields):
    """Body of `POST /v1/fim/completions`; without a `suffix` it is a plain completion of the prompt."""

    model: str
    prompt: str
    suffix: str | None = None
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    stop: StopStrings = None
    random_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
