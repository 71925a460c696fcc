"""The words after the name of a study in `ltmed report lmd/table3 row=LMD runs=DIR`."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence

from ltmed.config import overrides
from ltmed.errors import UserError
from ltmed.studies.study import Repetition, Study

_FILTERS = ("row", "column", "fold", "seed")


class Asked:
    """What the words after the name of a study ask for, understood as `ltmed train` understands them.

    Args:
        given: `row`, `column`, `fold` and `seed` choose cells, `scale` a size; `data` is where the data sets are; all
            others are overrides of every cell.

    Raises:
        UserError: a word cannot be read, or is not one that a study takes.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self.filters: dict[str, list[str]] = {}
        """`row`, `column`, `fold`, `seed` -> values."""
        self.data: str | None = None
        self.scale: str | None = None
        further = []
        for word in given:
            key = overrides.setting(word).lstrip("+")
            if "=" not in word and not word.startswith("~"):
                raise UserError(
                    f"'{word}' cannot follow a study", "What follows are settings, for instance row=LMD runs=DIR."
                )
            if key in _FILTERS:
                chosen = overrides.values(word.lstrip("+"))
                if chosen != [None]:
                    self.filters[key] = [value or "" for value in chosen]
            elif key in ("data", "scale"):
                setattr(self, key, overrides.values(word.lstrip("+"))[0])
            elif key == "run_dir":
                raise UserError(f"{word} is the folder of one run", "Give the folder alone, or runs=DIR for a study.")
            elif re.match(r"study\b", key):
                raise UserError(f"{word}: a study cannot be changed here", "Change a copy of its file.")
            elif not re.match(r"hydra\b", key):
                further.append(word)
        self.further = tuple(overrides.last_of_each(further))

    def narrow(self, study: Study) -> Study:
        """The part of a study that is asked for.

        Raises:
            UserError: a row or column does not exist, or an override is not one that its first cell takes.
        """
        for kind, chosen in self.filters.items():
            study = study.only(kind, chosen)
        if any(overrides.setting(word) != "runs" for word in self.further):
            from ltmed.config.compose import compose

            for cell in itertools.islice(study.cells(self.further), 1):
                compose(cell.overrides)
        return study

    def command(self, name: str, cell: Repetition) -> str:
        """What trains a cell, in the study's own words, to be pasted into a shell."""
        paper, _, stem = name.partition("/")
        found = [f"+{paper}={stem}", *([f"+scale={self.scale}"] if self.scale else [])]
        found += [f"row={overrides.quoted(cell.row)}", f"column={overrides.quoted(cell.column)}"]
        found += [f"{key}={value}" for key, value in cell.repetition.items()]
        if self.scale is None and (data := self.data or self._needed(cell)):
            found.append(f"data={overrides.quoted(data)}")
        return overrides.shell([*overrides.PROGRAM, *found, *self.further])

    def _needed(self, cell: Repetition) -> str | None:
        """The folder of data sets, if this one cannot do without; DIR if it is not known."""
        from ltmed.config.paths import conf

        dataset = overrides.choice(cell.overrides, "dataset")
        file = conf() / "dataset" / f"{dataset}.yaml"
        rooted = overrides.choice(cell.overrides, "dataset.root") is not None
        if rooted or (file.is_file() and not re.search(r"^root: null", file.read_text(encoding="utf-8"), re.MULTILINE)):
            return None
        return os.environ.get("LTMED_DATA") or "DIR"
