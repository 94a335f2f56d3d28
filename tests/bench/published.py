"""What a plan says of figures that others have published: `python -m tests.bench.published`."""

from collections.abc import Mapping, Sequence

from tests.bench.measure import markdown_table
from tests.published.mlperf import MLPERF
from tests.published.others import SINGLE
from tests.published.overview import OLDER_OVERVIEWS, OVERVIEW
from tests.published.point import Point

_HEADER = ("", "published", "planned", "error", "the point")


def main() -> None:
    """Print each point, then the errors of older engines, and of both how many are within 15 %."""
    recent = [(point, point.planned) for point in (*SINGLE, *MLPERF, *OVERVIEW)]
    print(markdown_table(_HEADER, [_row(point, planned) for point, planned in recent]))
    print(_summary([planned / point.published - 1 for point, planned in recent]))
    older = {point.name: point.error for point in OLDER_OVERVIEWS}
    print(_by_lengths(older))
    print(_summary(list(older.values())))


def _row(point: Point, planned: float) -> Sequence[str]:
    error = f"{planned / point.published - 1:+.1%}"
    return point.name, f"{point.published:.5g} {point.unit}", f"{planned:.4g}", error, point.use.value


def _by_lengths(errors: Mapping[str, float]) -> str:
    """A table with a line for each column of theirs; names are "column, lengths"."""
    columns: dict[str, dict[str, float]] = {}
    for name, error in errors.items():
        column, lengths = name.split(", ")
        columns.setdefault(column, {})[lengths] = error
    all_lengths = list(dict.fromkeys(lengths for column in columns.values() for lengths in column))
    rows = [
        (name, *(f"{found[lengths]:+.1%}" if lengths in found else "" for lengths in all_lengths))
        for name, found in columns.items()
    ]
    return markdown_table(("", *all_lengths), rows)


def _summary(errors: Sequence[float]) -> str:
    sizes = sorted(abs(error) for error in errors)
    near = sum(size <= 0.15 for size in sizes)
    return f"\n{near} of {len(sizes)} within 15 %; median {sizes[len(sizes) // 2]:.1%}, worst {sizes[-1]:.1%}\n"


if __name__ == "__main__":
    main()
