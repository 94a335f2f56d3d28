"""Kinds of GPU as a plan knows them: what NVIDIA's data sheets say, dense rates, without sparsity.

Sources: data sheets of A100 80GB, H100 SXM, H200 SXM, HGX B200 and L40S. Memory is what the driver reports, which is a
little less than what the name says; prices are nobody's offer, and only for comparing plans.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from llama4coder.errors import ConfigError

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _within(least: float, most: float, unit: str) -> AfterValidator:
    """For what is easily given in another unit."""

    def check(value: float) -> float:
        if not least <= value <= most:
            raise ValueError(f"{value:g} is not from {least:g} to {most:g}: give it in {unit}, as in 80e9")
        return value

    return AfterValidator(check)


_Bytes = Annotated[int, Field(gt=0), _within(2**30, 2**50, "bytes, not GB")]
_BytesPerS = Annotated[_Positive, _within(1e9, 1e15, "bytes per second, not GB/s")]
_Flops = Annotated[_Positive, _within(1e12, 1e19, "products per second, not TFLOPS")]


class GpuKind(BaseModel):
    """One GPU, and the node that it comes in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory_bytes: _Bytes
    bandwidth_bytes_per_s: _BytesPerS
    bf16_flops: _Flops
    """Products of bfloat16 per second; two for each weight and token."""
    fp8_flops: _Flops | None = None
    """The same in 8 bits; None where the hardware has no such products."""
    fp4_flops: _Flops | None = None
    link_bytes_per_s: _BytesPerS
    """To the other GPUs of the node, in one direction."""
    network_bytes_per_s: _BytesPerS = 50e9
    """To another node, for each GPU, in one direction."""
    gpus_per_node: Annotated[int, Field(gt=0)] = 8
    price_per_hour: _Positive | None = None
    """Of one GPU, in whatever currency."""


def _gpu(name: str, memory_mib: int, terabytes_per_s: float, tflops: float, **others: float | None) -> GpuKind:
    return GpuKind.model_validate(
        {
            "name": name,
            "memory_bytes": memory_mib * 2**20,
            "bandwidth_bytes_per_s": terabytes_per_s * 1e12,
            "bf16_flops": tflops * 1e12,
            **others,
        }
    )


GPUS: Mapping[str, GpuKind] = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            _gpu("A100-80", 81_920, 2.039, 312, link_bytes_per_s=300e9, price_per_hour=1.5),
            _gpu("H100", 81_559, 3.35, 989, fp8_flops=1979e12, link_bytes_per_s=450e9, price_per_hour=2.5),
            _gpu("H200", 143_771, 4.8, 989, fp8_flops=1979e12, link_bytes_per_s=450e9, price_per_hour=3.5),
            _gpu(
                "B200",
                183_359,
                7.7,
                2250,
                fp8_flops=4500e12,
                fp4_flops=9e15,
                link_bytes_per_s=900e9,
                price_per_hour=5.5,
            ),
            _gpu("L40S", 46_068, 0.864, 362, fp8_flops=733e12, link_bytes_per_s=32e9, price_per_hour=1.0),
        )
    }
)


def find_gpu(name: str) -> GpuKind:
    """A kind by its name, in any case; or by the path of a YAML file that describes one as `GpuKind` does.

    Raises:
        ConfigError: there is none; says which there are, or what is wrong in the file.
    """
    known = next((gpu for gpu in GPUS.values() if gpu.name.lower() == name.lower()), None)
    if known is not None:
        return known
    if not name.endswith((".yaml", ".yml")):
        raise ConfigError(
            f"GPU {name!r} is not known; choose of {', '.join(GPUS)}, or describe it in a .yaml file and name that"
        )
    return read_gpu(Path(name))


def read_gpu(path: Path) -> GpuKind:
    """The kind that a YAML file describes.

    Raises:
        ConfigError: it cannot be read, or a field is missing, unknown or bad.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return GpuKind.model_validate(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a file that describes a GPU") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{path} does not describe a GPU, see docs/planning.md: {problems}") from error
