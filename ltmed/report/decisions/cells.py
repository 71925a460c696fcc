"""Metrics with their intervals as cells, and placeholders for undefined ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ltmed.report.formatting import percent
from ltmed.report.model import MISSING, Document, FormattedCell, Grid

NUMBERS = ("quadratic_kappa", "mcc", "ece", "macro_ece")
"""Metrics that are not shown in percent."""


def share(value: float | None, interval: Sequence[float | None] | None = None) -> FormattedCell:
    """Percent with one decimal, its interval below; a dash where it is undefined."""
    if value is None:
        return FormattedCell("-", mark=MISSING)
    has_interval = interval is not None and None not in interval
    return FormattedCell(
        percent(value), " to ".join(percent(bound or 0) for bound in interval or ()) if has_interval else ""
    )


def number(value: float | None, interval: Sequence[float | None] | None = None, digits: int = 3) -> FormattedCell:
    """A number with some decimals, its interval below; a dash where it is undefined."""
    if value is None:
        return FormattedCell("-", mark=MISSING)
    has_interval = interval is not None and None not in interval
    small = " to ".join(f"{bound:.{digits}f}" for bound in interval or ()) if has_interval else ""
    return FormattedCell(f"{value:.{digits}f}", small)


def measured(metric: str, value: float | None, interval: Sequence[float | None] | None = None) -> FormattedCell:
    """A metric by its name (`mcc`, `recall:MEL`): percent, or a number where it is one of `NUMBERS`."""
    return (number if metric.partition(":")[0] in NUMBERS else share)(value, interval)


def threshold(value: float, interval: Sequence[float | None] | None = None) -> FormattedCell:
    """A threshold of a probability with so many decimals that it is neither 0 nor 1 unless it is."""
    has_interval = interval is not None and None not in interval
    small = " to ".join(_probability(bound) for bound in interval or () if bound is not None) if has_interval else ""
    return FormattedCell(_probability(value), small)


def _probability(value: float) -> str:
    """Three decimals, or two digits of what it differs from 0 or 1 by."""
    difference = min(value, 1 - value)
    if difference <= 0:
        return f"{value:.3f}"
    return f"{value:.{max(3, 1 - math.floor(math.log10(difference)))}f}" if value >= 1e-6 else f"{value:.2g}"


def count(value: int | None) -> FormattedCell:
    """A whole number with commas."""
    return FormattedCell("-", mark=MISSING) if value is None else FormattedCell(f"{value:,}")


def text(content: str) -> FormattedCell:
    """Plain text."""
    return FormattedCell(content)


def grid(
    title: str,
    headings: Iterable[str],
    rows: Iterable[tuple[str, Iterable[FormattedCell]]],
    notes: Iterable[str] = (),
) -> Grid:
    """A table from any iterables."""
    return Grid(title, tuple(headings), tuple((name, tuple(cells)) for name, cells in rows), tuple(notes))


def document(title: str, grids: Iterable[Grid], warnings: Iterable[str] = (), notes: Iterable[str] = ()) -> Document:
    """A report without protocol and missing runs."""
    return Document(title, tuple(warnings), tuple(grids), (), (), tuple(notes))


def calibration_grids(results: dict[str, Any]) -> list[Grid]:
    """Tables of `ltmed.evaluation.calibrated.calibration`, or of several labels of `...label_calibration`."""
    from ltmed.evaluation import calibrated, calibrated_labels

    labels = "platt" in results
    meaning = calibrated_labels.MEANING if labels else calibrated.MEANING
    notes = _label_notes(results) if labels else _notes(results)
    rows = [
        (text, [number(results[when][name]["value"], results[when][name]["interval"]) for when in ("before", "after")])
        for name, text in meaning.items()
    ]
    return [grid("Calibration", ("before", "after"), rows, notes), _labels(results) if labels else _classes(results)]


def _notes(results: dict[str, Any]) -> list[str]:
    few = ", ".join(f"{code} ({images})" for code, images in results["few"].items())
    notes = [
        f"Temperature {results['temperature']:.3f}, fitted on {results['validation_images']:,} validation images; "
        "lower is better in every row."
    ]
    return notes + ([f"Fewer than 20 validation images, pooled by class below: {few}."] if few else [])


def _label_notes(results: dict[str, Any]) -> list[str]:
    few = ", ".join(f"{code} ({images})" for code, images in results["few"].items())
    notes = [
        f"A slope and an offset for each label (Platt 1999), fitted on {results['validation_images']:,} validation "
        "images; lower is better in every row."
    ]
    if few:
        notes.append(f"Fewer than 20 validation images with the label or without it, so that they share one: {few}.")
    if results["reversed"]:
        labels = ", ".join(results["reversed"])
        notes.append(f"Validation images without the label have the larger probabilities; offset only: {labels}.")
    return notes


def _classes(results: dict[str, Any]) -> Grid:
    rows = [
        (row["class"], [count(row["images"]), number(row["before"]), number(row["after"])])
        for row in results["classes"]
    ]
    return grid("Calibration error by class", ("images", "before", "after"), rows)


def _labels(results: dict[str, Any]) -> Grid:
    names = {"ece": "ECE", "brier": "Brier", "nll": "NLL"}
    rows = [
        (
            row["class"],
            [
                count(row["images"]),
                *(
                    number(row[when][name]["value"], row[when][name]["interval"])
                    for name in names
                    for when in ("before", "after")
                ),
            ],
        )
        for row in results["classes"]
    ]
    headings = ["images", *(f"{text} {when}" for text in names.values() for when in ("before", "after"))]
    return grid("Calibration by label", headings, rows)
