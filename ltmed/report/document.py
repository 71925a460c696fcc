"""What a report says, in words and figures ready to be shown; the renderers only lay it out.

Figures are percent with one decimal. Marks are decided on what is shown, so that equal figures are marked alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltmed.report import protocol
from ltmed.report.model import Cell, Published, Table
from ltmed.report.shown import Document, Grid, Shown
from ltmed.report.statistics import FEWEST_PAIRS, Paired, SignedRank, Summary, paired_bootstrap, signed_rank, summary
from ltmed.runs import Run
from ltmed.tables import SPELLING

TIERS = ("head_recall", "medium_recall", "tail_recall")
LOWER_IS_BETTER = ("ece",)
BEST, SECOND = "best", "second"
MISSING = "missing"


def document(table: Table) -> Document:
    """Computes everything that is shown of `table`."""
    first = table.metrics[0]
    grids = [
        *_results(table, table.metrics, "Test results"),
        *(_results(table, TIERS, "Recall by class frequency") if any(c.runs for c in table.cells.values()) else ()),
        *_published(table),
        *(_significance(table, column, first) for column in table.columns if _others(table, column)),
        protocol.runs_grid(table),
    ]
    notes = [
        "Figures are percent: mean over folds and seeds ± standard deviation of the sample.",
        "In brackets 95 % intervals: of a single run from its test images drawn again, of several folds (each the "
        "mean over its seeds) or seeds Student's t.",
        *table.notes,
    ]
    return Document(
        table.title,
        (*protocol.warnings(table), *_not_compared(table)),
        tuple(grid for grid in grids if grid.rows),
        tuple((column, protocol.facts(runs)) for column in table.columns if (runs := _runs(table, column))),
        tuple(_missing(table)),
        tuple(notes),
    )


def reference(table: Table) -> str:
    """The row that the others are compared with: the chosen one, else the first that was run."""
    run = [row for row in table.rows if any(table.cells.get((row, c), Cell()).runs for c in table.columns)]
    return table.reference or (run or table.rows)[0]


def figure(cell: Cell, published: Published) -> float | None:
    """Our own figure for a published one: the mean over the cell's runs, a fraction; None without one."""
    found = [value for run in cell.runs if (value := _of(run, published)) is not None]
    return sum(found) / len(found) if found else None


def _of(run: Run, published: Published) -> float | None:
    test = run.found["test"]
    if published.part == "all":
        return test["scalars"].get(published.metric)
    tier = f"{published.part}_recall" in TIERS
    kinds = ("tier",) if tier else ("class", "name")
    rows = [row for row in test["per_class"] if published.part in (row[kind] for kind in kinds)]
    found = [value for row in rows if (value := row.get(published.metric)) is not None]
    return sum(found) / len(found) if found else None


def percent(value: float) -> str:
    """One decimal, and no minus before a zero."""
    text = f"{100 * value:.1f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _signed(value: float) -> str:
    text = percent(value)
    return text if text.startswith("-") else f"+{text}"


def _name(metric: str) -> str:
    return SPELLING.get(metric, metric.replace("_", " "))


def _runs(table: Table, column: str) -> list[Run]:
    return [run for row in table.rows if (cell := table.cells.get((row, column))) for run in cell.runs]


def _results(table: Table, metrics: Sequence[str], title: str) -> Iterator[Grid]:
    """One grid over the metrics for a single column; else one per metric over the columns."""
    if len(table.columns) == 1:
        yield _grid(table, [(table.columns[0], metric) for metric in metrics], f"{title}: {table.columns[0]}", True)
        return
    for metric in metrics:
        yield _grid(table, [(column, metric) for column in table.columns], f"{title}: {_name(metric)}", False)


def _grid(table: Table, pairs: Sequence[tuple[str, str]], title: str, by_metric: bool) -> Grid:
    shown = [_column(table, column, metric) for column, metric in pairs]
    headings = tuple(_name(metric) if by_metric else column for column, metric in pairs)
    rows = tuple((row, tuple(part[row] for part in shown)) for row in table.rows)
    return Grid(title, headings, rows)


def _column(table: Table, column: str, metric: str) -> dict[str, Shown]:
    """One column of figures with its marks; rows that lack folds of others are not ranked."""
    folds = protocol.folds(_runs(table, column))
    found: dict[str, Summary | None] = {}
    partial: dict[str, str] = {}
    for row in table.rows:
        cell = table.cells.get((row, column), Cell())
        found[row] = summary(cell.runs, metric)
        if lacking := folds - protocol.folds(cell.runs):
            partial[row] = f"without fold {', '.join(map(str, sorted(lacking)))}"
    ranked = {row: percent(one.mean) for row, one in found.items() if one and row not in partial}
    order = sorted(set(ranked.values()), key=float, reverse=metric not in LOWER_IS_BETTER)
    mark_of = dict(zip(order, (BEST, SECOND), strict=False)) if len(ranked) > 1 else {}
    return {
        row: _shown(one, mark_of.get(ranked.get(row, ""), ""), partial.get(row, ""))
        if one
        else Shown(_absent(table.cells.get((row, column))), mark=MISSING)
        for row, one in found.items()
    }


