"""Real code that every machine has: sources of the standard library."""

import argparse
from pathlib import Path

_MODULES = ("argparse", "asyncio/base_events", "inspect", "tarfile", "typing", "pathlib", "smtplib", "zipfile", "ast")


def library_sources() -> list[str]:
    """Some hundred thousand tokens, always in this order."""
    library = Path(argparse.__file__).parent
    return [(library / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES]
