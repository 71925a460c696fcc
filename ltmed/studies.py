"""A paper's table as one command: `python run.py -m +lmd=table3` trains its cells, `table("lmd/table3")` collects them.

A study is a file `experiments/<paper>/<table>.yaml` (experiments/study.yaml lists its keys). Each of its cells is a
plain run: its overrides are put together here and composed anew, so that its folder is that of its plain command, a
cell that stands in two tables is trained once, and finished cells are skipped. Nothing here is slow to import.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ltmed.errors import UserError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltmed.report.model import Published, Table

NOT_RUN = "reported, not re-run"
_OWN = ("row", "column", "data", "scale", "study")


def experiments() -> Path:
    """The folder of studies, which is on Hydra's search path."""
    return Path(os.environ["LTMED_EXPERIMENTS"])


def files() -> dict[str, Path]:
    """Every study, as `<paper>/<table>`, and its file; those that begin with `_` are parts of several studies."""
    found = sorted(experiments().glob("*/[!_]*.yaml"))
    return {f"{file.parent.name}/{file.stem}": file for file in found if file.parent.name != "scale"}


def names() -> list[str]:
    """All of them."""
    return list(files())


def nearest_study(name: str) -> str:
    """A sentence with the studies that are named like `name`, for error messages."""
    return nearest(name, names())


def require_known(words: Sequence[str]) -> None:
    """Refuses `+lmdd=table3`, which Hydra takes for a new setting.

    Raises:
        UserError: a word adds a setting at the top, where nothing reads it.
    """
    for word in words:
        found = re.match(r"\+(\w+)=(.*)", word)
        if found and not any((folder / found[1]).is_dir() for folder in (experiments(), experiments().parent / "conf")):
            name = f"{found[1]}/{found[2]}"
            raise UserError(f"There is no study '{name}'", nearest_study(name))


@dataclass(frozen=True)
class Repetition:
    """One run of a cell: one fold or seed."""

    row: str
    column: str
    repetition: Mapping[str, str]
    """For instance `{"fold": "2"}`."""
    overrides: tuple[str, ...]
    """The words of its plain command."""
    run_dir: Path

    @property
    def command(self) -> str:
        """What trains, continues or reports this run alone."""
        return shlex.join(["python", "run.py", *self.overrides])


