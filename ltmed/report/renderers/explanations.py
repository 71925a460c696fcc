"""Explained images as one page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ltmed.report.renderers.html import fill


@dataclass(frozen=True)
class CaptionedImage:
    """A small PNG with its caption."""

    caption: str
    png: bytes

    @property
    def source(self) -> str:
        """For the attribute `src`."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class ExplainedImage:
    """One image with its maps of evidence."""

    title: str
    facts: tuple[tuple[str, str], ...]
    """(term, sentence) pairs."""
    figures: tuple[CaptionedImage, ...]
    """The image, then its maps."""
    probabilities: tuple[tuple[str, float, bool], ...]
    """(class, probability, whether it is the labelled one), the most probable first."""
    neighbours: tuple[CaptionedImage, ...]
    """The nearest training images."""
    error: str = ""
    """Why the image cannot be read; everything else is empty then."""


def render(title: str, images: Sequence[ExplainedImage], notes: Sequence[str]) -> str:
    """The whole page; `explanations.html` beside this file is its template.

    Args:
        title: of the page.
        images: in the order of the page.
        notes: how to read the page.
    """
    return fill("explanations.html", title=title, images=images, notes=notes)
