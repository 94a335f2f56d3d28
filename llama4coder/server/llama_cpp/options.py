"""llama.cpp's fields as the endpoint's `Options`."""

from llama4coder.server.bounds import TextBounds
from llama4coder.server.generation import TextOptions
from llama4coder.server.llama_cpp.schemas import InfillRequest
from llama4coder.server.preprocess import Options
from llama4coder.types import SamplingParams

_RANDOM_SEEDS = (-1, 0xFFFFFFFF)


def infill_options(body: InfillRequest) -> Options:
    """The wishes of an infill."""
    return Options(
        sampling=_sampling(body),
        text=TextOptions(stop=tuple(stop for stop in body.stop or () if stop), bounds=_bounds(body)),
        max_tokens=None if body.n_predict == -1 else body.n_predict,
        ignore_eos=body.ignore_eos,
        seed=None if body.seed in _RANDOM_SEEDS else body.seed,
    )


def _bounds(body: InfillRequest) -> TextBounds | None:
    max_time_s = body.t_max_predict_ms / 1000 if body.t_max_predict_ms > 0 else None
    return TextBounds(body.n_indent, max_time_s) if body.n_indent or max_time_s is not None else None


def _sampling(body: InfillRequest) -> SamplingParams:
    """Samplers that a list leaves out do nothing; the order is always ours.

    `infill` is read as the most probable token: llama.cpp's keeps those few that are likely, and ends the answer where
    none is.
    """
    wanted = None if body.samplers is None else frozenset(body.samplers)
    if wanted is not None and "infill" in wanted:
        return SamplingParams(temperature=0.0)
    return SamplingParams(
        temperature=max(0.0, body.temperature) if wanted is None or "temperature" in wanted else 1.0,
        top_k=max(0, body.top_k) if wanted is None or "top_k" in wanted else 0,
        top_p=body.top_p if wanted is None or "top_p" in wanted else 1.0,
        min_p=body.min_p if wanted is None or "min_p" in wanted else 0.0,
    )
