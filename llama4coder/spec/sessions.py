"""The sessions of a draft model, and which of them hold memory."""

from collections import OrderedDict
from collections.abc import Collection, Iterator

from llama4coder.spec.branches import BranchPool
from llama4coder.spec.session import DraftSession
from llama4coder.types import SamplingParams


class Sessions:
    """A bounded number of sessions by name; those that were not used for longest lose their memory, or their place."""

    def __init__(self, branches: BranchPool, max_sessions: int) -> None:
        self._branches = branches
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, DraftSession] = OrderedDict()  # least recently used first

    def __iter__(self) -> Iterator[DraftSession]:
        return iter(self._sessions.values())

    def open(self, name: str, start: int, sampling: SamplingParams, seed: int) -> DraftSession:
        """An empty one, in place of one of the same name, or of the least recently used if there are too many."""
        self.close(name)
        if len(self._sessions) >= self._max_sessions:
            self.close(next(iter(self._sessions)))
        session = self._sessions[name] = DraftSession(self._branches, name, start, sampling, seed)
        return session

    def use(self, name: str) -> DraftSession | None:
        """A session that now is the most recently used; None if there is none."""
        session = self._sessions.get(name)
        if session is not None:
            self._sessions.move_to_end(name)
        return session

    def close(self, name: str) -> None:
        """Forget a session; unknown ones are ignored."""
        session = self._sessions.pop(name, None)
        if session is not None:
            session.forget()

    def make_room(self, num_blocks: int, keeping: Collection[DraftSession]) -> bool:
        """Free so many blocks, if need be at the expense of others than these; returns whether they are there."""
        others = (session for session in self if session not in keeping)
        while self._branches.num_free_blocks < num_blocks:
            session = next(others, None)
            if session is None:
                return False
            session.forget()
        return True

    def check_integrity(self) -> None:
        """Assert that no block is used by anything but a session's guesses."""
        self._branches.check_integrity(guess.branch for session in self for guess in session.tree.guesses)
