"""The bytes of the draft channel's frames; each names the version of the protocol that it is written in."""

import msgspec

from llama4coder.spec.pool_messages import Answer, News


class NewsFrame(msgspec.Struct, frozen=True, tag="news/1"):
    """From a target to a replica of the pool, once per step."""

    news: News


class AnswerFrame(msgspec.Struct, frozen=True, tag="answer/1"):
    """From a replica of the pool to a target, once per round."""

    answer: Answer


_encoder = msgspec.msgpack.Encoder()
_news_decoder = msgspec.msgpack.Decoder(NewsFrame)
_answer_decoder = msgspec.msgpack.Decoder(AnswerFrame)


def encode_news(news: News) -> bytes:
    """One frame."""
    return _encoder.encode(NewsFrame(news))


def decode_news(frame: bytes) -> News:
    """Inverse of `encode_news`; `msgspec.DecodeError` for anything else, other versions included."""
    return _news_decoder.decode(frame).news


def encode_answer(answer: Answer) -> bytes:
    """One frame."""
    return _encoder.encode(AnswerFrame(answer))


def decode_answer(frame: bytes) -> Answer:
    """Inverse of `encode_answer`; `msgspec.DecodeError` for anything else, other versions included."""
    return _answer_decoder.decode(frame).answer
