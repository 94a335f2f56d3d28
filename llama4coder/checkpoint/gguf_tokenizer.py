"""The tokenizer that a GGUF file describes, as the files that Hugging Face's libraries read."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from llama4coder.checkpoint.gguf_file import GgufFile
from llama4coder.errors import CheckpointError

_CONTROL, _USER_DEFINED = 3, 4  # kinds in tokenizer.ggml.token_type

_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_LLAMA3_PATTERN), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_PRE_TOKENIZERS: Mapping[str, Callable[[], pre_tokenizers.PreTokenizer]] = MappingProxyType(
    {"gpt-2": _gpt2, "smollm": _smollm, "llama-bpe": _llama3}
)


def build_tokenizer(file: GgufFile) -> Tokenizer:
    """The tokenizer itself; `CheckpointError` for a kind that is not known here."""
    model, pre = file.text("tokenizer.ggml.model"), file.text("tokenizer.ggml.pre")
    if model != "gpt2":
        raise CheckpointError(f"{file.path} has a tokenizer of the kind {model}; only gpt2 is supported")
    if pre not in _PRE_TOKENIZERS:
        known = ", ".join(_PRE_TOKENIZERS)
        raise CheckpointError(f"{file.path} has the pre-tokenizer {pre}; supported are {known}")
    tokenizer = Tokenizer(_byte_pairs(file, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    _add_marked_tokens(tokenizer, file)
    if _adds_bos(file):
        bos = _token(file, "bos_token_id")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def tokenizer_config(file: GgufFile) -> dict[str, object]:
    """The content of tokenizer_config.json."""
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.integer("llama.context_length"),
        "clean_up_tokenization_spaces": False,
        "add_bos_token": _adds_bos(file),
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        if file.has(f"tokenizer.ggml.{theirs}_token_id"):
            config[f"{ours}_token"] = _token(file, f"{theirs}_token_id")
    if file.has("tokenizer.chat_template"):
        config["chat_template"] = file.text("tokenizer.chat_template")
    return config


def generation_config(file: GgufFile) -> dict[str, object]:
    """The content of generation_config.json."""
    names = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    ids = {ours: file.optional_integer(f"tokenizer.ggml.{theirs}") for ours, theirs in names.items()}
    return {name: token_id for name, token_id in ids.items() if token_id is not None}


def _byte_pairs(file: GgufFile, *, ignore_merges: bool) -> models.BPE:
    tokens = file.texts("tokenizer.ggml.tokens")
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise file.damaged("its vocabulary holds a token twice")
    merges = [merge.split(" ") for merge in file.texts("tokenizer.ggml.merges")]
    if any(len(merge) != 2 for merge in merges):
        raise file.damaged("a merge of its vocabulary is not a pair")
    try:
        return models.BPE(vocab, [(left, right) for left, right in merges], ignore_merges=ignore_merges)
    except Exception as error:  # the library raises nothing more precise
        raise file.damaged(f"its vocabulary does not fit its merges: {error}") from error


def _add_marked_tokens(tokenizer: Tokenizer, file: GgufFile) -> None:
    tokens, kinds = file.texts("tokenizer.ggml.tokens"), file.integers("tokenizer.ggml.token_type")
    if len(tokens) != len(kinds):
        raise file.damaged("the kinds of its tokens are not as many as its tokens")
    marked = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (_CONTROL, _USER_DEFINED)]
    # One call for all: each call rebuilds the automaton that finds them.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == _CONTROL) for token, kind in marked])


def _adds_bos(file: GgufFile) -> bool:
    return file.has("tokenizer.ggml.add_bos_token") and file.flag("tokenizer.ggml.add_bos_token")


def _token(file: GgufFile, key: str) -> str:
    tokens, token_id = file.texts("tokenizer.ggml.tokens"), file.integer(f"tokenizer.ggml.{key}")
    if not 0 <= token_id < len(tokens):
        raise file.damaged(f"tokenizer.ggml.{key} is not in its vocabulary")
    return tokens[token_id]
