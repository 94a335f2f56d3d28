"""An OpenAI-compatible endpoint for Llama-family code models; this package is everything that runs in one process.

`LLM` and `SamplingParams` are imported on first use, so that `import llama4coder` costs nothing and needs no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama4coder.llm import LLM as LLM
    from llama4coder.types import SamplingParams as SamplingParams

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "__version__"]


def __getattr__(name: str) -> object:
    if name == "LLM":
        from llama4coder.llm import LLM

        return LLM
    if name == "SamplingParams":
        from llama4coder.types import SamplingParams

        return SamplingParams
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
