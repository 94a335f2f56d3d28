"""What targets and a draft pool send each other, in bytes, by the frames that they really send.

    python -m tests.bench.pool_traffic --targets 7225 --rows 60 --step-ms 30 --new-tokens 2 --requests-per-s 33200

`--rows` sequences generate at each target; a step of `--step-ms` adds `--new-tokens` to each. A drafter has `--forks`
guesses of how a round ends, `--draft-tokens` each. Nothing is lost on the way, and answers come before the next news.
"""

import argparse
from random import Random

from cluster.channel.draft_frames import encode_answer, encode_news
from llama4coder.spec.forecast import Chain, Forecast
from llama4coder.spec.pool_messages import Answer, News
from llama4coder.spec.pool_session import PoolSession
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions
from tests.bench.measure import markdown_table

_VOCABULARY = 128_256
_NAME = "cmpl-0123456789abcdef0123456789abcdef"
_TARGET = "target-0123456789abcdef"
_NUMBER = 1_000_000  # of a message


def main() -> None:
    options = _parse()
    numbers = Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(numbers.randrange(_VOCABULARY) for _ in range(count))

    request = GenerateRequest(_NAME, tokens(options.prompt_tokens), SamplingParams(), StopConditions(1000), 1)
    session = PoolSession(_NAME, request, is_wanted=True)
    opening = len(encode_news(News(_TARGET, _NUMBER, openings=(session.opening(_NUMBER, options.window_tokens),))))
    end = len(session.token_ids)
    session.take(Forecast(_NAME, end, ()))
    session.step(tokens(options.new_tokens))
    news = len(encode_news(News(_TARGET, _NUMBER, advances=(session.advance(),) * options.rows)))
    chains = tuple(Chain(end, tokens(options.draft_tokens)) for _ in range(options.forks))
    answer = len(encode_answer(Answer(_NUMBER, (Forecast(_NAME, end, chains),) * options.rows)))
    steps_per_s = options.targets * 1e3 / options.step_ms
    rows = [
        _row("openings", opening, options.requests_per_s, options.targets),
        _row("news of steps", news, steps_per_s, options.targets),
        _row("answers", answer, steps_per_s, options.targets),
    ]
    print(
        markdown_table(
            ["frames", "bytes of one", "a second", "MB/s", "Mbit/s of a target"],
            rows,
        )
    )


def _row(name: str, frame_bytes: int, per_s: float, num_targets: int) -> list[str]:
    mb_per_s = frame_bytes * per_s / 1e6
    return [name, f"{frame_bytes:,}", f"{per_s:,.0f}", f"{mb_per_s:,.1f}", f"{mb_per_s * 8 / num_targets:.2f}"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--step-ms", type=float, required=True)
    parser.add_argument("--new-tokens", type=int, required=True)
    parser.add_argument("--requests-per-s", type=float, required=True)
    parser.add_argument("--prompt-tokens", type=int, default=4600)
    parser.add_argument("--window-tokens", type=int, default=2048, help="`speculation.draft.window_tokens`")
    parser.add_argument("--draft-tokens", type=int, default=3)
    parser.add_argument("--forks", type=int, default=8, help="`speculation.draft.max_forks`")
    return parser.parse_args()


if __name__ == "__main__":
    main()
