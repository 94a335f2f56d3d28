"""A model that has to be converted, on two nodes whose caches are their own."""

from pathlib import Path

import httpx
import pytest

from tests.support.tiny_gguf import random_llama, tiny_gguf_of
from tests.support.two_nodes import can_make_nodes, two_nodes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not can_make_nodes(), reason="needs root, for network namespaces"),
]


def test_every_node_converts_it_for_itself(tmp_path: Path) -> None:
    args = {
        "model": {"path": str(tiny_gguf_of(random_llama(tied=True)).write(tmp_path / "tiny.gguf")), "dtype": "float32"},
        "engine": {"device": "cpu", "kv_memory_bytes": 32 * 2**20, "ranks": 2, "num_threads": 1},
        "placement": {"ranks_per_node": [1, 1], "front_labels": {"node": "head"}},
    }
    with two_nodes(args) as nodes:
        body = {"model": "tiny", "prompt": "def f", "max_tokens": 20, "ignore_eos": True}
        response = httpx.post(f"{nodes.url}/v1/completions", json=body, timeout=200)
        assert response.status_code == 200, response.text
        assert len(list(nodes.worker_cache.glob("models/*/tiny/model.safetensors"))) == 1
