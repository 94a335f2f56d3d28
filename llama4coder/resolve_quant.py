"""How weights are kept: from what the operator wrote and what the checkpoint is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama4coder.checkpoint.quant_settings import StoredKind
from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import Auto, Device, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.exclusions import Exclusions, all_matrices, layer_modules
from llama4coder.kv.sizing import INT4_GROUP, NF4_GROUP, layer_matrices
from llama4coder.parallel.plan import RankPlan

_CPU_FORMATS: frozenset[QuantFormat] = frozenset({"int8", "int4"})  # that GPUs have no kernels for
_GROUP: Mapping[QuantFormat, int] = {"int4": INT4_GROUP, "nf4": NF4_GROUP}
_OWN: Mapping[Device, Mapping[StoredKind, QuantFormat]] = {
    "cpu": {StoredKind.BNB_4BIT: "nf4", StoredKind.BNB_8BIT: "int8", StoredKind.FP8: "fp8"},
    "cuda": {StoredKind.BNB_4BIT: "nf4", StoredKind.BNB_8BIT: "fp8", StoredKind.FP8: "fp8"},
}


@dataclass(frozen=True, slots=True)
class QuantSetting:
    """What the operator wrote, under which key."""

    key: str  # such as `model.quant`
    quant: QuantFormat | Auto
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedQuant:
    """One format for all matrices but the excluded ones."""

    quant: QuantFormat
    exclusions: Exclusions


def resolve_quant(
    setting: QuantSetting, stored: StoredQuant | None, plans: Sequence[RankPlan], device: Device
) -> ServedQuant:
    """What `auto` stands for: the checkpoint's own kind, and for the modules that it leaves out what they are in it.

    Raises:
        ConfigError: a format that these weights on this device cannot have, or exclusions that make no sense.
    """
    num_layers = plans[0].shape.num_layers
    Exclusions(setting.excluded).check(f"{setting.key}_exclude", num_layers)
    if setting.quant == "auto":
        own = "none" if stored is None else _OWN[device][stored.kind]
        excluded = setting.excluded if stored is None else (*setting.excluded, *_left_out(stored, num_layers))
        served = ServedQuant(own, Exclusions(tuple(dict.fromkeys(excluded))))
    else:
        served = ServedQuant(setting.quant, Exclusions(setting.excluded))
    _check(setting.key, served, plans, device)
    return served


def _left_out(stored: StoredQuant, num_layers: int) -> list[str]:
    """All modules of a matrix of which the checkpoint has left out any."""
    matrices = (modules for modules in all_matrices(num_layers) if not stored.modules.issuperset(modules))
    return [module for modules in matrices for module in modules]


def _check(key: str, served: ServedQuant, plans: Sequence[RankPlan], device: Device) -> None:
    if device == "cuda" and served.quant in _CPU_FORMATS:
        raise ConfigError(
            f"{key} {served.quant} is computed on CPUs only: use fp8 or nf4, set it to none, or engine.device to cpu"
        )
    group = _GROUP.get(served.quant, 1)
    sizes = {size for plan in plans for size in _inputs(plan, served.exclusions)}
    if any(size % group for size in sizes):
        raise ConfigError(
            f"{key} {served.quant} keeps weights in groups of {group} inputs, and a rank's matrices have "
            f"{', '.join(map(str, sorted(sizes)))}: use {'int8' if served.quant == 'int4' else 'fp8'}"
        )


def _inputs(plan: RankPlan, exclusions: Exclusions) -> list[int]:
    """In-features of all matrices that are quantised."""
    return [
        matrix.in_features
        for index in exclusions.distinct_layers(plan.shape.num_layers)
        for matrix, modules in zip(layer_matrices(plan), layer_modules(index), strict=True)
        if not exclusions.hold(modules[0])
    ]
