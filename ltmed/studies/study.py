"""One study: the rows and columns of a table, and the plain run behind each of its cells.

Nothing here is slow to import.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ltmed.config import overrides
from ltmed.config.paths import study_file
from ltmed.errors import UserError, suggest
from ltmed.studies.axis import Axis

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.studies.published import Published

NOT_RUN = "reported, not re-run"
_REPEATED = ("fold", "seed")
_KEYS = "experiments/study.yaml explains the keys of a study."


@dataclass(frozen=True)
class Repetition:
    """One run of a cell: one fold or seed."""

    row: str
    column: str
    repetition: Mapping[str, str]
    """For instance `{"fold": "2"}`."""
    overrides: tuple[str, ...]
    """The overrides of its plain command."""
    run_dir: Path

    @property
    def command(self) -> str:
        """What trains, continues or reports this run alone; `overrides` must say where the data is."""
        return overrides.shell([*overrides.PROGRAM, *self.overrides])


class Study:
    """The cells of one table, as a `study:` node describes them.

    Args:
        node: the node `study` of a config or a file, merged with that of a scale.
        where: its file, for messages.

    Raises:
        UserError: a key is missing, or is not what it should be.
    """

    def __init__(self, node: DictConfig, where: object = "The study") -> None:
        from omegaconf import OmegaConf

        plain: Any = OmegaConf.to_container(node, resolve=True)
        _require_keys(plain, where)
        self.paper: str = plain["paper"]
        self.table: str | None = None if plain.get("table") is None else str(plain["table"])
        self.title: str = str(plain["title"])
        self.rows: dict[str, str | None] = {str(row): overrides for row, overrides in plain["rows"].items()}
        """Name as in published.csv -> overrides, or None for a row that is only quoted."""
        self.columns: dict[str, dict[str, Any]] = {
            str(name): {"published": None, **column} for name, column in plain["columns"].items()
        }
        self.shared: str = plain.get("shared") or ""
        self.scale: dict[str, Any] | None = plain.get("scale")
        self.metrics: tuple[str, ...] = tuple(plain["metrics"])
        self.notes: tuple[str, ...] = tuple(plain.get("notes") or ())
        self.axis = None if plain.get("axis") is None else Axis.read(plain["axis"], where)
        """The parameter that is varied, if the study is about one."""
        repeat = {"fold": "0", "seed": "0", **_repeat(plain.get("repeat") or {}, where)}
        self.repeat = {key: values.split(",")[: 1 if self.scale else None] for key, values in repeat.items()}
        """Values of fold and seed."""

    @property
    def rerun(self) -> list[str]:
        """The rows that are run."""
        return [row for row, overrides in self.rows.items() if overrides is not None]

    def only(self, kind: str, selected: Sequence[str]) -> Study:
        """This study with the selected rows or columns, or with other values of fold or seed.

        Args:
            kind: `row`, `column`, `fold` or `seed`.
            selected: names, or values.

        Raises:
            UserError: there is no such row or column; a fold or seed is not a number.
        """
        part = copy.copy(self)
        if kind == "row":
            part.rows = {name: self.rows[self._known(kind, name)] for name in selected}
        elif kind == "column":
            part.columns = {name: self.columns[self._known(kind, name)] for name in selected}
        else:
            for value in selected:
                if not value.isdecimal():
                    raise UserError(f"{kind}={value} is not a number", f"For instance {kind}=0,1.")
            part.repeat = {**self.repeat, kind: list(dict.fromkeys(selected))}
        return part

    def _known(self, kind: str, name: str) -> str:
        known = self.rows if kind == "row" else self.columns
        if name not in known:
            raise UserError(f"{self.title} has no {kind} '{name}'", suggest(name, known))
        return name

    def overrides(
        self,
        row: str,
        column: str,
        repetition: Mapping[str, str],
        further: Sequence[str] = (),
        data: str | None = None,
    ) -> tuple[str, ...]:
        """The overrides of a cell's plain command; of several of one setting the last stays.

        Args:
            row: of the table.
            column: of the table.
            repetition: values of `fold` and `seed`.
            further: overrides that come last.
            data: a folder with a folder for each data set, called as in `dataset=NAME`; a scale has data of its own.

        Raises:
            UserError: there is no such row or column, the row is only quoted, or nothing says which method or data set.
        """
        of_row, where = self.rows[self._known("row", row)], self.columns[self._known("column", column)]
        if of_row is None:
            raise UserError(
                f"'{row}' is {NOT_RUN}: it has no implementation here", f"Re-run are {', '.join(self.rerun)}."
            )
        method = overrides.choice([*self.shared.split(), *where["overrides"].split(), *of_row.split()], "method")
        if method is None:
            raise UserError(
                f"{self.title}: nothing says which method the row '{row}' is",
                "Write method=NAME in study.rows, or in study.shared for all of them.",
            )
        small = self.scale or {}
        # A scale's overrides for a method come first, so that an ablation of the same setting stays one.
        quick = f"method={method} {small.get('methods', {}).get(method, '')}"
        paper = [quick, of_row, small["overrides"]] if small else [self.shared, where["overrides"], of_row]
        values = {**(where.get("values") or {}), **small.get("values", {}), **repetition}
        settings = [*self._filled(" ".join(paper), values, row, column), *(f"{k}={v}" for k, v in repetition.items())]
        dataset = overrides.choice(settings, "dataset")
        if dataset is None:
            raise UserError(
                f"{self.title}: nothing says which data set the column '{column}' is",
                "Write dataset=NAME in its overrides.",
            )
        if data is not None and not self.scale:
            settings.append(f"dataset.root={overrides.quoted(str(Path(data, dataset)))}")
        return tuple(overrides.last_of_each([*settings, *further]))

    def _filled(self, text: str, values: Mapping[str, Any], row: str, column: str) -> list[str]:
        """The overrides in `text` with a value for each `$name`."""
        cell = f"{self.title}, row '{row}', column '{column}'"
        try:
            settings = Template(text).substitute(values).split()
        except KeyError as error:
            raise UserError(
                f"{cell}: ${error.args[0]} has no value", f"Give it one in study.columns.{column}.values."
            ) from None
        except ValueError:
            raise UserError(f"{cell}: '$' without a name in '{text}'", "Write $$ for the sign itself.") from None
        for override in settings:
            if "=" not in override and not override.startswith("~"):
                raise UserError(
                    f"{cell}: '{override}' is no override", "Overrides are key=value, without blanks inside."
                )
            if (key := overrides.setting(override)) in _REPEATED:
                raise UserError(
                    f"{cell}: '{override}' would have no effect", f"study.repeat has the values of {key} of every cell."
                )
        return settings

    def cells(self, further: Sequence[str] = ()) -> Iterator[Repetition]:
        """Every run of the table, rows outermost.

        `further` are overrides for every cell, such as `runs=DIR`.
        """
        for row, column in itertools.product(self.rerun, self.columns):
            for values in itertools.product(*self.repeat.values()):
                repetition = dict(zip(self.repeat, values, strict=True))
                settings = self.overrides(row, column, repetition, further)
                yield Repetition(row, column, repetition, settings, _run_dir(settings))

    @cached_property
    def published(self) -> dict[tuple[str, str], tuple[Published, ...]]:
        """(row, column) -> what the paper prints; empty at another scale than the paper's."""
        from ltmed.studies.published import figures

        if self.scale:
            return {}
        return figures(study_file(f"{self.paper}/published.csv"), self.table, self.columns)


