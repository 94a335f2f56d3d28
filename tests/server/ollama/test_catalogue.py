"""What is served and how it is described, and what nobody may change from outside."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from llama4coder.types import ModelDetails
from tests.server.fim_site import fim_site, fim_tokenizer
from tests.server.serving import MODEL, MakeSite, Site


async def test_the_version_is_one_that_clients_accept(site: Site) -> None:
    version = (await site.client.get("/api/version")).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_tells_that_somebody_is_there(site: Site, method: str) -> None:
    response = await site.client.request(method, "/")
    assert response.status_code == 200
    assert response.text == ("" if method == "HEAD" else "llama4coder is running")


async def test_tags(site: Site) -> None:
    models = (await site.client.get("/api/tags")).json()["models"]
    assert [(model["name"], model["model"]) for model in models] == [("org/tiny", "org/tiny"), ("tiny", "tiny")]
    first = models[0]
    assert first["details"] == {
        "format": "safetensors",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.5M",
        "quantization_level": "BF16",
        "parent_model": "",
    }
    assert (first["size"], first["context_length"], first["capabilities"]) == (270_000_000, 256, ["completion"])
    assert len(first["digest"]) == 64 and int(first["digest"], 16)
    assert datetime.fromisoformat(first["modified_at"]).timestamp() == 1700000000
    assert "expires_at" not in first


async def test_all_names_are_loaded_for_good(site: Site) -> None:
    models = (await site.client.get("/api/ps")).json()["models"]
    assert [model["model"] for model in models] == ["org/tiny", "tiny"]
    assert {model["context_length"] for model in models} == {256}
    assert models[0]["size_vram"] == 270_000_000
    assert datetime.fromisoformat(models[0]["expires_at"]).year == 9999


@pytest.mark.parametrize("body", [{"model": "tiny"}, {"name": "tiny:latest"}, {"model": "org/tiny", "verbose": True}])
async def test_show_tells_the_served_context(site: Site, body: dict[str, object]) -> None:
    reply = (await site.client.post("/api/show", json=body)).json()
    assert reply["model_info"] == {
        "general.architecture": "llama",
        "general.basename": "org/tiny",
        "general.parameter_count": 134_515_008,
        "llama.context_length": 256,
    }
    assert reply["parameters"] == "num_ctx 256"
    assert reply["capabilities"] == ["completion"]
    assert ".Suffix" not in reply["template"]
    assert reply["details"]["quantization_level"] == "BF16"


async def test_show_tells_of_holes(make_site: MakeSite, tmp_path: Path) -> None:
    site = fim_site(make_site, fim_tokenizer(tmp_path))
    reply = (await site.client.post("/api/show", json={"model": "tiny"})).json()
    assert reply["capabilities"] == ["completion", "insert"]
    assert ".Suffix" in reply["template"]
    assert (await site.client.get("/api/tags")).json()["models"][0]["capabilities"] == ["completion", "insert"]


@pytest.mark.parametrize(
    ("num_parameters", "weight_format", "size", "level"),
    [
        (7_615_616_512, "nf4", "7.6B", "NF4"),
        (12_000, "float32", "12.0K", "F32"),
        (70_553_706_496, "fp8", "70.6B", "FP8"),
    ],
)
async def test_sizes(make_site: MakeSite, num_parameters: int, weight_format: str, size: str, level: str) -> None:
    site = make_site(model=replace(MODEL, details=ModelDetails("qwen2", num_parameters, weight_format, 1)))
    reply = (await site.client.post("/api/show", json={"model": "tiny"})).json()
    assert (reply["details"]["parameter_size"], reply["details"]["quantization_level"]) == (size, level)
    assert reply["model_info"]["qwen2.context_length"] == 256


@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": 5}, {"name": ["tiny"]}])
async def test_show_needs_a_name(site: Site, body: dict[str, object]) -> None:
    response = await site.client.post("/api/show", json=body)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:abc"),
        ("HEAD", "/api/blobs/sha256:abc"),
    ],
)
async def test_models_are_the_operators(site: Site, method: str, path: str) -> None:
    response = await site.client.request(method, path)
    assert response.status_code == 403
    if method != "HEAD":
        assert "managed by the operator" in response.json()["error"]


async def test_unknown_paths_answer_in_this_dialect(site: Site) -> None:
    missing, method = await site.client.post("/api/embed"), await site.client.get("/api/chat")
    assert (missing.status_code, set(missing.json())) == (404, {"error"})
    assert (method.status_code, set(method.json())) == (405, {"error"})
