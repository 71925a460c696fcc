"""Which runs may share a column.

Those of one data set under one *protocol*: the name of the split, the settings under `split` but its seeds, and those
under `dataset` that choose images or tiers (not where they are or at what size they are read). Folds, and divisions
made with other split seeds, are repetitions of one protocol, each with a hash of its own. Split seeds are where a row
was run with several of them (papers that repeat over random divisions); where every row has one, nothing says that
they belong together, and they stay apart.

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
from ltmed.runs.reader import Division, Run

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
        """Everything that changes the run's numbers; what is None counts as not there, as in runs that lack the key."""
        return {key: value for key, value in identity(self.run.config).items() if value is not None}

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
        """What the runs of one column have in common, less the hashes."""
        images = {
            key: value
            for key, value in self.settings.items()
            if key.startswith(("split.", "dataset."))
            and key not in (*_READING, *_PLACE_OF_A_SET, "split.of", *self.run.split_seeds)
        }
        several = {"several labels": True} if self.finished and self.run.multilabel else {}
        return {**images, **several, "name": protocol_name(self.run) if self.finished else None}

    @cached_property
    def row(self) -> str:
        """Equal for the repetitions of one row."""
        return str(sorted(self.own.items()))

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
    draws: dict[str, set[tuple[int, ...]]] = {}
    for entry in group:
        draws.setdefault(entry.row, set()).add(entry.division.draw)
    parts: list[set[tuple[int, ...]]] = []
    for mine in draws.values():
        apart = [part for part in parts if not part & mine]
        parts = [*apart, mine.union(*(part for part in parts if part & mine))]
    return [[entry for entry in group if entry.division.draw in part] for part in sorted(parts, key=min)]


def _agreeing(group: Sequence[Entry]) -> list[list[Entry]]:
    """Parts in which every division has one hash, the largest rows first."""
    if not _contradicts(group):
        return [list(group)]
    rows: dict[object, list[Entry]] = {}
    for entry in group:
        rows.setdefault(entry.row, []).append(entry)
    for row, mine in list(rows.items()):
        if _contradicts(mine):  # It is unknown which of its runs belong together.
            del rows[row]
            for entry in mine:
                rows.setdefault((row, entry.division, entry.hash), []).append(entry)
    parts: list[list[Entry]] = []
    for mine in sorted(rows.values(), key=len, reverse=True):
        for column in parts:
            common = {entry.division for entry in column} & {entry.division for entry in mine}
            if common and not _contradicts([*column, *mine]):
                column += mine
                break
        else:
            parts.append(list(mine))
    return parts


def _contradicts(entries: Sequence[Entry]) -> bool:
    """Whether a division has two hashes."""
    return len({(entry.division, entry.hash) for entry in entries}) > len({entry.division for entry in entries})
