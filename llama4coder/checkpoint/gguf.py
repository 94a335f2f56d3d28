"""From a GGUF file to a model folder as Hugging Face's libraries read it."""

import json
from pathlib import Path

from llama4coder.checkpoint.bfloat16_file import total_bytes, write_bfloat16
from llama4coder.checkpoint.gguf_config import hugging_face_config, read_shape
from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.checkpoint.gguf_text_rules import read_text_rules
from llama4coder.checkpoint.gguf_tokenizer import build_tokenizer, generation_config, tokenizer_config
from llama4coder.checkpoint.gguf_weights import read_weights
from llama4coder.checkpoint.publish import published_folder
from llama4coder.progress import Progress

CONVERSION = 2  # raised when the output changes, so that folders made before are not used


def convert_gguf(source: Path, target: Path, progress: Progress) -> None:
    """Write `source` as safetensors in bfloat16, with config and tokenizer, into the new folder `target`.

    `target` appears when it is complete. Weights pass through memory a few megabytes at a time.
    Raises `CheckpointError` for a file that is damaged or of a kind not supported, `OSError` if writing fails.
    """
    file = GgufFile(source)
    shape = read_shape(file)
    weights = read_weights(file, shape)
    rules = read_text_rules(file)
    tokenizer = build_tokenizer(file, rules)
    with published_folder(target) as folder:
        _write_json(folder / "config.json", hugging_face_config(file, shape))
        _write_json(folder / "tokenizer_config.json", tokenizer_config(file, rules, shape.context_length))
        _write_json(folder / "generation_config.json", generation_config(file, rules))
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        progress.start("converting weights", total_bytes(weights), "B")
        try:
            with (folder / "model.safetensors").open("wb") as output:
                write_bfloat16(output, weights, progress)
        finally:
            progress.finish()


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
