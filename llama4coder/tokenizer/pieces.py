"""From a vocabulary entry, such as `Ġdef` or `<0x0A>`, to the bytes of text that it stands for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from llama4coder.errors import CheckpointError

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_level_alphabet() -> dict[str, int]:
    # GPT-2's bijection: printable Latin-1 stands for itself, the other bytes for U+0100 and up, in order.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_level_alphabet()


@dataclass(frozen=True, slots=True)
class PieceRules:
    """The decoder of a tokenizer.json as rules for one vocabulary entry at a time.

    Joining the bytes of all tokens and decoding them as UTF-8 gives what the `tokenizers` library decodes, except that
    it shows a damaged run of byte-fallback tokens as one U+FFFD per byte, and this as one per damaged character.
    """

    replacements: tuple[tuple[str, str], ...] = ()  # applied in order
    byte_level: bool = False  # characters stand for bytes, as in GPT-2
    byte_fallback: bool = False  # <0x0A> stands for a byte, as in SentencePiece
    first_removed: str = ""  # characters that vanish from a text's first token
    strips_first_space: bool = False  # one leading space vanishes from a text

    def piece_bytes(self, piece: str) -> bytes:
        """The bytes of a token inside a text."""
        if self.byte_fallback and (match := _BYTE_PIECE.fullmatch(piece)):
            return bytes((int(match[1], 16),))
        for old, new in self.replacements:
            piece = piece.replace(old, new)
        if self.byte_level and all(char in _BYTE_OF_CHAR for char in piece):
            return bytes(_BYTE_OF_CHAR[char] for char in piece)
        return piece.encode("utf-8")

    def first_piece_bytes(self, piece: str) -> bytes:
        """The bytes of a token that begins a text."""
        data = self.piece_bytes(piece.replace(self.first_removed, "") if self.first_removed else piece)
        return data[1:] if self.strips_first_space and data.startswith(b" ") else data


def parse_decoder(decoder: Mapping[str, object] | None) -> PieceRules:
    """Rules equal to the `decoder` of a tokenizer.json; `CheckpointError` for a kind that is not known."""
    rules = PieceRules()
    fused = False
    for step in _steps(decoder):
        if step.get("type") == "Strip" and not fused:
            raise _unsupported(step)  # it would strip every token, not the text
        fused = fused or step.get("type") in ("Fuse", "ByteLevel")
        rules = _with_step(rules, step)
    return rules


def _steps(decoder: Mapping[str, object] | None) -> list[dict[str, object]]:
    if decoder is None:
        raise CheckpointError("tokenizer.json has no decoder, so tokens cannot be turned into text")
    inner = decoder.get("decoders") if decoder.get("type") == "Sequence" else [decoder]
    if not isinstance(inner, list) or not all(isinstance(step, dict) for step in inner):
        raise _unsupported(decoder)
    return inner


def _with_step(rules: PieceRules, step: Mapping[str, object]) -> PieceRules:
    match step:
        case {"type": "ByteLevel"}:
            return replace(rules, byte_level=True)
        case {"type": "ByteFallback"}:
            return replace(rules, byte_fallback=True)
        case {"type": "Fuse"}:
            return rules
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
            return replace(rules, replacements=(*rules.replacements, (old, new)))
        case {"type": "Strip", "content": " ", "start": 0 | 1 as start, "stop": 0}:
            return replace(rules, strips_first_space=start == 1)
        case {"type": "Metaspace", "replacement": str(mark)}:
            first_removed = "" if step.get("prepend_scheme") == "never" else mark
            return replace(rules, first_removed=first_removed, replacements=(*rules.replacements, (mark, " ")))
        case _:
            raise _unsupported(step)


def _unsupported(step: Mapping[str, object]) -> CheckpointError:
    return CheckpointError(f"tokenizer.json: the decoder {step.get('type')} is not supported as it is set here")
