"""How much was guessed, and how much of it was right."""

from collections.abc import Sequence

from llama4coder.obs.stats import DraftStats, NullObserver


class DraftCounts(NullObserver):
    """Counts drafts and their tokens since `clear`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again."""
        self.num_drafts = self.num_drafted = self.num_judged = self.num_accepted = 0

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        self.num_drafts += len(drafts)
        self.num_drafted += sum(draft.num_drafted for draft in drafts)
        self.num_judged += sum(min(draft.num_accepted + 1, draft.num_drafted) for draft in drafts)
        self.num_accepted += sum(draft.num_accepted for draft in drafts)