def _absent(cell: Cell | None) -> str:
    """What stands where no figure is."""
    if cell and cell.runs:
        return "undefined"
    return "reported only" if cell and cell.published and not cell.missing else "missing"


def _shown(one: Summary, mark: str, partial: str) -> Shown:
    text = percent(one.mean) + ("" if one.std is None else f" ± {percent(one.std)}")
    between = "" if one.low is None or one.high is None else f"[{percent(one.low)}, {percent(one.high)}]"
    return Shown(text, " ".join(filter(None, (between, partial))), mark)


def _published(table: Table) -> Iterator[Grid]:
    for column in table.columns:
        here = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
        kinds = list(dict.fromkeys((p.metric, p.part) for cell in here.values() for p in cell.published))
        if not kinds:
            continue
        rows = []
        notes = ["Our mean less the paper's, which stands in brackets; percentage points."]
        for row, cell in here.items():
            of = {(p.metric, p.part): p for p in cell.published}
            if of:
                rows.append((row, tuple(_difference(cell, of.get(kind)) for kind in kinds)))
            if cell.note:
                notes.append(f"{row}: {cell.note}.")
        headings = tuple(_name(metric) if part == "all" else f"{part} {_name(metric)}" for metric, part in kinds)
        yield Grid(f"Difference to the published figures: {column}", headings, tuple(rows), tuple(notes))


def _difference(cell: Cell, published: Published | None) -> Shown:
    if published is None:
        return Shown("")
    printed = percent(published.mean) + ("" if published.std is None else f" ± {percent(published.std)}")
    ours = figure(cell, published)
    if ours is None:
        return Shown(f"not run ({printed})" if not cell.runs else f"not measured ({printed})", mark=MISSING)
    return Shown(f"{_signed(ours - published.mean)} ({printed})")


def _others(table: Table, column: str) -> list[tuple[str, Cell]]:
    """The rows to compare in a column: none where the reference was not run."""
    base = table.cells.get((reference(table), column))
    if base is None or not base.runs:
        return []
    cells = [(row, table.cells.get((row, column))) for row in table.rows if row != reference(table)]
    return [(row, cell) for row, cell in cells if cell and cell.runs]


def _not_compared(table: Table) -> Iterator[str]:
    base = reference(table)
    for column in table.columns:
        if _runs(table, column) and not table.cells.get((base, column), Cell()).runs:
            yield f"{column}: {base} was not run, so nothing is compared with it."


def _significance(table: Table, column: str, metric: str) -> Grid:
    base = table.cells[reference(table), column]
    rows = tuple(
        (row, (*_paired(paired_bootstrap(cell.runs, base.runs)), _ranks(signed_rank(cell.runs, base.runs, metric))))
        for row, cell in _others(table, column)
    )
    return Grid(
        f"Compared with {reference(table)}: {column}",
        ("balanced accuracy, same images", "paired bootstrap", f"Wilcoxon, {_name(metric)}"),
        rows,
        (
            "Balanced accuracy: difference over the test images of all common folds together, seeds averaged, in "
            "percentage points; 95 % interval and two-sided p from 1,000 resamples of them (paired bootstrap).",
            f"Wilcoxon: signed-rank test over folds, or the seeds of one fold. Fewer than {FEWEST_PAIRS} pairs can "
            "never reach p < 0.05 and give no p.",
            "p values are not corrected for the number of rows; 0.002 is the smallest of 1,000 resamples.",
        ),
    )


def _paired(paired: Paired | str) -> tuple[Shown, Shown]:
    if isinstance(paired, str):
        return Shown(paired, mark=MISSING), Shown("")
    between = f"[{_signed(paired.low)}, {_signed(paired.high)}]"
    drawn = f"{paired.units:,} {paired.unit}s" + ("" if paired.unit == "image" else f", {paired.images:,} images")
    return Shown(_signed(paired.difference), between), Shown(p_value(paired.p), drawn)


def _ranks(found: SignedRank) -> Shown:
    pairs = f"{found.pairs} {found.over if found.pairs != 1 else found.over[:-1]}"
    if found.p is None:
        return Shown("too few", f"{pairs} in common, {FEWEST_PAIRS} needed", MISSING)
    return Shown(p_value(found.p), pairs)


def p_value(p: float) -> str:
    """Three decimals; small ones as a bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _missing(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    for column in table.columns:
        for row in table.rows:
            cell = table.cells.get((row, column))
            if cell is None and any(table.cells.get((row, other), Cell()).runs for other in table.columns):
                yield f"{row}; {column}", ("# no run of it was given",)
            elif cell and cell.missing:
                yield f"{row}; {column}", cell.missing
