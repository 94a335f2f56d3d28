"""`/api/generate`: a turn, a raw prompt, or a hole."""

import pytest

from tests.server.ollama.calls import TEXT, generate, lines, prompt_text
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script


async def test_a_stream_is_the_default(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT))
    *parts, last = lines(await generate(site))
    assert "".join(part["response"] for part in parts) == TEXT
    assert all("message" not in part and part["done"] is False for part in parts)
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")
    assert last["eval_count"] == len(site.ids(TEXT))


async def test_a_whole_reply(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT))
    reply = (await generate(site, stream=False)).json()
    assert (reply["response"], reply["done"], reply["done_reason"], reply["model"]) == (TEXT, True, "stop", "tiny")


@pytest.mark.parametrize("fields", [{"prompt": ""}, {"prompt": None}, {"prompt": "", "suffix": "", "stream": False}])
async def test_no_prompt_only_loads(site: Site, fields: dict[str, object]) -> None:
    reply = (await generate(site, **fields)).json()
    assert (reply["done"], reply["done_reason"], reply["response"]) == (True, "load", "")
    assert site.backend.requests == []


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        ({"suffix": "", "system": "", "context": []}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            {"system": "short"},
            "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        ({"raw": True}, "hi"),
    ],
)
async def test_prompts(site: Site, fields: dict[str, object], prompt: str) -> None:
    assert (await generate(site, **fields)).status_code == 200
    assert prompt_text(site) == prompt


@pytest.mark.parametrize("raw", [None, True])
@pytest.mark.parametrize("wanted", ["json", {"type": "integer"}])
async def test_formats_are_asked_of_the_engine(site: Site, raw: bool | None, wanted: object) -> None:
    assert (await generate(site, format=wanted, raw=raw)).status_code == 200
    assert site.backend.requests[-1].constraint is not None


async def test_models_without_a_template_take_the_prompt_as_it_is(make_site: MakeSite) -> None:
    site = make_site(has_template=False)
    assert (await generate(site)).status_code == 200
    assert prompt_text(site) == "hi"
    refused = await generate(site, system="short")
    assert refused.status_code == 400 and "no chat template" in refused.json()["error"]


@pytest.mark.parametrize("raw", [None, True, False])
async def test_a_suffix_makes_a_hole(coder: Site, raw: bool | None) -> None:
    coder.backend.script = Script([*coder.ids("a, b"), coder.ids("<|fim_prefix|>")[0]])
    reply = (await generate(coder, prompt="def add(", suffix="): pass", raw=raw, stream=False)).json()
    assert prompt_text(coder) == "<|fim_prefix|>def add(<|fim_suffix|>): pass<|fim_middle|>"
    assert set(coder.ids("<|fim_middle|>")) <= coder.backend.requests[0].stop.stop_token_ids
    assert (reply["response"], reply["done_reason"]) == ("a, b", "stop")


async def test_a_hole_keeps_its_surroundings_however_much_may_follow(coder: Site) -> None:
    assert (await generate(coder, prompt="a = 1\n", suffix="b", options={"num_predict": 4096})).status_code == 200
    assert prompt_text(coder) == "<|fim_prefix|>a = 1\n<|fim_suffix|>b<|fim_middle|>"


async def test_files_come_along_and_syntax_cuts(coder: Site) -> None:
    coder.backend.script = Script(coder.ids("    return 1\n\n\nx = ("))
    fields = {"prompt": "def f():\n", "suffix": "\n", "filename": "b.py", "cut": "syntax"}
    reply = (await generate(coder, **fields, stream=False, input_extra=[{"filename": "a.py", "text": "A"}])).json()
    assert "<|file_sep|>a.py\nA" in prompt_text(coder)
    assert reply["response"] == "    return 1"
    refused = await generate(coder, **fields)
    assert refused.status_code == 400 and "'stream'" in refused.json()["error"]


async def test_models_without_tokens_for_a_hole_say_so(site: Site) -> None:
    response = await generate(site, suffix="x")
    assert response.status_code == 400
    assert "no tokens for a hole" in response.json()["error"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"system": "s", "raw": True}, "'system'"),
        ({"system": "s", "suffix": "x"}, "'system'"),
        ({"context": [1, 2]}, "'context'"),
        ({"template": "{{ .Prompt }}"}, "'template'"),
        ({"images": ["aGk="]}, "cannot see images"),
        ({"format": {"type": "thing"}}, "the output cannot be held to 'format'"),
        ({"format": "json", "suffix": "x"}, "'format' does not go together with 'suffix'"),
        ({"think": True, "suffix": "x"}, "'think' does not go together with 'raw' or 'suffix'"),
        ({"think": True}, "'think'"),
        ({"prompt": 5}, "prompt"),
        ({"suffix": ["x"]}, "suffix"),
        ({"raw": "yes"}, "raw"),
        ({"filename": "x.py"}, "'filename'"),
        ({"options": {"num_ctx": 10**9}}, "this deployment serves 256"),
        ({"prompt": "word " * 400, "raw": True}, "maximum context length is 256"),
        ({"prompt": "x" * 200_000}, "maximum context length is 256"),
    ],
)
async def test_bad_values_are_named(site: Site, fields: dict[str, object], words: str) -> None:
    response = await generate(site, **fields)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]
    assert site.backend.requests == []
