"""The text that is scored."""

from collections.abc import Sequence
from pathlib import Path

from llama4coder.errors import ConfigError
from llama4coder.perplexity.windows import Window, cut_windows
from llama4coder.tokenizer.tokenizer import Tokenizer


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, or holds nothing but blanks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: byte {error.start} is wrong") from error
    if not text.strip():
        raise ConfigError(f"{path} is empty; there is nothing to score")
    return text


def windows_of(texts: Sequence[str], tokenizer: Tokenizer, context_length: int, most_tokens: int) -> list[Window]:
    """The first tokens of the texts, in windows that leave room for one token more in the context.

    Each begins with a BOS if the model is used to it; what looks like a special token in a text is text.
    Raises:
        ConfigError: there are fewer tokens than one window holds.
    """
    length = context_length - 1
    bos = tokenizer.bos_token_id if tokenizer.adds_bos else None
    token_ids = [token for text in texts for token in tokenizer.encode(text, add_bos=False, parse_special=False)]
    num_tokens = min(len(token_ids), most_tokens)
    if num_tokens < length - (bos is not None):
        raise ConfigError(
            f"there are {num_tokens} tokens to score, less than a window of {context_length}: "
            f"give more text or tokens, or a smaller --context"
        )
    return cut_windows(token_ids[:most_tokens], length, bos)
