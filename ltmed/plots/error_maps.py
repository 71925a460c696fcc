"""The worst errors of a run as a figure: each image beside its maps of evidence."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from ltmed.errors import UserError
from ltmed.inference.neighbours import open_images
from ltmed.plots import style, titles
from ltmed.plots.explanations import Explainer, test_cases, worst_errors, worst_misses
from ltmed.plots.run.data import RunData
from ltmed.report.renderers.explanations import ExplainedImage
from ltmed.runs.reader import Run

_SIDE, _TEXT = 1.9, 0.35
"""Inches of an image, and of the line above it."""


def error_maps(run: Run, number: int, codes: Sequence[str], device: torch.device) -> Figure:
    """A row for each of the worst errors of tail classes: the image, then its maps for the predicted and true class.

    Args:
        run: finished, with its images on this machine.
        number: of errors; there may be fewer.
        codes: of several labels the one whose misses are shown; otherwise at most one, whose map is shown instead.
        device: where the network computes.

    Raises:
        UserError: several codes, none of several labels, no such error, no images, or as `ClassMaps`.
    """
    if len(codes) > 1 or (run.multilabel and not codes):
        raise UserError("Maps of errors are of one class", f"Give one --class, for instance --class {run.classes[0]}.")
    code = codes[0] if codes else None
    rows = worst_misses(run, number, code) if run.multilabel and code else worst_errors(run, number)
    if not len(rows):
        missed = f"with {code} is missed" if run.multilabel else "of a tail class is misclassified"
        raise UserError(f"no test image {missed}")
    explainer, data = Explainer(run, device), open_images(run)
    images = [explained for case in test_cases(run, rows, data) for explained, _ in explainer([case], code)]
    return _figure(RunData(run).title, images)


@style.styled
def _figure(title: str, images: Sequence[ExplainedImage]) -> Figure:
    columns = max(len(explained.figures) for explained in images)
    figure = style.new_figure(len(images) * (_SIDE + _TEXT) + 0.6, max(columns * (_SIDE + 0.5), 5.0))
    for axes, explained in zip(figure.subplots(len(images), columns, squeeze=False), images, strict=True):
        facts = ", ".join(f"{key} {value}" for key, value in explained.facts)
        captions = [
            f"{Path(explained.title).name}\n{facts}",
            *(image.caption.replace(": ", ":\n") for image in explained.figures[1:]),
        ]
        for ax in axes:
            ax.set_axis_off()
        for ax, image, caption in zip(axes, explained.figures, captions, strict=False):
            ax.imshow(Image.open(io.BytesIO(image.png)))
            lines = [style.label(line, 34) for line in caption.splitlines()]
            ax.set_title("\n".join(lines), fontsize=titles.LEGEND_SIZE)
    titles.title(figure, title, "Grad-CAM: each map has its strongest evidence at the brightest colour")
    return figure
