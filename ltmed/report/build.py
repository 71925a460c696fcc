"""Runs sorted into rows (methods and their settings) and columns (data sets under one split protocol).

Which runs may share a column: those of one data set under one *protocol*. A protocol is the name of the split, the
settings under `split` and those under `dataset` that choose images or tiers (not where they are or at what size they
are read). The folds of a cross-validation are one protocol, though each has a split hash of its own; but one fold
has one hash, whatever the method and the seed. Where it has two, the images were not the same, and nothing is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.report.labels import Settings, distinguishing, words
from ltmed.report.model import Cell, Table
from ltmed.report.rerun import command
from ltmed.rundir import identity
from ltmed.runs import Run

_READING = (
    "dataset.image_size", "dataset.cache_scale", "dataset.cache_budget_gb", "dataset.fit", "dataset.on_bad_image",
)  # fmt: skip
_PLACE_OF_A_SET = ("dataset.root", "dataset.file", "dataset.extract_to", "split.path")
_REPETITION = ("fold", "seed")


@dataclass(frozen=True)
class Entry:
    """A finished run, or the folder of one that is not, with what decides its place in the table."""

    run: Run
    finished: bool = True

    @cached_property
    def settings(self) -> Settings:
        """Everything that changes the run's numbers."""
        return identity(self.run.config)

    @property
    def dataset(self) -> str:
        """The data set's name; of an unfinished run that of its reader, which is what the config has."""
        return self.run.found["run"]["dataset"] if self.finished else ""

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.run.config.method.name)

    @property
    def repetition(self) -> tuple[int, int]:
        """Fold and seed."""
        return int(self.run.config.fold), int(self.run.config.seed)

    @cached_property
    def protocol(self) -> Settings:
        """What the runs of one column have in common, less the hashes."""
        kept = {
            key: value
            for key, value in self.settings.items()
            if key.startswith(("split.", "dataset.")) and key not in (*_READING, *_PLACE_OF_A_SET, "split.of")
        }
        return {**kept, "name": protocol_name(self.run) if self.finished else None}

    @cached_property
    def own(self) -> Settings:
        """What makes a row: the method's and the training's settings."""
        reading = ("dataset.fit", "dataset.cache_scale")
        return {
            key: value
            for key, value in self.settings.items()
            if key in reading or (key not in _REPETITION and not key.startswith(("split.", "dataset.")))
        }


def protocol_name(run: Run) -> str:
    """The split's name; of a paper's division without the paper, since several papers divide alike."""
    return re.sub(r"^paper \([^,]+, ", "paper (", run.found["split"]["name"])


def from_runs(runs: Iterable[Run], unfinished: Iterable[Path] = (), title: str = "Results") -> Table:
    """The table of finished runs; each column is one data set under one protocol.

    Args:
        runs: finished runs.
        unfinished: folders of runs that are not; they become missing repetitions of the cell that they belong to.
        title: of the report.

    Raises:
        UserError: no run is finished.
    """
    pending = [Entry(Run(path, {}), finished=False) for path in unfinished]
    entries, notes = _without_repeats([Entry(run) for run in runs])
    if not entries:
        raise UserError(
            f"None of {len(pending)} runs is finished ({', '.join(str(e.run.path) for e in pending[:3])}, ...)",
            "The command that started a run also finishes it; then ask again.",
        )
    groups = _columns(entries)
    labels = _column_labels(groups)
    placed = {label: list(group) for label, group in zip(labels, groups, strict=True)}
    homeless = 0
    for entry in pending:
        homes = [label for label, group in placed.items() if _same_protocol(entry, group[0])]
        homeless += not homes
        for label in homes[:1]:
            placed[label].append(entry)
    if homeless:
        notes.append(f"{homeless} unfinished runs are of splits without any finished run and not shown.")
    rows = _row_labels(list(placed.values()))
    cells = {
        (row, column): _cell([e for e in group if rows[id(e)] == row], group)
        for column, group in placed.items()
        for row in dict.fromkeys(rows[id(e)] for e in group)
    }
    ordered = sorted(set(rows.values()), key=_order)
    return Table(title, tuple(ordered), tuple(labels), cells, notes=tuple(notes))


