"""How the kinds of byte-level BPE tokenizers in GGUF files treat text, beyond what the files themselves say.

A file names its kind in `tokenizer.ggml.pre`; the rules are those of the original models' tokenizer.json.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError


def _split_pattern(digits: str) -> str:
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _gpt2() -> PreTokenizer:
    return ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> PreTokenizer:
    return Sequence([Digits(individual_digits=True), _gpt2()])


def _llama3() -> PreTokenizer:
    return _split_by(_split_pattern(r"\p{N}{1,3}"))


def _qwen2() -> PreTokenizer:
    return _split_by(_split_pattern(r"\p{N}"))


def _deepseek_coder() -> PreTokenizer:
    patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}")
    splits = [Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])


def _split_by(pattern: str) -> PreTokenizer:
    split = Split(Regex(pattern), behavior="isolated")
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])


@dataclass(frozen=True, slots=True)
class TextRules:
    """One kind of tokenizer."""

    pre_tokenizer: Callable[[], PreTokenizer] | None
    takes_whole_words: bool = False  # a word that is in the vocabulary needs no merges
    composes: bool = False  # text is brought into Unicode's form NFC first
    end_tokens: tuple[str, ...] = ()  # end a text besides the one end token that the file names
    is_sentencepiece: bool = False  # pieces with scores instead of merges; none of the above


_RULES: Mapping[str, TextRules] = MappingProxyType(
    {
        "gpt-2": TextRules(_gpt2),
        "smollm": TextRules(_smollm),
        "llama-bpe": TextRules(_llama3, takes_whole_words=True),
        "deepseek-coder": TextRules(_deepseek_coder),
        # Base models end by the first of the two, instruct models by either; a file names one.
        "qwen2": TextRules(_qwen2, composes=True, end_tokens=("<|endoftext|>", "<|im_end|>")),
    }
)


_SENTENCEPIECE = TextRules(None, is_sentencepiece=True)


def read_text_rules(file: GgufFile) -> TextRules:
    """The rules of the file's kind of tokenizer; `CheckpointError` for a kind that is not known here."""
    model = file.text("tokenizer.ggml.model")
    if model == "llama":
        return _SENTENCEPIECE
    if model != "gpt2":
        raise CheckpointError(f"{file.path} has a tokenizer of the kind {model}; supported are gpt2 and llama")
    pre = file.text("tokenizer.ggml.pre")
    if pre not in _RULES:
        known = ", ".join(_RULES)
        raise CheckpointError(f"{file.path} has the pre-tokenizer {pre}; supported are {known}")
    return _RULES[pre]
