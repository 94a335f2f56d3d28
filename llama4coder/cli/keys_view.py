"""Keys, for the terminal."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from rich import box
from rich.table import Table

from llama4coder.keys.record import KeyRecord
from llama4coder.keys.scope import DIALECTS


def view(records: Sequence[KeyRecord], now: datetime) -> Table:
    """One row per key."""
    table = Table("name", "state", "for", "models", "made", "expires", "limits", box=box.SIMPLE_HEAD)
    for record in records:
        table.add_row(
            record.name,
            record.state(now).value,
            "all dialects" if set(record.scopes) == set(DIALECTS) else ", ".join(record.scopes),
            ", ".join(record.models) or "all",
            f"{record.created:%Y-%m-%d}",
            "never" if record.expires is None else f"{record.expires:%Y-%m-%d %H:%M}",
            ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(record.limits).items()) or "none",
        )
    return table
