"""Which runs may share a column.

Those of one data set under one *protocol*: the name of the split, the settings under `split` but its seeds, and those
under `dataset` that select images or tiers (not their location or the size at which they are read). Folds, and
divisions with other split seeds, are repetitions of one protocol, each with its own hash. Split seeds are repetitions
only if a row was run with several of them (papers that repeat over random divisions); if every row has one, nothing
indicates that they belong together, and they stay apart.

One division (fold and split seeds) has one hash, whatever the method and the training's seed. A row with another hash
saw other images and has a column of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ltmed.report.formatting import Settings
from ltmed.runs.directory import identity
from ltmed.runs.division import Division, Seeds
from ltmed.runs.reader import Run

_READING = (
    "dataset.image_size", "dataset.cache_scale", "dataset.cache_budget_gb", "dataset.fit", "dataset.on_bad_image",
)  # fmt: skip
_READING_OF_A_ROW = ("dataset.fit", "dataset.cache_scale")
_LOCATION_OF_A_DATASET = ("dataset.root", "dataset.file", "dataset.extract_to", "split.path")
_REPETITION = ("fold", "seed")


@dataclass(frozen=True)
class Entry:
    """A run, finished or not, with the settings that determine its row and column in the table."""

    run: Run
    finished: bool = True

    @cached_property
    def settings(self) -> Settings:
        """All settings that change the run's results."""
        return identity(self.run.config)

    @property
    def dataset(self) -> str:
        """The data set's name; of an unfinished run that of its reader, which is what the config has."""
        return self.run.metrics["run"]["dataset"] if self.finished else ""

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.run.config.method.name)

    @property
    def division(self) -> Division:
        """The fold and the split seeds."""
        return self.run.division

    @property
    def repetition(self) -> tuple[Division, int]:
        """The division and the training's seed."""
        return self.run.division, self.run.seed

    @property
    def hash(self) -> str:
        """Of a finished run's division."""
        return self.run.metrics["split"]["hash"]

    @cached_property
    def protocol(self) -> Settings:
        """The settings that the runs of one column have in common, without the hashes."""
        images = {
            key: value
            for key, value in self.settings.items()
            if value is not None  # The key may be newer than the run; that the images are the same, the hash says.
            and key.startswith(("split.", "dataset."))
            and key not in (*_READING, *_LOCATION_OF_A_DATASET, "split.of", *self.run.split_seeds)
        }
        labels = {"several labels": True} if self.finished and self.run.multilabel else {}
        return {**images, **labels, "name": protocol_name(self.run) if self.finished else None}

    @cached_property
    def row(self) -> str:
        """Equal for the repetitions of one row."""
        return str(sorted(self.row_settings.items()))

    @cached_property
    def row_settings(self) -> Settings:
        """The settings that define a row: those of the method and of the training."""
        return row_settings(self.settings)


def row_settings(settings: Settings) -> Settings:
    """Those of the method and of the training, of all settings that change a run's results."""
    return {
        key: value
        for key, value in settings.items()
        if key in _READING_OF_A_ROW or (key not in _REPETITION and not key.startswith(("split.", "dataset.")))
    }


def protocol_name(run: Run) -> str:
    """The split's name; of a paper's division without the paper, since several papers divide equally."""
    return re.sub(r"^paper \([^,]+, ", "paper (", run.metrics["split"]["name"])


def by_protocol(entries: Sequence[Entry], *, declared: bool) -> list[list[Entry]]:
    """Divides finished runs so that each part is of one protocol, with one hash for each division.

    `declared`: all split seeds are known to be repetitions; else a row must have been repeated over them.
    """
    protocols: dict[str, list[Entry]] = {}
    for entry in entries:
        protocols.setdefault(str([entry.dataset, *sorted(entry.protocol.items())]), []).append(entry)
    joined = [part for group in protocols.values() for part in ([group] if declared else _joined(group))]
    columns = [column for part in joined for column in _agreeing(part)]
    return sorted(columns, key=lambda column: (column[0].dataset, column[0].run.metrics["split"]["name"]))


def _joined(group: Sequence[Entry]) -> list[list[Entry]]:
    """Parts whose split seeds are connected by rows that were run with several of them."""
    seeds_of_row: dict[str, set[Seeds]] = {}
    for entry in group:
        seeds_of_row.setdefault(entry.row, set()).add(entry.division.seeds)
    parts: list[set[Seeds]] = []
    for seeds in seeds_of_row.values():
        separate = [part for part in parts if not part & seeds]
        parts = [*separate, seeds.union(*(part for part in parts if part & seeds))]
    return [[entry for entry in group if entry.division.seeds in part] for part in sorted(parts, key=min)]


def _agreeing(group: Sequence[Entry]) -> list[list[Entry]]:
    """Parts in which every division has one hash, the largest rows first."""
    if not _contradicts(group):
        return [list(group)]
    rows: dict[object, list[Entry]] = {}
    for entry in group:
        rows.setdefault(entry.row, []).append(entry)
    for row, row_entries in list(rows.items()):
        if _contradicts(row_entries):  # Which of its runs belong together is unknown.
            del rows[row]
            for entry in row_entries:
                rows.setdefault((row, entry.division, entry.hash), []).append(entry)
    parts: list[list[Entry]] = []
    for row_entries in sorted(rows.values(), key=len, reverse=True):
        for column in parts:
            common = {entry.division for entry in column} & {entry.division for entry in row_entries}
            if common and not _contradicts([*column, *row_entries]):
                column += row_entries
                break
        else:
            parts.append(list(row_entries))
    return parts


def _contradicts(entries: Sequence[Entry]) -> bool:
    """Whether a division has two hashes."""
    return len({(entry.division, entry.hash) for entry in entries}) > len({entry.division for entry in entries})
