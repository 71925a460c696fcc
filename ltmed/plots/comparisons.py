"""The pictures that compare methods, from the folders of several runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from ltmed.plots import side_by_side
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LEFT_OUT = 0.25
"""Share of the methods that may be left out to have more folds and seeds of the others."""


Repetition = tuple[Any, ...]
"""Fold, hash of the split, and seed; or without seed. The seeds of a split divide one fold in several ways."""


class Comparison(NamedTuple):
    """A picture of several methods."""

    name: str
    """Of its file."""
    figure: Figure
    left_out: str
    """Which methods and runs are not in it, and why; empty if there are none."""


def comparisons(runs: Sequence[Run]) -> Iterator[Comparison]:
    """The pictures for each data set and split protocol that at least two methods were run on.

    A method is the mean of its runs, and all methods of a picture have the same folds and seeds: those that all of them
    have, or more where few methods lack them (`shared`). Where no seed is shared, only the folds are the same.
    """
    from ltmed.report.build import from_runs

    table = from_runs(runs)
    columns = {
        column: {row: table.cells[row, column].runs for row in table.rows if (row, column) in table.cells}
        for column in table.columns
    }
    for column, cells in columns.items():
        if len(cells) < 2:
            continue
        kept, about = _alike(cells)
        left_out = _left_out(cells, kept)
        if len(kept) < 2:
            continue
        title, note = f"{column}: {about}", left_out and f"left out: {left_out}"
        rows = next(iter(kept.values()))[0].found["test"]["per_class"]
        classes, tiers = [row["class"] for row in rows], [row["tier"] for row in rows]
        counts = _training_images(next(iter(kept.values())))
        f1, recall = ({row: _mean(group, metric) for row, group in kept.items()} for metric in ("f1", "recall"))
        end = "-" + re.sub(r"[^\w.=+-]+", "_", column).strip("_") if len(columns) > 1 else ""
        yield Comparison(
            f"methods_per_class_f1{end}",
            side_by_side.scores(f1, classes, tiers, counts, title=title, note=note),
            left_out,
        )
        yield Comparison(
            f"methods_recall_by_size{end}",
            side_by_side.recall_by_size(recall, classes, tiers, counts, title=title, note=note),
            left_out,
        )


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


def _alike(cells: dict[str, tuple[Run, ...]]) -> tuple[dict[str, list[Run]], str]:
    """Runs of the same folds and seeds for each method that has them, and which these are."""
    for parts in (3, 2):
        have = [frozenset(_repetition(run)[:parts] for run in runs) for runs in cells.values()]
        chosen = shared(have)
        kept = {
            row: [run for run in runs if _repetition(run)[:parts] in chosen]
            for (row, runs), mine in zip(cells.items(), have, strict=True)
            if chosen <= mine
        }
        if len(kept) > 1:
            break
    return kept, ("mean of " if len(chosen) > 1 or parts == 2 else "") + _in_words(chosen)


def _in_words(chosen: frozenset[Repetition]) -> str:
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
    return int(run.found["run"]["fold"]), run.found["split"]["hash"], int(run.found["run"]["seed"])


def _numbers(word: str, numbers: Sequence[int]) -> str:
    return f"{word}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _left_out(cells: dict[str, tuple[Run, ...]], kept: dict[str, list[Run]]) -> str:
    """Whole methods by name, then the number of other runs; the folders are in the report."""
    methods = [row for row in cells if row not in kept]
    more = sum(len(cells[row]) - len(group) for row, group in kept.items())
    parts = [f"{', '.join(methods)} (other folds or seeds)"] if methods else []
    return "; ".join([*parts, *([f"{more} run{'s' * (more > 1)} of other folds or seeds"] if more else [])])


def _mean(runs: Collection[Run], metric: str) -> list[float | None]:
    """Of each class over the runs that have a value."""
    columns = zip(*([row[metric] for row in run.found["test"]["per_class"]] for run in runs), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return [sum(values) / len(values) if values else None for values in known]


def _training_images(runs: Iterable[Run]) -> list[int]:
    """Of each class, the mean over folds."""
    columns = zip(*(run.found["split"]["counts"]["train"].values() for run in runs), strict=True)
    return [round(sum(column) / len(column)) for column in columns]
