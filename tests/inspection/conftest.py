"""A model's files with any config.json."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llama4coder.inspection.files import LicenceFiles, ModelFiles, Source


@pytest.fixture
def files_of() -> Callable[..., ModelFiles]:
    def build(**config: object) -> ModelFiles:
        return ModelFiles(Path("/model"), Source.FOLDER, config, (), None, None, LicenceFiles({}, None), None)

    return build
