"""What a plan says of memory is what a start says of the same configuration."""

from dataclasses import replace
from pathlib import Path

import pytest

from llama4coder.checkpoint.quant_settings import StoredKind
from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import DeploymentConfig, EngineConfig, ModelConfig
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.exclusions import layer_modules
from llama4coder.machine import Machine
from llama4coder.planner.candidate import Candidate, Wish
from llama4coder.planner.fit import Fit
from llama4coder.planner.gpus import GPUS, find_gpu
from llama4coder.planner.nearest import nearest_plans
from llama4coder.planner.shapes import find_model
from llama4coder.resolve import resolve


def fit_of(model: str, gpu: str, **wish: object) -> Fit:
    return Fit.of(Candidate.of(find_model(model), find_gpu(gpu), replace(Wish(), **wish)))  # type: ignore[arg-type]


@pytest.mark.parametrize("gpu", list(GPUS))
@pytest.mark.parametrize("model", ["llama-3.1-70b", "llama-3.1-8b", "code-llama-7b", "qwen2.5-coder-32b"])
@pytest.mark.parametrize("kv_format", ["dense", "int8", "int4"])
@pytest.mark.parametrize("ranks", [1, 4])
def test_a_plan_fits_exactly_if_a_start_says_so(gpu: str, model: str, kv_format: str, ranks: int) -> None:
    fit = fit_of(model, gpu, kv_format=kv_format, ranks=ranks)
    engine = EngineConfig.model_validate(
        {"device": "cuda", "ranks": ranks, "kv_format": kv_format, "max_step_tokens": 4096}
    )
    config = DeploymentConfig(model=ModelConfig(dtype="bfloat16"), engine=engine)
    machine = Machine("cuda", GPUS[gpu].memory_bytes, num_cpus=64, computes_bfloat16=True)
    if not fit.does_fit:
        with pytest.raises(NotEnoughMemory):
            resolve(config, Path("/models/x"), fit.candidate.model.shape, machine)
        assert fit.num_blocks == fit.num_sequences(8192) == 0
        return
    engine_as_resolved = resolve(config, Path("/models/x"), fit.candidate.model.shape, machine).engine
    assert engine_as_resolved.num_blocks == fit.num_blocks
    assert engine_as_resolved.weight_bytes_per_rank == fit.memory.weights
    assert engine_as_resolved.memory_budget_bytes == fit.budget.limit_bytes


def test_sequences_share_the_pool() -> None:
    fit = fit_of("llama-3.1-70b", "H200", ranks=4)
    assert fit.num_sequences(8192) * 512 <= fit.num_blocks < (fit.num_sequences(8192) + 1) * 512
    assert fit.num_sequences(131072) >= 1


def test_nearest_plans_fit_and_change_little() -> None:
    fit = fit_of("llama-3.1-70b", "H100")
    found = nearest_plans(fit, 8)
    assert all(each.fit.does_fit for each in found)
    assert ("4 ranks",) in [each.changes for each in found]
    assert ("nf4 weights", "fp8 KV") in [each.changes for each in found]


def test_a_shorter_context_is_the_longest_that_fits() -> None:
    fit = fit_of("llama-3.1-70b", "H100", ranks=2)
    (shorter,) = (each.fit for each in nearest_plans(fit, 2) if each.changes[0].startswith("context"))
    longer = shorter.candidate.with_context(shorter.candidate.limits.context_length + 16)
    assert shorter.does_fit and not Fit.of(longer).does_fit


def test_nearest_plans_need_no_more_gpus_than_there_are() -> None:
    found = nearest_plans(fit_of("llama-3.1-70b", "L40S"), 2)
    assert found and all(each.fit.candidate.num_gpus <= 2 for each in found)


@pytest.mark.parametrize(
    ("model", "gpu", "wish", "problem"),
    [
        ("llama-3.1-70b", "A100-80", {"quant": "fp8"}, "A100-80 has no FP8 products"),
        ("qwen2.5-coder-7b", "H100", {"kv_format": "fp8"}, "cannot tell the keys of this model apart"),
        ("llama-3.1-70b", "H100", {"ranks": 16, "kv_shards": 1}, "must divide the model's 8 KV heads"),
        ("llama-3.1-70b", "H100", {"max_sequences": 8192}, "more than engine.max_step_tokens"),
        ("llama-3.1-70b", "H100", {"ranks": 0}, "0 ranks cannot be planned for"),
        ("llama-3.1-70b", "H100", {"context_length": -1}, "-1 tokens of context cannot be planned for"),
    ],
)
def test_what_no_start_would_accept(model: str, gpu: str, wish: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        fit_of(model, gpu, **wish)


def test_what_a_quantised_checkpoint_leaves_out_stays_out_of_its_neighbours() -> None:
    modules = frozenset(
        module for index in range(32) for names in layer_modules(index) for module in names if "down_proj" not in module
    )
    stored = StoredQuant(StoredKind.FP8, modules)
    candidate = Candidate.of(find_model("llama-3.1-8b"), find_gpu("H100"), Wish(), stored)
    assert candidate.form.quant == "fp8"
    assert candidate.with_ranks(2).form == candidate.form
    without = Candidate.of(find_model("llama-3.1-8b"), find_gpu("H100"), Wish(quant="fp8"))
    assert Fit.of(candidate).memory.weights > Fit.of(without).memory.weights
