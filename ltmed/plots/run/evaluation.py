"""The figures of `ltmed evaluate`: reliability before and after calibration, confusion, subgroups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from ltmed.evaluation.calibration import Platt, apply_temperature
from ltmed.plots.run import confusion, reliability, subgroups
from ltmed.runs.predictions import Predictions


def figures(found: dict[str, Any], known: Predictions) -> Iterator[tuple[str, Figure]]:
    """(name, figure) pairs.

    Args:
        found: evaluation.json, see `ltmed.inference.evaluate.evaluate_run`.
        known: the predictions that were scored.
    """
    title = f"{found['run']['name']} on {found['data']['dataset']}"
    yield from _of_labels(found, known, title) if known.multilabel else _of_classes(found, known, title)
    single = [report for report in found["subgroups"] if ":" not in report["metric"]]
    for metric in dict.fromkeys(report["metric"] for report in single):
        reports = [report for report in single if report["metric"] == metric]
        yield f"subgroups_{metric}", subgroups.forest(reports, found["test"]["scalars"][metric], title)
    of_class = [report for report in found["subgroups"] if ":" in report["metric"]]
    rows = {row["class"]: row for row in found["test"]["per_class"]}
    for metric in dict.fromkeys(report["metric"] for report in of_class):
        reports = [report for report in of_class if report["metric"] == metric]
        name, _, code = metric.partition(":")
        yield f"subgroups_{name}_{code}", subgroups.forest(reports, rows[code][name], title)


def _of_classes(found: dict[str, Any], known: Predictions, title: str) -> Iterator[tuple[str, Figure]]:
    correct = known.probabilities.argmax(1) == known.labels
    ece = found["test"]["scalars"]["ece"]
    yield "reliability", reliability.reliability_diagram(known.probabilities.max(1), correct, ece, title)
    if calibrated := found["calibration"]:
        scaled = apply_temperature(known.probabilities, calibrated["temperature"])
        after = calibrated["after"]["ece"]["value"]
        yield (
            "reliability_calibrated",
            reliability.reliability_diagram(scaled.max(1), correct, after, f"{title}, calibrated"),
        )
    tiers = [row["tier"] for row in found["test"]["per_class"]]
    matrix = confusion.confusion_matrix(
        found["test"]["confusion"], list(known.classes), tiers, known.counts.tolist(), title
    )
    yield "confusion_matrix", matrix


def _of_labels(found: dict[str, Any], known: Predictions, title: str) -> Iterator[tuple[str, Figure]]:
    parts = [("as predicted", known.probabilities)]
    if calibrated := found["calibration"]:
        parts.append(("calibrated", Platt.from_dict(calibrated["platt"], known.classes)(known.probabilities)))
    yield "reliability", reliability.label_reliability(parts, known.labels, known.classes, title)
