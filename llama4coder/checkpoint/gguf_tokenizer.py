"""The tokenizer that a GGUF file describes, as the files that Hugging Face's libraries read."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.checkpoint.gguf_sentencepiece import sentencepiece_tokenizer
from llama4coder.checkpoint.gguf_text_rules import TextRules

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5  # kinds in tokenizer.ggml.token_type


def build_tokenizer(file: GgufFile, rules: TextRules) -> Tokenizer:
    """The tokenizer itself; `CheckpointError` for a vocabulary that contradicts itself."""
    kinds = _kinds(file)
    if rules.is_sentencepiece:
        tokenizer = sentencepiece_tokenizer(file, kinds)
    else:
        tokenizer = _byte_level_tokenizer(file, kinds, rules)
    _add_marked_tokens(tokenizer, kinds)
    if _adds_bos(file, rules):
        bos = _token(file, "bos_token_id")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def _byte_level_tokenizer(file: GgufFile, kinds: list[tuple[str, int]], rules: TextRules) -> Tokenizer:
    tokenizer = Tokenizer(_byte_pairs(file, kinds, ignore_merges=rules.takes_whole_words))
    if rules.composes:
        tokenizer.normalizer = normalizers.NFC()
    if rules.pre_tokenizer is not None:
        tokenizer.pre_tokenizer = rules.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tokenizer_config(file: GgufFile, rules: TextRules, context_length: int) -> dict[str, object]:
    """The content of tokenizer_config.json."""
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": _adds_bos(file, rules),
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        if file.has(f"tokenizer.ggml.{theirs}_token_id"):
            config[f"{ours}_token"] = _token(file, f"{theirs}_token_id")
    if file.has("tokenizer.chat_template"):
        config["chat_template"] = file.text("tokenizer.chat_template")
    return config


def generation_config(file: GgufFile, rules: TextRules) -> dict[str, object]:
    """The content of generation_config.json."""
    names = {"bos_token_id": "bos_token_id", "pad_token_id": "padding_token_id"}
    ids = {ours: file.optional_integer(f"tokenizer.ggml.{theirs}") for ours, theirs in names.items()}
    config: dict[str, object] = {name: token_id for name, token_id in ids.items() if token_id is not None}
    end_ids = _end_ids(file, rules)
    if end_ids:
        config["eos_token_id"] = end_ids[0] if len(end_ids) == 1 else end_ids
    return config


def _end_ids(file: GgufFile, rules: TextRules) -> list[int]:
    """The file's own end of text first, then what else ends one."""
    named = [file.optional_integer(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    control = {token: token_id for token_id, (token, kind) in enumerate(_kinds(file)) if kind == _CONTROL}
    habitual = [control.get(token) for token in rules.end_tokens]
    return list(dict.fromkeys(token_id for token_id in (*named, *habitual) if token_id is not None))


def _kinds(file: GgufFile) -> list[tuple[str, int]]:
    """Every token with its kind; the place is its id."""
    tokens, kinds = file.texts("tokenizer.ggml.tokens"), file.integers("tokenizer.ggml.token_type")
    if len(tokens) != len(kinds):
        raise file.damaged("the kinds of its tokens are not as many as its tokens")
    return list(zip(tokens, kinds, strict=True))


def _byte_pairs(file: GgufFile, kinds: list[tuple[str, int]], *, ignore_merges: bool) -> models.BPE:
    # Unused tokens only fill the embedding up to a round size: they stand for no text.
    vocab = {token: index for index, (token, kind) in enumerate(kinds) if kind != _UNUSED}
    if len(vocab) != sum(kind != _UNUSED for _, kind in kinds):
        raise file.damaged("its vocabulary holds a token twice")
    merges = [merge.split(" ") for merge in file.texts("tokenizer.ggml.merges")]
    if any(len(merge) != 2 for merge in merges):
        raise file.damaged("a merge of its vocabulary is not a pair")
    try:
        return models.BPE(vocab, [(left, right) for left, right in merges], ignore_merges=ignore_merges)
    except Exception as error:  # the library raises nothing more precise
        raise file.damaged(f"its vocabulary does not fit its merges: {error}") from error


def _add_marked_tokens(tokenizer: Tokenizer, kinds: list[tuple[str, int]]) -> None:
    marked = [(token, kind) for token, kind in kinds if kind in (_CONTROL, _USER_DEFINED)]
    # One call for all: each call rebuilds the automaton that finds them.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == _CONTROL) for token, kind in marked])


def _adds_bos(file: GgufFile, rules: TextRules) -> bool:
    """By default, as llama.cpp does it."""
    key = "tokenizer.ggml.add_bos_token"
    return file.flag(key) if file.has(key) else rules.is_sentencepiece


def _token(file: GgufFile, key: str) -> str:
    tokens, token_id = file.texts("tokenizer.ggml.tokens"), file.integer(f"tokenizer.ggml.{key}")
    if not 0 <= token_id < len(tokens):
        raise file.damaged(f"tokenizer.ggml.{key} is not in its vocabulary")
    return tokens[token_id]
