"""A chat template that fails is a 400 with its line in every dialect, and tells nothing of the chat."""

import pytest

from llama4coder.tokenizer.chat_template import ChatTemplate
from tests.server.serving import MakeSite

TURNS = [{"role": "user", "content": "secret"}]
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/api/chat", "/tokenize")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("\n{{ messages[0].content.missing.deeper }}", "failed at its line 2"),
        ("\n\n{{ messages[0].content.__class__.__mro__[1].__subclasses__() }}", "failed at its line 3"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ],
)
async def test_templates_that_fail(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, source: str, words: str
) -> None:
    monkeypatch.setattr(ChatTemplate, "from_folder", lambda folder: ChatTemplate(source, {}))
    site = make_site()
    for path in PATHS:
        answer = await site.client.post(path, json={"model": "tiny", "max_tokens": 5, "messages": TURNS})
        assert answer.status_code == 400, path
        assert words in answer.text
        assert not any(word in answer.text + caplog.text for word in ("secret", "Traceback", ".py"))
    assert site.backend.requests == []
