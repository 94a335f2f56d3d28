"""A GGUF file of a few kilobytes, written as llama.cpp's converter would write a random Hugging Face model."""

from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

NUM_HEADS, NUM_KV_HEADS = 4, 2
INTERMEDIATE_SIZE = 256  # one block of a k-quant
Arrays = dict[str, npt.NDArray[np.float32]]

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
}


@dataclass(frozen=True)
class Quantised:
    """A tensor as llama.cpp stores it: rows of blocks."""

    data: npt.NDArray[np.uint8]
    kind: gguf.GGMLQuantizationType


@dataclass
class TinyGguf:
    """What goes into the file; tests change it before writing."""

    architecture: str = "llama"
    num_layers: int = 2
    tokens: list[str] = field(default_factory=lambda: ["<s>", "<|user|>", *_alphabet(), "he", "ll"])
    kinds: list[int] = field(default_factory=lambda: [3, 4, *[1] * 258])
    merges: list[str] = field(default_factory=lambda: ["h e", "l l"])
    model: str = "gpt2"
    pre: str = "smollm"
    add_bos: bool = False
    bos: int = 0
    eos: int = 0
    settings: dict[str, int | float] = field(default_factory=dict)
    scores: list[float] | None = None
    rope_scaling: gguf.RopeScalingType | None = None
    tensors: Arrays = field(default_factory=dict)
    quantised: dict[str, Quantised] = field(default_factory=dict)  # instead of tensors of the same names

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        self._add_settings(writer)
        self._add_vocabulary(writer)
        for name, values in self.tensors.items():
            if name not in self.quantised:
                writer.add_tensor(name, values)
        for name, tensor in self.quantised.items():
            writer.add_tensor(name, tensor.data, raw_dtype=tensor.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _add_settings(self, writer: gguf.GGUFWriter) -> None:
        writer.add_block_count(self.num_layers)
        writer.add_context_length(128)
        writer.add_embedding_length(32)
        writer.add_feed_forward_length(INTERMEDIATE_SIZE)
        writer.add_head_count(NUM_HEADS)
        writer.add_head_count_kv(NUM_KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(5000.0)
        if self.rope_scaling is not None:
            writer.add_rope_scaling_type(self.rope_scaling)
        for key, value in self.settings.items():
            add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(key, value)

    def _add_vocabulary(self, writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        if self.scores is None:
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
        writer.add_bos_token_id(self.bos)
        writer.add_eos_token_id(self.eos)
        writer.add_add_bos_token(self.add_bos)
        writer.add_chat_template("{{ messages[0].content }}")


def _alphabet() -> list[str]:
    return sorted(ByteLevel.alphabet())


def random_llama(*, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**_config(260, tied)))
    _round_weights(model)
    return model


def random_qwen2(vocab_size: int, *, tied: bool) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**_config(vocab_size, tied))).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they begin at zero, where nobody would notice that they are missing
            torch.nn.init.normal_(parameter, std=0.3)
    _round_weights(model)
    return model


def random_model(model_type: str, **overrides: object) -> PreTrainedModel:
    """Of any family, with norms that are not all ones."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**_config(260, True), "pad_token_id": None, **overrides})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    _round_weights(model)
    return model


def _config(vocab_size: int, tied: bool) -> dict[str, object]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": INTERMEDIATE_SIZE,
        "num_hidden_layers": 2,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": NUM_KV_HEADS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.3,
    }


def _round_weights(model: PreTrainedModel) -> None:
    """To values that bfloat16 holds exactly."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()


def tiny_gguf_of(model: PreTrainedModel) -> TinyGguf:
    tensors: Arrays = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if model.config.model_type in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
            values = permuted(values, NUM_HEADS if "q_proj" in name else NUM_KV_HEADS)
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        tensors[name] = np.ascontiguousarray(values)
    return TinyGguf(architecture=model.config.model_type, tensors=tensors)


def permuted(values: npt.NDArray[np.float32], num_heads: int) -> npt.NDArray[np.float32]:
    """As in llama.cpp's convert_hf_to_gguf.py."""
    split = values.reshape(num_heads, 2, values.shape[0] // num_heads // 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)
