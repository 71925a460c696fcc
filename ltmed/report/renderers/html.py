"""A report as one page that needs no other file; its figures are embedded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltmed.report.model import Document

PAGE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure of the page."""

    caption: str
    description: str
    """What it shows, for readers who cannot see it."""
    svg: bytes
    wide: bool = False
    """Whether it needs the whole width of the page."""
    narrow_svg: bytes | None = None
    """The same figure for narrow screens; without it a wide figure can be scrolled there."""

    @property
    def source(self) -> str:
        """For the attribute `src`. A browser runs no script of an image."""
        return _data_address(self.svg)

    @property
    def narrow_source(self) -> str | None:
        """For the attribute `srcset`."""
        return None if self.narrow_svg is None else _data_address(self.narrow_svg)


@dataclass(frozen=True)
class FigureGroup:
    """Figures under one heading."""

    title: str
    figures: tuple[EmbeddedFigure, ...]
    note: str = ""
    folded: bool = False
    """Whether they are shown only when the heading is opened."""


def _data_address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def render(document: Document, figures: Sequence[FigureGroup] = ()) -> str:
    """The whole page; `page.html` beside this file is its template.

    Args:
        document: its text.
        figures: after the tables of results.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(PAGE.read_text(encoding="utf-8"))
    return template.render(document=document, figures=figures)
