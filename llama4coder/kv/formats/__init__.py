"""How keys and values are kept: the formats of `engine.kv_format` beside the dense one of `kv.tensors`."""
