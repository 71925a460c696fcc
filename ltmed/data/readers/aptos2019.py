"""APTOS 2019: five grades of diabetic retinopathy in fundus photographs; identical files stay together."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import column, read_table, scan, stem, warn_of_counts
from ltmed.errors import UserError, suggest

LABELS = "train.csv"
COUNTS = (1805, 370, 999, 193, 295)
ACTIONS = ("keep", "drop")


class APTOS2019(DataModule):
    """3,662 fundus photographs of the competition's training part; its test labels were never released.

    Args:
        duplicates: rule for byte-identical files: `keep` them, always in one part; or `drop` all but the first of each
            set, and all images of sets with more than one grade.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; an unknown `duplicates`.
    """

    name = "aptos2019"
    classes = ("DR0", "DR1", "DR2", "DR3", "DR4")
    class_names = (
        "no diabetic retinopathy",
        "mild diabetic retinopathy",
        "moderate diabetic retinopathy",
        "severe diabetic retinopathy",
        "proliferative diabetic retinopathy",
    )
    group_name = "picture"
    source = "https://www.kaggle.com/competitions/aptos2019-blindness-detection"
    licence = "the competition's rules"
    published_counts = COUNTS
    layout = """\
  train.csv (id_code,diagnosis)  train_images/<id_code>.png
  test.csv and test_images/ have no labels and are not used"""
    fetch = "kaggle competitions download -c aptos2019-blindness-detection   (accept its rules first)"

    def __init__(self, *, duplicates: str = "keep", **common: Any) -> None:
        if duplicates not in ACTIONS:
            raise UserError(f"dataset.duplicates={duplicates} is not known", suggest(duplicates, ACTIONS))
        self.duplicates = duplicates
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Reads `train.csv`, finds its images, and compares the content of those that have one size in bytes.

        Raises:
            UserError: no folder, no `train.csv`, an unknown grade, an image listed twice or missing.
        """
        tree = scan(root, self.how_to_get())
        path = tree.file(LABELS)
        if path is None:
            raise UserError(f"{root / LABELS} does not exist", self.how_to_get())
        table = read_table(path)
        graded: dict[str, int] = {}
        rows = zip(column(table, path, "id_code"), column(table, path, "diagnosis"), strict=True)
        for row, (name, grade) in enumerate(rows):
            if grade not in ("0", "1", "2", "3", "4"):
                message = f"{table.where(row)}: '{name}' has the grade '{grade}', not 0 to 4"
                raise UserError(message, "Correct or remove that row.")
            if stem(name) in graded:
                raise UserError(f"{table.where(row)}: '{name}' is listed twice", "Remove one of the rows.")
            graded[stem(name)] = int(grade)
        stems = sorted(graded)
        labels = np.array([graded[name] for name in stems], dtype=np.int64)
        warn_of_counts(self.name, path, labels.tolist(), self.classes, COUNTS)
        images = tree.locate(stems, labels.tolist(), self.classes, "Unpack train_images.zip there.")
        groups = identical_files(root, images)
        selected = self._select(images, labels, groups)
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(images[row] for row in selected),
            labels=labels[selected],
            classes=self.classes,
            class_names=self.class_names,
            groups=groups[selected],
            group_name=self.group_name,
        )

    def _select(self, images: list[str], labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Selected rows; warns of duplicates with different grades."""
        _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
        disputed = np.unique(groups[labels != labels[first][groups]])
        if len(disputed):
            rows = np.flatnonzero(groups == disputed[0])
            example = ", ".join(f"{images[row]} {self.classes[labels[row]]}" for row in rows)
            copies = f"{int(sizes[sizes > 1].sum())} images in {int((sizes > 1).sum())} sets of identical files"
            action = "they are left out" if self.duplicates == "drop" else "dataset.duplicates=drop leaves them out"
            warnings.warn(
                f"{self.name}: {copies}; {len(disputed)} sets have more than one grade (such as {example}): {action}",
                stacklevel=4,
            )
        if self.duplicates == "keep":
            return np.arange(len(images))
        return np.sort(first[~np.isin(np.arange(len(first)), disputed)])


def identical_files(root: Path, images: list[str]) -> np.ndarray:
    """int64 `[N]`: equal numbers for files with equal content.

    Only files that share their size with another are read.

    Raises:
        UserError: a file cannot be read.
    """
    try:
        sizes = np.array([os.stat(root / image).st_size for image in images])
        _, size_of, frequencies = np.unique(sizes, return_inverse=True, return_counts=True)
        contents = [
            hashlib.blake2b((root / image).read_bytes()).hexdigest() if shared else image
            for image, shared in zip(images, frequencies[size_of] > 1, strict=True)
        ]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}", "Check its permissions.") from None
    return np.unique(contents, return_inverse=True)[1].astype(np.int64)