def separate(table: Table) -> Table:
    """The same table, with every column whose runs are not of one protocol divided into several.

    Commands and published figures stay in the first of them.
    """
    columns: list[str] = []
    cells: dict[tuple[str, str], Cell] = {}
    for column in table.columns:
        here = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
        groups = _columns([Entry(run) for cell in here.values() for run in cell.runs]) or [[]]
        many = len(groups) > 1
        labels = [f"{column}, split {g[0].run.found['split']['hash']}" for g in groups] if many else [column]
        columns += labels
        for number, (label, group) in enumerate(zip(labels, groups, strict=True)):
            paths = {entry.run.path for entry in group}
            for row, cell in here.items():
                kept = tuple(run for run in cell.runs if run.path in paths)
                if number == 0:
                    cells[row, label] = replace(cell, runs=kept)
                elif kept:
                    cells[row, label] = Cell(kept)
    return replace(table, columns=tuple(columns), cells=cells)


def _without_repeats(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Copies of one run counted once."""
    kept: dict[Any, Entry] = {}
    notes = []
    for entry in entries:
        key = str([*sorted(entry.settings.items()), entry.dataset, entry.run.found["split"]["hash"]])
        if key in kept:
            notes.append(f"{entry.run.path} repeats {kept[key].run.path} and is left out.")
        kept.setdefault(key, entry)
    return list(kept.values()), notes


def _same_protocol(one: Entry, other: Entry) -> bool:
    left, right = ({k: v for k, v in e.protocol.items() if k != "name"} for e in (one, other))
    return left == right


def _columns(entries: Sequence[Entry]) -> list[list[Entry]]:
    protocols: dict[str, list[Entry]] = {}
    for entry in entries:
        protocols.setdefault(str([entry.dataset, *sorted(entry.protocol.items())]), []).append(entry)
    columns = []
    for group in protocols.values():
        parts: dict[tuple[int, str], list[Entry]] = {}
        for entry in group:
            parts.setdefault((entry.repetition[0], entry.run.found["split"]["hash"]), []).append(entry)
        # One fold with two hashes: nobody can tell which of them belongs to the other folds.
        columns += [group] if len({fold for fold, _ in parts}) == len(parts) else list(parts.values())
    return sorted(columns, key=lambda group: (group[0].dataset, group[0].run.found["split"]["name"]))


def _column_labels(groups: Sequence[Sequence[Entry]]) -> list[str]:
    plain = [f"{group[0].dataset}, {_division(group[0])}" for group in groups]
    alike = [[group[0].protocol for group, label in zip(groups, plain, strict=True) if label == one] for one in plain]
    keys = distinguishing(alike)
    labels = [
        label + (f" ({words(group[0].protocol, keys)})" if len(same) > 1 and keys else "")
        for group, label, same in zip(groups, plain, alike, strict=True)
    ]
    return [
        label + (f", split {group[0].run.found['split']['hash']}" if labels.count(label) > 1 else "")
        for group, label in zip(groups, labels, strict=True)
    ]


def _division(entry: Entry) -> str:
    """The split's name with its number of folds or the size of its test part."""
    name, settings = protocol_name(entry.run), entry.settings
    if settings.get("split.test") is not None and "test" not in name:
        return f"{name}, test {settings['split.test']:g}"
    folds = settings.get("split.folds")
    return f"{name}, {folds} folds" if folds and "fold" not in name else name


def _row_labels(groups: Sequence[Sequence[Entry]]) -> dict[int, str]:
    """`id(entry)` -> the method, with settings where it was run with several in one column."""
    labels: dict[int, str] = {}
    for method in dict.fromkeys(entry.method for group in groups for entry in group):
        mine = [[entry for entry in group if entry.method == method] for group in groups]
        keys = distinguishing([[entry.own for entry in group] for group in mine])
        for entry in (entry for group in mine for entry in group):
            labels[id(entry)] = f"{method} ({words(entry.own, keys)})" if keys else method
    return labels


def _cell(mine: Sequence[Entry], column: Sequence[Entry]) -> Cell:
    done = sorted((entry for entry in mine if entry.finished), key=lambda entry: entry.repetition)
    have = {entry.repetition for entry in done}
    lacking = sorted({entry.repetition for entry in [*column, *mine]} - have)
    started = {entry.repetition: entry for entry in mine if not entry.finished}
    missing = [command(started.get(repetition, mine[0]).run, *repetition) for repetition in lacking]
    return Cell(tuple(entry.run for entry in done), tuple(missing))


def _order(row: str) -> tuple[bool, list[tuple[int, str]]]:
    """ERM, the usual reference, first; then by name, numbers by size."""
    parts = re.findall(r"\d+|\D+", row)
    return not row.startswith("erm"), [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
