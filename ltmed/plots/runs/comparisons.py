"""Figures that compare methods, from the folders of several runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from ltmed.plots import style
from ltmed.plots.runs import side_by_side
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LEFT_OUT = 0.25
"""Share of the methods that may be left out to have more folds and seeds of the others."""


Repetition = tuple[Any, ...]
"""Fold, hash of the split, and seed; or without seed. The seeds of a split divide one fold in several ways."""


class Comparison(NamedTuple):
    """A figure of several methods."""

    name: str
    """Of its file."""
    figure: Figure
    left_out: str
    """Which methods and runs are not in it, and why; empty if there are none."""


def comparisons(runs: Sequence[Run]) -> Iterator[Comparison]:
    """The figures for each data set and split protocol that at least two methods were run on.

    A method is the mean of its runs, and all methods of a figure have the same folds and seeds: those that all of them
    have, or more where few methods lack them (`shared`). Where no seed is shared, only the folds are the same.
    """
    from ltmed.report.build import from_runs

    table = from_runs(runs)
    columns = {
        column: {row: table.cells[row, column].runs for row in table.rows if (row, column) in table.cells}
        for column in table.columns
    }
    for column, cells in columns.items():
        alike = alike_runs(cells)
        if alike is None:
            continue
        end = "-" + style.file_name(column) if len(columns) > 1 else ""
        title = f"{column}: {alike.repetitions}"
        yield Comparison(f"methods_per_class_f1{end}", f1_by_class(alike, title, alike.note), alike.left_out)
        if table.multilabel(column):
            continue
        yield Comparison(f"methods_recall_by_size{end}", recall_by_size(alike, title, alike.note), alike.left_out)


class AlikeRuns(NamedTuple):
    """Runs of several methods with equal folds and seeds."""

    runs: dict[str, list[Run]]
    """Method -> its runs."""
    repetitions: str
    """Which folds and seeds these are."""
    left_out: str
    """Methods and runs that are not among them; empty if there are none."""

    @property
    def note(self) -> str:
        """For a figure."""
        return self.left_out and f"left out: {self.left_out}"

    @property
    def per_class(self) -> tuple[list[str], list[str], list[int]]:
        """Codes of the classes, their tiers, and their training images."""
        first = next(iter(self.runs.values()))
        rows = first[0].metrics["test"]["per_class"]
        return [row["class"] for row in rows], [row["tier"] for row in rows], _training_images(first)


def alike_runs(cells: Mapping[str, Sequence[Run]]) -> AlikeRuns | None:
    """The runs of one protocol that methods may be compared by; None where fewer than two methods have any.

    Args:
        cells: method -> its runs.
    """
    cells = {row: runs for row, runs in cells.items() if runs}
    if len(cells) < 2:
        return None
    chosen, repetitions = _alike(cells)
    return AlikeRuns(chosen, repetitions, _left_out(cells, chosen)) if len(chosen) > 1 else None


def f1_by_class(alike: AlikeRuns, title: str = "", note: str = "", width: float = style.WIDTH) -> Figure:
    """F1 of every class, method beside method."""
    values = {row: mean_by_class(runs, "f1") for row, runs in alike.runs.items()}
    return side_by_side.scores(values, *alike.per_class, title=title, note=note, width=width)


def recall_by_size(alike: AlikeRuns, title: str = "", note: str = "", width: float = style.WIDTH) -> Figure:
    """Recall of the classes from large to small, method beside method."""
    values = {row: mean_by_class(runs, "recall") for row, runs in alike.runs.items()}
    return side_by_side.recall_by_size(values, *alike.per_class, title=title, note=note, width=width)


def run_titles(runs: Sequence[Run]) -> dict[str, Run]:
    """A short title for each run, which says what distinguishes it from the others."""
    from ltmed.report.build import from_runs

    table = from_runs(runs)
    named = {
        run.path: row if len(table.columns) == 1 else f"{row}, {column}"
        for (row, column), cell in table.cells.items()
        for run in cell.runs
    }
    titles = {}
    for run in runs:
        title = named.get(run.path, str(run.path))
        if list(named.values()).count(title) > 1:
            title += f", fold {run.division.fold}, seed {run.seed}"
        titles[title if title not in titles else f"{title} ({run.path})"] = run
    return titles


def shared(have: Sequence[frozenset[Repetition]]) -> frozenset[Repetition]:
    """The repetitions over which methods are averaged: most runs in total, with few methods left out.

    Args:
        have: the repetitions of each method.

    Returns:
        repetitions that at least three in four methods have all of; where there are none, those that most have.
    """
    candidates = {*have, *(one & other for one, other in combinations(set(have), 2)), frozenset.intersection(*have)}
    candidates |= {frozenset([repetition]) for repetition in frozenset.union(*have)}
    number = {one: sum(one <= other for other in have) for one in candidates if one}
    nearly_all = [one for one in number if number[one] >= (1 - _MOST_LEFT_OUT) * len(have)]
    if nearly_all:
        # Of equal ones the earliest folds, so that the choice does not depend on an order of sets.
        return min(nearly_all, key=lambda one: (-number[one] * len(one), -number[one], sorted(one)))
    return min(number, key=lambda one: (-number[one], -len(one), sorted(one)))


def _alike(cells: Mapping[str, Sequence[Run]]) -> tuple[dict[str, list[Run]], str]:
    """Runs of the same folds and seeds for each method that has them, and which these are."""
    for parts in (3, 2):
        have = [frozenset(_repetition(run)[:parts] for run in runs) for runs in cells.values()]
        chosen = shared(have)
        compared = {
            row: [run for run in runs if _repetition(run)[:parts] in chosen]
            for (row, runs), mine in zip(cells.items(), have, strict=True)
            if chosen <= mine
        }
        if len(compared) > 1:
            break
    return compared, ("mean of " if len(chosen) > 1 or parts == 2 else "") + _describe(chosen)


def _describe(chosen: frozenset[Repetition]) -> str:
    divisions, folds = {one[:2] for one in chosen}, sorted({one[0] for one in chosen})
    seeds = sorted({one[2] for one in chosen if len(one) == 3})
    parts = [_numbers("fold", folds)]
    if len(divisions) > len(folds):
        parts.append(f"{len(divisions)} divisions")
    if not seeds:
        parts.append("whatever seeds each has")
    elif len(divisions) * len(seeds) == len(chosen):
        parts.append(_numbers("seed", seeds))
    else:
        parts = [f"fold {fold} seed {seed}" for fold, _, seed in sorted(chosen)]
    return ", ".join(parts)


def _repetition(run: Run) -> Repetition:
    return int(run.metrics["run"]["fold"]), run.metrics["split"]["hash"], int(run.metrics["run"]["seed"])


def _numbers(word: str, numbers: Sequence[int]) -> str:
    return f"{word}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _left_out(cells: Mapping[str, Sequence[Run]], compared: dict[str, list[Run]]) -> str:
    """Whole methods by name, then the number of other runs; the folders are in the report."""
    methods = [row for row in cells if row not in compared]
    more = sum(len(cells[row]) - len(group) for row, group in compared.items())
    parts = [f"{', '.join(methods)} (other folds or seeds)"] if methods else []
    return "; ".join([*parts, *([f"{more} run{'s' * (more > 1)} of other folds or seeds"] if more else [])])


def mean_by_class(runs: Collection[Run], metric: str) -> list[float | None]:
    """The mean of a metric of each class, over the runs that define it."""
    columns = zip(*([row[metric] for row in run.metrics["test"]["per_class"]] for run in runs), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return [sum(values) / len(values) if values else None for values in known]


def _training_images(runs: Iterable[Run]) -> list[int]:
    """Of each class, the mean over folds."""
    columns = zip(*(run.metrics["split"]["counts"]["train"].values() for run in runs), strict=True)
    return [round(sum(column) / len(column)) for column in columns]
