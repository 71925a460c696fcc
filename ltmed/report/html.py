"""A report as one page that needs no other file."""

from __future__ import annotations

from pathlib import Path

from ltmed.report.model import Document

PAGE = Path(__file__).with_name("page.html")


def render(document: Document) -> str:
    """The whole page; `page.html` beside this file is its template."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(document=document)
