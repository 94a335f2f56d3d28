"""Which tokens a vocabulary has to structure code: holes, files, repositories."""

from dataclasses import dataclass

from llama4coder.inspection.files import TokenFiles
from llama4coder.tokenizer.fim import find_markers

# Of StarCoder 1 and 2, Granite Code, Qwen2.5-Coder and CodeGemma.
_REPOSITORY_TOKENS = (
    *("<|repo_name|>", "<repo_name>", "<reponame>"),
    *("<|file_sep|>", "<|file_separator|>", "<file_sep>", "<filename>"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Hole:
    """How a hole is written; see `tokenizer.fim`."""

    prefix: str
    suffix: str
    middle: str | None  # None where the second text leads on to the middle by itself
    suffix_first: bool


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that matter to a code model."""

    size: int
    bos: str | None
    adds_bos: bool  # to a raw prompt
    eos: tuple[str, ...]
    hole: Hole | None
    repository: tuple[str, ...]  # tokens that name repositories and files, or stand between files


def read_vocabulary(tokens: TokenFiles) -> Vocabulary:
    """What the pieces of a vocabulary say."""
    markers = find_markers(tokens.pieces.__contains__)
    hole = None if markers is None else Hole(markers.prefix, markers.suffix, markers.middle, markers.suffix_first)
    repository = tuple(piece for piece in _REPOSITORY_TOKENS if piece in tokens.pieces)
    return Vocabulary(len(tokens.pieces), tokens.bos, tokens.adds_bos, tokens.eos, hole, repository)
