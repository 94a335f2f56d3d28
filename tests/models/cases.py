"""Tiny models and ways to cut a prompt of 100 tokens, for tests of whole models on any kind of hardware."""

FAMILIES: dict[str, dict[str, object]] = {
    "gqa": {},
    "mha": {"num_key_value_heads": 4},
    "mqa": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head_dim": {"head_dim": 32},
}
CHUNKS = {"whole": [100], "one by one": [1] * 100, "chunked": [64, 33, 1, 2]}
