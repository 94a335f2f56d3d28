"""The bytes of a report; they name the version of the protocol that it is written in."""

import msgspec

from llama4coder.router.messages import Report


class ReportFrame(msgspec.Struct, frozen=True, tag="report/1"):
    """From a replica to an ingress."""

    report: Report


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ReportFrame)


def encode_report(report: Report) -> bytes:
    """One frame."""
    return _encoder.encode(ReportFrame(report))


def decode_report(frame: bytes) -> Report:
    """Inverse of `encode_report`; `msgspec.DecodeError` for anything else, other versions included."""
    return _decoder.decode(frame).report
