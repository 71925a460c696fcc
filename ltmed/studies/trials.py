"""The runs of a search, and what is saved of them; results on other data than those of the search are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ltmed.errors import TrainingError, UserError
from ltmed.runs import facts
from ltmed.runs.checkpoint import DamagedCheckpointError
from ltmed.runs.directory import DamagedRunError
from ltmed.studies.rungs import Candidate, Rung

_TIMING = "timing"
"""What the key of a timing ends in; that of another run ends in its repetition."""


class OtherDataError(UserError):
    """A run is on other data than the search: no candidate is to blame, and the whole search has to end."""


def is_of_settings(error: UserError) -> bool:
    """Whether a run failed for its settings, so that it would fail again.

    Otherwise the reason is a file, a folder, a process or the data: the user can repair it, and other candidates would
    fail too.
    """
    if isinstance(error, OtherDataError | DamagedCheckpointError | DamagedRunError) or type(error) is TrainingError:
        return False
    return not isinstance(error.__context__, OSError)  # Of the disk: full, read-only, no longer there.


def recorded_split(folder: Path) -> str | None:
    """Hash of the split that the run in a folder, finished or not, was begun with, by its label files; None if there
    is none.

    Raises:
        DamagedRunError: its record cannot be read.
    """
    split = facts.read(folder)["split"] if (folder / facts.RUN).exists() else None
    return None if split is None else split.get("listed", split["hash"])


def require_split(folder: Path, recorded: str | None, split: str, root: str | None) -> None:
    """Checks that a run has the data of the search.

    Args:
        folder: of the run.
        recorded: hash of its split; None for a run that has not begun.
        split: hash of the split that the data give now.
        root: folder of these data.

    Raises:
        OtherDataError: it has other data.
    """
    if recorded is not None and recorded != split:
        raise OtherDataError(
            f"{folder} holds a run on the split {recorded}, but {root} now gives {split}",
            "The images, labels or groups are other ones: restore them, or choose another folder with runs=DIR.",
        )


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: str
    value: float | None
    """Of the metric that decides, on validation images; None where it is undefined."""
    seconds: float
    """Duration of the call."""
    training: float
    """Duration of its epochs when they were trained."""
    epochs: float
    """Number of these epochs; may be a part of one for a timing."""
    fingerprint: str
    split: str
    """Hash of the split that it was trained and tested on."""


@dataclass(frozen=True)
class Trial:
    """A run of the search, finished or not."""

    rung: Rung
    candidate: Candidate
    repetition: int
    epochs: int | None
    """None: as the rung's overrides say."""
    timing: bool = False
    """An epoch, or a part of one, that measures the cost of others and takes no part in the comparison."""

    @property
    def key(self) -> str:
        """Its name among the outcomes."""
        kind = _TIMING if self.timing else str(self.repetition)
        return f"{self.rung.name}/{self.candidate.label}/{kind}"


@dataclass
class State:
    """What is saved of a search between calls of its command."""

    spent: float = 0.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """rung/candidate -> why it cannot be run."""
    epochs: dict[str, int] = field(default_factory=dict)
    entrants: dict[str, list[str]] = field(default_factory=dict)
    """Rung -> labels of its candidates; likewise `epochs`, the number that was decided on."""
    closed: list[str] = field(default_factory=list)
    """Rungs that have ended."""
    continued_at: float | None = None
    """Seconds that were spent when the first rung was continued, as no later one had room."""

    def to_json(self) -> dict[str, Any]:
        """For a file; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> State:
        """The state that `to_json` described."""
        outcomes = {key: Outcome(**outcome) for key, outcome in saved["outcomes"].items()}
        return cls(**{**saved, "outcomes": outcomes})

    def require_splits(self, splits: Sequence[str], root: str | None) -> None:
        """Refuses outcomes on other data, and folders of outcomes that have been given to a run on other data since.

        Args:
            splits: hash of the split of each repetition, as the data are now.
            root: folder of these data.

        Raises:
            OtherDataError: naming the first such folder.
        """
        for key, outcome in self.outcomes.items():
            folder, kind = Path(outcome.folder), key.rpartition("/")[2]
            split = splits[0 if kind == _TIMING else int(kind)]
            require_split(folder, outcome.split, split, root)
            require_split(folder, recorded_split(folder), split, root)
