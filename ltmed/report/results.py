"""The results of single runs as one long table (`--format results`), and the tables of such a file without the runs.

A study keeps its results so that its figures can be recomputed when the runs are gone: one line for each run and
metric of the test part, with the run's own bootstrap interval. Values have all their digits.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.metrics import LOWEST
from ltmed.report.formatting import metric_name
from ltmed.report.model import Document, FormattedCell, Grid, Table
from ltmed.report.statistics import t_interval
from ltmed.utils.spreadsheets import as_text

COLUMNS = (
    "row", "column", "dataset", "method", "fold", "seed", "split", "split_hash", "commit", "metric", "value", "low95",
    "high95",
)  # fmt: skip
_HINT = "ltmed report --format results writes such files."
_MAIN = "balanced_accuracy"
_BESIDE = ("macro_f1", "accuracy", "macro_auroc")
_TIERS = ("head", "medium", "tail")


def render(table: Table) -> str:
    """One line for each finished run of a table and each metric of its test part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in _lines(table):
        writer.writerow([as_text(cell) if isinstance(cell, str) else cell for cell in line])
    return text.getvalue()


def _lines(table: Table) -> Iterator[list[object]]:
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            for run in cell.runs if cell else ():
                about, split, test = run.found["run"], run.found["split"], run.found["test"]
                place = [row, column, about["dataset"], about["method"], about["fold"], about["seed"]]
                place += [split["name"], split["hash"], run.found["git"]["commit"] or "unknown"]
                for metric, value in test["scalars"].items():
                    low, high = test["intervals"]["scalars"].get(metric) or (None, None)
                    yield [*place, metric, *("" if one is None else one for one in (value, low, high))]


@dataclass(frozen=True)
class _Result:
    """A metric of one run."""

    value: float
    low: float | None
    high: float | None


_Runs = dict[tuple[str, ...], dict[str, _Result]]
"""(fold, seed, split hash) -> metric -> result."""


def document(file: Path) -> Document:
    """The tables of a file of results: rows by their mean balanced accuracy, a table for each column.

    Args:
        file: as `render` writes it.

    Raises:
        UserError: it cannot be read, or is not such a file.
    """
    columns = _read(file)
    grids = tuple(_grid(column, rows) for column, rows in columns.items())
    notes = (
        "Fractions: mean ± standard deviation over the runs of a row; 95 % intervals are Student's t, of a single run "
        "from its test images drawn again. ltmed report says more of the runs themselves.",
    )
    return Document(f"Results in {file}", (), grids, (), (), notes)


def _read(file: Path) -> dict[str, dict[str, _Runs]]:
    """Column -> row -> runs; of two lines on one metric of one run the later one counts."""
    columns: dict[str, dict[str, _Runs]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            lines = csv.DictReader(opened)
            if missing := [name for name in COLUMNS if name not in (lines.fieldnames or ())]:
                raise UserError(
                    f"{file} has no column '{missing[0]}'", "ltmed report --format results writes such files."
                )
            for line in lines:
                if line["value"] == "":
                    continue
                value, low, high = (float(line[key]) if line[key] else None for key in ("value", "low95", "high95"))
                assert value is not None
                runs = columns.setdefault(line["column"], {}).setdefault(line["row"], {})
                place = (line["fold"], line["seed"], line["split_hash"])
                runs.setdefault(place, {})[line["metric"]] = _Result(value, low, high)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}", _HINT) from None
    return columns


def _grid(column: str, rows: dict[str, _Runs]) -> Grid:
    ordered = sorted(rows.items(), key=lambda item: -(_mean(list(item[1].values()), _MAIN) or 0))
    headings = ("runs", metric_name(_MAIN), "95 % interval", *map(metric_name, _BESIDE), " / ".join(_TIERS))
    lines = [(row, tuple(map(FormattedCell, _cells(list(runs.values()))))) for row, runs in ordered]
    return Grid(column, headings, tuple(lines))


def _cells(runs: Sequence[dict[str, _Result]]) -> Iterator[str]:
    yield str(len(runs))
    yield _spread(runs, _MAIN)
    yield _interval(runs)
    for metric in _BESIDE:
        yield _spread(runs, metric)
    recalls = (_mean(runs, f"{tier}_recall") for tier in _TIERS)
    yield " / ".join("-" if recall is None else f"{recall:.2f}" for recall in recalls)


def _values(runs: Sequence[dict[str, _Result]], metric: str) -> list[float]:
    return [run[metric].value for run in runs if metric in run]


def _mean(runs: Sequence[dict[str, _Result]], metric: str) -> float | None:
    values = _values(runs, metric)
    return float(np.mean(values)) if values else None


def _spread(runs: Sequence[dict[str, _Result]], metric: str) -> str:
    values = _values(runs, metric)
    if not values:
        return "-"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def _interval(runs: Sequence[dict[str, _Result]]) -> str:
    """Student's over the runs; of a single one its own."""
    found = [run[_MAIN] for run in runs if _MAIN in run]
    if len(found) == 1:
        low, high = found[0].low, found[0].high
    else:
        low, high = t_interval([one.value for one in found]) if found else (None, None)
    if low is None or high is None:
        return "-"
    return f"{max(low, LOWEST[_MAIN]):.3f} to {min(high, 1.0):.3f}"
