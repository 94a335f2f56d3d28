"""What a plan says of figures that others have published: `python -m tests.bench.published`."""

from llama4coder.planner.efficiency import OTHER_ENGINES
from tests.bench.measure import markdown_table
from tests.planner.published import POINTS

_HEADER = ("", "published", "planned", "error", "the point")


def main() -> None:
    """Print a table."""
    rows = []
    for point in POINTS:
        planned = point.predict(OTHER_ENGINES)
        error = f"{planned / point.published - 1:+.1%}"
        rows.append((point.name, f"{point.published:g} {point.unit}", f"{planned:.4g}", error, point.use.value))
    print(markdown_table(_HEADER, rows))


if __name__ == "__main__":
    main()
