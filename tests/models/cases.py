"""Tiny models and ways to cut a prompt of 100 tokens, for tests of whole models on any kind of hardware."""

LLAMAS: dict[str, dict[str, object]] = {
    "gqa": {},
    "mha": {"num_key_value_heads": 4},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head_dim": {"head_dim": 32},
}
_SLIDING: dict[str, object] = {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 0}
_LINEAR = {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 4.0}
FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "llama 2": ("llama", {"num_key_value_heads": 4}),
    "code llama": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "deepseek-coder": ("llama", {"rope_parameters": _LINEAR}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 32}),
    "mistral 0.1": ("mistral", {"sliding_window": 24}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2, untied": ("qwen2", {}),
    "qwen2, sliding": ("qwen2", _SLIDING),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3, biases and sliding": ("qwen3", {"head_dim": 16, "attention_bias": True, **_SLIDING}),
    "smollm3": ("smollm3", {"pad_token_id": None, "num_hidden_layers": 4, "no_rope_layer_interval": 2}),
    "smollm3, listed": (
        "smollm3",
        {"pad_token_id": None, "no_rope_layers": [0, 1], "tie_word_embeddings": False, "mlp_bias": True},
    ),
}
CHUNKS = {"whole": [100], "one by one": [1] * 100, "chunked": [64, 33, 1, 2]}
