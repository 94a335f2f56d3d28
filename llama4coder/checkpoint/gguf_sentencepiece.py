"""SentencePiece vocabularies in GGUF files, such as those of Llama 2, Code Llama and Mistral.

Pieces have scores instead of merges: two neighbours become one by the highest score of what they make.
"""

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers

from llama4coder.checkpoint.gguf_file import GgufFile

_SPACE = "▁"
_UNKNOWN = 2  # a kind in tokenizer.ggml.token_type


def sentencepiece_tokenizer(file: GgufFile, kinds: Sequence[tuple[str, int]]) -> Tokenizer:
    """The tokenizer without its marked tokens; `CheckpointError` for a vocabulary that contradicts itself."""
    scores = file.numbers("tokenizer.ggml.scores")
    pieces = [token for token, _ in kinds]
    if len(scores) != len(pieces) or len(set(pieces)) != len(pieces):
        raise file.damaged("its vocabulary does not fit its scores, or holds a token twice")
    vocab = {piece: token_id for token_id, piece in enumerate(pieces)}
    unknown = next((token for token, kind in kinds if kind == _UNKNOWN), None)
    merges = [pair for pair, _ in sorted(_pairs(vocab, scores), key=lambda scored: -scored[1])]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    begins = not file.has("tokenizer.ggml.add_space_prefix") or file.flag("tokenizer.ggml.add_space_prefix")
    spaces = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if begins else spaces
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if begins else steps)
    return tokenizer


def _pairs(vocab: dict[str, int], scores: Sequence[float]) -> Iterator[tuple[tuple[str, str], float]]:
    """Every two pieces that make a third, with its score."""
    for piece, token_id in vocab.items():
        for place in range(1, len(piece)):
            left, right = piece[:place], piece[place:]
            if left in vocab and right in vocab:
                yield (left, right), scores[token_id]
