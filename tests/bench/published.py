"""What a plan says of figures that others have published: `python -m tests.bench.published`."""

from collections.abc import Sequence

from tests.bench.measure import markdown_table
from tests.published.mlperf import MLPERF
from tests.published.others import SINGLE
from tests.published.overview import OLDER_OVERVIEWS, OVERVIEW
from tests.published.point import Point

_HEADER = ("", "published", "planned", "error", "the point")


def main() -> None:
    """Print a table for each of the two parts of the test, and how many are within 15 %."""
    for points in ((*SINGLE, *MLPERF, *OVERVIEW), OLDER_OVERVIEWS):
        planned = [point.planned for point in points]
        errors = [each / point.published - 1 for each, point in zip(planned, points, strict=True)]
        rows = [_row(*each) for each in zip(points, planned, errors, strict=True)]
        print(f"{markdown_table(_HEADER, rows)}\n\n{_summary(errors)}\n")


def _row(point: Point, planned: float, error: float) -> Sequence[str]:
    return point.name, f"{point.published:.5g} {point.unit}", f"{planned:.4g}", f"{error:+.1%}", point.use.value


def _summary(errors: Sequence[float]) -> str:
    sizes = sorted(abs(error) for error in errors)
    near = sum(size <= 0.15 for size in sizes)
    return f"{near} of {len(sizes)} within 15 %; median {sizes[len(sizes) // 2]:.1%}, worst {sizes[-1]:.1%}"


if __name__ == "__main__":
    main()
