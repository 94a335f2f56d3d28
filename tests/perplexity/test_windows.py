"""A text in windows."""

import pytest

from llama4coder.perplexity.windows import cut_windows


@pytest.mark.parametrize(
    ("num_tokens", "bos", "expected"),
    [
        (6, None, [(0, 1, 2), (3, 4, 5)]),
        (8, None, [(0, 1, 2), (3, 4, 5), (6, 7)]),
        (7, None, [(0, 1, 2), (3, 4, 5)]),  # a last token by itself has nothing before it
        (5, 9, [(9, 0, 1), (9, 2, 3), (9, 4)]),
        (0, 9, []),
    ],
)
def test_windows(num_tokens: int, bos: int | None, expected: list[tuple[int, ...]]) -> None:
    assert cut_windows(range(num_tokens), 3, bos) == expected
