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

_MAX_LEFT_OUT = 0.25
"""Share of methods that may be left out so that the others have more folds and seeds in common."""


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
        comparable = comparable_runs(cells)
        if comparable is None:
            continue
        end = "-" + style.file_name(column) if len(columns) > 1 else ""
        title = f"{column}: {comparable.repetitions}"
        yield Comparison(
            f"methods_per_class_f1{end}", f1_by_class(comparable, title, comparable.note), comparable.left_out
        )
        if table.multilabel(column):
            continue
        yield Comparison(
            f"methods_recall_by_size{end}", recall_by_size(comparable, title, comparable.note), comparable.left_out
        )


class ComparableRuns(NamedTuple):
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


def comparable_runs(cells: Mapping[str, Sequence[Run]]) -> ComparableRuns | None:
    """The runs of one protocol that methods can be compared by; None where fewer than two methods have any.

    Args:
        cells: method -> its runs.
    """
    cells = {row: runs for row, runs in cells.items() if runs}
    if len(cells) < 2:
        return None
    selected, repetitions = _comparable(cells)
    return ComparableRuns(selected, repetitions, _left_out(cells, selected)) if len(selected) > 1 else None


def f1_by_class(comparable: ComparableRuns, title: str = "", note: str = "", width: float = style.WIDTH) -> Figure:
    """F1 of every class, method beside method."""
    values = {row: mean_by_class(runs, "f1") for row, runs in comparable.runs.items()}
    return side_by_side.scores(values, *comparable.per_class, title=title, note=note, width=width)


def recall_by_size(comparable: ComparableRuns, title: str = "", note: str = "", width: float = style.WIDTH) -> Figure:
    """Recall of the classes from large to small, method beside method."""
    values = {row: mean_by_class(runs, "recall") for row, runs in comparable.runs.items()}
    return side_by_side.recall_by_size(values, *comparable.per_class, title=title, note=note, width=width)


def run_titles(runs: Sequence[Run]) -> dict[str, Run]:
    """A short title for each run, which says what distinguishes it from the others."""
    from ltmed.report.build import from_runs

    table = from_runs(runs)
    titles_by_path = {
        run.path: row if len(table.columns) == 1 else f"{row}, {column}"
        for (row, column), cell in table.cells.items()
        for run in cell.runs
    }
    titles = {}
    for run in runs:
        title = titles_by_path.get(run.path, str(run.path))
        if list(titles_by_path.values()).count(title) > 1:
            title += f", fold {run.division.fold}, seed {run.seed}"
        titles[title if title not in titles else f"{title} ({run.path})"] = run
    return titles


def shared(repetitions: Sequence[frozenset[Repetition]]) -> frozenset[Repetition]:
    """The repetitions over which methods are averaged: most runs in total, with few methods left out.

    Args:
        repetitions: the repetitions of each method.

    Returns:
        repetitions that at least three in four methods have in full; if there are none, those that most methods have.
    """
    candidates = {
        *repetitions,
        *(first & second for first, second in combinations(set(repetitions), 2)),
        frozenset.intersection(*repetitions),
    }
    candidates |= {frozenset([repetition]) for repetition in frozenset.union(*repetitions)}
    number = {
        candidate: sum(candidate <= of_method for of_method in repetitions) for candidate in candidates if candidate
    }
    nearly_all = [candidate for candidate in number if number[candidate] >= (1 - _MAX_LEFT_OUT) * len(repetitions)]
    if nearly_all:
        # Of equal ones the earliest folds, so that the choice does not depend on an order of sets.
        return min(nearly_all, key=lambda one: (-number[one] * len(one), -number[one], sorted(one)))
    return min(number, key=lambda one: (-number[one], -len(one), sorted(one)))


def _comparable(cells: Mapping[str, Sequence[Run]]) -> tuple[dict[str, list[Run]], str]:
    """Runs of the same folds and seeds for each method that has them, and which these are."""
    for parts in (3, 2):
        repetitions = [frozenset(_repetition(run)[:parts] for run in runs) for runs in cells.values()]
        selected = shared(repetitions)
        compared = {
            row: [run for run in runs if _repetition(run)[:parts] in selected]
            for (row, runs), of_method in zip(cells.items(), repetitions, strict=True)
            if selected <= of_method
        }
        if len(compared) > 1:
            break
    return compared, ("mean of " if len(selected) > 1 or parts == 2 else "") + _describe(selected)


def _describe(selected: frozenset[Repetition]) -> str:
    divisions, folds = {one[:2] for one in selected}, sorted({one[0] for one in selected})
    seeds = sorted({one[2] for one in selected if len(one) == 3})
    parts = [_numbers("fold", folds)]
    if len(divisions) > len(folds):
        parts.append(f"{len(divisions)} divisions")
    if not seeds:
        parts.append("whatever seeds each has")
    elif len(divisions) * len(seeds) == len(selected):
        parts.append(_numbers("seed", seeds))
    else:
        parts = [f"fold {fold} seed {seed}" for fold, _, seed in sorted(selected)]
    return ", ".join(parts)


def _repetition(run: Run) -> Repetition:
    return int(run.metrics["run"]["fold"]), run.metrics["split"]["hash"], int(run.metrics["run"]["seed"])


def _numbers(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _left_out(cells: Mapping[str, Sequence[Run]], compared: dict[str, list[Run]]) -> str:
    """Whole methods by name, then the number of other runs; the folders are in the report."""
    methods = [row for row in cells if row not in compared]
    further = sum(len(cells[row]) - len(group) for row, group in compared.items())
    parts = [f"{', '.join(methods)} (other folds or seeds)"] if methods else []
    return "; ".join([*parts, *([f"{further} run{'s' * (further > 1)} of other folds or seeds"] if further else [])])


def mean_by_class(runs: Collection[Run], metric: str) -> list[float | None]:
    """The mean of a metric of each class, over the runs that define it."""
    columns = zip(*([row[metric] for row in run.metrics["test"]["per_class"]] for run in runs), strict=True)
    defined = ([value for value in column if value is not None] for column in columns)
    return [sum(values) / len(values) if values else None for values in defined]


def _training_images(runs: Iterable[Run]) -> list[int]:
    """Of each class, the mean over folds."""
    columns = zip(*(run.metrics["split"]["counts"]["train"].values() for run in runs), strict=True)
    return [round(sum(column) / len(column)) for column in columns]
