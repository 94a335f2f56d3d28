"""Tensors that checkpoints hold beside the model's weights, and that nothing needs."""

_ENDINGS = (
    ".rotary_emb.inv_freq",  # made from config.json
    ".input_scale",  # of activations in FP8, which are scaled by their own largest
    ".input_scale_ub",
    ".activation_scale",
    ".output_scale",
    ".k_scale",  # of keys and values, which engine.kv_format scales
    ".v_scale",
    ".weight_format",  # of bitsandbytes in 8 bits: always rows
)


def is_harmless(name: str, *, tied_embeddings: bool) -> bool:
    """Whether a model is the same without the tensor `name`."""
    return name.endswith(_ENDINGS) or (tied_embeddings and name == "lm_head.weight")
