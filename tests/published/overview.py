"""Tables of TensorRT-LLM's performance overview: all rows of its Llama 8B and 70B on GPUs that are known here.

Of 0.20, which measured what 1.0 did, only the layouts that 1.0 has not; of 0.14 one column for each kind of GPU.
"""

from collections.abc import Sequence
from dataclasses import replace

from tests.published.point import Point, Use
from tests.published.tensorrt_llm import Column, Limits

_LATEST = ((1000, 1000), (1024, 1024), (1024, 8192), (8192, 1024), (32768, 1024))
_LENGTHS = (
    *((128, 128), (128, 2048), (128, 4096), (500, 2000), (1000, 1000), (1000, 2000)),
    *((2048, 128), (2048, 2048), (5000, 500), (20000, 2000)),
)
_SHORT_TABLE = tuple(length for length in _LENGTHS if length != (2048, 2048))
_BUILT = Limits(2048, 8192)  # of 0.14: benchmark_config.yml for 8B, and what an engine has that says nothing


def _latest(gpu: str, ranks: int, tokens_per_s_per_gpu: Sequence[int]) -> list[Point]:
    column = Column("1.2", "70B", gpu, ranks, "nf4" if gpu == "B200" else "fp8")
    return list(column.points(_LATEST, [ranks * each for each in tokens_per_s_per_gpu]))


def _first_chosen(points: list[Point]) -> list[Point]:
    return [replace(points[0], use=Use.CHOSEN_BY), *points[1:]]


OVERVIEW = (
    *_first_chosen(_latest("H200", 2, (2587, 2582, 2009, 537, 120))),
    *_latest("H100", 2, (2209, 0, 0, 398, 0)),
    *_latest("B200", 1, (6920, 6842, 3242, 1362, 274)),
    *Column("1.0", "70B", "B200", 1, "nf4").points(
        _LENGTHS, (11147, 9922, 6831, 7762, 7007, 6271, 1339, 4783, 1459, 665)
    ),
    *Column("1.0", "70B", "H200", 1, "fp8").points(_LENGTHS, (3803, 4336, 2872, 3666, 2909, 2994, 442, 2003, 566, 283)),
    *Column("1.0", "70B", "H100", 2, "fp8").points(_LENGTHS, (6378, 6651, 4199, 5222, 4205, 4146, 762, 3082, 898, 437)),
    *Column("1.0", "8B", "H200", 1, "fp8").points(
        _LENGTHS, (27911, 26221, 18027, 20770, 17744, 16828, 3538, 12194, 3902, 1804)
    ),
    *Column("1.0", "8B", "H100", 1, "fp8").points(
        _LENGTHS, (28312, 22714, 14325, 17660, 15220, 13899, 3450, 9305, 3459, 1351)
    ),
)

OLDER_OVERVIEWS = (
    *Column("0.20", "70B", "B200", 2, "nf4").points(
        _SHORT_TABLE, (17542, 15432, 9842, 11851, 10816, 9831, 1989, 2420, 1177)
    ),
    *Column("0.20", "70B", "B200", 4, "nf4").points(
        _SHORT_TABLE, (24667, 23568, 17809, 20710, 16413, 15597, 3033, 3687, 2121)
    ),
    *Column("0.20", "70B", "B200", 8, "nf4").points(
        _SHORT_TABLE, (27272, 31174, 25229, 28039, 20061, 20672, 4036, 5183, 3429)
    ),
    *Column("0.20", "70B", "H200", 2, "fp8").points(_SHORT_TABLE, (6428, 8464, 5574, 6740, 5120, 5847, 773, 997, 620)),
    *Column("0.20", "70B", "H200", 4, "fp8").points(
        _SHORT_TABLE, (10407, 13509, 11459, 12200, 8685, 9031, 1265, 1698, 1161)
    ),
    *Column("0.20", "70B", "H200", 8, "fp8").points(
        _SHORT_TABLE, (15434, 20760, 16669, 0, 12745, 13141, 0, 2655, 1986)
    ),
    *Column("0.20", "70B", "H100", 4, "fp8").points(_SHORT_TABLE, (0, 11465, 8206, 9904, 7436, 7611, 1213, 1553, 904)),
    *Column("0.20", "70B", "H100", 8, "fp8").points(
        _SHORT_TABLE, (0, 17424, 12625, 14554, 11019, 11139, 1839, 2370, 1554)
    ),
    *Column("0.14", "8B", "H100", 1, "none", _BUILT).points(
        _LENGTHS, (15572, 9151, 5369, 7498, 7055, 0, 1904, 4160, 1708, 563)
    ),
    *Column("0.14", "8B", "A100-80", 1, "none", _BUILT).points(
        _LENGTHS, (6702, 4963, 3011, 3945, 3634, 0, 795, 2265, 791, 317)
    ),
    *Column("0.14", "8B", "L40S", 1, "fp8", _BUILT).points(
        _LENGTHS, (8640, 5102, 2775, 4065, 3727, 0, 987, 2018, 856, 271)
    ),
    *Column("0.14", "8B", "H200", 1, "fp8", _BUILT).points(
        _LENGTHS, (27779, 22949, 15583, 19510, 16415, 0, 3619, 11033, 3788, 1650)
    ),
    *Column("0.14", "8B", "H100", 1, "fp8", _BUILT).points(
        _LENGTHS, (26933, 18995, 11815, 14993, 14108, 0, 3460, 8778, 3258, 1301)
    ),
    *Column("0.14", "70B", "H200", 1, "fp8", _BUILT).points(
        _LENGTHS, (3897, 3612, 2415, 2827, 2585, 0, 458, 1798, 534, 241)
    ),
    *Column("0.14", "70B", "H100", 2, "fp8", _BUILT).points(
        _LENGTHS, (5195, 5869, 3519, 4606, 4116, 0, 697, 2445, 887, 398)
    ),
    *Column("0.14", "70B", "H100", 4, "none", _BUILT).points(
        _LENGTHS, (5847, 4983, 3084, 3781, 3775, 0, 688, 2393, 849, 369)
    ),
    *Column("0.14", "70B", "A100-80", 4, "none", _BUILT).points(
        _LENGTHS, (2421, 2492, 1686, 2096, 1763, 0, 278, 1231, 363, 180)
    ),
    *Column("0.14", "70B", "A100-80", 8, "none", _BUILT).points(
        _LENGTHS, (4572, 4254, 3068, 3487, 3190, 0, 550, 2172, 670, 363)
    ),
    *Column("0.14", "70B", "L40S", 4, "fp8", _BUILT).points(
        _LENGTHS, (1438, 1764, 1280, 1470, 1161, 0, 169, 876, 236, 141)
    ),
)
