"""Which runs may share a column.

Those of one data set under one *protocol*: the name of the split, the settings under `split` but its seeds, and those
under `dataset` that select images or tiers (not their location or the size at which they are read). Folds, and
divisions with other split seeds, are repetitions of one protocol, each with its own hash. Split seeds are repetitions
only if a row was run with several of them (papers that repeat over random divisions); if every row has one, nothing
indicates that they belong together, and they stay apart.

One division (fold and split seeds) has one hash, whatever the method and the training's seed. A row with another hash
saw other images and has a column of its own. So have divisions of another state of the data set, as they cannot be
folds of one cross-validation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

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
        return {**images, **self._found}

    @property
    def _found(self) -> Settings:
        """What only a finished run knows of its protocol."""
        if not self.finished:
            return {}
        found: Settings = {"name": protocol_name(self.run)}
        if self.run.multilabel:
            found["several labels"] = True
        if skipped := sorted(one["image"] for one in self.run.metrics.get("skipped", ())):
            found["unreadable images"] = f"{len(skipped)} ({hashlib.sha256(str(skipped).encode()).hexdigest()[:6]})"
        return found

    @property
    def configured_protocol(self) -> Settings:
        """The part of `protocol` that an unfinished run has as well."""
        return {key: value for key, value in self.protocol.items() if key not in self._found}

    @cached_property
    def state(self) -> State:
        """Of the data set, of a finished run."""
        split = self.run.metrics["split"]
        # A long-tailed training set has another size in every fold.
        number = None if split.get("imbalance") or "images" not in split else sum(split["images"].values())
        return State((self.run.facts["split"] or {}).get("data"), number)

    @cached_property
    def row(self) -> str:
        """Equal for the repetitions of one row."""
        return str(sorted(self.row_settings.items()))

    @cached_property
    def row_settings(self) -> Settings:
        """The settings that define a row: those of the method and of the training."""
        # A budget that was exceeded compresses the images; another budget alone changes nothing.
        store = (self.run.facts["pixels"] or {}).get("store")
        found: Settings = {} if store in (None, "raw") else {"dataset.store": store}
        if content := (self.run.facts.get("weights") or {}).get("file"):  # A file may get other content under its name.
            found["backbone.weights_content"] = content[:8]
        return row_settings(self.settings) | found


class State(NamedTuple):
    """What is known of the images of a data set when a run began."""

    hash: str | None
    """Of all images with labels and groups; None where the run did not record it."""
    images: int | None
    """Number in all parts together; None where it depends on the fold."""

    def may_be(self, other: State) -> bool:
        """Whether nothing says that they differ."""
        if self.hash and other.hash:
            return self.hash == other.hash
        return None in (self.images, other.images) or self.images == other.images

    @property
    def text(self) -> str:
        """The hash, or the number of images."""
        return f"data {self.hash}" if self.hash else f"{self.images:,} images" if self.images else "unknown data"


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
    columns = [column for part in joined for state in _of_one_state(part) for column in _agreeing(state)]
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


def _of_one_state(group: Sequence[Entry]) -> list[list[Entry]]:
    """Parts of one state of the data set each; a run that recorded no hash goes to the first that its size allows."""
    states: list[list[Entry]] = []
    for entry in sorted(group, key=lambda one: one.state.hash is None):
        fitting = (state for state in states if all(entry.state.may_be(other.state) for other in state))
        if (state := next(fitting, None)) is None:
            states.append([entry])
        else:
            state.append(entry)
    order = {id(entry): number for number, entry in enumerate(group)}
    return [sorted(state, key=lambda one: order[id(one)]) for state in states]


def several_states(groups: Sequence[Sequence[Entry]]) -> list[str]:
    """A sentence for each protocol that has columns of several states of its data set."""
    alike: dict[str, list[Entry]] = {}
    for entry in (group[0] for group in groups):
        alike.setdefault(str([entry.dataset, *sorted(entry.protocol.items())]), []).append(entry)
    return [
        f"{entries[0].dataset} changed between the runs ({', '.join(dict.fromkeys(e.state.text for e in entries))}): "
        "folds with other images, labels or groups are in columns of their own, and not averaged."
        for entries in alike.values()
        if any(not one.state.may_be(other.state) for one, other in combinations(entries, 2))
    ]


def once(group: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The first entry of each repetition of each row, and a sentence on every other one."""
    first: dict[object, Entry] = {}
    notes = []
    for entry in group:
        other = first.setdefault((entry.row, entry.repetition), entry)
        if other is not entry:
            settings, others = entry.settings, other.settings
            keys = [key for key in sorted({*settings, *others}) if settings.get(key) != others.get(key)]
            notes.append(
                f"{entry.run.path} is the same repetition as {other.run.path} and is left out; "
                f"they differ in {', '.join(keys) or 'nothing'}."
            )
    return list(first.values()), notes


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
