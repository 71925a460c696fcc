"""The table of images and labels that every reader returns, before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltmed.errors import UserError


@dataclass(frozen=True)
class Manifest:
    """N labelled images: file names relative to `root`, labels, and metadata.

    Rows are in a fixed order (the reader sorts them), so that a row number identifies an image.
    """

    name: str
    """Data set name, as in `dataset=<name>`."""
    root: Path
    """Folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths relative to `root`, with '/' on every system; unique."""
    labels: np.ndarray
    """int64 `[N]`, indices into `classes`; or, where images have several labels, float32 `[N, K]`: 1 present, 0 absent,
    NaN unknown."""
    classes: tuple[str, ...]
    """K class codes in the data set's official order."""
    class_names: tuple[str, ...]
    """K full names, for display."""
    groups: np.ndarray | None = None
    """int64 `[N]`: images of one group (lesion, patient) must stay in one part; None if unknown."""
    group_name: str = "group"
    """What a group is: "lesion", "patient"."""
    group_source: str = ""
    """The file that contains the groups, for the error message if they are required and unknown."""
    parts: np.ndarray | None = None
    """str `[N]`: the data set's own "train", "val" or "test" (or "" = unused), None if it has none."""
    folds: np.ndarray | None = None
    """int64 `[N]`: the data set's own cross-validation fold that each image is tested in (-1 = in none), or None."""
    sources: np.ndarray | None = None
    """str `[N]`: where each image comes from (hospital, device, collection), None if unknown."""
    attributes: dict[str, np.ndarray] | None = None
    """Name (age, sex, localization, ...) -> object `[N]` of text as the table has it, "" where unknown; None if the
    data set has no such column. Metrics of subgroups are made from them (`ltmed.evaluation.subgroups`)."""

    notes: tuple[str, ...] = ()
    """Remarks of the reader for data reports: how groups were determined, which images were excluded."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.labels.ndim == 2

    @property
    def counts(self) -> np.ndarray:
        """int64 `[K]`: images of each class in the whole table; positives of each label of a multi-label one."""
        return count_labels(self.labels, len(self.classes))

    def codes(self, rows: np.ndarray) -> list[str]:
        """Class codes of images; with several labels, those that are present, and unknown ones with a `?`.

        Args:
            rows: int64 `[n]`.

        Returns:
            n texts, such as `NV`, or `Mass|Nodule|Edema?`, empty for an image without any label.
        """
        if not self.multilabel:
            return [self.classes[label] for label in self.labels[rows].tolist()]
        sets, index = np.unique(np.nan_to_num(self.labels[rows], nan=-1.0), axis=0, return_inverse=True)
        texts = [
            "|".join(code + "?" * (value < 0) for code, value in zip(self.classes, row, strict=True) if value)
            for row in sets.tolist()
        ]
        return [texts[number] for number in index.ravel().tolist()]


def require_one_label(manifest: Manifest, what: str) -> None:
    """Raises UserError, beginning with `what`, if images may have several labels."""
    if manifest.multilabel:
        raise UserError(
            f"{what} needs one class per image, and images of {manifest.name} have several labels",
            "Use split=grouped, split=random or split=official.",
        )


def count_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Images of each class, or positives of each label, int64 `[K]`.

    Args:
        labels: int64 `[n]` class indices, or float `[n, K]` of 0, 1 and NaN, which counts as no positive.
        classes: K.
    """
    if labels.ndim == 2:
        return np.count_nonzero(labels == 1, axis=0)
    return np.bincount(labels, minlength=classes)
