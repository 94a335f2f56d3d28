"""`suffix` of a completion: the server writes the hole, cuts what does not fit, and ends where the middle ends."""

import pytest

from tests.server.fim_site import SPECIALS, fim_site, fim_tokenizer
from tests.server.serving import MODEL, MakeSite, Site, events_of
from tests.support.fake_backend import Script


async def test_the_hole_is_written_by_the_server(coder: Site) -> None:
    response = await coder.complete(prompt="def add(", suffix="):\n    return", max_tokens=5)
    assert response.status_code == 200, response.text
    (request,) = coder.backend.requests
    expected = "<|fim_prefix|>def add(<|fim_suffix|>):\n    return<|fim_middle|>"
    assert list(request.prompt_token_ids) == coder.ids(expected)
    specials = {coder.tokenizer.id_of(special) for special in (*SPECIALS, "<|endoftext|>")}
    assert specials | MODEL.eos_token_ids <= request.stop.stop_token_ids
    assert response.json()["usage"]["prompt_tokens"] == len(coder.ids(expected))


@pytest.mark.parametrize("path", ["/v1/completions", "/beta/completions"])
async def test_it_streams_under_both_names(coder: Site, path: str) -> None:
    body = {"model": "tiny", "prompt": "a", "suffix": "b", "max_tokens": 3, "stream": True}
    events = events_of(await coder.client.post(path, json=body))
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")


async def test_several_prompts_share_the_suffix(coder: Site) -> None:
    assert (await coder.complete(prompt=["a", "b"], suffix="c", max_tokens=3)).status_code == 200
    assert [list(request.prompt_token_ids) for request in coder.backend.requests] == [
        coder.ids(f"<|fim_prefix|>{prompt}<|fim_suffix|>c<|fim_middle|>") for prompt in "ab"
    ]


async def test_an_empty_suffix_is_a_hole_too_and_null_is_none(coder: Site) -> None:
    assert (await coder.complete(prompt="a", suffix="", max_tokens=3)).status_code == 200
    assert (await coder.complete(prompt="a", suffix=None, max_tokens=3)).status_code == 200
    hole, plain = (list(request.prompt_token_ids) for request in coder.backend.requests)
    assert hole == coder.ids("<|fim_prefix|>a<|fim_suffix|><|fim_middle|>")
    assert plain == coder.ids("a")


@pytest.mark.parametrize("max_tokens", [20, None])
async def test_what_does_not_fit_is_cut_at_the_far_ends(coder: Site, max_tokens: int | None) -> None:
    """An eighth of the context is kept for a middle of unknown length."""
    prompt, suffix = "0123456789" * 100 + "NEAR", "HERE" + "9876543210" * 100
    assert (await coder.complete(prompt=prompt, suffix=suffix, max_tokens=max_tokens)).status_code == 200
    (request,) = coder.backend.requests
    kept = 256 // 8 if max_tokens is None else max_tokens
    assert len(request.prompt_token_ids) == 256 - kept
    text = coder.tokenizer.decode(request.prompt_token_ids, skip_special=False)
    assert "NEAR<|fim_suffix|>HERE" in text and text.endswith("<|fim_middle|>")


@pytest.mark.parametrize("skips", [True, False])
async def test_the_token_that_ends_the_middle_is_no_text(coder: Site, skips: bool) -> None:
    """But counts; and is shown where special tokens are wanted."""
    end = coder.tokenizer.id_of("<|fim_pad|>")
    assert end is not None
    coder.backend.script = Script([*coder.ids("x"), end])
    response = await coder.complete(prompt="a", suffix="b", max_tokens=9, skip_special_tokens=skips)
    (choice,) = response.json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("x" if skips else "x<|fim_pad|>", "stop")
    assert response.json()["usage"]["completion_tokens"] == 2


async def test_without_an_end_only_the_length_ends_it(coder: Site) -> None:
    assert (await coder.complete(prompt="a", suffix="b", max_tokens=3, ignore_eos=True)).status_code == 200
    assert coder.backend.requests[0].stop.stop_token_ids == frozenset()


async def test_an_echo_is_the_prefix(coder: Site) -> None:
    response = await coder.complete(prompt="def add(", suffix=")", max_tokens=1, echo=True)
    assert response.json()["choices"][0]["text"].startswith("def add(")


async def test_other_files_come_before_it(coder: Site) -> None:
    files = [{"filename": "a.py", "text": "A = 1"}, {"text": "B"}]
    response = await coder.complete(prompt=["a", "b"], suffix="c", input_extra=files, filename="main.py", max_tokens=3)
    assert response.status_code == 200, response.text
    before = (
        "<|repo_name|>repository\n<|file_sep|>a.py\nA = 1\n<|file_sep|>untitled\nB\n<|file_sep|>main.py\n<|fim_prefix|>"
    )
    texts = [coder.tokenizer.decode(request.prompt_token_ids, skip_special=False) for request in coder.backend.requests]
    assert texts == [f"{before}{prompt}<|fim_suffix|>c<|fim_middle|>" for prompt in "ab"]


@pytest.mark.parametrize("fields", [{"input_extra": [{"text": "x"}]}, {"filename": "a.py"}])
async def test_files_mean_nothing_without_a_hole(coder: Site, fields: dict[str, object]) -> None:
    response = await coder.complete(**fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(fields)))
    assert (await coder.complete(input_extra=[], filename=None)).status_code == 200


async def test_a_chat_has_no_files(coder: Site) -> None:
    response = await coder.chat(input_extra=[{"text": "x"}])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_option")


@pytest.mark.parametrize("filename", ["a\nb", "a\x00", "a\u2029b"])
async def test_a_path_is_one_line(coder: Site, filename: str) -> None:
    response = await coder.complete(suffix="x", input_extra=[{"text": "x", "filename": filename}])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "input_extra[0].filename")
    assert coder.backend.requests == []


async def test_a_prompt_that_the_client_has_templated_passes_untouched(
    make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its markers are tokens, as Continue and Tabby want it, and a BOS that it begins with is not written twice."""
    tokenizer = fim_tokenizer(tmp_path_factory.mktemp("bos"))
    tokenizer.adds_bos = True
    site = fim_site(make_site, tokenizer)
    templated = "<|im_start|><|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    async with site.client:
        for prompt in (templated, templated.removeprefix("<|im_start|>"), site.ids(templated)):
            assert (await site.complete(prompt=prompt, max_tokens=3)).status_code == 200
    markers = [tokenizer.id_of(piece) for piece in ("<|im_start|>", *SPECIALS[:3])]
    expected = [markers[0], markers[1], *site.ids("a"), markers[2], *site.ids("b"), markers[3]]
    assert [list(request.prompt_token_ids) for request in site.backend.requests] == [expected] * 3


async def test_token_ids_have_no_hole(coder: Site) -> None:
    response = await coder.complete(prompt=[5, 6], suffix="x")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize("suffix", ["x", ""])
async def test_models_without_the_tokens_say_so(site: Site, suffix: str) -> None:
    response = await site.complete(suffix=suffix)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("fim_unsupported", "suffix")
    assert site.backend.requests == []
