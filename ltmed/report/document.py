"""A table of runs as a document of formatted text; the renderers only lay it out.

Figures are percent with one decimal. Marks are decided on what is shown, so that equal ones have equal marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltmed.evaluation.scalars import better
from ltmed.report import protocol
from ltmed.report.comparison import other_references, published, significance
from ltmed.report.formatting import metric_name, percent
from ltmed.report.model import BEST, MISSING, SECOND, TIERS, Cell, Document, FormattedCell, Grid, Table
from ltmed.report.statistics import Basis, Summary, basis, has_others, lacking, ranked_mean, summary
from ltmed.runs.reader import Run


def document(table: Table) -> Document:
    """Computes everything that is shown of `table`."""
    parts = table.by_kind()
    grids = [grid for several, part in parts for grid in _of_kind(part, several)]
    grids += [*published(table), *(grid for _, part in parts for grid in significance(part)), protocol.runs_grid(table)]
    notes = [
        "Figures are percent: mean ± standard deviation of the sample, over folds or random splits (each the mean over "
        "its seeds), or over the seeds of one.",
        "In brackets 95 % intervals: of the same mean Student's t; of a single run a bootstrap of its test images, "
        "which does not cover another seed.",
        *table.notes,
    ]
    return Document(
        table.title,
        tuple(_once([*protocol.warnings(table), *other_references(table)], table)),
        tuple(grid for grid in grids if grid.rows),
        tuple((column, protocol.facts(runs)) for column in table.columns if (runs := _runs(table, column))),
        tuple(_missing(table)),
        tuple(notes),
    )


def _of_kind(table: Table, several: bool) -> Iterator[Grid]:
    """The figures of columns with one label per image, or with several."""
    yield from _results(table, table.metrics, "Test results")
    if any(
        (row, column) in table.cells and table.cells[row, column].runs for row in table.rows for column in table.columns
    ):
        yield from _results(table, TIERS[several], f"{'AP' if several else 'Recall'} by class frequency")


def _once(sentences: Sequence[tuple[str, str]], table: Table) -> Iterator[str]:
    """One sentence for all columns that it is true of."""
    columns: dict[str, list[str]] = {}
    for column, sentence in sentences:
        columns.setdefault(sentence, []).append(column)
    for sentence, where in columns.items():
        every = len(where) > 1 and len(where) == len(table.columns)
        place = "every column" if every else "; ".join(where)
        yield f"{place}: {sentence}." if where[0] else f"{sentence}."


def _runs(table: Table, column: str) -> list[Run]:
    return [run for row in table.rows if (cell := table.cells.get((row, column))) for run in cell.runs]


def _results(table: Table, metrics: Sequence[str], title: str) -> Iterator[Grid]:
    """One grid over the metrics for a single column; else one per metric over the columns."""
    if len(table.columns) == 1:
        yield _grid(table, [(table.columns[0], metric) for metric in metrics], f"{title}: {table.columns[0]}", True)
        return
    for metric in metrics:
        yield _grid(table, [(column, metric) for column in table.columns], f"{title}: {metric_name(metric)}", False)


def _grid(table: Table, pairs: Sequence[tuple[str, str]], title: str, by_metric: bool) -> Grid:
    shown = [_column(table, column, metric) for column, metric in pairs]
    headings = tuple(metric_name(metric) if by_metric else column for column, metric in pairs)
    rows = tuple((row, tuple(part[row] for part in shown)) for row in table.rows)
    return Grid(title, headings, rows)


def _column(table: Table, column: str, metric: str) -> dict[str, FormattedCell]:
    """One column of figures with its marks, and why a row has no rank."""
    cells = {row: table.cells.get((row, column), Cell()) for row in table.rows}
    needed = basis(cell.runs for cell in cells.values())
    found = {row: summary(cell.runs, metric) for row, cell in cells.items()}
    reasons = {row: _unranked(cells[row].runs, one, needed) for row, one in found.items() if one}
    ranked = {
        row: percent(ranked_mean(cells[row].runs, metric, needed) or 0) for row, why in reasons.items() if not why
    }
    order = sorted(set(ranked.values()), key=float, reverse=better(metric) == "max")
    mark_of = dict(zip(order, (BEST, SECOND), strict=False)) if len(ranked) > 1 else {}
    mixed = len({one.interval for one in found.values() if one}) > 1
    shown = {}
    for row, one in found.items():
        if one is None:
            shown[row] = FormattedCell(_absent(cells[row]), mark=MISSING)
            continue
        others = row in ranked and len(ranked) > 1 and has_others(cells[row].runs, needed)
        remarks = [
            "one run" if mixed and one.interval == "bootstrap" else "",
            f"not ranked: {reasons[row]}" if reasons[row] else "",
            f"ranked by {ranked[row]}" if others else "",
        ]
        shown[row] = _shown(one, mark_of.get(ranked.get(row, ""), ""), remarks)
    return shown


def _unranked(runs: Sequence[Run], one: Summary, needed: Basis) -> str:
    if one.count < len(runs):
        return f"defined in {one.count} of {len(runs)} runs"
    return lacking(runs, needed)


def _absent(cell: Cell) -> str:
    """What stands where no figure is."""
    return "undefined" if cell.runs else cell.note or "missing"


def _shown(one: Summary, mark: str, remarks: Sequence[str]) -> FormattedCell:
    text = percent(one.mean) + ("" if one.std is None else f" ± {percent(one.std)}")
    between = "" if one.low is None or one.high is None else f"[{percent(one.low)}, {percent(one.high)}]"
    return FormattedCell(text, "\n".join(filter(None, (between, *remarks))), mark)


def _missing(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            if cell is None and any(table.cells.get((row, other), Cell()).runs for other in table.columns):
                yield f"{row}; {column}", ("# no run of it was given",)
            elif cell and cell.missing:
                yield f"{row}; {column}", cell.missing
