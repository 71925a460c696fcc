"""Runs as a table: rows are methods and their settings, columns as `ltmed.report.columns` says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.report.columns import Entry, by_protocol, protocol_name
from ltmed.report.formatting import distinguishing_keys, settings_text
from ltmed.report.model import Cell, Table
from ltmed.report.rerun import command
from ltmed.runs.reader import Run


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
    groups = by_protocol(entries, declared=False)
    labels = _column_labels(groups)
    placed = {label: list(group) for label, group in zip(labels, groups, strict=True)}
    homeless = 0
    for entry in pending:
        homes = [label for label, group in placed.items() if _same_protocol(entry, group[0])]
        # Of several (draws that no row connects) the one that has its draw.
        homes.sort(key=lambda label: not any(other.division.draw == entry.division.draw for other in placed[label]))
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

    The repetitions that a study asks for are of one protocol, so its split seeds never divide a column. Commands and
    published figures stay where most runs of their row are.
    """
    columns: list[str] = []
    cells: dict[tuple[str, str], Cell] = {}
    for column in table.columns:
        here = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
        groups = by_protocol([Entry(run) for cell in here.values() for run in cell.runs], declared=True) or [[]]
        labels = _parts_of(column, groups)
        columns += labels
        for row, cell in here.items():
            paths = [{entry.run.path for entry in group} for group in groups]
            parts = [tuple(run for run in cell.runs if run.path in mine) for mine in paths]
            home = max(range(len(parts)), key=lambda number: len(parts[number]))
            for number, (label, kept) in enumerate(zip(labels, parts, strict=True)):
                if number == home:
                    cells[row, label] = replace(cell, runs=kept)
                else:
                    cells[row, label] = Cell(kept)
    return replace(table, columns=tuple(columns), cells=cells)


def _parts_of(column: str, groups: Sequence[Sequence[Entry]]) -> list[str]:
    labels = [column + _hashes(group, groups) for group in groups]
    if len(set(labels)) < len(labels):  # The same images, but other tiers.
        labels = [f"{column}: {label}" for label in _column_labels(groups)]
    return labels


def _without_repeats(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Equal runs of one method counted once; those of two methods stay, and a note says that they are one."""
    kept: dict[Any, Entry] = {}
    named: dict[Any, Entry] = {}
    notes = []
    for entry in entries:
        computed = (entry.run.facts["fingerprint"], entry.dataset, entry.hash)
        key = (entry.method, *computed)
        other = named.setdefault(computed, entry)
        if key in kept:
            notes.append(f"{entry.run.path} repeats {kept[key].run.path} and is left out.")
        elif other is not entry:
            notes.append(f"{entry.run.path} computes the same as {other.run.path}, under the name of another method.")
        kept.setdefault(key, entry)
    return list(kept.values()), notes


def _same_protocol(one: Entry, other: Entry) -> bool:
    left, right = ({k: v for k, v in e.protocol.items() if k != "name"} for e in (one, other))
    return left == right


def _column_labels(groups: Sequence[Sequence[Entry]]) -> list[str]:
    plain = [f"{group[0].dataset}, {_division(group[0])}" for group in groups]
    alike = [[group[0].protocol for group, label in zip(groups, plain, strict=True) if label == one] for one in plain]
    keys = distinguishing_keys(alike)
    labels = [
        label + (f" ({settings_text(group[0].protocol, keys)})" if len(same) > 1 and keys else "")
        for group, label, same in zip(groups, plain, alike, strict=True)
    ]
    for tell in (_split_seeds, _hashes):
        labels = [
            label + (tell(group, [g for g, other in zip(groups, labels, strict=True) if other == label]))
            for group, label in zip(groups, labels, strict=True)
        ]
    return labels


def _split_seeds(group: Sequence[Entry], alike: Sequence[Sequence[Entry]]) -> str:
    """What tells `group` apart from the others of `alike`, where that is the split seed."""
    draws = [{entry.division.draw for entry in one} for one in alike]
    if len(draws) < 2 or any(len(draw) > 1 for draw in draws) or len(set(map(frozenset, draws))) == 1:
        return ""
    return f", split seed {'/'.join(map(str, group[0].division.draw))}"


def _hashes(group: Sequence[Entry], alike: Sequence[Sequence[Entry]]) -> str:
    """The same, where it is the images: a hash that the others have not, or all of the group's."""
    if len(alike) < 2:
        return ""
    own = list(dict.fromkeys(entry.hash for entry in group))
    others = {entry.hash for one in alike if one is not group for entry in one}
    return f", split {next((one for one in own if one not in others), '+'.join(own))}"


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
        keys = distinguishing_keys([[entry.own for entry in group] for group in mine])
        for entry in (entry for group in mine for entry in group):
            labels[id(entry)] = f"{method} ({settings_text(entry.own, keys)})" if keys else method
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
