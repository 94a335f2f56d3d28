"""What every `StepTimes` promises."""

from dataclasses import fields, replace

from hypothesis import strategies as st

from llama4coder.planner.step_load import StepLoad
from llama4coder.planner.step_time import StepTimes

NOTHING = StepLoad(0, 0, 0, 0)


@st.composite
def loads(draw: st.DrawFn) -> StepLoad:
    """Steps that a scheduler could plan."""
    rows, context = draw(st.integers(0, 64)), draw(st.integers(1, 8192))
    decode = StepLoad.decoding(rows, rows * context, draw(st.integers(1, 4))) if rows else NOTHING
    decode = replace(decode, num_reread_tokens=draw(st.integers(0, rows * context // 2)))
    chunk, before = draw(st.integers(0, 512)), draw(st.integers(0, 8192))
    return decode + (StepLoad.prefill(chunk, before) if chunk or not rows else NOTHING)


def check_contract(times: StepTimes, load: StepLoad) -> None:
    """Nothing takes nothing; equal loads take equal times; more of anything never takes less."""
    assert times.step(NOTHING).total_s == 0
    if load.num_tokens == 0:
        return
    total_s = times.step(load).total_s
    assert total_s > 0
    assert times.step(replace(load)).total_s == total_s
    for more in (_with_more(load, field.name) for field in fields(load)):
        assert times.step(more).total_s >= total_s * (1 - 1e-12), f"{more} takes less than {load}"


def _with_more(load: StepLoad, name: str) -> StepLoad:
    """Tokens of prompts, and rows, are tokens of the step as well; what is read again is read."""
    more = replace(load, **{name: getattr(load, name) + 1})
    if name in ("num_decode_rows", "num_prefill_tokens"):
        return replace(more, num_tokens=more.num_tokens + 1)
    return replace(more, num_read_tokens=more.num_read_tokens + 1) if name == "num_reread_tokens" else more
