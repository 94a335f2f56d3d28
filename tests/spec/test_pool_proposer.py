"""The pool as a `Proposer`, whatever becomes of its frames."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from cluster.channel.draft_client import PoolProposer
from cluster.channel.draft_frames import decode_answer, decode_news, encode_answer, encode_news
from cluster.channel.draft_link import Link
from cluster.channel.endpoint import Endpoint
from llama4coder.obs.pool import NullPoolObserver
from llama4coder.spec.forecast import Advance, Chain, Forecast, Opening
from llama4coder.spec.pool_client import PoolClient, PoolLimits
from llama4coder.spec.pool_messages import Answer, News
from llama4coder.spec.types import DraftQuery, Proposer, RowOutcome
from llama4coder.types import SamplingParams
from tests.support.oracle_drafter import OracleDrafter
from tests.support.pool_links import HostLinks, proposer_of
from tests.support.proposer_contract import OUTPUT, PROMPT, ProposerContract, make_request, play
from tests.support.unreliable import BAD, UnreliableLinks


def known_token(seed: int, position: int) -> int:
    return ((*PROMPT, *OUTPUT) * 3)[position % 78]


def pool(number: int) -> HostLinks:
    drafters = (OracleDrafter(known_token, num_tokens=4, is_strict=False) for _ in range(number))
    return HostLinks({f"replica-{index}": drafter for index, drafter in enumerate(drafters)})


class TestOneReplica(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        links = pool(1)
        yield proposer_of(links, links.endpoints)


class TestUnreliableReplicas(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        links = pool(2)
        yield proposer_of(UnreliableLinks(links, BAD), links.endpoints)


class TestNoReplica(ProposerContract):
    @pytest.fixture
    def proposer(self) -> Iterator[Proposer]:
        yield proposer_of(pool(0), {})


def test_a_sound_pool_saves_all_steps_it_can() -> None:
    links = pool(1)
    rounds = play(proposer_of(links, links.endpoints), make_request("a"), OUTPUT, max_tokens=3)
    assert [round_.outcome.num_accepted for round_ in rounds] == [3, 3, 3, 3]


def test_messages_travel_whole() -> None:
    sampling = SamplingParams(temperature=0.5, logit_bias={3: -1.5}, num_logprobs=2)
    opening = Opening("t/1", 7, (1, 2, 3), sampling, seed=2**64 - 1)
    news = News("t", 3, (opening,), (Advance("t/2", 4, (5, 6)),), ("t/3",))
    assert decode_news(encode_news(news)) == news
    answer = Answer(3, (Forecast("t/1", 10, (Chain(10, (1, 2)), Chain(10, (3,)))),), ("t/2",), 5, is_draining=True)
    assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize("frame", [b"", b"\xc1", msgspec.msgpack.encode({"type": "news/2"}), encode_answer(Answer(1))])
def test_other_versions_and_damaged_news_are_seen(frame: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_news(frame)


class _Ignored(NullPoolObserver):
    def __init__(self) -> None:
        self.num_ignored = 0

    def on_pool_frame_ignored(self) -> None:
        self.num_ignored += 1


class _Recorded:
    """Implements `Link` and `Links`: keeps what is sent, answers what it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.coming: list[bytes] = []
        self.log: list[str] = []

    def connect(self, endpoint: Endpoint) -> Link:
        self.log.append(f"connect {endpoint.address}")
        return self

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def receive(self) -> Sequence[bytes]:
        coming, self.coming = self.coming, []
        return coming

    def close(self) -> None:
        self.log.append("close")


class _Directory:
    def __init__(self, *names: str) -> None:
        self.endpoints = {name: Endpoint(name, None) for name in names}

    def __call__(self) -> dict[str, Endpoint]:
        return self.endpoints


def recorded(link: _Recorded, directory: _Directory, observer: NullPoolObserver) -> PoolProposer:
    return PoolProposer(PoolClient("t", PoolLimits(1.0, 100), observer), directory, link, observer)


def test_damaged_answers_are_counted_and_ignored() -> None:
    link, observer = _Recorded(), _Ignored()
    proposer = recorded(link, _Directory("a"), observer)
    proposer.begin(make_request("r"))
    good = Answer(1, (Forecast("t/1", len(PROMPT), (Chain(len(PROMPT), (1, 2)),)),))
    link.coming = [b"\xc1", encode_news(News("t", 1)), encode_answer(good)]
    assert proposer.propose([DraftQuery("r", PROMPT, 3)])["r"].token_ids == (1, 2)
    assert observer.num_ignored == 2


def test_one_frame_per_step_and_replica() -> None:
    link = _Recorded()
    proposer = recorded(link, _Directory("a"), _Ignored())
    for name in ("x", "y"):
        proposer.begin(make_request(name))
    assert len(link.sent) == 2, "at once, so that their prompts are read while the target reads them"
    proposer.observe([RowOutcome(name, len(PROMPT), 0, 0, (6,), has_ended=False) for name in ("x", "y")])
    assert len(link.sent) == 3
    assert [advance.session for advance in decode_news(link.sent[-1]).advances] == ["t/1", "t/2"]
    proposer.end("x")
    assert decode_news(link.sent[-1]).closings == ("t/1",)


def test_links_follow_the_replicas() -> None:
    link, directory = _Recorded(), _Directory()
    proposer = recorded(link, directory, _Ignored())
    proposer.begin(make_request("r"))
    directory.endpoints = {"a": Endpoint("there", None)}
    proposer.observe([])
    proposer.observe([])
    assert link.log == ["connect there"]
    assert len(link.sent) == 1
    directory.endpoints = {}
    proposer.observe([])
    assert link.log == ["connect there", "close"]
    proposer.close()
    assert link.log == ["connect there", "close", "close"]
