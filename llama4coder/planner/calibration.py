"""A calibration as a file: step times of one replica, and where they come from."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llama4coder.config import Device, DType, KVFormat, QuantFormat
from llama4coder.errors import ConfigError
from llama4coder.kv.step_sizing import ServedForm
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.planner.calibrated import CalibratedTimes, MeasuredSteps, Surroundings
from llama4coder.shape import ModelShape

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_SHAPE = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "head_dim")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Subject(_Frozen):
    """What was measured: as far as something else would take other times."""

    shape: dict[str, int]
    dtype: DType
    quant: QuantFormat
    quant_exclude: tuple[str, ...]
    kv_format: KVFormat
    heads_shards: int
    kv_shards: int

    @classmethod
    def of(cls, shape: ModelShape, layout: ParallelLayout, form: ServedForm) -> Self:
        return cls(
            shape={name: getattr(shape, name) for name in _SHAPE},
            dtype=form.dtype,
            quant=form.quant,
            quant_exclude=form.exclusions.patterns,
            kv_format=form.kv_format,
            heads_shards=layout.heads_shards,
            kv_shards=layout.kv_shards,
        )

    def differences(self, other: "Subject") -> list[str]:
        """What differs, with both values."""
        mine, others = self._flat(), other._flat()
        return [f"{name} {mine[name]} instead of {others[name]}" for name in mine if mine[name] != others.get(name)]

    def _flat(self) -> dict[str, object]:
        fields = self.model_dump()
        return {**fields.pop("shape"), **fields}


class Residual(_Frozen):
    """How far the table is from steps of one kind, as shares of what was measured."""

    kind: str
    num_steps: int
    median: float
    largest: float
    shortest_s: float
    longest_s: float


class Source(_Frozen):
    """Where a table comes from."""

    model: str
    machine: str  # what each rank computes on
    num_nodes: Annotated[int, Field(ge=1)] = 1
    device: Device
    num_threads: int  # of each rank
    date: str
    version: str
    num_steps: int
    residuals: tuple[Residual, ...]


class Steps(_Frozen):
    """See `calibrated.MeasuredSteps`."""

    tokens: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=2)]
    seconds: tuple[_Positive, ...]
    sampled_s: _Seconds
    read_s: _Seconds
    reread_s: _Seconds
    pair_s: _Seconds

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.tokens) != len(self.seconds):
            raise ValueError("tokens and seconds must be equally many")
        if sorted(set(self.tokens)) != list(self.tokens) or sorted(self.seconds) != list(self.seconds):
            raise ValueError("tokens must rise, and seconds must not fall: more never takes less")
        return self


class ServedLoad(_Frozen):
    """What a load on a running endpoint took, and what this table says of it."""

    requests_per_s: float
    prompt_tokens: int  # on average
    output_tokens: int
    num_requests: int
    ttft_s: float
    itl_s: float
    predicted_ttft_s: float
    predicted_itl_s: float


class Serving(_Frozen):
    """What a running endpoint adds to the engine alone; see `calibrated.Surroundings`."""

    scale: _Positive
    row_s: _Seconds
    front_s: _Seconds
    date: str
    loads: tuple[ServedLoad, ...]


class Calibration(_Frozen):
    """All of it."""

    subject: Subject
    source: Source
    steps: Steps
    serving: Serving | None = None

    @property
    def times(self) -> CalibratedTimes:
        """As `StepTimes`."""
        steps = MeasuredSteps(**self.steps.model_dump())
        if self.serving is None:
            return CalibratedTimes(steps)
        serving = self.serving
        return CalibratedTimes(steps, Surroundings(serving.scale, serving.row_s, serving.front_s))

    @property
    def num_ranks(self) -> int:
        return self.subject.heads_shards * self.subject.kv_shards

    @property
    def told_machine(self) -> str:
        """That of all ranks, in a few words."""
        machine, num_nodes = self.source.machine, self.source.num_nodes
        ranks = machine if self.num_ranks == 1 else f"{self.num_ranks} x {machine}"
        return ranks if num_nodes == 1 else f"{ranks} on {num_nodes} nodes"

    @property
    def told_source(self) -> str:
        """In one line, for whoever reads a plan."""
        source = self.source
        of = "an engine alone" if self.serving is None else f"a running endpoint ({len(self.serving.loads)} loads)"
        return f"{source.num_steps} measured steps of {of} on {self.told_machine}, {source.date[:10]}"

    def check(self, subject: Subject) -> None:
        """Raise `ConfigError` if it was made for something else; says what differs."""
        if differences := self.subject.differences(subject):
            raise ConfigError(
                f"the calibration was made for {', '.join(differences)}: make one for this replica "
                "(llama4coder calibrate), or leave --calibration out"
            )

    def write(self, path: Path) -> None:
        """Raises `ConfigError` where it cannot be written."""
        try:
            path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; name another with --out") from error


def read_calibration(path: Path) -> Calibration:
    """The table that a YAML file holds.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Calibration.model_validate(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{path} is no calibration, make one with `llama4coder calibrate`: {problems}") from error
