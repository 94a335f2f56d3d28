"""Which formats are compared."""

from typing import Literal, get_args

import pytest

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.perplexity.formats import BASELINE, Format, all_pairs, literals


def test_every_pair_behind_the_baseline() -> None:
    assert all_pairs(["int8, int4"], ["dense", "int8,dense"]) == (
        BASELINE,
        Format("int8", "dense"),
        Format("int8", "int8"),
        Format("int4", "dense"),
        Format("int4", "int8"),
    )


def test_one_side_alone() -> None:
    assert all_pairs([], []) == (BASELINE,)
    assert all_pairs(["none"], ["fp8"]) == (BASELINE, Format("none", "fp8"))


@pytest.mark.parametrize(
    ("quants", "kv_formats", "message"),
    [(["fp7"], [], "--quant fp7: .* choose of none, "), ([], ["int8,nf4"], "--kv nf4: .* choose of dense, ")],
)
def test_unknown_format(quants: list[str], kv_formats: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        all_pairs(quants, kv_formats)


def test_choices_are_the_configurations() -> None:
    for quant in get_args(QuantFormat):
        assert Format(quant, "dense") in all_pairs([quant], [])
    for kv_format in get_args(KVFormat):
        assert Format("none", kv_format) in all_pairs([], [kv_format])


def test_literals_of_a_union() -> None:
    assert literals(Literal["a", "b"] | Literal["auto"] | None) == ("a", "b", "auto")
