"""Runs as a table: rows are methods and their settings, columns are protocols (`ltmed.report.columns`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltmed.errors import UserError
from ltmed.report.columns import Entry, by_protocol, once, protocol_name, several_states
from ltmed.report.formatting import distinguishing_keys, settings_text, split_seed
from ltmed.report.model import Cell, Table
from ltmed.report.rerun import command
from ltmed.runs.reader import Run


def from_runs(runs: Iterable[Run], unfinished: Iterable[Path] = (), title: str = "Results") -> Table:
    """The table of finished runs; each column is one data set under one protocol.

    Args:
        runs: finished runs.
        unfinished: folders of unfinished runs, which become missing repetitions of their cells.
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
    parts = [once(group) for group in by_protocol(entries, declared=False)]
    groups = [group for group, _ in parts]
    notes += [sentence for _, repeated in parts for sentence in repeated] + several_states(groups)
    labels = _column_labels(groups)
    by_column = {label: list(group) for label, group in zip(labels, groups, strict=True)}
    unplaced = 0
    for entry in pending:
        candidates = [label for label, group in by_column.items() if _same_protocol(entry, group[0])]
        # Of several columns (split seeds that no row connects) the one that has its split seeds.
        candidates.sort(
            key=lambda label: all(other.division.seeds != entry.division.seeds for other in by_column[label])
        )
        unplaced += not candidates
        for label in candidates[:1]:
            by_column[label].append(entry)
    if unplaced:
        notes.append(f"{unplaced} unfinished runs are of splits without any finished run and not shown.")
    rows = _row_labels(list(by_column.values()))
    cells = {
        (row, column): _cell([e for e in group if rows[id(e)] == row], group)
        for column, group in by_column.items()
        for row in dict.fromkeys(rows[id(e)] for e in group)
    }
    ordered = sorted(set(rows.values()), key=_order)
    return Table(title, tuple(ordered), tuple(labels), cells, notes=tuple(notes))


def separate(table: Table) -> Table:
    """The same table, with every column whose runs are not of one protocol divided into several.

    The repetitions of a study are of one protocol, so its split seeds never divide a column. Commands and
    published values stay in the column with most runs of their row.
    """
    columns: list[str] = []
    cells: dict[tuple[str, str], Cell] = {}
    notes = list(table.notes)
    for column in table.columns:
        by_row = {row: table.cells[row, column] for row in table.rows if (row, column) in table.cells}
        groups = by_protocol([Entry(run) for cell in by_row.values() for run in cell.runs], declared=True) or [[]]
        labels = _parts_of(column, groups)
        notes += several_states([group for group in groups if group])
        columns += labels
        for row, cell in by_row.items():
            paths = [{entry.run.path for entry in group} for group in groups]
            parts = [tuple(run for run in cell.runs if run.path in group_paths) for group_paths in paths]
            largest = max(range(len(parts)), key=lambda number: len(parts[number]))
            for number, (label, runs) in enumerate(zip(labels, parts, strict=True)):
                if number == largest:
                    cells[row, label] = replace(cell, runs=runs)
                else:
                    cells[row, label] = Cell(runs)
    return replace(table, columns=tuple(columns), cells=cells, notes=tuple(notes))


def _parts_of(column: str, groups: Sequence[Sequence[Entry]]) -> list[str]:
    labels = [column + _hashes(group, groups) for group in groups]
    if len(set(labels)) < len(labels):  # The same images, but other tiers.
        labels = [f"{column}: {label}" for label in _column_labels(groups)]
    return labels


def _without_repeats(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Drops repeated runs of one method; equal runs of two methods stay, with a note."""
    unique: dict[Any, Entry] = {}
    first_of: dict[Any, Entry] = {}
    notes = []
    for entry in entries:
        weights = (entry.run.facts.get("weights") or {}).get("encoder")  # A file may have other content under its name.
        computation = (entry.run.facts["fingerprint"], weights, entry.dataset, entry.hash)
        key = (entry.method, *computation)
        other = first_of.setdefault(computation, entry)
        if key in unique:
            notes.append(f"{entry.run.path} repeats {unique[key].run.path} and is left out.")
        elif other is not entry:
            notes.append(f"{entry.run.path} computes the same as {other.run.path}, under the name of another method.")
        unique.setdefault(key, entry)
    return list(unique.values()), notes


def _same_protocol(entry: Entry, other: Entry) -> bool:
    return entry.configured_protocol == other.configured_protocol


def _column_labels(groups: Sequence[Sequence[Entry]]) -> list[str]:
    names = [f"{group[0].dataset}, {_division(group[0])}" for group in groups]
    alike = [[group[0].protocol for group, label in zip(groups, names, strict=True) if label == name] for name in names]
    keys = distinguishing_keys(alike)
    labels = [
        label + (f" ({settings_text(group[0].protocol, keys)})" if len(same) > 1 and keys else "")
        for group, label, same in zip(groups, names, alike, strict=True)
    ]
    for suffix in (_split_seeds, _hashes, _state):
        labels = [
            label + (suffix(group, [g for g, other in zip(groups, labels, strict=True) if other == label]))
            for group, label in zip(groups, labels, strict=True)
        ]
    return labels


def _split_seeds(group: Sequence[Entry], alike: Sequence[Sequence[Entry]]) -> str:
    """The suffix that distinguishes `group` from the others of `alike`, if they differ in split seeds."""
    seeds = [{entry.division.seeds for entry in other} for other in alike]
    if len(seeds) < 2 or any(len(values) > 1 for values in seeds) or len(set(map(frozenset, seeds))) == 1:
        return ""
    return f", split seed {split_seed(group[0].division)}"


def _hashes(group: Sequence[Entry], alike: Sequence[Sequence[Entry]]) -> str:
    """The same, if they differ in images: a hash that the others lack, or all hashes of the group."""
    if len(alike) < 2:
        return ""
    hashes = list(dict.fromkeys(entry.hash for entry in group))
    others = {entry.hash for other in alike if other is not group for entry in other}
    return f", split {next((text for text in hashes if text not in others), '+'.join(hashes))}"


def _state(group: Sequence[Entry], alike: Sequence[Sequence[Entry]]) -> str:
    """The same, if they differ in nothing but the state of the data set, such as its groups."""
    return f", {group[0].state.text}" if len(alike) > 1 else ""


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
        by_group = [[entry for entry in group if entry.method == method] for group in groups]
        keys = distinguishing_keys([[entry.row_settings for entry in group] for group in by_group])
        for entry in (entry for group in by_group for entry in group):
            labels[id(entry)] = f"{method} ({settings_text(entry.row_settings, keys)})" if keys else method
    return labels


def _cell(entries: Sequence[Entry], column: Sequence[Entry]) -> Cell:
    done = sorted((entry for entry in entries if entry.finished), key=lambda entry: entry.repetition)
    repetitions = {entry.repetition for entry in done}
    missing_repetitions = sorted({entry.repetition for entry in [*column, *entries]} - repetitions)
    started = {entry.repetition: entry for entry in entries if not entry.finished}
    missing = [command(started.get(repetition, entries[0]).run, *repetition) for repetition in missing_repetitions]
    return Cell(tuple(entry.run for entry in done), tuple(missing))


def _order(row: str) -> tuple[bool, list[tuple[int, str]]]:
    """ERM, the usual reference, first; then by name, numbers by size."""
    parts = re.findall(r"\d+|\D+", row)
    return not row.startswith("erm"), [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
