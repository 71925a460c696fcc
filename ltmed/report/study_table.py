"""A study as a table: its finished runs, the commands of the others, and the published figures."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

from ltmed.errors import UserError, require_choice
from ltmed.evaluation.scalars import ALL_SCALARS
from ltmed.report.current import left_out
from ltmed.report.model import Cell, Table
from ltmed.runs.reader import Run, read_run
from ltmed.studies.catalogue import files, load
from ltmed.studies.filters import StudyFilters
from ltmed.studies.study import NOT_RUN, Repetition


def table(name: str, scale: str | None = None, further: Sequence[str] = ()) -> Table:
    """The study with its finished runs, the commands of the others, and the published figures.

    `name` and `scale` are those of `load`, which also says what is raised; `further` are the overrides given to
    the study's command, such as `runs=DIR` and `row=LMD` (see `StudyFilters`).
    """
    filters = StudyFilters([*([] if scale is None else [f"scale={scale}"]), *further])
    study = filters.narrow(load(name, filters.scale))
    for metric in study.metrics:
        require_choice(f"study.metrics of {files()[name]}", metric, ALL_SCALARS)
    repetitions_of: dict[tuple[str, str], list[Repetition]] = {}
    for repetition in study.cells(filters.further):
        repetitions_of.setdefault((repetition.row, repetition.column), []).append(repetition)
    cells = {}
    for row, column in itertools.product(study.rows, study.columns):
        repetitions = repetitions_of.get((row, column), [])
        runs = _current([(repetition, _finished(repetition.run_dir)) for repetition in repetitions])
        cell = Cell(
            runs=tuple(run for run in runs if run),
            missing=tuple(
                filters.command(name, repetition)
                for repetition, run in zip(repetitions, runs, strict=True)
                if run is None
            ),
            published=study.published.get((row, column), ()),
            note=NOT_RUN if study.rows[row] is None else "",
        )
        if cell.runs or cell.missing or cell.published or cell.note:
            cells[row, column] = cell
    title = study.title + (f" (scale {filters.scale})" if filters.scale else "")
    notes = [f"At the scale '{filters.scale}' the figures mean nothing."] if filters.scale else []
    return Table(
        title=title, rows=tuple(study.rows), columns=tuple(study.columns), cells=cells,
        metrics=study.metrics, notes=(*study.notes, *notes), axis=study.axis,
    )  # fmt: skip


def _current(found: Sequence[tuple[Repetition, Run | None]]) -> list[Run | None]:
    """The run of each repetition; None, with a warning, in place of one with other settings than its study has now."""
    others = left_out([(repetition, run) for repetition, run in found if run])
    for difference in dict.fromkeys(others.values()):
        first, *further = [str(path) for path, of_run in others.items() if of_run == difference]
        more = f" and {len(further)} more of its cell are" if further else " is"
        warnings.warn(
            f"{first}{more} left out of the study, whose settings it does not have: {difference}", stacklevel=2
        )
    return [None if run is None or run.path in others else run for _, run in found]


def _finished(folder: Path) -> Run | None:
    """The finished run in a folder; a damaged one causes a warning and has to be run again."""
    try:
        return read_run(folder)
    except UserError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
