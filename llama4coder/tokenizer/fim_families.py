"""How each family of models was trained to write a hole, and other files of its repository before it; only data.

Sources: arXiv 2207.14255 (the method and its two orders), arXiv 2308.12950 (Code Llama), arXiv 2402.19173 section 5.1
(StarCoder2 with files), arXiv 2409.12186 (Qwen2.5-Coder with files), and the model cards of StarCoder, Granite Code,
CodeGemma, DeepSeek-Coder and Codestral.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileMarkers:
    """How a family tells files apart; the tokens must be in the vocabulary."""

    file: str | None = None  # a token before every path; None: files are text at the beginning of the prefix
    repository: str | None = None  # a token before the repository's name
    heading: str = ""  # text before every path
    name_ends_line: bool = True  # whether a line break follows the repository's name
    own_path_inside: bool = False  # the path of the file with the hole is behind the prefix marker


@dataclass(frozen=True, slots=True)
class FimMarkers:
    """How a family writes a hole; each marker is one token of its vocabulary."""

    prefix: str
    suffix: str
    middle: str | None  # after both texts; None where the second one leads on to the middle by itself
    ends: tuple[str, ...]  # of the middle, besides the model's end of text; what other models of the family lack
    files: tuple[FileMarkers, ...]  # the first whose tokens the vocabulary has; the last needs none
    suffix_first: bool = False


_COMMENTS = FileMarkers(heading="# ")

FAMILIES: tuple[FimMarkers, ...] = (
    FimMarkers(  # Qwen2.5-Coder, CodeGemma
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|file_separator|>", "<|endoftext|>"),
        (FileMarkers("<|file_sep|>", "<|repo_name|>"), FileMarkers("<|file_separator|>"), _COMMENTS),
    ),
    FimMarkers(  # StarCoder and 2, Granite Code
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        ("<fim_pad>", "<reponame>", "<repo_name>", "<filename>", "<file_sep>", "<|endoftext|>"),
        (
            FileMarkers("<file_sep>", "<repo_name>", name_ends_line=False, own_path_inside=True),
            FileMarkers("<filename>", "<reponame>", name_ends_line=False),
            _COMMENTS,
        ),
    ),
    FimMarkers(  # DeepSeek-Coder
        "<｜fim▁begin｜>",  # noqa: RUF001
        "<｜fim▁hole｜>",  # noqa: RUF001
        "<｜fim▁end｜>",  # noqa: RUF001
        (),
        (FileMarkers(heading="#"),),
    ),
    FimMarkers("▁<PRE>", "▁<SUF>", "▁<MID>", ("▁<EOT>",), (_COMMENTS,)),  # Code Llama
    FimMarkers("[PREFIX]", "[SUFFIX]", None, (), (FileMarkers(heading="+++++ "),), suffix_first=True),  # Codestral
)
