"""The tables of a file of single runs (`--format results`), with the same statistics as the tables of the runs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.report.formatting import metric_name
from ltmed.report.model import METRICS, TIERS, Document, FormattedCell, Grid
from ltmed.report.renderers.csv import RESULT_COLUMNS, SEED_COLUMNS
from ltmed.report.statistics import basis, has_others, mean, ranked_mean, summary, unranked, values
from ltmed.runs.division import Division, Seeds
from ltmed.utils.spreadsheets import read_back

_HINT = "ltmed report --format results writes such files."
_FURTHER_METRICS = {False: ("macro_f1", "accuracy", "macro_auroc"), True: ("macro_auroc", "macro_f1", "micro_f1")}
_TIERS = ("head", "medium", "tail")


@dataclass(frozen=True)
class Result:
    """One run of a file, as `ltmed.report.statistics` reads it."""

    path: str
    """Where it stands in the file, for messages."""
    division: Division
    seed: int
    metrics: dict[str, Any] = field(default_factory=lambda: {"test": {"scalars": {}, "intervals": {"scalars": {}}}})
    """The part of metrics.json that the file has."""

    def add(self, metric: str, value: float, low: float | None, high: float | None) -> None:
        """Enters a metric of the test part and its interval."""
        self.metrics["test"]["scalars"][metric] = value
        self.metrics["test"]["intervals"]["scalars"][metric] = (low, high)


_Key = tuple[str, str, Division, int, str]
"""Column, row, division, seed, hash of the split."""
_Rows = dict[str, list[Result]]


def document_of_results(file: Path) -> Document:
    """The tables of a file of results, one for each column: rows by their main metric, those that are not ranked last.

    Args:
        file: as `ltmed.report.renderers.csv.render_results` writes it. The columns of split seeds may be missing.

    Raises:
        UserError: it cannot be read, or is not such a file.
    """
    grids = tuple(_grid(column, rows) for column, rows in _columns(_read(file)).items())
    notes = (
        "Fractions: mean ± standard deviation over folds or random splits (each the mean over its seeds), or over the "
        "seeds of one; 95 % intervals are Student's t, of a single run a bootstrap of its test images.",
    )
    return Document(f"Results in {file}", (), grids, (), (), notes)


def _read(file: Path) -> dict[_Key, Result]:
    """The runs; of two lines on one metric of one run the later one counts."""
    found: dict[_Key, Result] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:  # Spreadsheets begin a file with a mark.
            lines = csv.DictReader(opened)
            if missing := [name for name in RESULT_COLUMNS if name not in (lines.fieldnames or ())]:
                raise UserError(f"{file} has no column '{missing[0]}'", _HINT)
            for line in lines:
                if None in line.values():
                    raise UserError(f"{file} has a line with too few fields, line {lines.line_num}", _HINT)
                if line["value"] == "":
                    continue
                value, low, high = (float(line[name]) if line[name] else None for name in ("value", "low95", "high95"))
                assert value is not None
                division = Division(int(line["fold"]), *(_seeds(line.get(name) or "") for name in SEED_COLUMNS))
                names = read_back(line["column"]), read_back(line["row"])
                key = (*names, division, int(line["seed"]), line["split_hash"])
                where = f"{file}, row '{key[1]}', fold {division.fold}, seed {key[3]}"
                found.setdefault(key, Result(where, division, key[3])).add(line["metric"], value, low, high)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}", _HINT) from None
    return found


def _seeds(text: str) -> Seeds:
    pairs = (pair.partition("=") for pair in text.split())
    return tuple((key, int(value)) for key, _, value in pairs)


def _columns(found: Mapping[_Key, Result]) -> dict[str, _Rows]:
    """Column -> row -> runs.

    Files of earlier versions do not have the seeds of the split. If a fold of a column has several hashes, they tell
    its divisions apart.
    """
    hashes: dict[tuple[str, Division], set[str]] = {}
    for column, _, division, _, split_hash in found:
        hashes.setdefault((column, division), set()).add(split_hash)
    columns: dict[str, _Rows] = {}
    for (column, row, division, seed, split_hash), result in found.items():
        if len(hashes[column, division]) > 1:
            seeds = (*division.split_seeds, ("split.hash", split_hash))
            result = Result(result.path, division._replace(split_seeds=seeds), seed, result.metrics)
        columns.setdefault(column, {}).setdefault(row, []).append(result)
    return columns


def _grid(column: str, rows: _Rows) -> Grid:
    multilabel = any(METRICS[True][0] in run.metrics["test"]["scalars"] for runs in rows.values() for run in runs)
    main = METRICS[multilabel][0]
    needed = basis(rows.values())
    reasons = {row: unranked(runs, main, needed) for row, runs in rows.items()}
    ranked = {
        row: value
        for row, runs in rows.items()
        if not reasons[row] and (value := ranked_mean(runs, main, needed)) is not None
    }

    def order(row: str) -> tuple[bool, float]:
        return row not in ranked, -(ranked.get(row) or mean(values(rows[row], main)) or 0)

    def remark(row: str) -> str:
        if row not in ranked:
            return f"not ranked: {reasons[row]}" if reasons[row] else ""
        others = len(ranked) > 1 and has_others(rows[row], needed)
        return f"ranked by {ranked[row]:.3f}" if others else ""

    headings = (
        "runs",
        metric_name(main),
        "95 % interval",
        *map(metric_name, _FURTHER_METRICS[multilabel]),
        " / ".join(_TIERS),
    )
    lines = [(row, tuple(_cells(rows[row], multilabel, remark(row)))) for row in sorted(rows, key=order)]
    return Grid(column, headings, tuple(lines))


def _cells(runs: Sequence[Result], multilabel: bool, remark: str) -> Iterator[FormattedCell]:
    main = METRICS[multilabel][0]
    yield FormattedCell(str(len(runs)))
    yield FormattedCell(_spread(runs, main), remark)
    figures = summary(runs, main)
    if figures is None or figures.low is None or figures.high is None:
        yield FormattedCell("-")
    else:
        yield FormattedCell(f"{figures.low:.3f} to {figures.high:.3f}")
    for metric in _FURTHER_METRICS[multilabel]:
        yield FormattedCell(_spread(runs, metric))
    recalls = (mean(values(runs, metric)) for metric in TIERS[multilabel])
    yield FormattedCell(" / ".join("-" if recall is None else f"{recall:.2f}" for recall in recalls))


def _spread(runs: Sequence[Result], metric: str) -> str:
    figures = summary(runs, metric)
    if figures is None:
        return "-"
    return f"{figures.mean:.3f}" + ("" if figures.std is None else f" ± {figures.std:.3f}")
