"""Figures as parts of a page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator

from matplotlib.figure import Figure

from ltmed.errors import UserError
from ltmed.plots import style
from ltmed.report.renderers.html import EmbeddedFigure


def embedded(
    caption: str, description: str, plot: Callable[..., Figure], *, wide: bool = False, narrow: float | None = None
) -> Iterator[EmbeddedFigure]:
    """Yields the figure of a caption; nothing, with a warning, if it cannot be plotted.

    Args:
        caption: below it.
        description: for readers who cannot see it.
        plot: plots the figure, with an option `width` if there is a narrow one.
        wide: see `EmbeddedFigure`.
        narrow: width in inches of an additional narrow figure.
    """
    try:
        svg = _svg(plot())
        narrow_svg = None if narrow is None else _svg(plot(width=narrow))
    except Exception as error:  # A figure must never cost the report.
        reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        warnings.warn(f"no figure '{caption}': {' '.join(str(reason).split())}", stacklevel=2)
        return
    yield EmbeddedFigure(caption, description, svg, wide, narrow_svg)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    style.write(figure, file, "svg")
    return file.getvalue()
