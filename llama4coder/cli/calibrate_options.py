"""What `calibrate` can be asked for, as it is once it makes sense."""

from pathlib import Path
from typing import Annotated

import msgspec

from llama4coder.config import (
    Auto,
    DeploymentConfig,
    EngineConfig,
    KVFormat,
    ModelConfig,
    PlacementConfig,
    QuantFormat,
    SpeculationConfig,
)
from llama4coder.errors import ConfigError

_JOINING_TIMEOUT_S = 10.0  # of nodes: somebody waits at a terminal
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Given(msgspec.Struct, frozen=True):
    """Options that make sense, one by one; names are those of the command's parameters."""

    path: str
    out: Path
    ranks: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    kv_shards: _Count | None
    ranks_per_node: list[_Count] | None
    address: str | None
    quant: QuantFormat | Auto
    kv_format: KVFormat
    context: Annotated[int, msgspec.Meta(ge=16)] | None
    max_sequences: _Count
    max_step_tokens: Annotated[int, msgspec.Meta(ge=16)]
    threads: _Count | None
    url: str | None
    table: Path | None
    rate: list[_Positive] | None
    seconds: _Positive
    runs: _Count
    prompt_tokens: Annotated[int, msgspec.Meta(ge=2)]
    output_tokens: Annotated[int, msgspec.Meta(ge=2)]

    def check(self) -> None:
        """Raise `ConfigError` for options that make no sense together."""
        if not self.out.parent.is_dir():
            raise ConfigError(f"--out {self.out}: there is no folder {self.out.parent}")
        if self.url is None and (self.table is not None or self.rate):
            raise ConfigError("--table and --rate are for a running endpoint: name it with --url")
        if self.url is not None and self.table is None:
            raise ConfigError("--url needs --table: what `llama4coder calibrate` has measured of the engine alone")
        if self.ranks_per_node and self.address is None:
            raise ConfigError("--ranks-per-node is for the nodes of a running Ray: name its head with --address")

    def config(self) -> DeploymentConfig:
        """Guesses are none of a step's times: `plan` and `simulate` add what they cost and gain."""
        return DeploymentConfig(
            model=ModelConfig(path=self.path, quant=self.quant, context_length=self.context or "auto"),
            engine=EngineConfig(
                ranks=self.ranks,
                kv_shards=self.kv_shards or "auto",
                kv_format=self.kv_format,
                max_sequences=self.max_sequences,
                max_step_tokens=self.max_step_tokens,
                num_threads=self.threads or "auto",
            ),
            placement=PlacementConfig(
                ranks_per_node=tuple(self.ranks_per_node) if self.ranks_per_node else None,
                timeout_s=_JOINING_TIMEOUT_S,
            ),
            speculation=SpeculationConfig(method="none"),
        )
