"""Filters and overrides of a study: `ltmed train -m +lmd=table3 row=LMD`, `ltmed report lmd/table3 row=LMD`."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from functools import cache

from ltmed.config import overrides
from ltmed.errors import UserError
from ltmed.studies.study import Repetition, Study

_FILTERS = ("row", "column", "fold", "seed")


class StudyFilters:
    """The selection of cells of a study, and the overrides that hold for all of them.

    Args:
        arguments: `row`, `column`, `fold` and `seed` select cells, `scale` a size; `data` is the folder of data sets
            (LTMED_DATA without it); all others are overrides of every cell.

    Raises:
        UserError: an override cannot be read, or is not one that a study takes.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.filters: dict[str, list[str]] = {}
        """`row`, `column`, `fold`, `seed` -> values."""
        self.data: str | None = os.environ.get("LTMED_DATA") or None
        self.scale: str | None = None
        further = []
        for override in map(overrides.at_home, arguments):
            key = overrides.setting(override).lstrip("+")
            if "=" not in override and not override.startswith("~"):
                raise UserError(
                    f"'{override}' cannot follow a study", "What follows are settings, for instance row=LMD runs=DIR."
                )
            if key in _FILTERS:
                selected = overrides.values(override.lstrip("+"))
                if selected != [None]:
                    self.filters[key] = [value or "" for value in selected]
            elif key in ("data", "scale"):
                setattr(self, key, overrides.values(override.lstrip("+"))[0])
            elif key == "run_dir":
                raise UserError(
                    f"{override} is the folder of one run", "Give the folder alone, or runs=DIR for a study."
                )
            elif re.match(r"study\b", key):
                raise UserError(f"{override}: a study cannot be changed here", "Change a copy of its file.")
            elif not re.match(r"hydra\b", key):
                further.append(override)
        self.further = tuple(overrides.last_of_each(further))

    def select(self, study: Study) -> Study:
        """The selected part of a study.

        Raises:
            UserError: a row or column does not exist.
        """
        for kind, selected in self.filters.items():
            study = study.only(kind, selected)
        return study

    def narrow(self, study: Study) -> Study:
        """The same, and checks that the further overrides are settings of its first cell.

        Raises:
            UserError: a row or column does not exist.
            HydraException: there is no such setting.
        """
        study = self.select(study)
        if any(overrides.setting(override) != "runs" for override in self.further):
            from ltmed.config.compose import compose

            for cell in itertools.islice(study.cells(self.further), 1):
                compose(cell.overrides)
        return study

    def require_rerun(self, study: Study) -> None:
        """Refuses a selected row that is only quoted.

        Raises:
            UserError: names the rows that are run.
        """
        for row in self.filters.get("row", ()):
            if study.rows[row] is None:
                study.overrides(row, next(iter(study.columns)), {})

    def only_cell(self, study: Study) -> tuple[str, ...]:
        """The overrides of the plain command of the one selected cell; of several repetitions the first.

        Raises:
            UserError: several cells are left.
        """
        whole, study = study, self.select(study)
        self.require_rerun(study)
        if len(study.rerun) > 1 or len(study.columns) > 1:
            raise UserError(
                f"{whole.title} has {len(whole.rerun)} rows and {len(whole.columns)} columns",
                "Run all of them with ltmed train -m, or choose one with row=NAME column=NAME.",
            )
        for kind in ("fold", "seed"):
            if len(selected := self.filters.get(kind, ())) > 1:
                raise UserError(f"{kind}={','.join(selected)} are several runs", "Run all of them with ltmed train -m.")
        cell = next(study.cells())
        return study.overrides(cell.row, cell.column, cell.repetition, self.further, self.data)

    def command(self, name: str, cell: Repetition) -> str:
        """The command of the study that trains a cell, to be pasted into a shell."""
        paper, _, stem = name.partition("/")
        arguments = [f"+{paper}={stem}", *([f"+scale={self.scale}"] if self.scale else [])]
        arguments += [f"row={overrides.quoted(cell.row)}", f"column={overrides.quoted(cell.column)}"]
        arguments += [f"{key}={value}" for key, value in cell.repetition.items()]
        if self.scale is None and _needs_data(cell):
            arguments.append(f"data={overrides.quoted(self.data or 'DIR')}")
        return overrides.shell([*overrides.PROGRAM, *arguments, *self.further])


def _needs_data(cell: Repetition) -> bool:
    """Whether the cell's overrides leave open where its data set is."""
    if overrides.choice(cell.overrides, "dataset.root") is not None:
        return False
    return _has_no_root(str(overrides.choice(cell.overrides, "dataset")))


@cache
def _has_no_root(dataset: str) -> bool:
    from ltmed.config.compose import compose

    return compose([f"dataset={dataset}"]).dataset.root is None
