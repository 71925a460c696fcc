"""The figures of `ltmed evaluate`: reliability before and after calibration, confusion, subgroups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from ltmed.evaluation.calibration import Platt, apply_temperature
from ltmed.plots.run import confusion, reliability, subgroups
from ltmed.runs.predictions import Predictions


def figures(results: dict[str, Any], predictions: Predictions) -> Iterator[tuple[str, Figure]]:
    """(name, figure) pairs.

    Args:
        results: evaluation.json, see `ltmed.inference.evaluate.evaluate_run`.
        predictions: the predictions that were scored.
    """
    title = f"{results['run']['name']} on {results['data']['dataset']}"
    yield from (
        _of_labels(results, predictions, title) if predictions.multilabel else _of_classes(results, predictions, title)
    )
    single = [report for report in results["subgroups"] if ":" not in report["metric"]]
    for metric in dict.fromkeys(report["metric"] for report in single):
        reports = [report for report in single if report["metric"] == metric]
        yield f"subgroups_{metric}", subgroups.forest(reports, results["test"]["scalars"][metric], title)
    of_class = [report for report in results["subgroups"] if ":" in report["metric"]]
    rows = {row["class"]: row for row in results["test"]["per_class"]}
    for metric in dict.fromkeys(report["metric"] for report in of_class):
        reports = [report for report in of_class if report["metric"] == metric]
        name, _, code = metric.partition(":")
        yield f"subgroups_{name}_{code}", subgroups.forest(reports, rows[code][name], title)


def _of_classes(results: dict[str, Any], predictions: Predictions, title: str) -> Iterator[tuple[str, Figure]]:
    correct = predictions.probabilities.argmax(1) == predictions.labels
    ece = results["test"]["scalars"]["ece"]
    yield "reliability", reliability.reliability_diagram(predictions.probabilities.max(1), correct, ece, title)
    if calibrated := results["calibration"]:
        scaled = apply_temperature(predictions.probabilities, calibrated["temperature"])
        after = calibrated["after"]["ece"]["value"]
        yield (
            "reliability_calibrated",
            reliability.reliability_diagram(scaled.max(1), correct, after, f"{title}, calibrated"),
        )
    tiers = [row["tier"] for row in results["test"]["per_class"]]
    matrix = confusion.confusion_matrix(
        results["test"]["confusion"], list(predictions.classes), tiers, predictions.counts.tolist(), title
    )
    yield "confusion_matrix", matrix


def _of_labels(results: dict[str, Any], predictions: Predictions, title: str) -> Iterator[tuple[str, Figure]]:
    parts = [("as predicted", predictions.probabilities)]
    if calibrated := results["calibration"]:
        parts.append(
            ("calibrated", Platt.from_plain(calibrated["platt"], predictions.classes)(predictions.probabilities))
        )
    yield "reliability", reliability.label_reliability(parts, predictions.labels, predictions.classes, title)
