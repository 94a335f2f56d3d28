"""What Prometheus scrapes, and what Grafana is told at its start. All on the same network; nothing is fetched."""

from collections.abc import Mapping
from typing import Any

from dashboards.alerts import JOB, RAY_JOB

ADDRESS = "127.0.0.1:8000"
DEPLOYMENT = "llama4coder"
RAY_FILE = "/tmp/ray/prom_metrics_service_discovery.json"
_FOLDER = "/etc/llama4coder"


def scrape_config() -> Mapping[str, Any]:
    """Of our endpoint once, since every address of it tells of the whole deployment; and of each of Ray's nodes."""
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [
            {
                "job_name": JOB,
                "metrics_path": "/metrics",
                "static_configs": [{"targets": [ADDRESS], "labels": {"deployment": DEPLOYMENT}}],
            },
            {
                "job_name": RAY_JOB,
                "file_sd_configs": [{"files": [RAY_FILE]}],
                "relabel_configs": [{"target_label": "cluster", "replacement": DEPLOYMENT}],
            },
        ],
    }


def data_source() -> Mapping[str, Any]:
    """Grafana's data source."""
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "type": "prometheus",
                "uid": "llama4coder-prometheus",
                "access": "proxy",
                "url": "http://127.0.0.1:9090",
                "isDefault": True,
                "jsonData": {"timeInterval": "15s"},  # as often as is scraped
            }
        ],
    }


def dashboard_provider() -> Mapping[str, Any]:
    """Where Grafana finds the dashboards."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "llama4coder",
                "folder": "llama4coder",
                "type": "file",
                "allowUiUpdates": False,
                "options": {"path": f"{_FOLDER}/dashboards/grafana"},
            }
        ],
    }
