"""A report as one page that needs no other file; its figures are embedded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltmed.report.model import Document

TEMPLATES = Path(__file__).parent


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
    return fill("page.html", document=document, figures=figures)


def fill(template: str, **values: Any) -> str:
    """A page from one of the templates beside this file; text is escaped.

    Args:
        template: its file name.
        values: by name; a name that the template uses and that is not here is an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)
