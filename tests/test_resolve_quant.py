"""What `model.quant: auto` stands for, and exclusions."""

from dataclasses import replace

import pytest

from llama4coder.checkpoint.quant_settings import StoredKind
from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import Device, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.exclusions import all_matrices
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve_quant import QuantSetting, resolve_quant
from tests.support.shapes import TINY

PLANS = [RankPlan.alone(replace(TINY, intermediate_size=128))]
MODULES = frozenset(module for modules in all_matrices(2) for module in modules if module != "lm_head")


@pytest.mark.parametrize(
    ("kind", "device", "quant"),
    [
        (StoredKind.BNB_4BIT, "cpu", "nf4"),
        (StoredKind.BNB_4BIT, "cuda", "nf4"),
        (StoredKind.BNB_8BIT, "cpu", "int8"),
        (StoredKind.BNB_8BIT, "cuda", "fp8"),
        (StoredKind.FP8, "cpu", "fp8"),
        (StoredKind.FP8, "cuda", "fp8"),
    ],
)
def test_a_quantised_checkpoint_is_served_in_its_own_kind(kind: StoredKind, device: Device, quant: QuantFormat) -> None:
    served = resolve_quant(QuantSetting("model.quant", "auto"), StoredQuant(kind, MODULES), PLANS, device)
    assert served.quant == quant and served.exclusions.patterns == ("lm_head",)


def test_any_other_checkpoint_is_served_as_it_is() -> None:
    served = resolve_quant(QuantSetting("model.quant", "auto"), None, PLANS, "cpu")
    assert served.quant == "none" and served.exclusions.patterns == ()


def test_what_a_checkpoint_leaves_out_is_left_out_by_auto_only() -> None:
    stored = StoredQuant(StoredKind.FP8, MODULES - {"model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj"})
    setting = QuantSetting("model.quant", "auto", ("model.layers.0.mlp.*",))
    served = resolve_quant(setting, stored, PLANS, "cpu")
    assert served.exclusions.patterns == (
        "model.layers.0.mlp.*",
        *(f"model.layers.0.self_attn.{name}_proj" for name in "qkv"),
        "model.layers.1.mlp.down_proj",
        "lm_head",
    )
    chosen = resolve_quant(QuantSetting("model.quant", "nf4"), stored, PLANS, "cpu")
    assert chosen.quant == "nf4" and chosen.exclusions.patterns == ()


def test_matrices_that_do_not_fit_a_format_may_be_excluded() -> None:
    odd = [RankPlan.alone(TINY)]
    with pytest.raises(ConfigError, match=r"model\.quant nf4 keeps weights in groups of 64 inputs.*64, 96: use fp8"):
        resolve_quant(QuantSetting("model.quant", "nf4"), None, odd, "cpu")
    assert resolve_quant(QuantSetting("model.quant", "nf4", ("*.down_proj",)), None, odd, "cpu").quant == "nf4"


def test_patterns_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"model\.quant_exclude: 'head' matches no module"):
        resolve_quant(QuantSetting("model.quant", "none", ("head",)), None, PLANS, "cpu")
