"""Whole models on a GPU, through the same road as in production: load, graphs, kernels, sampling."""

from pathlib import Path

import pytest
import torch

from llama4coder.config import DType, QuantFormat
from llama4coder.engine.graph_pass import GraphPass
from llama4coder.engine.loading_rank import load_runner
from llama4coder.progress import NullProgress
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.models.cases import CHUNKS, FAMILIES, LLAMAS
from tests.support.engines import build_engine, greedy_request, resolved, run_all
from tests.support.logits import NUM_BLOCKS, logits_in_chunks
from tests.support.models import write_tiny, write_tiny_llama

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("case", [*LLAMAS, *FAMILIES])
def test_float32_logits_equal_hugging_face(tmp_path: Path, case: str, chunks: list[int]) -> None:
    """One token at a time is replayed, everything else is eager."""
    model_type, overrides = FAMILIES[case] if case in FAMILIES else ("llama", LLAMAS[case])
    reference = write_tiny(tmp_path, model_type, **overrides)
    token_ids = torch.randint(0, 512, (100,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, device="cuda", max_sequences=4)
    torch.testing.assert_close(logits_in_chunks(config, token_ids, chunks), expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(("quant", "tolerance"), [("none", 0.03), ("fp8", 0.12), ("nf4", 0.3)])
def test_fewer_bits_stay_near_the_exact_logits(tmp_path: Path, quant: QuantFormat, tolerance: float) -> None:
    reference = write_tiny_llama(tmp_path, hidden_size=128, intermediate_size=256, initializer_range=0.05)
    token_ids = torch.randint(0, 512, (100,)).tolist()
    with torch.inference_mode():
        expected = reference(torch.tensor([token_ids])).logits[0]
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype="bfloat16", device="cuda", max_sequences=4)
    config = config.model_copy(update={"model": config.model.model_copy(update={"quant": quant})})
    for chunks in CHUNKS.values():
        logits = logits_in_chunks(config, token_ids, chunks)
        assert (logits - expected).norm() / expected.norm() < tolerance


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_dtype_is_replayed(tmp_path: Path, dtype: DType) -> None:
    write_tiny_llama(tmp_path)
    config = resolved(tmp_path, num_blocks=NUM_BLOCKS, dtype=dtype, device="cuda", max_sequences=4)
    runner = load_runner(config, NullProgress())
    assert isinstance(runner._forward, GraphPass)
    logits = logits_in_chunks(config, torch.randint(0, 512, (20,)).tolist(), [10] + [1] * 10)
    assert logits.isfinite().all()


def test_an_engine_generates_on_the_gpu_what_it_generates_on_the_cpu(tmp_path: Path) -> None:
    """More requests than places, of different lengths: admission, padding, mixed steps and blocks that come back."""
    write_tiny_llama(tmp_path)
    requests = [
        greedy_request(f"request-{length}", list(range(7, 7 + length)), max_tokens=5 + length % 20)
        for length in (1, 3, 15, 16, 17, 33, 60, 90)
    ]
    tokens = []
    for device in ("cpu", "cuda"):
        engine = build_engine(resolved(tmp_path, num_blocks=NUM_BLOCKS, device=device, max_sequences=5))
        collected = run_all(engine, requests)
        tokens.append({name: answer.token_ids for name, answer in collected.items()})
        engine.close()
    assert tokens[1] == tokens[0]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0.8),
        SamplingParams(temperature=0.8, top_p=0.9, top_k=40, min_p=0.01),
        SamplingParams(temperature=0.8, presence_penalty=0.5, frequency_penalty=0.5, repetition_penalty=1.1),
        SamplingParams(temperature=0.8, logit_bias={5: 2.0}, num_logprobs=3),
    ],
    ids=["plain", "filtered", "penalised", "biased"],
)
def test_seeded_sampling_is_the_same_on_both_devices(tmp_path: Path, sampling: SamplingParams) -> None:
    """The noise is; and in float32 no two of these scores are nearer than the rounding."""
    write_tiny_llama(tmp_path)
    request = GenerateRequest("seeded", (5, 6, 7), sampling, StopConditions(40), seed=11)
    answers = []
    for device in ("cpu", "cuda"):
        engine = build_engine(resolved(tmp_path, num_blocks=NUM_BLOCKS, device=device, max_sequences=4))
        answers.append(run_all(engine, [request])["seeded"])
        engine.close()
    assert answers[1].token_ids == answers[0].token_ids
    assert len(answers[1].logprobs) == len(answers[0].logprobs)


def test_the_gpu_is_found() -> None:
    from llama4coder.machine import detect_machine

    machine = detect_machine()
    assert machine.device == "cuda"
    assert machine.memory_bytes > 2**30
