"""Licences by their texts and by model cards, and the passages that Llama's ask to be heeded."""

import pytest

from llama4coder.inspection.files import LicenceFiles
from llama4coder.inspection.licence import LlamaDuties, read_licence
from llama4coder.inspection.licence_names import UNKNOWN, name_of_identifier, name_of_text

USERS = (
    "2. Additional Commercial Terms. If on the Llama 3.1 version release date the products of a\n"
    "licensee had more than 700 million monthly active users, then a licence must be\nasked for. 3. Nothing else."
)
DISPLAY = "Whoever distributes it shall show “Built with Llama” on a page. They shall keep the notice."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("                                 Apache License\n                           Version 2.0", "Apache-2.0"),
        ("This is licensed under the Apache License, Version 2.0", "Apache-2.0"),
        ("MIT License\n\nPermission is hereby granted, free of\ncharge, to any", "MIT"),
        ("Modified MIT License\n\nPermission is hereby granted, free of charge", "Modified MIT License"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "Llama 2 Community License"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "Llama 3 Community License"),
        ("LLAMA 3.3 COMMUNITY LICENSE AGREEMENT", "Llama 3.3 Community License"),
        ("DEEPSEEK LICENSE AGREEMENT\nVersion 1.0", "DeepSeek Model License"),
        ("# Mistral AI Non-Production License\n## Preamble", "Mistral AI Non-Production License (MNPL)"),
        ("Gemma Terms of Use", "Gemma Terms of Use"),
        ("BigCode Open RAIL-M v1 License Agreement", "BigCode OpenRAIL-M"),
        ("# Llama 3.1 Acceptable Use Policy", "Acceptable Use Policy"),
        ("You may do as we say.", UNKNOWN),
        ("You may do as we say. " + "And so on. " * 100 + "Apache License, Version 2.0", UNKNOWN),
    ],
)
def test_text(text: str, name: str) -> None:
    assert name_of_text(text).name == name


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("llama3.1", "Llama 3.1 Community License"),
        ("llama2", "Llama 2 Community License"),
        ("mnpl", "Mistral AI Non-Production License (MNPL)"),
        ("bigcode-openrail-m", "BigCode OpenRAIL-M"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("other", UNKNOWN),
    ],
)
def test_identifier(identifier: str, name: str) -> None:
    assert name_of_identifier(identifier).name == name


def test_llama_passages_are_quoted_whole_from_the_file() -> None:
    text = f"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n\n{DISPLAY}\n\n{USERS}"
    found = read_licence(LicenceFiles({"LICENSE": text, "USE_POLICY.md": "# Policy"}, "llama3.1")).llama
    assert found == LlamaDuties(
        users_clause="If on the Llama 3.1 version release date the products of a licensee had more than "
        "700 million monthly active users, then a licence must be asked for.",
        display="Built with Llama",
        display_clause="Whoever distributes it shall show “Built with Llama” on a page.",
    )


def test_duties_without_a_text() -> None:
    found = read_licence(LicenceFiles({}, "llama3"))
    assert found.llama == LlamaDuties(None, "Built with Meta Llama 3", None)
    assert [one.where for one in found.found] == ["declared"]


def test_llama_2_asks_for_no_display() -> None:
    assert read_licence(LicenceFiles({}, "llama2")).llama == LlamaDuties(None, None, None)


def test_a_text_without_full_stops_is_cut_around_the_words() -> None:
    text = "LLAMA 3.2 COMMUNITY LICENSE " + "x " * 9000 + "700 million monthly active users" + " y" * 9000
    duties = read_licence(LicenceFiles({"LICENSE": text}, None)).llama
    assert duties is not None
    assert duties.users_clause is not None
    assert "700 million monthly active users" in duties.users_clause
    assert len(duties.users_clause) <= 1000


def test_every_file_is_told_of_and_unknown_ones_last() -> None:
    texts = {"LICENSE-CODE": "Permission is hereby granted, free of charge", "A_LICENSE": "?"}
    found = read_licence(LicenceFiles(texts, "deepseek"))
    assert [(one.where, one.licence.name) for one in found.found] == [
        ("LICENSE-CODE", "MIT"),
        ("declared", "DeepSeek Model License"),
        ("A_LICENSE", UNKNOWN),
    ]
    assert found.llama is None


def test_nothing_found() -> None:
    assert read_licence(LicenceFiles({}, None)).found == ()
