"""The same kind of load by GuideLLM, a benchmark that is not ours, in an environment of its own."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADER = ("url", "tokens/s", "goodput, requests/s", "TTFT ms p50 / p99", "ITL ms p50 / p99", "E2E s p50 / p99")
_NUM_ROUNDS = 3  # requests per stream


def measure(program: Path, url: str, model: str, tokenizer: Path, num_streams: int, num_tokens: int) -> list[str]:
    """One row; needs no network, since prompts are synthetic and the tokenizer is a folder."""
    backend = {
        "kind": "openai_http",
        "target": url,
        "model": model,
        "request_format": "/v1/completions",
        "extras": {"body": {"stream_options": {"continuous_usage_stats": False}}},  # the last event's usage is enough
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments: list[Mapping[str, Any] | str] = [
            *("--backend", backend),
            *("--profile", {"kind": "concurrent", "streams": [num_streams]}),
            *("--constraint", {"kind": "max_requests", "count": _NUM_ROUNDS * num_streams}),
            *("--tokenizer", {"kind": "hf_auto", "model": str(tokenizer)}),
            *("--data", {"kind": "synthetic_text", "prompt_tokens": 32, "output_tokens": num_tokens}),
            *("--output", {"kind": "json", "path": str(report)}),
            "--disable-console",
        ]
        command = [argument if isinstance(argument, str) else json.dumps(argument) for argument in arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        subprocess.run([program, "run", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
        (benchmark,) = json.loads(report.read_text())["benchmarks"]
    if not benchmark["requests"]["successful"]:
        raise SystemExit(f"{url} answered no request: {benchmark['requests']['errored'][0]['info']['error']}")
    return _row(url, benchmark["metrics"])


def _row(url: str, metrics: Mapping[str, Any]) -> list[str]:
    def percentiles(name: str) -> str:
        values = metrics[name]["successful"]["percentiles"]
        return f"{values['p50']:.1f} / {values['p99']:.1f}"

    return [
        url,
        f"{metrics['output_tokens_per_second']['successful']['mean']:.1f}",
        f"{metrics['requests_per_second']['successful']['mean']:.2f}",
        percentiles("time_to_first_token_ms"),
        percentiles("inter_token_latency_ms"),
        percentiles("request_latency"),
    ]
