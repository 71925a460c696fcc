"""Rows compared with published values, and with a reference row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ltmed.report.formatting import metric_name, p_value, percent, signed
from ltmed.report.model import METRICS, MISSING, Cell, FormattedCell, Grid, Published, Table
from ltmed.report.paired import PairedBootstrap, PairedDifference
from ltmed.report.statistics import MIN_PAIRS, SignedRank, collect, mean, signed_rank
from ltmed.runs.reader import Run

_TIERS = ("head", "medium", "tail")


def figure(cell: Cell, published: Published) -> float | None:
    """The measured counterpart of a published value, a fraction, with the mean of the tables; None without one."""
    return mean(collect(cell.runs, lambda run: _of(run, published)))


def _of(run: Run, published: Published) -> float | None:
    test = run.metrics["test"]
    if published.part == "all":
        return test["scalars"].get(published.metric)
    if published.group:
        rows = _members(run, published.group)
    else:
        kinds = ("tier",) if published.part in _TIERS else ("class", "name")
        rows = [row for row in test["per_class"] if published.part in (row[kind] for kind in kinds)]
    values = [value for row in rows if (value := row.get(published.metric)) is not None]
    return sum(values) / len(values) if values else None


def _members(run: Run, group: tuple[str, ...] | int) -> list[dict[str, Any]]:
    """The rows of a group's classes; none if the run lacks a listed class, so that no partial group counts."""
    rows = run.metrics["test"]["per_class"]
    if isinstance(group, int):
        parts = run.metrics["split"]["counts"].values()
        return [row for row in rows if sum(counts[row["class"]] for counts in parts) <= group]
    listed = [row for row in rows if row["class"] in group]
    return listed if len(listed) == len(group) else []


def published(table: Table) -> Iterator[Grid]:
    """Differences of the means to the published ones: one grid for each column that has any."""
    for column in table.columns:
        by_row = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
        kinds = list(dict.fromkeys((p.metric, p.part) for cell in by_row.values() for p in cell.published))
        if not kinds:
            continue
        rows = []
        for row, cell in by_row.items():
            by_kind = {(p.metric, p.part): p for p in cell.published}
            if by_kind:
                rows.append((row, tuple(_difference(cell, by_kind.get(kind)) for kind in kinds)))
        headings = tuple(
            metric_name(metric) if part == "all" else f"{part} {metric_name(metric)}" for metric, part in kinds
        )
        note = "Our mean less the paper's, which stands in brackets as it is printed; percentage points."
        yield Grid(f"Difference to the published figures: {column}", headings, tuple(rows), (note,))


def _difference(cell: Cell, value: Published | None) -> FormattedCell:
    if value is None:
        return FormattedCell("")
    printed = value.text or percent(value.mean) + ("" if value.std is None else f" ± {percent(value.std)}")
    measured = figure(cell, value)
    if measured is None:
        return FormattedCell("not measured" if cell.runs else cell.note or "not run", f"({printed})", MISSING)
    return FormattedCell(signed(measured - value.mean), f"({printed})")


def reference(table: Table, column: str) -> str | None:
    """The row that the others of a column are compared with: the selected row, else the first, that has runs there.

    None where fewer than two rows were run.
    """
    candidates = [row for row in table.rows if table.cells.get((row, column), Cell()).runs]
    if len(candidates) < 2:
        return None
    return table.reference if table.reference in candidates else candidates[0]


def other_references(table: Table) -> Iterator[tuple[str, str]]:
    """(column, sentence) where the row of reference could not be the same as in the other columns."""
    rows = [row for row in table.rows if any(table.cells.get((row, c), Cell()).runs for c in table.columns)]
    preferred = table.reference or (rows or [""])[0]
    for column in table.columns:
        if (base := reference(table, column)) not in (None, preferred):
            yield column, f"{preferred} was not run; the others are compared with {base}"


def significance(table: Table) -> Iterator[Grid]:
    """Differences to the reference row with their tests: one grid for each column that has one."""
    for column in table.columns:
        metrics = list(dict.fromkeys((table.metrics[0], METRICS[table.multilabel(column)][0])))
        base = reference(table, column)
        if base is not None:
            yield _tests(table, column, base, metrics)


def _tests(table: Table, column: str, base: str, metrics: list[str]) -> Grid:
    other = table.cells[base, column].runs
    bootstraps = [PairedBootstrap(other, metric) for metric in metrics]
    rows = []
    for row in table.rows:
        runs = table.cells.get((row, column), Cell()).runs
        if runs and row != base:
            paired = [cell for bootstrap in bootstraps for cell in _paired(bootstrap(runs))]
            rows.append((row, (*paired, _ranks(signed_rank(runs, other, metrics[0])))))
    headings = [text for metric in metrics for text in (f"{metric_name(metric)}, same images", "paired bootstrap")]
    return Grid(
        f"Compared with {base}: {column}",
        (*headings, f"Wilcoxon, {metric_name(metrics[0])}"),
        tuple(rows),
        (
            "Same images: difference of the means over the folds (or random splits) that both rows have, in percentage "
            "points; 95 % interval and two-sided p from 1,000 resamples of their test images (paired bootstrap).",
            "Wilcoxon: signed-rank test over folds or random splits, or the seeds of one. Five pairs can never reach "
            "p < 0.05, since all of them in favour of one row have p = 2 / 2^5; fewer give no p.",
            "p values are not corrected for the number of rows; 0.002 is the smallest of 1,000 resamples.",
        ),
    )


def _paired(paired: PairedDifference | str) -> tuple[FormattedCell, FormattedCell]:
    if isinstance(paired, str):
        return FormattedCell(paired, mark=MISSING), FormattedCell("")
    interval = f"[{signed(paired.low)}, {signed(paired.high)}]"
    resampled = f"{paired.units:,} {paired.unit}s" + ("" if paired.unit == "image" else f"\n{paired.images:,} images")
    return FormattedCell(signed(paired.difference), interval), FormattedCell(p_value(paired.p), resampled)


def _ranks(test: SignedRank) -> FormattedCell:
    over = test.over if test.pairs != 1 else test.over[:-1]
    pairs = f"{test.pairs} {over}"
    if test.differing < test.pairs:
        pairs = f"{test.differing} of {pairs} {'differ' if test.pairs != 1 else 'differs'}"
    if test.p is None:
        return FormattedCell("too few", f"{pairs}\n{MIN_PAIRS} needed", MISSING)
    return FormattedCell(
        p_value(test.p), pairs + (f"\nleast possible {test.smallest_p:g}" if test.smallest_p > 0.05 else "")
    )
