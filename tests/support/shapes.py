"""Dimensions of published models, and of one small enough to compute with."""

from dataclasses import replace

from llama4coder.models.random_weights import SHAPES

LLAMA_8B = SHAPES["8b"]
LLAMA_70B = SHAPES["70b"]
SMOLLM2 = replace(
    LLAMA_8B,
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    max_position=8192,
    tied_embeddings=True,
)
TINY = replace(
    LLAMA_8B,
    vocab_size=300,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_position=128,
)
