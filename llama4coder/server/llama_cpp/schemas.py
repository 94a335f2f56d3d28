"""Request bodies of llama.cpp's dialect.

Unknown fields are ignored, as are the hints `cache_prompt` (prefixes are always cached), `t_max_prompt_ms` (llama.cpp
ignores it, too), `id_slot`, `n_keep`, `n_discard` and `timings_per_token`. What is known and not supported is in
`unsupported`. Source: the README of llama.cpp's server, and what llama.vim and llama.vscode send.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from llama4coder.server.body import FAIL_FAST
from llama4coder.server.fields import TopP, string_list
from llama4coder.server.fim_fields import HoleFields

SamplerName = Literal[
    "dry",
    "infill",
    "min_p",
    "penalties",
    "temperature",
    "tfs_z",
    "top_k",
    "top_n_sigma",
    "top_p",
    "typ_p",
    "typical_p",
    "xtc",
]

# A known option -> the values with which it asks for nothing, besides null, false, zero and the empty ones.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "adaptive_target": (-1,),
    "dry_multiplier": (),
    "dynatemp_range": (),
    "frequency_penalty": (),
    "grammar": (),
    "json_schema": (),
    "logit_bias": (),
    "lora": (),
    "min_keep": (1,),
    "mirostat": (),
    "n_probs": (),
    "presence_penalty": (),  # llama.cpp's counts the prompt, ours does not; so does the frequency's
    "repeat_penalty": (1,),  # of the last tokens only
    "tfs_z": (1,),
    "top_n_sigma": (-1,),
    "typical_p": (1,),
    "xtc_probability": (),
}


class InfillRequest(HoleFields):
    """Body of `POST /infill`; an option without a value has llama.cpp's default."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = _UNSUPPORTED

    input_prefix: str
    input_suffix: str
    prompt: str = ""
    model: str | None = None
    n_predict: Annotated[int, Field(ge=-1)] = -1
    n_indent: Annotated[int, Field(ge=0)] = 0
    t_max_predict_ms: Annotated[float, Field(ge=-1)] = -1
    stream: bool = False
    stop: Annotated[Annotated[list[str], FAIL_FAST] | None, BeforeValidator(string_list)] = None
    ignore_eos: bool = False
    temperature: float = 0.8
    top_k: Annotated[int, Field(ge=-1)] = 40
    top_p: TopP = 0.95
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.05
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    samplers: Annotated[list[SamplerName], FAIL_FAST] | None = None
    return_tokens: bool = False
    response_fields: Annotated[list[str], FAIL_FAST] | None = None
