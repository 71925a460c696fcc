"""A report's figures as one long table: a row per cell, metric and part. Fractions, with ten significant digits.

Column `status`: "measured", "partial" (some repetitions are missing), "undefined" (no run defines the metric), "not
measured" (only the paper has it), "missing" (no run yet) or "quoted" (no run is expected).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from ltmed.evaluation.metrics import SCALARS
from ltmed.report import protocol
from ltmed.report.comparison import figure
from ltmed.report.document import TIERS
from ltmed.report.formatting import split_seed
from ltmed.report.model import Cell, Published, Table
from ltmed.report.statistics import collect, mean, summary

COLUMNS = (
    "row", "column", "metric", "part", "status", "mean", "std", "low95", "high95", "interval", "runs", "missing",
    "folds", "split_seeds", "seeds", "published", "published_std", "difference", "split", "split_hashes", "commits",
)  # fmt: skip
PER_CLASS = ("precision", "recall", "f1", "auroc")


def render(table: Table) -> str:
    """The whole table; cells without a figure have a row with empty fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column), Cell())
            shared = {"row": row, "column": column, **_of_cell(cell)}
            for line in _lines(table, cell):
                full = shared | {"status": _status(cell, line)} | line
                writer.writerow([_written(full.get(name)) for name in COLUMNS])
    return text.getvalue()


def _status(cell: Cell, line: dict[str, object]) -> str:
    if line.get("mean") is not None:
        return "partial" if cell.missing else "measured"
    if cell.runs:
        return "not measured" if "unmeasured" in line else "undefined"
    return "quoted" if cell.note else "missing"


def _written(value: object) -> object:
    """Floats without the noise of binary arithmetic (0.4662, not 0.46619999999999995)."""
    if value is None:
        return ""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _of_cell(cell: Cell) -> dict[str, object]:
    first = cell.runs[0].found["split"] if cell.runs else {}
    return {
        "runs": len(cell.runs),
        "missing": len(cell.missing),
        "folds": _join(protocol.folds(cell.runs)),
        "split_seeds": _join(map(split_seed, protocol.split_seeds(cell.runs))),
        "seeds": _join(protocol.seeds(cell.runs)),
        "split": first.get("name", ""),
        "split_hashes": _join({run.found["split"]["hash"] for run in cell.runs}),
        "commits": _join({run.found["git"]["commit"] or "unknown" for run in cell.runs}),
    }


def _lines(table: Table, cell: Cell) -> Iterator[dict[str, object]]:
    printed = {(p.metric, p.part): p for p in cell.published}
    names = SCALARS if cell.runs else table.metrics
    for metric in names:
        tier = metric.removesuffix("_recall") if metric in TIERS else "all"
        key = ("recall", tier) if metric in TIERS else (metric, "all")
        yield {"metric": key[0], "part": tier, **_summary(cell, metric), **_published(cell, printed.pop(key, None))}
    for code, metric, ours, runs in _classes(cell):
        found = {"metric": metric, "part": code, "mean": ours, "runs": runs}
        yield {**found, **_published(cell, printed.pop((metric, code), None))}
    for (metric, part), one in printed.items():
        yield {"metric": metric, "part": part, "mean": figure(cell, one), "unmeasured": True, **_published(cell, one)}


def _summary(cell: Cell, metric: str) -> dict[str, object]:
    one = summary(cell.runs, metric)
    if one is None:
        return {}
    return {"mean": one.mean, "std": one.std, "low95": one.low, "high95": one.high, "interval": one.interval}


def _classes(cell: Cell) -> Iterator[tuple[str, str, float | None, int]]:
    """(class, metric, mean as of the other figures, how many runs define it)."""
    for position, code in enumerate(cell.runs[0].classes if cell.runs else ()):
        for metric in PER_CLASS:
            found = collect(cell.runs, lambda run, at=position, of=metric: run.found["test"]["per_class"][at][of])
            yield code, metric, mean(found), len(found)


def _published(cell: Cell, one: Published | None) -> dict[str, object]:
    if one is None:
        return {}
    ours = figure(cell, one)
    difference = None if ours is None else ours - one.mean
    return {"published": one.mean, "published_std": one.std, "difference": difference}


def _join(found: Iterable) -> str:
    return " ".join(map(str, sorted(found)))