class Study:
    """The cells of one table, as a `study:` node describes them.

    Args:
        node: the node `study` of a config or a file, merged with that of a scale.
    """

    def __init__(self, node: DictConfig) -> None:
        from omegaconf import OmegaConf

        plain: Any = OmegaConf.to_container(node, resolve=True)
        self.paper: str = plain["paper"]
        self.table: str | None = None if plain.get("table") is None else str(plain["table"])
        self.title: str = plain["title"]
        self.rows: dict[str, str | None] = plain["rows"]
        """Name as in published.csv -> overrides, or None for a row that is only quoted."""
        self.columns: dict[str, dict[str, Any]] = plain["columns"]
        self.shared: str = plain.get("shared") or ""
        self.scale: dict[str, Any] | None = plain.get("scale")
        self.metrics: tuple[str, ...] = tuple(plain["metrics"])
        self.notes: tuple[str, ...] = tuple(plain.get("notes") or ())
        repeat = {"fold": "0", "seed": "0", **(plain.get("repeat") or {})}
        self.repeat = {key: str(values).split(",")[: 1 if self.scale else None] for key, values in repeat.items()}
        """Values of fold and seed."""

    @property
    def rerun(self) -> list[str]:
        """The rows that are run."""
        return [row for row, words in self.rows.items() if words is not None]

    def sweep(self, key: str) -> str:
        """What a sweep over the whole table gives to `row`, `column`, `fold` or `seed`."""
        lists = {"row": self.rerun, "column": list(self.columns), **self.repeat}
        return ",".join(map(_quoted, lists[key]))

    def overrides(
        self, row: str, column: str, repetition: Mapping[str, str], further: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The words of a cell's plain command; of words about one key the last stays.

        Args:
            row: of the table.
            column: of the table.
            repetition: values of `fold` and `seed`.
            further: what comes last.

        Raises:
            UserError: there is no such row or column, or the row is only quoted.
        """
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name not in known:
                raise UserError(f"{self.title} has no {kind} '{name}'", nearest(name, known))
        method = self.rows[row]
        if method is None:
            raise UserError(
                f"'{row}' is {NOT_RUN}: it has no implementation here", f"Re-run are {', '.join(self.rerun)}."
            )
        where = self.columns[column]
        small = self.scale or {}
        # A scale's words for a method come first, so that an ablation of the same setting stays one.
        quick = small.get("methods", {}).get(choice(method.split(), "method"), "")
        paper = [quick, method, small["overrides"]] if small else [self.shared, where["overrides"], method]
        values = {**where.get("values", {}), **small.get("values", {}), **repetition}
        words = Template(" ".join(paper)).substitute(values).split()
        words += [f"{key}={value}" for key, value in repetition.items()]
        return tuple({_setting(word): word for word in [*words, *further]}.values())

    def cells(self, further: Sequence[str] = ()) -> Iterator[Repetition]:
        """Every run of the table, rows outermost.

        `further` are overrides for every cell, such as `runs=DIR`.
        """
        for row, column in itertools.product(self.rerun, self.columns):
            for values in itertools.product(*self.repeat.values()):
                repetition = dict(zip(self.repeat, values, strict=True))
                words = self.overrides(row, column, repetition, further)
                yield Repetition(row, column, repetition, words, _run_dir(words))

    @cached_property
    def published(self) -> dict[tuple[str, str], tuple[Published, ...]]:
        """(row, column) -> what the paper prints; empty at another scale than the paper's."""
        from ltmed.published import figures

        if self.scale:
            return {}
        return figures(experiments() / self.paper / "published.csv", self.table, self.columns)


def load(name: str, scale: str | None = None) -> Study:
    """Reads a study without composing a configuration.

    Args:
        name: `<paper>/<table>`.
        scale: the name of a file in experiments/scale; None is the paper's own.

    Raises:
        UserError: there is no such study or scale.
    """
    from omegaconf import DictConfig, OmegaConf

    if name not in names():
        raise UserError(f"There is no study '{name}'", nearest_study(name))
    files = [experiments() / f"{name}.yaml"]
    if scale is not None:
        files.append(experiments() / "scale" / f"{scale}.yaml")
        if not files[-1].is_file():
            known = [file.stem for file in files[-1].parent.glob("*.yaml")]
            raise UserError(f"There is no scale '{scale}'", nearest(scale, known))
    merged = OmegaConf.merge(*map(_read, files))
    assert isinstance(merged, DictConfig)
    return Study(merged.study)


def _read(file: Path) -> DictConfig:
    """A file on top of those that its defaults list names, as Hydra would merge them."""
    from omegaconf import DictConfig, OmegaConf

    own = OmegaConf.load(file)
    assert isinstance(own, DictConfig)
    bases = [base for base in own.pop("defaults", []) if base.startswith("/")]
    merged = OmegaConf.merge(*(_read(experiments() / f"{base[1:]}.yaml") for base in bases), own)
    assert isinstance(merged, DictConfig)
    return merged


def table(name: str, scale: str | None = None, further: Sequence[str] = ()) -> Table:
    """The study with its finished runs, the commands of the others, and the published figures.

    `name` and `scale` are those of `load`, which also says what is raised; `further` are the overrides that were given
    to the study's command, such as `runs=DIR`.
    """
    from ltmed.report.model import Cell, Table
    from ltmed.runs import read_run

    study = load(name, scale)
    places: dict[tuple[str, str], list[Repetition]] = {}
    for place in study.cells(further):
        places.setdefault((place.row, place.column), []).append(place)
    cells = {}
    for row, column in itertools.product(study.rows, study.columns):
        repetitions = places.get((row, column), [])
        runs = [read_run(place.run_dir) for place in repetitions]
        cell = Cell(
            runs=tuple(run for run in runs if run),
            missing=tuple(place.command for place, run in zip(repetitions, runs, strict=True) if run is None),
            published=study.published.get((row, column), ()),
            note=NOT_RUN if study.rows[row] is None else "",
        )
        if cell.runs or cell.missing or cell.published or cell.note:
            cells[row, column] = cell
    notes = [f"At the scale '{scale}' the figures mean nothing."] if scale else []
    return Table(
        title=study.title, rows=tuple(study.rows), columns=tuple(study.columns), cells=cells,
        metrics=study.metrics, notes=(*study.notes, *notes),
    )  # fmt: skip


def words_of_job(cfg: DictConfig, given: Sequence[str]) -> list[str]:
    """The plain overrides of the cell that a job of a study is about.

    Args:
        cfg: the job's config, with a `study`.
        given: the job's overrides.

    Raises:
        UserError: no cell is chosen, or it does not exist.
    """
    study = Study(cfg.study)
    if cfg.row is None or cfg.column is None:
        raise UserError(
            f"{study.title} has {len(study.rerun)} rows and {len(study.columns)} columns",
            "Run all of them with python run.py -m, or choose one with row=NAME column=NAME.",
        )
    mine = (*_OWN, study.paper)
    further = [word for word in given if _setting(word).lstrip("+").split(".")[0] not in mine]
    repetition = {"fold": str(cfg.fold), "seed": str(cfg.seed)}
    words = study.overrides(str(cfg.row), str(cfg.column), repetition)
    if cfg.data is not None and study.scale is None:
        words = (*words, f"dataset.root={_quoted(str(Path(cfg.data, choice(words, 'dataset'))))}")
    return list({_setting(word): word for word in [*words, *further]}.values())


def choice(words: Sequence[str], key: str) -> str:
    """The last value that `words` give to `key`."""
    return next(word.split("=", 1)[1] for word in reversed(words) if _setting(word) == key)


def register() -> None:
    """Makes `${study_sweep:KEY}` known, with which experiments/study.yaml fills `hydra.sweeper.params`."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("study_sweep", lambda key, _root_: Study(_root_.study).sweep(key), replace=True)


def _run_dir(words: Sequence[str]) -> Path:
    """Where the plain command with these words has its results, without the cost of composing its configuration."""
    from omegaconf import OmegaConf

    from ltmed.rundir import run_dir_name

    given = {"fold": "0", "seed": "0", "runs": "runs", **dict(word.split("=", 1) for word in words if "=" in word)}
    cfg = OmegaConf.create({"method": {"name": given["method"]}, "fold": given["fold"], "seed": given["seed"]})
    return Path(given["runs"]) / run_dir_name(cfg, given["dataset"], list(words))


def _setting(word: str) -> str:
    return word.split("=", 1)[0]


def _quoted(value: str) -> str:
    """A value as Hydra's grammar for overrides wants it."""
    if re.fullmatch(r"[\w/.-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
