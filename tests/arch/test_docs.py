"""The generated pages say what the source says."""

import runpy
from pathlib import Path

import pytest

from tests.arch.source import REPOSITORY

REFERENCE = runpy.run_path(str(REPOSITORY / "scripts" / "reference.py"))
PAGES: dict[Path, str] = REFERENCE["pages"]()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "run `make docs`"


def test_configuration_page_has_every_field() -> None:
    from pydantic import BaseModel

    from llama4coder import config

    page = PAGES[REPOSITORY / "docs" / "configuration.md"]
    sections: dict[str, type[BaseModel]] = {
        "model": config.ModelConfig,
        "engine": config.EngineConfig,
        "placement": config.PlacementConfig,
        "speculation": config.SpeculationConfig,
        "speculation.draft": config.DraftConfig,
        "speculation.pool": config.PoolConfig,
        "router": config.RouterConfig,
        "scaling": config.ScalingConfig,
        "server": config.ServerConfig,
        "telemetry": config.TelemetryConfig,
        "plan": config.PlanConfig,
    }
    for section, settings in sections.items():
        for name in settings.model_fields:
            assert f"{section}.{name}" in sections or f"`{section}.{name}`" in page
    for name in config.DeploymentConfig.model_fields.keys() - sections.keys():
        assert f"`{name}`" in page


def test_metrics_page_has_every_metric() -> None:
    from prometheus_client import CollectorRegistry

    from llama4coder.obs.metrics import Metrics

    registry = CollectorRegistry()
    Metrics(registry)
    page = PAGES[REPOSITORY / "docs" / "metrics.md"]
    for metric in registry.collect():
        assert f"`{metric.name}" in page


def test_a_new_field_changes_the_page() -> None:
    source = 'class EngineConfig:\n    """Title."""\n    size: Annotated[int, Field(ge=2)] = 2 * 8\n    """Why."""\n'
    page = REFERENCE["configuration_page"](Path("config.py"), source)
    assert "| `engine.size` | int ≥ 2 | `16` | Why. |" in page
