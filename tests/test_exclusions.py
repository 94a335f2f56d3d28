"""Patterns over modules: what they hold, and which make no sense."""

import pytest

from llama4coder.errors import ConfigError
from llama4coder.exclusions import NOTHING, Exclusions


def test_patterns_hold_whole_names() -> None:
    excluded = Exclusions(("lm_head", "model.layers.1.*", "*.down_proj"))
    assert excluded.hold("lm_head") and excluded.hold("model.layers.7.mlp.down_proj")
    assert excluded.hold("model.layers.1.self_attn.q_proj") and not excluded.hold("model.layers.11.mlp.up_proj")
    assert not NOTHING.hold("lm_head")


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*.qproj", r"model\.quant_exclude: '\*\.qproj' matches no module"),
        ("model.layers.2.*", "matches no module"),
        ("", "matches no module"),
        ("*.q_proj", r"excludes model\.layers\.0\.self_attn\.q_proj and not all of .*k_proj"),
        ("model.layers.1.mlp.up_proj", "exclude all of them, or none"),
    ],
)
def test_what_makes_no_sense_is_refused(pattern: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Exclusions(("lm_head", pattern)).check("model.quant_exclude", 2)


def test_several_patterns_may_cover_a_matrix_together() -> None:
    Exclusions(("*.gate_proj", "*.up_proj", "*.[qkv]_proj", "lm_head")).check("model.quant_exclude", 2)


def test_layers_of_one_kind_are_one() -> None:
    assert list(NOTHING.distinct_layers(5)) == [0]
    assert list(Exclusions(("model.layers.0.*", "model.layers.3.mlp.down_proj")).distinct_layers(5)) == [0, 1, 3]
