"""The audit of every format on every number of ranks, and its picture."""

from functools import cache
from xml.etree import ElementTree

import pytest

from llama4coder.planner.audit import Audit, Cell, audit_of
from llama4coder.planner.candidate import Wish
from llama4coder.planner.gpus import find_gpu
from llama4coder.planner.pictures import audit_picture, plan_picture
from llama4coder.planner.plan import make_plan
from llama4coder.planner.shapes import find_model
from tests.planner.questions import WISH, question

SVG = "{http://www.w3.org/2000/svg}"


@cache
def audit(model: str = "llama-3.1-70b", gpu: str = "H100") -> Audit:
    return audit_of(find_model(model), find_gpu(gpu), Wish(ranks=4, quant="nf4"))


def cell(quant: str, kv_format: str, ranks: int) -> Cell:
    (row,) = (row for row in audit().rows if (row.quant, row.kv_format) == (quant, kv_format))
    (found,) = (each for each in row.cells if each is not None and each.ranks == ranks)
    return found


def test_the_classic_questions() -> None:
    assert cell("none", "dense", 1).spare < -100 * 2**30, "141 GB of weights and 43 of KV on one 80 GB card"
    assert cell("none", "dense", 2).spare < 0 < cell("none", "dense", 4).spare
    assert cell("nf4", "dense", 1).spare < 0 < cell("nf4", "fp8", 1).spare, "what 4 bits of weights and 8 of KV buy"
    assert cell("fp8", "dense", 2).num_sequences == 1


def test_more_ranks_and_fewer_bits_never_hold_less() -> None:
    for row in audit().rows:
        held = [each.num_sequences for each in row.cells if each is not None]
        assert held == sorted(held)
    assert [cell("fp8", kv_format, 8).num_sequences for kv_format in ("dense", "int8", "int4")] == [12, 23, 37]


def test_sixteen_ranks_have_two_kv_shards() -> None:
    assert cell("none", "dense", 16).layout == "8 x 2"


def test_what_is_missing_says_how_long_a_context_would_fit() -> None:
    missing = cell("nf4", "dense", 1)
    assert 64 * 1024 < missing.longest_context < 131072
    assert cell("nf4", "fp8", 1).longest_context == 131072


def test_findings() -> None:
    assert audit().findings == [
        "as it is: 4 ranks (none weights, dense KV) hold 3 sequences",
        "with fewer bits of weights: 2 ranks (nf4 weights, dense KV) hold 2 sequences",
        "with fewer bits of KV: 4 ranks (none weights, int4 KV) hold 11 sequences",
        "with fewer bits of both: 1 rank (nf4 weights, fp8 KV) holds 1 sequence",
    ]


def test_refused_formats_say_why() -> None:
    refused = [row for row in audit(gpu="A100-80").rows if row.refusal is not None]
    assert {row.quant for row in refused} == {"fp8"}
    assert all("no FP8 products" in str(row.refusal) and not any(row.cells) for row in refused)
    assert not any(row.kv_format == "fp8" for row in audit("qwen2.5-coder-7b").rows), "its keys have biases"


def test_picture_of_an_audit() -> None:
    root = ElementTree.fromstring(audit_picture(audit()))
    told = [element.text for element in root.iter(f"{SVG}text")]
    assert "-104.1 GiB" in told and "16 ranks" in told and "nf4, int4 KV" in told
    assert len(list(root.iter(f"{SVG}rect"))) == 1 + 3 + 3 * 12 * 5


@pytest.mark.parametrize(("wish", "num_titles"), [(WISH, 2), (Wish(), 1)])
def test_picture_of_a_plan(wish: Wish, num_titles: int) -> None:
    root = ElementTree.fromstring(plan_picture(make_plan(question(wish=wish, acceptance=0.7))))
    titles = [element.text for element in root.iter(f"{SVG}text") if element.get("font-weight") == "bold"]
    assert titles == ["Memory of a rank", "Speed of all against speed of one"][:num_titles]
    assert "budget of a rank" in [element.text for element in root.iter(f"{SVG}text")]
