"""How many tokens a model may reason for."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from llama4coder.types import Constraint
from tests.server.serving import Site
from tests.server.tool_sites import MARKERS, PLAIN_MARKERS, TOOLS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script
from tests.support.grammar_walks import Walker

BUDGET = 4


async def asked(site: Site, **fields: object) -> Constraint:
    """What the engine is asked to hold outputs to."""
    site.backend.script = Script(site.ids("x"))
    await site.chat(thinking_token_budget=BUDGET, **fields)
    constraint = site.backend.requests[-1].constraint
    assert constraint is not None
    return constraint


def num_taken(site: Site, constraint: Constraint, token_ids: Sequence[int]) -> int:
    """How many of these tokens may come, one after the other."""
    matcher = Walker(site.tokenizer).matcher(constraint)
    return matcher.parser.try_consume_tokens(list(token_ids))


def token(site: Site, text: str) -> int:
    token_id = site.tokenizer.id_of(text)
    assert token_id is not None
    return token_id


@pytest.mark.parametrize("declared", [False, True])
async def test_reasoning_is_closed_when_its_tokens_are_used_up(tmp_path: Path, declared: bool) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS, declared=declared))
    constraint = await asked(site)
    thought = [token(site, "<think>"), *[site.ids("x")[0]] * BUDGET]
    closed = [*thought, token(site, "</think>")]
    assert num_taken(site, constraint, closed) == len(closed)
    assert num_taken(site, constraint, [*thought, site.ids("x")[0]]) == len(thought)


@pytest.mark.parametrize("declared", [False, True])
async def test_what_follows_is_free(tmp_path: Path, declared: bool) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS, declared=declared))
    constraint = await asked(site, tools=TOOLS)
    for text in ("<think>ab</think>\n\nlong <tool_call> no call </think> <think>", "never thought <tool_call>", ""):
        token_ids = site.ids(text)
        assert num_taken(site, constraint, token_ids) == len(token_ids), text


async def test_a_thought_that_the_prompt_has_begun(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "always_thinking", Vocabulary(MARKERS))
    constraint = await asked(site)
    assert num_taken(site, constraint, site.ids("x") * 9) == BUDGET


async def test_calls_that_must_come_may_be_thought_about(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    constraint = await asked(site, tools=TOOLS, tool_choice="required")
    thought = [token(site, "<think>"), *site.ids("x") * 9]
    assert num_taken(site, constraint, thought) == 1 + BUDGET
    assert num_taken(site, constraint, site.ids("<think>a</think>\n\n<tool_call>")) > 0


@pytest.mark.parametrize(("family", "markers"), [("hermes", PLAIN_MARKERS), ("hermes", ())])
async def test_no_budget_can_be_kept_without_tokens_for_reasoning(
    tmp_path: Path, family: str, markers: tuple[str, ...]
) -> None:
    site = make_tool_site(tmp_path, family, Vocabulary(markers))
    response = await site.chat(thinking_token_budget=BUDGET)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "thinking_token_budget")
    assert "no tokens that open and close reasoning" in error["message"]


@pytest.mark.parametrize("budget", [-1, None])
async def test_no_budget(tmp_path: Path, budget: int | None) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    site.backend.script = Script(site.ids("x"))
    await site.chat(thinking_token_budget=budget)
    assert site.backend.requests[-1].constraint is None
