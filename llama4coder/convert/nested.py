"""Scales in 8 bits themselves, the double quantisation of arXiv 2305.14314, as bitsandbytes keeps them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NESTED_GROUP = 256  # scales that share one

_DECADES = 7


def dynamic_map() -> Tensor:
    """The 256 numbers of the 8-bit dynamic type (arXiv 1511.04561), ascending, float32.

    Decades from 1e-7 to 1, each with twice as many steps as the one below it, of both signs; and 0, and 1.
    """
    decades = [_decade(index) for index in range(_DECADES)]
    return torch.cat([*decades, *(-decade for decade in decades), torch.tensor([0.0, 1.0])]).sort().values


def _decade(index: int) -> Tensor:
    bounds = torch.linspace(0.1, 1, 2**index + 1)
    return (bounds[1:] + bounds[:-1]) / 2 * 10.0 ** (index - _DECADES + 1)


@dataclass(frozen=True, slots=True)
class NestedScales:
    """scale = map[code] * largest of its group + offset."""

    codes: Tensor  # uint8 [num_scales]
    largest: Tensor  # float32 [num_scales / 256]
    offset: float

    @classmethod
    def of(cls, scales: Tensor) -> "NestedScales":
        """The nearest numbers for float32 scales; the offset is their mean."""
        offset = scales.mean()
        groups = F.pad(scales - offset, (0, -len(scales) % NESTED_GROUP)).view(-1, NESTED_GROUP)
        largest = groups.abs().amax(dim=1)
        numbers = dynamic_map()
        midpoints = (numbers[1:] + numbers[:-1]) / 2
        codes = torch.bucketize(groups / torch.where(largest > 0, largest, 1.0)[:, None], midpoints)
        return cls(codes.to(torch.uint8).flatten()[: len(scales)], largest, offset.item())
