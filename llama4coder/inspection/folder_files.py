"""A model folder as Hugging Face lays it out."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from llama4coder.checkpoint.folder import check_folder
from llama4coder.errors import CheckpointError
from llama4coder.inspection.files import LicenceFiles, ModelFiles, Source, TokenFiles
from llama4coder.inspection.safetensors_headers import read_headers
from llama4coder.tokenizer.chat_template import template_source
from llama4coder.tokenizer.files import TokenSettings, read_json
from llama4coder.tokenizer.tokenizer import Tokenizer

_LICENCE_NAMES = ("licen", "copying", "notice", "use_policy")
_MOST_LICENCE_BYTES = 2**20
_FENCE = "---"


def read_folder(folder: Path) -> ModelFiles:
    """Everything but the weights.

    Raises:
        CheckpointError: there is no config.json, or a file is damaged.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json; inspect a model folder, a .gguf file or `embedded`")
    return ModelFiles(
        path=folder,
        source=Source.FOLDER,
        config=read_json(folder / "config.json"),
        tensors=read_headers(folder),
        tokens=_read_tokens(folder) if (folder / "tokenizer.json").is_file() else None,
        template=template_source(folder, TokenSettings.from_folder(folder)),
        licence=LicenceFiles(dict(_licence_texts(folder)), _declared(folder / "README.md")),
        refusal=_refusal(folder),
    )


def _read_tokens(folder: Path) -> TokenFiles:
    tokenizer = Tokenizer.from_folder(folder)
    pieces = {token_id: entry.piece for token_id, entry in tokenizer.vocabulary().items()}
    bos = None if tokenizer.bos_token_id is None else pieces.get(tokenizer.bos_token_id)
    eos = tuple(pieces[token_id] for token_id in sorted(tokenizer.eos_token_ids) if token_id in pieces)
    return TokenFiles(frozenset(pieces.values()), bos, eos, tokenizer.adds_bos)


def _licence_texts(folder: Path) -> list[tuple[str, str]]:
    paths = [path for path in sorted(folder.iterdir()) if path.name.lower().startswith(_LICENCE_NAMES)]
    return [(path.name, _text(path)) for path in paths if path.is_file() and path.suffix.lower() != ".pdf"]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_LICENCE_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _declared(readme: Path) -> str | None:
    """What the model card's front matter calls the licence: `other` stands for the name beside it."""
    card = _front_matter(_text(readme)) if readme.is_file() else {}
    licence, name = card.get("license"), card.get("license_name")
    chosen = name if licence in (None, "other") and name is not None else licence
    return str(chosen) if chosen is not None else None


def _front_matter(text: str) -> Mapping[str, object]:
    """Empty where there is none, or none that can be read: a card is written by hand."""
    first, _, rest = text.partition("\n")
    if first.strip() != _FENCE:
        return {}
    try:
        card = yaml.safe_load(rest.split(f"\n{_FENCE}", 1)[0])
    except yaml.YAMLError:
        return {}
    return card if isinstance(card, dict) else {}


def _refusal(folder: Path) -> str | None:
    try:
        check_folder(folder)
    except CheckpointError as error:
        return str(error)
    return None
