"""A report's numbers as long tables, in fractions: of cells (`--format csv`), and of single runs (`--format results`).

Of cells there is a line for each metric and part, with ten significant digits. Column `status`: "measured", "partial"
(some repetitions are missing), "undefined" (no run defines the metric), "not measured" (only the paper has it),
"missing" (no run yet) or "quoted" (no run is expected).

Of runs there is a line for each metric of the test part, with all digits and the run's own bootstrap interval. Such a
file is kept beside a study, so that its tables can be computed when the runs are gone (`document_of_results`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.scalars import LOWEST, PER_CLASS, PER_LABEL, scalars_of
from ltmed.report import protocol
from ltmed.report.comparison import figure
from ltmed.report.formatting import metric_name
from ltmed.report.model import METRICS, TIERS, Cell, Document, FormattedCell, Grid, Published, Table
from ltmed.report.statistics import collect, mean, summary, t_interval
from ltmed.utils.spreadsheets import as_text

COLUMNS = (
    "row", "column", "metric", "part", "status", "mean", "std", "low95", "high95", "interval", "runs", "missing",
    "folds", "split_seeds", "seeds", "published", "published_std", "difference", "split", "split_hashes", "commits",
)  # fmt: skip
RESULT_COLUMNS = (
    "row", "column", "dataset", "method", "fold", "seed", "split", "split_hash", "commit", "metric", "value", "low95",
    "high95",
)  # fmt: skip
_HINT = "ltmed report --format results writes such files."
_FURTHER_METRICS = {False: ("macro_f1", "accuracy", "macro_auroc"), True: ("macro_auroc", "macro_f1", "micro_f1")}
_TIERS = ("head", "medium", "tail")


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
        return {}
    return {
        "mean": figures.mean,
        "std": figures.std,
        "low95": figures.low,
        "high95": figures.high,
        "interval": figures.interval,
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
    writer.writerow(RESULT_COLUMNS)
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
                for metric, value in test["scalars"].items():
                    low, high = test["intervals"]["scalars"].get(metric) or (None, None)
                    yield [*key_fields, metric, *("" if number is None else number for number in (value, low, high))]


@dataclass(frozen=True)
class _Result:
    """A metric of one run."""

    value: float
    low: float | None
    high: float | None


_Runs = dict[tuple[str, ...], dict[str, _Result]]
"""(fold, seed, split hash) -> metric -> result."""


def document_of_results(file: Path) -> Document:
    """The tables of a file of results: rows by their mean balanced accuracy, a table for each column.

    Args:
        file: as `render_results` writes it.

    Raises:
        UserError: it cannot be read, or is not such a file.
    """
    columns = _read(file)
    grids = tuple(_grid(column, rows) for column, rows in columns.items())
    notes = (
        "Fractions: mean ± standard deviation over the runs of a row; 95 % intervals are Student's t, of a single run "
        "a bootstrap of its test images.",
    )
    return Document(f"Results in {file}", (), grids, (), (), notes)


def _read(file: Path) -> dict[str, dict[str, _Runs]]:
    """Column -> row -> runs; of two lines on one metric of one run the later one counts."""
    columns: dict[str, dict[str, _Runs]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            lines = csv.DictReader(opened)
            if missing := [name for name in RESULT_COLUMNS if name not in (lines.fieldnames or ())]:
                raise UserError(
                    f"{file} has no column '{missing[0]}'", "ltmed report --format results writes such files."
                )
            for line in lines:
                if line["value"] == "":
                    continue
                value, low, high = (float(line[name]) if line[name] else None for name in ("value", "low95", "high95"))
                assert value is not None
                runs = columns.setdefault(line["column"], {}).setdefault(line["row"], {})
                key = (line["fold"], line["seed"], line["split_hash"])
                runs.setdefault(key, {})[line["metric"]] = _Result(value, low, high)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}", _HINT) from None
    return columns


def _grid(column: str, rows: dict[str, _Runs]) -> Grid:
    multilabel = any(METRICS[True][0] in run for runs in rows.values() for run in runs.values())
    main = METRICS[multilabel][0]
    ordered = sorted(rows.items(), key=lambda item: -(_mean_of(list(item[1].values()), main) or 0))
    headings = (
        "runs",
        metric_name(main),
        "95 % interval",
        *map(metric_name, _FURTHER_METRICS[multilabel]),
        " / ".join(_TIERS),
    )
    lines = [(row, tuple(map(FormattedCell, _cells(list(runs.values()), multilabel)))) for row, runs in ordered]
    return Grid(column, headings, tuple(lines))


def _cells(runs: Sequence[dict[str, _Result]], multilabel: bool) -> Iterator[str]:
    yield str(len(runs))
    yield _spread(runs, METRICS[multilabel][0])
    yield _interval(runs, METRICS[multilabel][0])
    for metric in _FURTHER_METRICS[multilabel]:
        yield _spread(runs, metric)
    recalls = (_mean_of(runs, metric) for metric in TIERS[multilabel])
    yield " / ".join("-" if recall is None else f"{recall:.2f}" for recall in recalls)


def _values_of(runs: Sequence[dict[str, _Result]], metric: str) -> list[float]:
    return [run[metric].value for run in runs if metric in run]


def _mean_of(runs: Sequence[dict[str, _Result]], metric: str) -> float | None:
    values = _values_of(runs, metric)
    return float(np.mean(values)) if values else None


def _spread(runs: Sequence[dict[str, _Result]], metric: str) -> str:
    values = _values_of(runs, metric)
    if not values:
        return "-"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def _interval(runs: Sequence[dict[str, _Result]], main: str) -> str:
    """Student's over the runs; of a single one its own."""
    results = [run[main] for run in runs if main in run]
    if len(results) == 1:
        low, high = results[0].low, results[0].high
    else:
        low, high = t_interval([result.value for result in results]) if results else (None, None)
    if low is None or high is None:
        return "-"
    return f"{max(low, LOWEST[main]):.3f} to {min(high, 1.0):.3f}"
