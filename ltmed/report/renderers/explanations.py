"""Explained images as one page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ltmed.report.renderers.html import fill


@dataclass(frozen=True)
class Picture:
    """A small PNG with what is said of it."""

    caption: str
    png: bytes

    @property
    def source(self) -> str:
        """For the attribute `src`."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Explained:
    """One image, with where the network saw evidence."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """(term, sentence) pairs."""
    pictures: tuple[Picture, ...]
    """The image, then its maps."""
    probabilities: tuple[tuple[str, float, bool], ...]
    """(class, probability, whether it is the labelled one), the most probable first."""
    neighbours: tuple[Picture, ...]
    """The nearest training images."""
    error: str = ""
    """Why the image cannot be read; everything else is empty then."""


def render(title: str, images: Sequence[Explained], notes: Sequence[str]) -> str:
    """The whole page; `explanations.html` beside this file is its template.

    Args:
        title: of the page.
        images: in the order in which they are shown.
        notes: how to read the page.
    """
    return fill("explanations.html", title=title, images=images, notes=notes)
