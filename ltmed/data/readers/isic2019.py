"""ISIC 2019: eight kinds of skin lesion, 25,331 training images, and the challenge's test images if they are there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.download import Download
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import attributes_of
from ltmed.data.readers._files import (
    Table,
    Tree,
    check_unrepeated,
    column,
    onehot,
    read_table,
    scan,
    stem,
    warn_of_counts,
)
from ltmed.data.readers._parts import normalised_ids
from ltmed.errors import UserError

TRAINING, TEST = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Test_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
COUNTS = (4522, 12875, 3323, 867, 2624, 239, 253, 628)
SITE = "https://isic-challenge-data.s3.amazonaws.com/2019"


class Entry(NamedTuple):
    """What the label files say about one image."""

    label: int
    part: str


class ISIC2019(DataModule):
    """25,331 dermoscopic images of 11,847 known lesions (2,084 more images have no lesion id)."""

    name = "isic2019"
    classes = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
    class_names = (
        "melanoma",
        "melanocytic nevus",
        "basal cell carcinoma",
        "actinic keratosis",
        "benign keratosis",
        "dermatofibroma",
        "vascular lesion",
        "squamous cell carcinoma",
    )
    group_name = "lesion"
    source = "https://challenge.isic-archive.com/data/#2019"
    licence = "CC BY-NC 4.0"
    published_counts = COUNTS
    downloads = (
        Download(f"{SITE}/{TRAINING}"),
        Download(f"{SITE}/{METADATA}"),
        Download(f"{SITE}/ISIC_2019_Training_Input.zip"),
    )
    layout = """\
  ISIC_2019_Training_Input/*.jpg           (in any folder below the root, or directly in it)
  ISIC_2019_Training_GroundTruth.csv
  ISIC_2019_Training_Metadata.csv          (lesions; needed by split=grouped)
  ISIC_2019_Test_Input/*.jpg  ISIC_2019_Test_GroundTruth.csv     (optional; needed by split=official)"""
    fetch = """
  for part in Training_Input.zip Training_GroundTruth.csv Training_Metadata.csv; do
    wget https://isic-challenge-data.s3.amazonaws.com/2019/ISIC_2019_$part; done && unzip ISIC_2019_Training_Input.zip
  optionally the same for Test_Input.zip and Test_GroundTruth.csv
  or: kaggle datasets download --unzip -d andrewmvd/isic-2019"""

    def read(self, root: Path) -> Manifest:
        """Reads the label tables and finds every listed image; rows are sorted by image id.

        Images of the class UNK ("none of the others"), which has no training image, are left out, and so are
        images that the official scorer leaves out (`score_weight` 0).

        Raises:
            UserError: no folder or label table, a table that contradicts itself, a listed image missing.
        """
        tree = scan(root, self.how_to_get())
        training, test = tree.file(TRAINING), tree.file(TEST)
        if training is None:
            raise UserError(f"{root / TRAINING} does not exist", self.how_to_get())
        entries = {name: Entry(label, "train") for name, label in self._labels(training).items()}
        warn_of_counts(self.name, training, [row.label for row in entries.values()], self.classes, COUNTS)
        tested = self._labels(test) if test else {}
        if any(name in tree.images for name in tested):
            if both := sorted(entries.keys() & tested.keys()):
                raise UserError(f"{test}: '{both[0]}' is a training image too", "Download both tables again.")
            entries |= {name: Entry(label, "test") for name, label in tested.items()}
        stems = sorted(entries)
        labels = np.array([entries[name].label for name in stems], dtype=np.int64)
        parts = np.array([entries[name].part for name in stems])
        lesions = self._lesions(tree, stems, parts == "train")
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(tree.locate(stems, labels.tolist(), self.classes, "Unpack all image archives there.")),
            labels=labels,
            classes=self.classes,
            class_names=self.class_names,
            groups=None if lesions is None else _groups(lesions, stems),
            group_name=self.group_name,
            group_source=f"{METADATA} (with its column lesion_id) to {root}",
            parts=None if np.all(parts == "train") else parts,
            sources=None if lesions is None else _sources(lesions),
            attributes=_attributes(tree, stems),
        )

    def _labels(self, path: Path) -> dict[str, int]:
        """Image id -> class of a one-hot table, without UNK and without images of weight 0."""
        table = read_table(path)
        ids = [stem(name) for name in column(table, path, "image")]
        check_unrepeated(ids, table)
        labels = onehot(table, path, ids, (*self.classes, "UNK") if "unk" in table else self.classes)
        scored = _scored(table)
        if unknown := labels.count(len(self.classes)):
            warnings.warn(f"{self.name}: {unknown} images of class UNK in {path} are left out", stacklevel=4)
        rows = zip(ids, labels, scored, strict=True)
        return {name: label for name, label, keep in rows if keep and label < len(self.classes)}

    def _lesions(self, tree: Tree, stems: list[str], training: np.ndarray) -> list[str] | None:
        """N lesion ids, "" where an image has none; None without a table of them."""
        path = tree.file(METADATA)
        table = read_table(path) if path else None
        if path is None or table is None or "lesion_id" not in table:
            return None
        listed = [stem(name) for name in column(table, path, "image")]
        check_unrepeated(listed, table)
        lesions = dict(zip(listed, normalised_ids(table["lesion_id"]), strict=True))
        if unlisted := sum(name not in lesions for name, known in zip(stems, training, strict=True) if known):
            warnings.warn(
                f"{self.name}: {unlisted} training images are not in {path}; each counts as a lesion of its own",
                stacklevel=4,
            )
        return [lesions.get(name) or "" for name in stems]


def _attributes(tree: Tree, stems: list[str]) -> dict[str, np.ndarray] | None:
    """Age, sex and site of the training images."""
    path = tree.file(METADATA)
    if path is None:
        return None
    table = read_table(path)
    return attributes_of(table, stems, [stem(name) for name in column(table, path, "image")])


def _groups(lesions: list[str], stems: list[str]) -> np.ndarray:
    """int64 `[N]`: lesion numbers; an image without a lesion id, or a test image, is a lesion of its own."""
    named = [lesion or f"image {name}" for lesion, name in zip(lesions, stems, strict=True)]
    return np.unique(named, return_inverse=True)[1]


def _sources(lesions: list[str]) -> np.ndarray:
    """Str `[N]`: the collection that a lesion id begins with (HAM, BCN, MSK); "" without an id."""
    return np.array([lesion.partition("_")[0] for lesion in lesions])


def _scored(table: Table) -> list[bool]:
    """Whether the official scorer counts each row; all of them where the table has no weights."""
    weights = []
    for row, cell in enumerate(table.get("score_weight", ["1"] * len(table.lines))):
        try:
            weights.append(float(cell) != 0)
        except ValueError:
            raise UserError(
                f"{table.where(row)}: score_weight '{cell}' is no number", "Correct or remove that row."
            ) from None
    return weights
