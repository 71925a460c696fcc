"""Links between the pages of a clone: each leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE = ("_build", "results", "generated")
"""Folders of pages that `make docs` writes."""
PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "experiments")
    for page in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    if not set(MADE) & set(page.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in re.findall(r"^#+ +(.+)$", text, re.MULTILINE))
    return {title.strip().replace(" ", "-") for title in titles}


def test_the_pages_have_links() -> None:
    assert len(PAGES) > 30
    assert sum(len(LINK.findall(page.read_text(encoding="utf-8"))) for page in PAGES) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for path, anchor in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / path).resolve() if path else page
        if "generated" in target.parts:  # The reference of the package has no source that one could read.
            continue
        made = ROOT / "docs" / "results" in target.parents  # Not in a clone; docs/conf.py redirects to it.
        if made or not target.exists() or (anchor and anchor not in headings(target)):
            dead.append(f"{path}#{anchor}")
    assert not dead