def _require_keys(plain: Any, where: object) -> None:
    for key in ("paper", "title", "metrics", "rows", "columns"):
        if not isinstance(plain, dict) or not plain.get(key):
            raise UserError(f"{where} has no study.{key}", _KEYS)
    for key in ("rows", "columns"):
        if not isinstance(plain[key], dict):
            raise UserError(f"study.{key} of {where} is not a map of names", _KEYS)
    if not isinstance(plain["metrics"], list):
        raise UserError(f"study.metrics of {where} is not a list", "For instance [balanced_accuracy, macro_f1].")
    if not isinstance(plain.get("notes") or [], list):
        raise UserError(f"study.notes of {where} is not a list", "For instance [A sentence below the table.].")
    if not isinstance(plain.get("shared") or "", str):
        raise UserError(f"study.shared of {where} is not overrides in one line", _KEYS)
    for name, row in plain["rows"].items():
        if not isinstance(row, (str, type(None))):
            raise UserError(f"study.rows.{name} of {where} is not overrides in one line", _KEYS)
    for name, column in plain["columns"].items():
        if not isinstance(column, dict) or not isinstance(column.get("overrides"), str):
            raise UserError(f"study.columns.{name} of {where} has no overrides", _KEYS)
        for key in ("values", "published", "classes"):
            if not isinstance(column.get(key) or {}, dict):
                raise UserError(f"study.columns.{name}.{key} of {where} is not a map", _KEYS)


def _repeat(repeat: Any, where: object) -> dict[str, str]:
    """`study.repeat` with the values of each key as text, "0,1,2"; checks that they are numbers."""
    hint = 'For instance repeat: {fold: "0,1,2"}, with the quotes.'
    if not isinstance(repeat, dict) or not set(repeat) <= set(_REPEATED):
        raise UserError(f"study.repeat of {where} is not a map of {' and '.join(_REPEATED)} to values", hint)
    texts = {}
    for key, values in repeat.items():
        listed = values if isinstance(values, list) else str(values).split(",")
        numbers = [str(value).strip() for value in listed]
        if not numbers or not all(number.isdecimal() for number in numbers):
            raise UserError(f"study.repeat.{key} of {where} is '{values}', not numbers", hint)
        texts[key] = ",".join(dict.fromkeys(numbers))
    return texts


def _run_dir(settings: Sequence[str]) -> Path:
    """Where the plain command with these overrides has its results, without the cost of composing its configuration."""
    from ltmed.runs.directory import run_dir_name

    values = {"fold": "0", "seed": "0", **dict(override.split("=", 1) for override in settings if "=" in override)}
    runs = overrides.values(f"runs={values['runs']}")[0] if "runs" in values else None
    name = run_dir_name(values["dataset"], values["method"], int(values["fold"]), int(values["seed"]), settings)
    return Path(runs or "runs", name)
