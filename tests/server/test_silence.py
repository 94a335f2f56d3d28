"""Nothing that a request holds gets into a log, a repr, an error or a span, whatever the log level and the request."""

import asyncio
import logging
from dataclasses import replace

import pytest
from prometheus_client import Counter

from llama4coder.config import TelemetryConfig
from llama4coder.server.observe import Tell
from llama4coder.server.openai.schemas import ChatRequest
from llama4coder.telemetry.build import build_telemetry
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint, GenerateRequest, SamplingParams, StopConditions
from tests.server.fim_site import SPECIALS
from tests.server.serving import MODEL, MakeSite, Site
from tests.silence.deck import deck
from tests.silence.secret import Secret
from tests.support.otlp_receiver import receiving
from tests.support.tiny import VOCAB_SIZE

LIMIT_BYTES = 65_536
CLIENTS = ("httpx", "httpcore")  # the test's own log lines


async def test_no_log_line_and_no_error_repeats_a_request(
    make_site: MakeSite,
    tokenizer_of_coder: Tokenizer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nor does a collector of telemetry get to see any of it."""
    caplog.set_level(logging.DEBUG)
    secret = Secret(tokenizer_of_coder)
    model = replace(MODEL, vocab_size=VOCAB_SIZE + len(SPECIALS))
    site = make_site(tokenizer=tokenizer_of_coder, model=model, max_body_bytes=LIMIT_BYTES)
    dropped = Counter("dropped", "", ("reason",), registry=site.registry)
    with receiving() as receiver:
        telemetry = build_telemetry(TelemetryConfig(otlp_endpoint=receiver.url), "one", dropped)
        assert telemetry is not None
        site.app.add_middleware(Tell, observer=telemetry)
        await _send_all(site, secret)
        await asyncio.to_thread(telemetry.close)
    records = [record for record in caplog.records if not record.name.startswith(CLIENTS)]
    output = "".join(capfd.readouterr()) + "\n".join(map(logging.Formatter("%(name)s %(message)s").format, records))
    assert list(secret.traces_in(output.encode(), "output")) == []
    assert len(receiver.spans()) > 100
    assert list(secret.traces_in(receiver.raw, "collector")) == []


async def _send_all(site: Site, secret: Secret) -> None:
    async with site.client:
        for sent in deck("tiny", secret.text, 500, LIMIT_BYTES, seed=1):
            response = await site.client.request(sent.method, sent.path, content=sent.content, headers=sent.headers)
            assert response.status_code < 500, sent
            assert response.status_code < 400 or secret.text not in response.text, sent
    await site.backend.until_idle()


def test_a_repr_shows_no_content() -> None:
    """Ray's errors, asyncio's complaints and tracebacks of libraries are made of reprs."""
    body = ChatRequest.model_validate({"model": "tiny", "messages": [{"role": "user", "content": "canary"}]})
    assert "canary" not in repr(body) + str(body) + repr(body.messages)
    request = GenerateRequest("id", (7412,), SamplingParams(), StopConditions(5), 0, constraint=Constraint("canary"))
    assert "7412" not in repr(request) and "canary" not in repr([request.constraint])
