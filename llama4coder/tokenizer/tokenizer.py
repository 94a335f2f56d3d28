"""Text to token ids and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from llama4coder.errors import CheckpointError, InvalidRequest
from llama4coder.tokenizer.files import TokenSettings, read_json
from llama4coder.tokenizer.pieces import PieceRules, parse_decoder

_SIGN = "\N{WHITE SMILING FACE}"  # what the authors of Code Llama write before a suffix


@dataclass(frozen=True, slots=True)
class VocabularyEntry:
    """What an id stands for, as tokenizer.json writes it."""

    piece: str
    is_special: bool


class Tokenizer:
    """A model's own tokenizer, read from its folder.

    Any method may be called from any thread: nothing changes after construction but caches.
    """

    def __init__(self, fast: FastTokenizer, rules: PieceRules, settings: TokenSettings) -> None:
        fast.no_truncation()
        fast.no_padding()
        self._fast = fast
        self._rules = rules
        self.special_ids = frozenset(id for id, token in fast.get_added_tokens_decoder().items() if token.special)
        self._bytes: dict[int, bytes] = {}
        self.vocab_size = 1 + max(fast.get_vocab(with_added_tokens=True).values(), default=-1)
        """One more than the highest token id. A model's logits may be wider; ids past the end have no text."""
        self.bos_token_id = _bos_token_id(fast, settings)
        self.eos_token_ids = _eos_token_ids(fast, settings)
        self.adds_bos = _adds_bos(fast, settings, self.bos_token_id)
        """Whether a raw prompt gets a BOS by the model's own habit."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Read tokenizer.json, and what the other files say about special tokens; `CheckpointError` if it fails."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; a model folder needs its tokenizer.json")
        decoder = read_json(path).get("decoder")
        rules = parse_decoder(decoder if isinstance(decoder, dict) else None)
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise CheckpointError(f"cannot read {path}: {error}") from error
        return cls(fast, rules, TokenSettings.from_folder(folder))

    def vocabulary(self) -> Mapping[int, VocabularyEntry]:
        """Every id that stands for a token."""
        pieces = self._fast.get_vocab(with_added_tokens=True)
        return {token_id: VocabularyEntry(piece, token_id in self.special_ids) for piece, token_id in pieces.items()}

    def encode(self, text: str, *, add_bos: bool, parse_special: bool = True) -> list[int]:
        """Token ids of `text`, after the BOS if `add_bos`, the model has one, and the text does not begin with it.

        With `parse_special` the text of a special token, such as `<|im_end|>`, becomes that token; without, it is
        ordinary text, and so is that of markers which are not declared special. Raises `InvalidRequest` for text that
        is not valid Unicode.
        """
        fast = self._fast if parse_special else self._fast_without_special
        try:
            ids = fast.encode(text, add_special_tokens=False).ids
        except TypeError:  # the library's word for a lone surrogate, which JSON can spell as "\ud800"
            raise InvalidRequest("the text holds half of a surrogate pair, which is not valid Unicode") from None
        if not add_bos or self.bos_token_id is None or ids[:1] == [self.bos_token_id]:
            return ids
        return [self.bos_token_id, *ids]

    def encode_inside(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Token ids of `text` where other text precedes it, by default without special tokens: no space is added.

        SentencePiece writes one before every text (Llama 2, Code Llama); behind a sign that joins with nothing there is
        none. Raises `InvalidRequest` as `encode` does.
        """
        parts = (_SIGN, _SIGN + text)
        sign, both = (self.encode(part, add_bos=False, parse_special=parse_special) for part in parts)
        return both[len(sign) :]

    @cached_property
    def control_texts(self) -> frozenset[str]:
        """Texts of the tokens that structure prompts, whether they are declared special or not."""
        added = self._fast.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special or _is_marker(token.content))

    def special_id_of(self, piece: str) -> int | None:
        """The id of a token that is declared special; None if the vocabulary lacks it or shows it as text."""
        token_id = self.id_of(piece)
        return token_id if token_id in self.special_ids else None

    def id_of(self, piece: str) -> int | None:
        """The id of a token as tokenizer.json writes it; None if the vocabulary lacks it."""
        return self._fast.token_to_id(piece)

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of a whole sequence; bytes that are not UTF-8 become U+FFFD, ids without a token nothing."""
        kept = [token_id for token_id in token_ids if self.has_text(token_id, skip_special=skip_special)]
        data = [self.first_token_bytes(kept[0]), *map(self.token_bytes, kept[1:])] if kept else []
        return b"".join(data).decode("utf-8", errors="replace")

    def has_text(self, token_id: int, *, skip_special: bool) -> bool:
        """Whether the token is part of the decoded text at all."""
        return not (skip_special and token_id in self.special_ids) and self._piece(token_id) is not None

    def token_text(self, token_id: int) -> str:
        """The text of one token by itself; U+FFFD where its bytes are not whole characters."""
        return self.token_bytes(token_id).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for inside a text; none for an id without a token."""
        data = self._bytes.get(token_id)
        if data is None:
            piece = self._piece(token_id)
            if piece is None:
                return b""
            data = self._bytes[token_id] = self._rules.piece_bytes(piece)
        return data

    def first_token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token that begins a text, where SentencePiece drops the leading space."""
        piece = self._piece(token_id)
        return b"" if piece is None else self._rules.first_piece_bytes(piece)

    def _piece(self, token_id: int) -> str | None:
        return self._fast.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None

    @cached_property
    def _fast_without_special(self) -> FastTokenizer:
        # A second instance, because switching the first one back and forth would race with other threads.
        content = json.loads(self._fast.to_str())
        for token in content["added_tokens"]:
            token["special"] = token["special"] or _is_marker(token["content"])
        plain = FastTokenizer.from_str(json.dumps(content))
        plain.encode_special_tokens = True
        return plain


def _is_marker(content: str) -> bool:
    """Whether a token is made to structure a prompt, though not declared special, as Qwen's `<|fim_middle|>` is not."""
    return len(content) > 2 and content[0] + content[-1] in ("<>", "[]")


def _bos_token_id(fast: FastTokenizer, settings: TokenSettings) -> int | None:
    if settings.names_token("bos_token"):
        content = settings.token("bos_token")
        return None if content is None else fast.token_to_id(content)
    return next(iter(settings.ids("bos_token_id")), None)


def _eos_token_ids(fast: FastTokenizer, settings: TokenSettings) -> frozenset[int]:
    content = settings.token("eos_token")
    named = None if content is None else fast.token_to_id(content)
    return frozenset(settings.ids("eos_token_id")) | ({named} if named is not None else frozenset())


def _adds_bos(fast: FastTokenizer, settings: TokenSettings, bos_token_id: int | None) -> bool:
    if bos_token_id is None:
        return False
    declared = settings.tokenizer.get("add_bos_token")
    if isinstance(declared, bool):
        return declared
    return fast.encode("", add_special_tokens=True).ids[:1] == [bos_token_id]
