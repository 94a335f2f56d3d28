"""Qwen2's tokenizer in small: its kind of vocabulary, its special tokens, and transformers' own class beside it."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from tests.support.tiny import CORPUS
from tests.support.tiny_gguf import TinyGguf

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
USER_DEFINED = ("<tool_call>", "</tool_call>")
UNUSED = ("[PAD0]", "[PAD1]")
_MORE_TEXT = ("I'LL don't we've 12 + 34 == 46\n\n\n", "世界 世界 Ωμέγα naïve é 🦙 \t\t\t    \r\n" * 4)


class TinyVocabulary:
    """A byte-level vocabulary of 400 pieces with its merges; the special tokens have the ids after them."""

    def __init__(self) -> None:
        tokenizer = Tokenizer(models.BPE())
        words = pre_tokenizers.Split(Regex(r"\s*\S+|\s+"), behavior="isolated")  # wider than Qwen2's: merges reach over
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator([*CORPUS, *_MORE_TEXT], trainer)
        model = json.loads(tokenizer.to_str())["model"]
        self.vocab: dict[str, int] = model["vocab"]
        self.merges: list[tuple[str, str]] = [(left, right) for left, right in model["merges"]]
        self.special_ids = {token: len(self.vocab) + index for index, token in enumerate((*CONTROL, *USER_DEFINED))}
        self.size = len(self.vocab) + len(self.special_ids) + len(UNUSED)

    def put_into(self, tiny: TinyGguf) -> None:
        """As llama.cpp's converter writes it; the end token is the instruct models'."""
        pieces = sorted(self.vocab, key=self.vocab.__getitem__)
        tiny.tokens = [*pieces, *CONTROL, *USER_DEFINED, *UNUSED]
        tiny.kinds = [1] * len(pieces) + [3] * len(CONTROL) + [4] * len(USER_DEFINED) + [5] * len(UNUSED)
        tiny.merges = [f"{left} {right}" for left, right in self.merges]
        tiny.pre = "qwen2"
        tiny.eos = self.special_ids["<|im_end|>"]

    def reference(self) -> Qwen2Tokenizer:
        """transformers' tokenizer with the same vocabulary."""
        vocab = {**self.vocab, **self.special_ids}
        tokenizer = Qwen2Tokenizer(vocab=vocab, merges=self.merges, eos_token="<|im_end|>")
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in USER_DEFINED])
        return tokenizer
