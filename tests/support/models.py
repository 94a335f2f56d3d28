"""Tiny random Llama checkpoints, and the same weights in transformers to compare with."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from tests.support.tiny import write_tiny_tokenizer

TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # wide enough that logits differ clearly and greedy choices are not ties
}


def write_tiny_llama(folder: Path, *, seed: int = 0, tokenizer: bool = False, **overrides: object) -> LlamaForCausalLM:
    """Save a random float32 model to `folder` and return it."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**TINY, **overrides})).eval()
    _save(model, folder)
    if tokenizer:
        write_tiny_tokenizer(folder)
    return model


def write_tiny(folder: Path, model_type: str, *, tokenizer: bool = False, **overrides: object) -> PreTrainedModel:
    """The same for any family."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**TINY, **overrides})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    _save(model, folder)
    if tokenizer:
        write_tiny_tokenizer(folder)
    return model


def _save(model: PreTrainedModel, folder: Path) -> None:
    """Biases begin at zero and norms at one, where nobody would notice that they are missing."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
