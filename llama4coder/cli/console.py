"""Where a command's tables go."""

from rich.console import Console

_FILE_WIDTH = 120  # columns; a file or a pipe has none of its own, and rich would take 80


def output_console() -> Console:
    """Standard output, as wide as its terminal; in a file or a pipe wide enough that no table is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, _FILE_WIDTH))
