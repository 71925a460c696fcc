"""A run's card as a page that needs no other file, or as Markdown with its figures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ltmed.report.card import Card, Section
from ltmed.report.renderers.html import EmbeddedFigure, fill
from ltmed.report.renderers.markdown import escape, grid_lines


def render_html(card: Card, figures: Mapping[str, EmbeddedFigure]) -> str:
    """The page; `card.html` beside this file is its template.

    Args:
        card: its text.
        figures: by name; those that the card names and that are not here are left out.
    """
    return fill("card.html", card=card, figures=figures)


def render_markdown(card: Card, figures: Mapping[str, str]) -> str:
    """The card as GitHub's Markdown.

    Args:
        card: its text.
        figures: name -> address of the figure; likewise.
    """
    lines = [f"# {escape(card.title)}", ""]
    for section in card.sections:
        lines += _lines(section, figures)
    return "\n".join(lines).rstrip() + "\n"


def _lines(section: Section, figures: Mapping[str, str]) -> Iterator[str]:
    yield from (f"## {escape(section.title)}", "")
    yield from (f"{escape(sentence)}\n" for sentence in section.sentences)
    yield from (f"- **{escape(term)}** (to be filled in): *{escape(question)}*" for term, question in section.blanks)
    yield from (f"- {escape(term)}: {escape(sentence)}" for term, sentence in section.facts)
    yield from (f"- {escape(point)}" for point in section.points)
    yield ""
    for grid in section.grids:
        yield from grid_lines(grid, level=3)
    yield from (f"![{escape(name)}]({figures[name]})\n" for name in section.figures if name in figures)
