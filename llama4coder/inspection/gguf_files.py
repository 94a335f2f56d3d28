"""A GGUF file: its own settings under Hugging Face's names, without converting it."""

from collections.abc import Mapping
from pathlib import Path

from llama4coder.checkpoint.gguf_config import hugging_face_config, read_shape
from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.checkpoint.gguf_text_rules import read_text_rules
from llama4coder.checkpoint.gguf_tokenizer import generation_config
from llama4coder.checkpoint.gguf_weights import read_weights
from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import LicenceFiles, ModelFiles, Source, TensorHeader, TokenFiles

_LICENCE_KEYS = ("general.license.name", "general.license")
_UNUSED = 5  # a kind of token that only fills the embedding up
# Of architectures that are not converted: what stands in the file, after the architecture's name.
_NUMBERS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.sliding_window": "sliding_window",
}


def read_gguf(path: Path) -> ModelFiles:
    """Everything but the weights.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = GgufFile(path)
    refusal, config = None, _plain_config(file)
    try:
        shape = read_shape(file)
        read_weights(file, shape)
        read_text_rules(file)
        config = hugging_face_config(file, shape)
    except CheckpointError as error:
        refusal = str(error)
    return ModelFiles(
        path=path,
        source=Source.GGUF,
        config=config,
        tensors=tuple(_headers(file)),
        tokens=_read_tokens(file),
        template=_optional_text(file, "tokenizer.chat_template"),
        licence=LicenceFiles({}, next(filter(None, (_optional_text(file, key) for key in _LICENCE_KEYS)), None)),
        refusal=refusal,
    )


def _headers(file: GgufFile) -> list[TensorHeader]:
    return [
        TensorHeader(tensor.name, tensor.tensor_type.name, int(tensor.n_elements), int(tensor.n_bytes))
        for tensor in file.tensors.values()
    ]


def _plain_config(file: GgufFile) -> Mapping[str, object]:
    name = file.text("general.architecture")
    config: dict[str, object] = {"model_type": name}
    for theirs, ours in _NUMBERS.items():
        config[ours] = file.optional_integer(f"{name}.{theirs}")
    if file.has(f"{name}.rope.freq_base"):
        config["rope_theta"] = file.number(f"{name}.rope.freq_base")
    if file.has(f"{name}.rope.scaling.type"):
        config["rope_scaling"] = _scaling(file, f"{name}.rope.scaling")
    return config


def _scaling(file: GgufFile, prefix: str) -> Mapping[str, object]:
    scaling: dict[str, object] = {"rope_type": file.text(f"{prefix}.type")}
    if file.has(f"{prefix}.factor"):
        scaling["factor"] = file.number(f"{prefix}.factor")
    scaling["original_max_position_embeddings"] = file.optional_integer(f"{prefix}.original_context_length")
    return scaling


def _read_tokens(file: GgufFile) -> TokenFiles | None:
    if not file.has("tokenizer.ggml.tokens"):
        return None
    pieces = file.texts("tokenizer.ggml.tokens")
    kinds = file.integers("tokenizer.ggml.token_type") if file.has("tokenizer.ggml.token_type") else [0] * len(pieces)
    known = frozenset(piece for piece, kind in zip(pieces, kinds, strict=False) if kind != _UNUSED)
    bos = file.optional_integer("tokenizer.ggml.bos_token_id")
    eos = tuple(pieces[token_id] for token_id in _end_ids(file) if 0 <= token_id < len(pieces))
    return TokenFiles(known, pieces[bos] if bos is not None and 0 <= bos < len(pieces) else None, eos, _adds_bos(file))


def _adds_bos(file: GgufFile) -> bool:
    """By default, as the conversion does it."""
    key = "tokenizer.ggml.add_bos_token"
    return file.flag(key) if file.has(key) else _optional_text(file, "tokenizer.ggml.model") == "llama"


def _end_ids(file: GgufFile) -> list[int]:
    """As the conversion finds them; of tokenizers that it does not know, what the file names."""
    try:
        ends = generation_config(file, read_text_rules(file)).get("eos_token_id")
    except CheckpointError:
        ends = file.optional_integer("tokenizer.ggml.eos_token_id")
    return [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]


def _optional_text(file: GgufFile, key: str) -> str | None:
    return file.text(key) if file.has(key) else None
