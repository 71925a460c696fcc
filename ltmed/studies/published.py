"""The figures that papers print, from experiments/<paper>/published.csv."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltmed.errors import UserError, suggest

METRICS = {"auroc": "macro_auroc", "class_recall": "recall", "class_f1": "f1"}
"""Metric in published.csv -> in metrics.json, where they differ."""
_COLUMNS = ("table", "method", "classes", "metric", "mean_percent", "std_percent")
"""Columns of published.csv that are always read."""
OF_CLASSES = {
    "balanced_accuracy": "recall", "macro_recall": "recall", "macro_precision": "precision", "macro_f1": "f1",
    "macro_auroc": "auroc",
}  # fmt: skip
"""Mean over some classes, such as a tier -> what is averaged."""


@dataclass(frozen=True)
class Published:
    """One figure as a paper prints it."""

    metric: str
    """Name as in metrics.json; for a single class the name of its column there (`recall`, `f1`)."""
    mean: float
    """As a fraction, not percent."""
    std: float | None = None
    part: str = "all"
    """"all" classes, the name of one class, a tier, or the paper's name of a group of classes."""
    text: str = ""
    """The figure in percent as it stands in the paper, with all its digits; empty writes one decimal."""
    group: tuple[str, ...] | int = ()
    """Of a group of classes: which they are, or how many images each of them has at most in the whole data set."""


def figures(
    file: Path, table: str | None, columns: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], tuple[Published, ...]]:
    """(method, column) -> its figures as fractions, in the order of the file.

    Args:
        file: published.csv, with the columns table, method, backbone, dataset, classes, metric, mean_percent and
            std_percent.
        table: which lines; None, a figure without published values, has none.
        columns: name -> `published`, the values that its lines have (`{dataset: skin7}`) or None, and optionally
            `classes`, the data set's name of a class that has another name in the file, the tier that stands for a
            group of classes, the list of its classes, or `{at_most: N}`, the classes with N images or fewer.

    Raises:
        UserError: `classes` has something else, or the file does not exist or lacks a column.
    """
    figures: dict[tuple[str, str], list[Published]] = {}
    if table is None:
        return {}
    selections = {name: column["published"] for name, column in columns.items()}
    for line in _lines(file, table, {key for selection in selections.values() for key in selection or ()}):
        for name, column in columns.items():
            selection = selections[name]
            # A value without quotes may be a number in the study (`published: {ratio: 100}`), and is text in the file.
            if selection is not None and all(line[key] == str(value) for key, value in selection.items()):
                figures.setdefault((line["method"], name), []).append(_figure(line, column.get("classes") or {}))
    return {cell: tuple(printed) for cell, printed in figures.items()}


def _lines(file: Path, table: str, selected: Collection[str]) -> list[dict[str, str]]:
    """The lines of a table in published.csv.

    Args:
        file: published.csv.
        table: which lines.
        selected: further columns that are read, beside those of every file.
    """
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            reader = csv.DictReader(opened)
            lines, head = list(reader), reader.fieldnames or ()
    except FileNotFoundError:
        raise UserError(f"{file} does not exist", "study.table selects lines of it; null is for a figure.") from None
    for key in (*_COLUMNS, *selected):
        if key not in head:
            raise UserError(f"{file} has no column '{key}'", suggest(key, head))
    return [line for line in lines if line["table"] == table]


def _figure(line: Mapping[str, str], classes: Mapping[str, Any]) -> Published:
    metric, printed = METRICS.get(line["metric"], line["metric"]), line["classes"]
    target = classes.get(printed, printed)
    part, group = (target, ()) if isinstance(target, str) else (printed, _group(printed, target))
    if part != "all":
        metric = OF_CLASSES.get(metric, metric)
    mean, std = line["mean_percent"], line["std_percent"]
    text = f"{mean} ± {std}" if std else mean
    return Published(metric, float(mean) / 100, float(std) / 100 if std else None, part, text, group)


def _group(name: str, classes: Any) -> tuple[str, ...] | int:
    if isinstance(classes, list) and classes and all(isinstance(code, str) for code in classes):
        return tuple(classes)
    if isinstance(classes, dict) and list(classes) == ["at_most"] and isinstance(classes["at_most"], int):
        return classes["at_most"]
    raise UserError(
        f"classes: {{{name}: {classes}}} of a study's column is not possible",
        "It is a class, a tier, a list of classes, or {at_most: N} for those with N images or fewer.",
    )
