"""Names of cached blocks: what a router believes is what a replica has, and how many bytes it takes to say so."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.channel.report_frames import encode_report
from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.kv.block_hash import BlockHash, block_hash, root_hash
from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.name_journal import NameEvent, NameJournal
from llama4coder.kv.sizing import kv_bytes_per_block
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.router.messages import NameChange
from llama4coder.router.names import MAX_NAMES, CachedNames, KnownNames, num_common, short_name
from llama4coder.router.reports import ReportWriter
from llama4coder.shape import read_shape
from tests.support.replicas import hashes_of, load, prompt_of

POOL_BLOCKS = 5825  # what 2 GiB hold of SmolLM2's in bfloat16

names = st.integers(1, 12).map(lambda number: number.to_bytes(16, "little"))
events = st.lists(st.builds(NameEvent, names, st.booleans()), max_size=20)


def known(have: KnownNames, name: BlockHash) -> bool:
    return have.num_leading([short_name(name)]) == 1


@given(st.lists(st.tuples(events, st.booleans()), max_size=10))
def test_router_follows_the_replica(reports: list[tuple[list[NameEvent], bool]]) -> None:
    cached, have, believed = set[bytes](), CachedNames(), KnownNames()
    for happened, is_whole in reports:
        for event in happened:
            (cached.add if event.is_cached else cached.discard)(event.name)
        change = have.apply(happened)
        believed.apply(have.full() if is_whole else change)
        for number in range(1, 13):
            name = number.to_bytes(16, "little")
            assert known(believed, name) == (name in cached)


@given(st.lists(st.tuples(events, st.booleans()), max_size=10), events)
def test_a_whole_report_heals_whatever_was_lost(
    reports: list[tuple[list[NameEvent], bool]], last: list[NameEvent]
) -> None:
    have, believed = CachedNames(), KnownNames()
    for happened, arrives in reports:
        change = have.apply(happened)
        if arrives:
            believed.apply(change)
    have.apply(last)
    believed.apply(have.full())
    fresh = KnownNames()
    fresh.apply(have.full())
    assert believed._names == fresh._names


def test_damaged_names_are_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes"):
        KnownNames().apply(NameChange(is_full=True, added=b"damaged"))


@given(st.integers(0, 40), st.integers(0, 40))
def test_leading_blocks_end_where_prompts_part(num_shared: int, num_cached: int) -> None:
    prompt, other = ([*map(short_name, hashes_of(prompt_of(1, 16 * num_shared, n, 320)))] for n in (1, 2))
    believed, have = KnownNames(), CachedNames()
    have.apply(
        [NameEvent(name, is_cached=True) for name in hashes_of(prompt_of(1, 16 * num_shared, 1, 320))[:num_cached]]
    )
    believed.apply(have.full())
    assert num_common(prompt, other) == num_shared
    assert believed.num_leading(other) == min(num_shared, num_cached)


def test_journal_of_a_pool_tells_its_names() -> None:
    journal, have = NameJournal(), CachedNames()
    pool = BlockPool(3, journal=journal)
    chain: list[BlockHash] = []
    for index in range(3):
        chain.append(block_hash(chain[-1] if chain else root_hash(""), [index]))
    blocks = pool.allocate(range(3))
    for block, name in zip(blocks, chain, strict=True):
        pool.register(block, name)
    pool.register(blocks[0], b"another")  # it keeps its name
    pool.release(blocks)
    pool.allocate(range(1))
    have.apply(journal.take())
    assert [known_of(have, name) for name in chain] == [True, True, False]
    assert journal.take() == []


def test_content_that_lies_on_the_host_counts_until_it_has_to_make_room() -> None:
    journal, have = NameJournal(), CachedNames()
    pool = BlockPool(1, host_slots_per_shard=1, journal=journal)
    seen = []
    for name in (b"a" * 16, b"b" * 16, b"c" * 16):
        blocks = pool.allocate(range(1))
        pool.register(blocks[0], name)
        pool.release(blocks)
        pool.take_moves()
        have.apply(journal.take())
        seen.append([known_of(have, each * 16) for each in (b"a", b"b", b"c")])
    assert seen == [[True, False, False], [True, True, False], [False, True, True]]


def known_of(have: CachedNames, name: BlockHash) -> bool:
    believed = KnownNames()
    believed.apply(have.full())
    return known(believed, name)


def named(numbers: Sequence[int]) -> list[NameEvent]:
    return [NameEvent(number.to_bytes(16, "little"), is_cached=True) for number in numbers]


class TestSize:
    def test_a_whole_report_of_two_gibibytes_of_smollm2_is_small(self) -> None:
        writer = ReportWriter("abcdefgh")
        whole = writer.whole(writer.write(load(), named(range(1, POOL_BLOCKS + 1))))
        assert len(encode_report(whole)) < 8 * POOL_BLOCKS + 400

    def test_a_report_in_between_says_what_has_changed(self) -> None:
        writer = ReportWriter("abcdefgh")
        writer.write(load(), named(range(1, POOL_BLOCKS + 1)))
        assert len(encode_report(writer.write(load(), []))) < 400
        assert len(encode_report(writer.write(load(), named(range(10_000, 10_100))))) < 400 + 8 * 100

    def test_reports_are_bounded_and_keep_the_newest(self) -> None:
        have, believed = CachedNames(), KnownNames()
        have.apply(named(range(1, MAX_NAMES + 11)))
        assert len(have.full().added) == 8 * MAX_NAMES
        believed.apply(have.full())
        assert not known(believed, (10).to_bytes(16, "little"))
        assert known(believed, (MAX_NAMES + 10).to_bytes(16, "little"))


@pytest.mark.model
def test_the_pool_above_is_that_of_smollm2() -> None:
    shape = read_shape(find_checkpoint("embedded", cache_dir(), NullProgress()))
    assert 2 * 2**30 // kv_bytes_per_block(RankPlan.alone(shape), "bfloat16") == POOL_BLOCKS
