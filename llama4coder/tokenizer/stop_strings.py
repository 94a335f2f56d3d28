"""Finding any of many stop strings in text that arrives in pieces, in constant time per character."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llama4coder.errors import InvalidRequest


@dataclass(slots=True, eq=False, repr=False)
class Beginning:
    """A beginning of some stop string, `depth` characters long."""

    depth: int
    children: dict[str, "Beginning"] = field(default_factory=dict)
    fallback: "Beginning | None" = None  # the longest proper ending of this beginning that is a beginning itself
    match_length: int = 0  # of the longest stop string that ends here
    num_held: int = 0  # of the last characters, how many could still grow into a stop string


class StopStrings:
    """An Aho-Corasick automaton: where several stop strings match, the one that ends first wins, then the longest."""

    def __init__(self, stop: Sequence[str]) -> None:
        if "" in stop:
            raise InvalidRequest("a stop string must not be empty", "stop")
        self.start = Beginning(depth=0)
        for text in stop:
            self._add(text)
        self._link()

    def next(self, node: Beginning, char: str) -> Beginning:
        """The state after one more character."""
        state: Beginning | None = node
        while state is not None:
            if child := state.children.get(char):
                return child
            state = state.fallback
        return self.start

    def _add(self, text: str) -> None:
        node = self.start
        for char in text:
            node = node.children.setdefault(char, Beginning(depth=node.depth + 1))
        node.match_length = len(text)

    def _link(self) -> None:
        nodes = deque([self.start])
        while nodes:  # breadth first: a fallback is shorter than its node, so it is complete already
            node = nodes.popleft()
            for char, child in node.children.items():
                child.fallback = self.start if node.fallback is None else self.next(node.fallback, char)
                child.match_length = child.match_length or child.fallback.match_length
                child.num_held = child.depth if child.children else child.fallback.num_held
                nodes.append(child)
