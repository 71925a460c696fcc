"""Predictions of labelled images as arrays: of a run's validation or test part, or of another data set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltmed.runs.directory import DamagedRunError
from ltmed.runs.record import ATTRIBUTE, PREDICTIONS, VALIDATION

if TYPE_CHECKING:
    import pandas as pd

    from ltmed.evaluation.metrics import Evaluation
    from ltmed.runs.reader import Run


@dataclass(frozen=True)
class Predictions:
    """N images, K classes."""

    classes: tuple[str, ...]
    probabilities: np.ndarray
    """float32 `[N, K]`."""
    labels: np.ndarray
    """int64 `[N]`; -1 for an image of none of the classes."""
    groups: np.ndarray | None = None
    """int64 `[N]`, images of one lesion or patient; None if unknown."""
    unit: str = "image"
    """What a group is; "image" where there are none."""
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    """Name -> object `[N]` of text, "" where unknown."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: np.ndarray) -> Predictions:
        """Those of some rows (numbers, or a mask)."""
        return replace(
            self,
            probabilities=self.probabilities[rows],
            labels=self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            attributes={name: cells[rows] for name, cells in self.attributes.items()},
        )

    @property
    def counts(self) -> np.ndarray:
        """int64 `[K]`: images of each class."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def evaluation(self) -> Evaluation:
        """For `ltmed.evaluation.metrics`; every label must be a class."""
        import torch

        from ltmed.evaluation.metrics import Evaluation

        return Evaluation(
            torch.from_numpy(self.probabilities), torch.from_numpy(self.labels), torch.arange(len(self)), self.classes
        )


def from_table(table: pd.DataFrame, classes: tuple[str, ...], group: str | None) -> Predictions:
    """From a table as `ltmed.runs.record.predictions_table` makes it.

    Args:
        table: one row for each image.
        classes: K codes.
        group: name of the column of groups, or None.

    Raises:
        KeyError: a column is missing, or a label is no class.
    """
    number = {code: place for place, code in enumerate(classes)} | {"": -1}
    return Predictions(
        classes=classes,
        probabilities=np.ascontiguousarray(table[[f"prob_{code}" for code in classes]].to_numpy(np.float32)),
        labels=np.array([number[label] for label in table["label"]], dtype=np.int64),
        groups=None if group is None else table[group].to_numpy(np.int64),
        unit="image" if group is None else group,
        attributes={
            name.removeprefix(ATTRIBUTE): table[name].fillna("").to_numpy(object)
            for name in table.columns
            if name.startswith(ATTRIBUTE)
        },
    )


def read(file: Path, classes: tuple[str, ...], group: str | None) -> Predictions:
    """Reads a table that a run or `ltmed evaluate` wrote.

    Raises:
        FileNotFoundError: there is none.
        DamagedRunError: it cannot be read, or is not such a table.
    """
    import pandas as pd
    from pyarrow import ArrowException

    if not file.is_file():
        raise FileNotFoundError(file)
    try:
        return from_table(pd.read_parquet(file), classes, group)
    except (ArrowException, OSError):
        raise DamagedRunError(file, "cannot be read") from None
    except KeyError as error:
        raise DamagedRunError(file, f"lacks {error}") from None


def of_part(run: Run, part: str) -> Predictions:
    """What a run recorded of its validation ("val") or test part.

    Raises:
        FileNotFoundError: it was left behind, or an earlier version of ltmed did not record it.
        DamagedRunError: it cannot be read.
    """
    file = run.path / {"val": VALIDATION, "test": PREDICTIONS}[part]
    return read(file, tuple(run.classes), run.found["split"].get("group"))
