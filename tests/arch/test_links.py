"""What a page of the documentation leads to is there, and the README leads to every page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arch.source import REPOSITORY

PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "tests" / "bench" / "RESULTS.md",
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> Iterator[str]:
    """Lines outside of code blocks."""
    is_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        is_code ^= line.lstrip().startswith("```")
        if not is_code:
            yield line


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = (line.lstrip("#") for line in prose(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    links = [link for line in prose(page) for link in LINK.findall(line) if "://" not in link]
    found = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_readme_leads_to_every_page() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (REPOSITORY / "docs").glob("*.md") if f"(docs/{page.name}" not in readme] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`\n[a](#one-two) [b](#three) [c](gone.md) [d](page.md#one-two)\n```\n[e](none.md)\n```\n"
    )
    assert broken(page) == ["#three", "gone.md"]
