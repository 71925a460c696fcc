"""A table of runs as a document of formatted text; the renderers only lay it out.

Figures are percent with one decimal. Marks are based on the rounded figures, so that equal figures have equal marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltmed.evaluation.scalars import better
from ltmed.report import protocol
from ltmed.report.comparison import other_references, published, significance
from ltmed.report.formatting import metric_name, percent
from ltmed.report.model import BEST, MISSING, SECOND, TIERS, Cell, Document, FormattedCell, Grid, Table
from ltmed.report.statistics import Summary, basis, has_others, ranked_mean, summary, unranked
from ltmed.runs.reader import Run


def document(table: Table) -> Document:
    """Computes the whole report of `table`."""
    parts = table.by_kind()
    grids = [grid for multilabel, part in parts for grid in _of_kind(part, multilabel)]
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


def _of_kind(table: Table, multilabel: bool) -> Iterator[Grid]:
    """The figures of columns with one label per image, or with several."""
    yield from _results(table, table.metrics, "Test results")
    if any(
        (row, column) in table.cells and table.cells[row, column].runs for row in table.rows for column in table.columns
    ):
        yield from _results(table, TIERS[multilabel], f"{'AP' if multilabel else 'Recall'} by class frequency")


def _once(sentences: Sequence[tuple[str, str]], table: Table) -> Iterator[str]:
    """Each sentence once, with all columns that it applies to."""
    columns: dict[str, list[str]] = {}
    for column, sentence in sentences:
        columns.setdefault(sentence, []).append(column)
    for sentence, columns_of_sentence in columns.items():
        all_columns = len(columns_of_sentence) > 1 and len(columns_of_sentence) == len(table.columns)
        subject = "every column" if all_columns else "; ".join(columns_of_sentence)
        yield f"{subject}: {sentence}." if columns_of_sentence[0] else f"{sentence}."


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
    columns = [_column(table, column, metric) for column, metric in pairs]
    headings = tuple(metric_name(metric) if by_metric else column for column, metric in pairs)
    rows = tuple((row, tuple(part[row] for part in columns)) for row in table.rows)
    return Grid(title, headings, rows)


def _column(table: Table, column: str, metric: str) -> dict[str, FormattedCell]:
    """One column of figures with its marks, and reasons why rows are not ranked."""
    cells = {row: table.cells.get((row, column), Cell()) for row in table.rows}
    needed = basis(cell.runs for cell in cells.values())
    summaries = {row: summary(cell.runs, metric) for row, cell in cells.items()}
    reasons = {row: unranked(cells[row].runs, metric, needed) for row, row_summary in summaries.items() if row_summary}
    ranked = {
        row: percent(ranked_mean(cells[row].runs, metric, needed) or 0) for row, reason in reasons.items() if not reason
    }
    order = sorted(set(ranked.values()), key=float, reverse=better(metric) == "max")
    mark_of = dict(zip(order, (BEST, SECOND), strict=False)) if len(ranked) > 1 else {}
    mixed = len({row_summary.interval for row_summary in summaries.values() if row_summary}) > 1
    formatted = {}
    for row, row_summary in summaries.items():
        if row_summary is None:
            formatted[row] = FormattedCell(_absent(cells[row]), mark=MISSING)
            continue
        others = row in ranked and len(ranked) > 1 and has_others(cells[row].runs, needed)
        remarks = [
            "one run" if mixed and row_summary.interval == "bootstrap" else "",
            f"not ranked: {reasons[row]}" if reasons[row] else "",
            f"ranked by {ranked[row]}" if others else "",
        ]
        formatted[row] = _formatted(row_summary, mark_of.get(ranked.get(row, ""), ""), remarks)
    return formatted


def _absent(cell: Cell) -> str:
    """The text in place of a missing figure."""
    return "undefined" if cell.runs else cell.note or "missing"


def _formatted(summary: Summary, mark: str, remarks: Sequence[str]) -> FormattedCell:
    text = percent(summary.mean) + ("" if summary.std is None else f" ± {percent(summary.std)}")
    between = (
        "" if summary.low is None or summary.high is None else f"[{percent(summary.low)}, {percent(summary.high)}]"
    )
    return FormattedCell(text, "\n".join(filter(None, (between, *remarks))), mark)


def _missing(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            if cell is None and any(table.cells.get((row, other), Cell()).runs for other in table.columns):
                yield f"{row}; {column}", ("# no run of it was given",)
            elif cell and cell.missing:
                yield f"{row}; {column}", cell.missing
