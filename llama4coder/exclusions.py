"""Modules whose weights stay as they are where the others are quantised."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from llama4coder.errors import ConfigError

HEAD = "lm_head"

_WILDCARD = re.compile(r"[*?\[]")

# In the order of `ModelShape.layer_matrices`; those that share their input are one matrix.
_MERGED = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


def layer_modules(index: int) -> Sequence[Sequence[str]]:
    """The names of the modules of each matrix of a layer."""
    return [[f"model.layers.{index}.{name}" for name in names] for names in _MERGED]


def all_matrices(num_layers: int) -> Iterator[Sequence[str]]:
    """The names of the modules of each matrix that may be quantised; the last is the head, tied or not."""
    for index in range(num_layers):
        yield from layer_modules(index)
    yield [HEAD]


@dataclass(frozen=True, slots=True)
class _Matcher:
    """Patterns made ready: there may be hundreds of names, to be compared with each module many times."""

    names: frozenset[str]
    wildcards: re.Pattern[str] | None

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, patterns: tuple[str, ...]) -> "_Matcher":
        wildcards = [pattern for pattern in patterns if _WILDCARD.search(pattern)]
        combined = re.compile("|".join(map(translate, wildcards))) if wildcards else None
        return cls(frozenset(patterns).difference(wildcards), combined)

    def matches(self, module: str) -> bool:
        return module in self.names or (self.wildcards is not None and self.wildcards.match(module) is not None)


@dataclass(frozen=True, slots=True)
class Exclusions:
    """By patterns of `fnmatch` over module names."""

    patterns: tuple[str, ...] = ()

    def hold(self, module: str) -> bool:
        """Whether this module is excluded."""
        return bool(self.patterns) and _Matcher.of(self.patterns).matches(module)

    def check(self, key: str, num_layers: int) -> None:
        """Raise `ConfigError`, naming the setting, for a pattern without a match and for a matrix half excluded."""
        matrices = list(all_matrices(num_layers))
        for pattern in self.patterns:
            if not any(Exclusions((pattern,)).hold(module) for modules in matrices for module in modules):
                raise ConfigError(
                    f"{key}: {pattern!r} matches no module of the model; "
                    f"they are {matrices[0][0]} to {matrices[-2][0]}, and {HEAD}"
                )
        for modules in matrices:
            excluded = [module for module in modules if self.hold(module)]
            if excluded and len(excluded) < len(modules):
                raise ConfigError(
                    f"{key} excludes {', '.join(excluded)} and not all of {', '.join(modules)}, "
                    "which are kept as one matrix: exclude all of them, or none"
                )

    def distinct_layers(self, num_layers: int) -> Sequence[int]:
        """The first layer of each kind, where layers of one kind exclude the same matrices."""
        first: dict[tuple[bool, ...], int] = {}
        for index in range(num_layers):
            first.setdefault(tuple(self.hold(modules[0]) for modules in layer_modules(index)), index)
        return list(first.values())


NOTHING = Exclusions()
"""Excluded."""
