"""An endpoint whose model can fill holes."""

from dataclasses import replace
from pathlib import Path

from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.server.serving import MODEL, MakeSite, Site
from tests.support.tiny import VOCAB_SIZE, write_tiny_tokenizer

SPECIALS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")


def fim_tokenizer(folder: Path) -> Tokenizer:
    """Qwen's markers, which its files do not declare special, in a tiny vocabulary."""
    write_tiny_tokenizer(folder, SPECIALS, declared=False)
    return Tokenizer.from_folder(folder)


def fim_site(make_site: MakeSite, tokenizer: Tokenizer) -> Site:
    """An endpoint over that tokenizer."""
    return make_site(tokenizer=tokenizer, model=replace(MODEL, vocab_size=VOCAB_SIZE + len(SPECIALS)))
