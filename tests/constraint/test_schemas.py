"""What the embedded model samples under generated schemas validates."""

import pytest

from tests.support.schema_sampling import BATCH, embedded_subject, num_cut


def test_sampled_outputs_validate() -> None:
    with embedded_subject() as subject:
        assert num_cut(subject, range(20), depth=1) <= 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_sampled_outputs_validate() -> None:
    with embedded_subject() as subject:
        cut = sum(num_cut(subject, range(first, first + BATCH), depth=3) for first in range(0, 1000, BATCH))
    assert cut <= 50
