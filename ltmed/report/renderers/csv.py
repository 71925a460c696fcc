"""A report's numbers as long tables, in fractions: of cells (`--format csv`), and of single runs (`--format results`).

Of cells there is a line for each metric and part, with ten significant digits. Column `status`: "measured", "partial"
(some repetitions are missing), "undefined" (no run defines the metric), "not measured" (only the paper has it),
"missing" (no run yet) or "quoted" (no run is expected). `runs` are those that define the metric.

Of runs there is a line for each metric of the test part, with all digits and the run's own bootstrap interval.
`split_seeds` are the seeds that the test images depend on, and `other_split_seeds` those of validation or training
images only, each as `key=value` with blanks between them. Such a file is kept beside a study, so that its tables can be
computed when the runs are gone (`ltmed.report.results`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from ltmed.evaluation.scalars import PER_CLASS, PER_LABEL, scalars_of
from ltmed.report import protocol
from ltmed.report.comparison import figure
from ltmed.report.model import TIERS, Cell, Published, Table
from ltmed.report.statistics import collect, mean, summary
from ltmed.utils.spreadsheets import as_text

COLUMNS = (
    "row", "column", "metric", "part", "status", "mean", "std", "low95", "high95", "interval", "runs", "missing",
    "folds", "split_seeds", "seeds", "published", "published_std", "difference", "split", "split_hashes", "commits",
)  # fmt: skip
RESULT_COLUMNS = (
    "row", "column", "dataset", "method", "fold", "seed", "split", "split_hash", "commit", "metric", "value", "low95",
    "high95",
)  # fmt: skip
SEED_COLUMNS = ("split_seeds", "other_split_seeds")
"""Further columns of results, which files of earlier versions lack."""


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
    """Floats without rounding errors (0.4662, not 0.46619999999999995), and text that is no formula."""
    if value is None:
        return ""
    if isinstance(value, str):
        return as_text(value)
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _of_cell(cell: Cell) -> dict[str, object]:
    first = cell.runs[0].metrics["split"] if cell.runs else {}
    return {
        "runs": len(cell.runs),
        "missing": len(cell.missing),
        "folds": _join(protocol.folds(cell.runs)),
        "split_seeds": _join(protocol.split_seeds(cell.runs)),
        "seeds": _join(protocol.seeds(cell.runs)),
        "split": first.get("name", ""),
        "split_hashes": _join({run.metrics["split"]["hash"] for run in cell.runs}),
        "commits": _join({run.metrics["git"]["commit"] or "unknown" for run in cell.runs}),
    }


def _lines(table: Table, cell: Cell) -> Iterator[dict[str, object]]:
    printed = {(p.metric, p.part): p for p in cell.published}
    names = scalars_of(cell.runs[0].multilabel) if cell.runs else table.metrics
    for metric in names:
        tiered = metric in (*TIERS[False], *TIERS[True])
        tier, _, kind = metric.partition("_") if tiered else ("all", "", metric)
        key = (kind, tier)
        yield {"metric": key[0], "part": tier, **_summary(cell, metric), **_published(cell, printed.pop(key, None))}
    for code, metric, measured, runs in _classes(cell):
        line = {"metric": metric, "part": code, "mean": measured, "runs": runs}
        yield {**line, **_published(cell, printed.pop((metric, code), None))}
    for (metric, part), value in printed.items():
        yield {
            "metric": metric,
            "part": part,
            "mean": figure(cell, value),
            "unmeasured": True,
            **_published(cell, value),
        }


def _summary(cell: Cell, metric: str) -> dict[str, object]:
    figures = summary(cell.runs, metric)
    if figures is None:
        return {"runs": 0}
    return {
        "mean": figures.mean,
        "std": figures.std,
        "low95": figures.low,
        "high95": figures.high,
        "interval": figures.interval,
        "runs": figures.count,
    }


def _classes(cell: Cell) -> Iterator[tuple[str, str, float | None, int]]:
    """(class, metric, mean as for the other metrics, number of runs that define it)."""
    for position, code in enumerate(cell.runs[0].classes if cell.runs else ()):
        for metric in PER_LABEL if cell.runs[0].multilabel else PER_CLASS:
            values = collect(cell.runs, lambda run, at=position, of=metric: run.metrics["test"]["per_class"][at][of])
            yield code, metric, mean(values), len(values)


def _published(cell: Cell, value: Published | None) -> dict[str, object]:
    if value is None:
        return {}
    measured = figure(cell, value)
    difference = None if measured is None else measured - value.mean
    return {"published": value.mean, "published_std": value.std, "difference": difference}


def _join(items: Iterable) -> str:
    return " ".join(map(str, sorted(items)))


# --- single runs ------------------------------------------------------------------------------------------------------


def render_results(table: Table) -> str:
    """One line for each finished run of a table and each metric of its test part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*RESULT_COLUMNS, *SEED_COLUMNS])
    for line in _result_lines(table):
        writer.writerow([as_text(cell) if isinstance(cell, str) else cell for cell in line])
    return text.getvalue()


def _result_lines(table: Table) -> Iterator[list[object]]:
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            for run in cell.runs if cell else ():
                run_facts, split, test = run.metrics["run"], run.metrics["split"], run.metrics["test"]
                key_fields = [
                    row,
                    column,
                    run_facts["dataset"],
                    run_facts["method"],
                    run_facts["fold"],
                    run_facts["seed"],
                ]
                key_fields += [split["name"], split["hash"], run.metrics["git"]["commit"] or "unknown"]
                seeds = [
                    " ".join(f"{key}={value}" for key, value in part)
                    for part in (run.division.split_seeds, run.division.other_seeds)
                ]
                for metric, value in test["scalars"].items():
                    low, high = test["intervals"]["scalars"].get(metric) or (None, None)
                    figures = ("" if number is None else number for number in (value, low, high))
                    yield [*key_fields, metric, *figures, *seeds]
