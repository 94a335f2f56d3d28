"""Chats render as transformers renders them; failures tell the template's side only."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from llama4coder.errors import CheckpointError, InvalidRequest
from llama4coder.tokenizer.chat_template import ChatTemplate

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "naïve 世界 <b>"},
    {"role": "assistant", "content": "ok"},
]

TEMPLATES = [
    "{% for m in messages %}\n  {% if m.role == 'user' %}\n[{{ m.content | trim }}]\n{% endif %}\n{% endfor %}",
    "{{ bos_token }}{% for m in messages %}{{ m | tojson }}{{ m | tojson(indent=2) }}{% endfor %}{{ eos_token }}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "{% set ns = namespace(seen=0) %}{% for m in messages %}{% set ns.seen = ns.seen + 1 %}{% endfor %}{{ ns.seen }}",
    "{{ dict(a=1) }}{% if tools is none %}no tools{% endif %}{% if not documents %}none{% endif %}{{ undefined }}",
    "{{ strftime_now('%Y') }}{% if add_generation_prompt %}assistant:{% endif %}",
]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})


@pytest.mark.parametrize("add_generation_prompt", [True, False])
@pytest.mark.parametrize("source", TEMPLATES)
def test_rendering_equals_transformers(tiny_folder: Path, source: str, add_generation_prompt: bool) -> None:
    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(tiny_folder / "tokenizer.json"), bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    expected = reference.apply_chat_template(
        MESSAGES, chat_template=source, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    assert template(source).render(MESSAGES, add_generation_prompt=add_generation_prompt) == expected


def test_words_of_the_template_are_passed_on() -> None:
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidRequest, match="roles must alternate") as caught:
        template(source).render(MESSAGES)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "expression",
    [
        "raise_exception('unknown role ' + messages[0].role)",
        "messages[0].content.missing.deeper",
        "messages[0].content + 1",
        "messages[0].content.index('nothing')",
        "1 // 0",
        "messages[0].content.__class__.__mro__",
        "namespace(**{'__class__': messages[0].content})",
        "messages.append(1)",
    ],
)
def test_failures_name_the_line_and_nothing_of_the_chat(expression: str) -> None:
    with pytest.raises(InvalidRequest, match="line 2") as caught:
        template("\n{{ " + expression + " }}").render([{"role": "secret role", "content": "secret"}])
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_damaged_template_is_a_checkpoint_error_with_its_line() -> None:
    with pytest.raises(CheckpointError, match="line 2"):
        template("\n{% if %}")


def write_config(folder: Path, chat_template: object) -> None:
    content = {"chat_template": chat_template, "bos_token": {"content": "<s>"}, "eos_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")


def rendered(folder: Path) -> str:
    found = ChatTemplate.from_folder(folder)
    assert found is not None
    return found.render(MESSAGES)


def test_template_from_tokenizer_config_knows_the_special_tokens(tmp_path: Path) -> None:
    write_config(tmp_path, "{{ bos_token }}|{{ eos_token }}|")
    assert rendered(tmp_path) == "<s>||"


def test_of_named_templates_the_default_one_is_used(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write_config(tmp_path, named)
    assert rendered(tmp_path) == "plain"
    write_config(tmp_path, named[:1])
    assert ChatTemplate.from_folder(tmp_path) is None


def test_jinja_file_comes_before_tokenizer_config(tmp_path: Path) -> None:
    write_config(tmp_path, "config")
    (tmp_path / "chat_template.jinja").write_text("file {{ bos_token }}", encoding="utf-8")
    assert rendered(tmp_path) == "file <s>"


def test_model_without_a_template(tmp_path: Path) -> None:
    assert ChatTemplate.from_folder(tmp_path) is None


def test_unreadable_template_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja"):
        ChatTemplate.from_folder(tmp_path)
