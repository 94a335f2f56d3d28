"""A checkpoint folder of random weights, tensor by tensor: as large as the disk allows, and never in memory at once."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from llama4coder.shape import ModelShape

_STD = 0.02


def write_random(folder: Path, shape: ModelShape) -> None:
    """In bfloat16, a file per layer."""
    index: dict[str, str] = {}
    generator = torch.Generator().manual_seed(0)
    for file, sizes in _files(shape):
        tensors = {
            name: torch.empty(size, dtype=torch.bfloat16).normal_(0, _STD, generator=generator)
            for name, size in sizes.items()
        }
        save_file(tensors, folder / file)
        index |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    config = {
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.max_position,
        "tie_word_embeddings": shape.tied_embeddings,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _files(shape: ModelShape) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    table = (shape.vocab_size, shape.hidden_size)
    ends = {"model.embed_tokens.weight": table, "model.norm.weight": (shape.hidden_size,)}
    yield "ends.safetensors", ends if shape.tied_embeddings else ends | {"lm_head.weight": table}
    for index in range(shape.num_layers):
        yield f"layer-{index}.safetensors", _layer(f"model.layers.{index}", shape)


def _layer(prefix: str, shape: ModelShape) -> dict[str, tuple[int, ...]]:
    hidden, wide = shape.hidden_size, shape.intermediate_size
    queries, key_values = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    matrices = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (key_values, hidden),
        "self_attn.v_proj": (key_values, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    norms = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (hidden,))
    return {f"{prefix}.{name}.weight": size for name, size in {**matrices, **norms}.items()}
