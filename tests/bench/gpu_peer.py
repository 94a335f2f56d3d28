"""The same model in transformers, on the same machine: what an ordinary loop reaches."""

from collections.abc import Sequence

import torch

from llama4coder.models.weights import Placement
from llama4coder.shape import ModelShape
from tests.bench.gpu_report import Report, device_seconds
from tests.bench.gpu_subject import Batch


def measure_transformers(shape: ModelShape, batches: Sequence[Batch], placement: Placement, report: Report) -> None:
    """Decode steps with the cache that `generate` uses by default; greedy, and nothing but the forward pass."""
    try:
        from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        return report.say(f"transformers is not measured: {error}")
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_position,
        tie_word_embeddings=shape.tied_embeddings,
        dtype=placement.dtype,
    )
    with torch.inference_mode(), torch.device(placement.device):
        model = LlamaForCausalLM._from_config(config, dtype=placement.dtype).eval()
        for batch in batches:
            if not report.allows(15.0):
                return report.skip(f"transformers at {batch}")
            prompt = torch.randint(0, shape.vocab_size, (batch.num_rows, batch.context))
            cache = DynamicCache(config=config)
            for chunk in prompt.split(max(1, 16384 // batch.num_rows), dim=1):
                model(chunk, past_key_values=cache, logits_to_keep=1)
            token = prompt[:, :1]
            step_s = device_seconds(
                lambda token=token, cache=cache: model(token, past_key_values=cache, logits_to_keep=1),
                placement.device,
            )
            report.add(
                "transformers",
                batch=batch.num_rows,
                context=batch.context,
                step_ms=1e3 * step_s,
                tokens_per_s=batch.num_rows / step_s,
            )
