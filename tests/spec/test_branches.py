"""Branches under random traces: whatever is shared, each reads back what was written to it."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.spec.branches import Branch, BranchPool

NUM_BLOCKS = 12


@dataclass(eq=False)
class Written:
    """A branch beside the tokens that it ought to hold."""

    branch: Branch
    tokens: list[int] = field(default_factory=list)


class BranchMachine(RuleBasedStateMachine):
    """Memory is a list of slots; tokens are numbers that are never written twice."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BranchPool(NUM_BLOCKS)
        self.memory = [[-1] * BLOCK_SIZE for _ in range(NUM_BLOCKS)]
        self.written: list[Written] = []
        self.next_token = 0

    @rule()
    def new(self) -> None:
        self.written.append(Written(self.pool.new()))

    @precondition(lambda self: self.written)
    @rule(data=st.data(), nums_tokens=st.lists(st.integers(0, 40), min_size=1, max_size=4))
    def extend(self, data: st.DataObject, nums_tokens: list[int]) -> None:
        """Several at once: first all copies, then all writing, as in a step of a model."""
        chosen = data.draw(st.permutations(self.written))[: len(nums_tokens)]
        wanted = sum(
            self.pool.num_blocks_to_extend(item.branch, num) for item, num in zip(chosen, nums_tokens, strict=False)
        )
        if wanted > self.pool.num_free_blocks:
            return
        free = self.pool.num_free_blocks
        rows = list(zip(chosen, nums_tokens, strict=False))
        copies = [copy for item, num in rows for copy in self.pool.extend(item.branch, num)]
        assert free - self.pool.num_free_blocks <= wanted
        assert not {copy.source for copy in copies} & {copy.destination for copy in copies}
        for copy in copies:
            self.memory[copy.destination] = list(self.memory[copy.source])
        for item, num in rows:
            self.write(item, num)

    def write(self, item: Written, num_tokens: int) -> None:
        for token in range(self.next_token, self.next_token + num_tokens):
            block, offset = divmod(len(item.tokens), BLOCK_SIZE)
            self.memory[item.branch.block_ids[block]][offset] = token
            item.tokens.append(token)
        self.next_token += num_tokens

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from(self.written))
        num_tokens = data.draw(st.integers(0, len(parent.tokens)))
        free = self.pool.num_free_blocks
        self.written.append(Written(self.pool.fork(parent.branch, num_tokens), parent.tokens[:num_tokens]))
        assert self.pool.num_free_blocks == free

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.written))
        num_tokens = data.draw(st.integers(0, len(item.tokens)))
        self.pool.truncate(item.branch, num_tokens)
        del item.tokens[num_tokens:]

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.written))
        self.written.remove(item)
        self.pool.release(item.branch)

    @invariant()
    def each_holds_its_own(self) -> None:
        for item in self.written:
            assert item.branch.num_tokens == len(item.tokens)
            held = [token for block_id in item.branch.block_ids for token in self.memory[block_id]]
            assert held[: len(item.tokens)] == item.tokens

    @invariant()
    def nothing_leaks(self) -> None:
        self.pool.check_integrity([item.branch for item in self.written])


TestBranches = BranchMachine.TestCase
TestBranches.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_last_one_left_writes_in_place() -> None:
    pool = BranchPool(4)
    parent = pool.new()
    pool.extend(parent, 5)
    child = pool.fork(parent, 3)
    assert pool.num_blocks_to_extend(child, 1) == 1
    pool.release(parent)
    assert pool.num_blocks_to_extend(child, 1) == 0
    assert pool.extend(child, 1) == []
