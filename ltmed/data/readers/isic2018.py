"""ISIC 2018 task 3 = HAM10000: seven kinds of skin lesion, in the five folder layouts that are in use."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.download import Download
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import attributes_of
from ltmed.data.readers._files import Tree, class_folders, column, onehot, read_list, read_rows, read_table, scan, stem
from ltmed.data.readers._parts import normalised_ids
from ltmed.errors import UserError, suggest

TRAINING = "ISIC2018_Task3_Training_GroundTruth.csv"
VALIDATION = "ISIC2018_Task3_Validation_GroundTruth.csv"
TEST = "ISIC2018_Task3_Test_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
FOLDS = 5


class Entry(NamedTuple):
    """What the label files say about one image."""

    label: int
    part: str = "train"
    fold: int = -1


class ISIC2018(DataModule):
    """10,015 dermoscopic images of 7,470 lesions, optionally with the challenge's validation and test images."""

    name = "isic2018"
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    class_names = (
        "melanoma",
        "melanocytic nevus",
        "basal cell carcinoma",
        "actinic keratosis / Bowen's disease",
        "benign keratosis-like lesion",
        "dermatofibroma",
        "vascular lesion",
    )
    group_name = "lesion"
    source = "https://challenge.isic-archive.com/data/#2018"
    licence = "CC BY-NC 4.0"
    published_counts = (1113, 6705, 514, 327, 1099, 115, 142)
    downloads = tuple(
        Download(f"https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task3_{file}")
        for file in (
            "Training_LesionGroupings.csv",
            "Training_GroundTruth.zip",
            "Training_Input.zip",
            "Validation_GroundTruth.zip",
            "Validation_Input.zip",
            "Test_GroundTruth.zip",
            "Test_Input.zip",
        )
    )
    layout = """\
  A  ISIC2018_Task3_Training_Input/*.jpg
     ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv (or beside the folders)
     ISIC2018_Task3_Training_LesionGroupings.csv          (lesions; needed by split=grouped)
     the same folders and csv files with Validation and Test in place of Training   (optional)
     or images/*.jpg  GroundTruth.csv
  B  HAM10000_images_part_1/*.jpg  HAM10000_images_part_2/*.jpg  HAM10000_metadata.csv
  C  ISIC2018_Task3_Training_Input/*.jpg  split_data/split_data_{1..5}_fold_{train,test}.csv
  D  train.txt  test.txt  split/**/*.jpg                  (lines "path class-number", order MEL NV BCC ...)
  E  train/<class>/*.jpg  test/<class>/*.jpg
  C, D and E learn the lesions from the LesionGroupings or HAM10000_metadata csv, if you add it."""
    fetch = """
  for part in Training_Input.zip Training_GroundTruth.zip Training_LesionGroupings.csv; do
    wget https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task3_$part; done && unzip '*.zip'
  or (layout B): kaggle datasets download --unzip -d kmader/skin-cancer-mnist-ham10000"""

    def read(self, root: Path) -> Manifest:
        """Reads the label files of whichever layout is there and finds every listed image.

        Rows are sorted by image id, so that all layouts of the same images are divided in the same way.

        Raises:
            UserError: no folder, no known layout, a label file that contradicts itself, a listed image missing.
        """
        tree = scan(root, self.how_to_get())
        training = tree.file(TRAINING, "GroundTruth.csv")
        entries = self._folds(tree) or self._challenge(tree, training) or self._lists(tree)
        entries = entries or self._class_folders(root) or self._challenge(tree, tree.file(*METADATA))
        if not entries:
            raise UserError(_missing_label_file(tree), self.how_to_get())
        # In the test labels, but the official scorer leaves it out and some copies lack the image.
        entries.pop("isic_0035068", None)
        stems = sorted(entries)
        rows = [entries[name] for name in stems]
        labels = np.array([row.label for row in rows], dtype=np.int64)
        parts, folds = np.array([row.part for row in rows]), np.array([row.fold for row in rows], dtype=np.int64)
        images = tree.locate(stems, labels.tolist(), self.classes, "Unpack all image archives there.")
        groups = self._lesions(tree, stems, parts == "train")
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(images),
            labels=labels,
            classes=self.classes,
            class_names=self.class_names,
            groups=groups,
            group_name=self.group_name,
            group_source=f"{GROUPINGS} (or HAM10000_metadata.csv) to {root}",
            parts=None if np.all(parts == "train") else parts,
            folds=None if np.all(folds < 0) else folds,
            attributes=_attributes(tree, stems),
        )

    def _challenge(self, tree: Tree, training: Path | None) -> dict[str, Entry]:
        """Layouts A and B: a table of the training images, and of the validation and test images that are there."""
        if training is None:
            return {}
        entries: dict[str, Entry] = {}
        for part, path in (("train", training), ("val", tree.file(VALIDATION)), ("test", tree.file(TEST))):
            if path is None:
                continue
            ids, labels = self._table(path)
            if part != "train" and not any(name in tree.images for name in ids):
                continue
            _add(entries, path, ((name, Entry(label, part)) for name, label in zip(ids, labels, strict=True)))
            if part == "train":
                self._compare_counts(path, labels)
        return entries

    def _table(self, path: Path) -> tuple[list[str], list[int]]:
        """Image stems and labels of a one-hot table or a HAM10000 one (column `dx`)."""
        table = read_table(path)
        ids = [stem(name) for name in column(table, path, "image", "image_id")]
        if "dx" in table:
            return ids, [self._index(name, path) for name in table["dx"]]
        return ids, onehot(table, path, ids, self.classes)

    def _folds(self, tree: Tree) -> dict[str, Entry]:
        """Layout C: five pairs of lists; the test lists say which fold an image belongs to."""
        names = [f"split_data_{fold + 1}_fold_{part}.csv" for fold in range(FOLDS) for part in ("train", "test")]
        found = [path for name in names if (path := tree.file(name))]
        if not found:
            return {}
        entries: dict[str, Entry] = {}
        lists: dict[str, dict[str, int]] = {}
        for name in names:
            path = found[0].parent / name
            if tree.file(name) is None:
                raise UserError(f"{path} does not exist, though other files of its kind do", self.how_to_get())
            lists[name] = {image: self._number(number, path) for image, number in _pairs(path)}
        for fold in range(FOLDS):
            name = f"split_data_{fold + 1}_fold_test.csv"
            _add(entries, found[0].parent / name, ((i, Entry(n, fold=fold)) for i, n in lists[name].items()))
        for fold in range(FOLDS):
            train, test = (lists[f"split_data_{fold + 1}_fold_{part}.csv"] for part in ("train", "test"))
            in_both = train.keys() & test.keys()
            neither = entries.keys() - train.keys() - test.keys() | train.keys() - entries.keys()
            if in_both or neither:
                raise UserError(
                    f"{found[0].parent}: fold {fold + 1} has {len(in_both)} images in both of its lists and "
                    f"{len(neither)} that only other folds have ({', '.join(sorted(in_both | neither)[:5])})",
                    "Get the ten lists from one source.",
                )
        self._compare_counts(found[0], [entry.label for entry in entries.values()])
        self._check_order(found[0], entries)
        return entries

    def _lists(self, tree: Tree) -> dict[str, Entry]:
        """Layout D: `train.txt` and `test.txt` with class numbers."""
        entries: dict[str, Entry] = {}
        paths = {part: tree.root / f"{part}.txt" for part in ("train", "val", "test")}
        if not any(path.is_file() for path in paths.values()):
            return {}
        for part, path in paths.items():
            if path.is_file():
                pairs = ((stem(name), self._number(number, path)) for name, number in read_list(path))
                _add(entries, path, ((name, Entry(label, part)) for name, label in pairs))
            elif part != "val":
                raise UserError(f"{path} does not exist, though another list does", self.how_to_get())
        self._compare_counts(paths["train"].parent, [entry.label for entry in entries.values()])
        self._check_order(paths["train"].parent, entries)
        return entries

    def _class_folders(self, root: Path) -> dict[str, Entry]:
        """Layout E: one folder per part, in it one per class, named by code or full name."""
        entries: dict[str, Entry] = {}
        aliases = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
        folders = {part: [root / name for name in names if (root / name).is_dir()] for part, names in aliases.items()}
        if not folders["train"] and not folders["test"]:
            return {}
        for part, paths in folders.items():
            if not paths and part != "val":
                raise UserError(f"{root / part} does not exist, though another part does", self.how_to_get())
            for path in paths:
                for folder, images in class_folders(path).items():
                    label = self._index(folder, path)
                    _add(entries, path / folder, ((stem(image), Entry(label, part)) for image in images))
        self._compare_counts(root, [entry.label for entry in entries.values()])
        return entries

    def _lesions(self, tree: Tree, stems: list[str], training: np.ndarray) -> np.ndarray | None:
        """int64 `[N]`: lesion numbers from every file that has them; an image without one is a lesion of its own."""
        lesions: dict[str, str] = {}
        for path in (tree.file(*METADATA), tree.file(GROUPINGS), tree.file(VALIDATION), tree.file(TEST)):
            table = read_table(path) if path else {}
            if path and "lesion_id" in table:
                ids = map(stem, column(table, path, "image", "image_id"))
                lesions |= {
                    image: cell for image, cell in zip(ids, normalised_ids(table["lesion_id"]), strict=True) if cell
                }
        named = np.array([name in lesions for name in stems])
        if not named.any():
            return None
        if unknown := int((training & ~named).sum()):
            warnings.warn(
                f"{self.name}: {unknown} training images have no lesion id; each counts as a lesion of its own",
                stacklevel=4,
            )
        return np.unique([lesions.get(name, f"image {name}") for name in stems], return_inverse=True)[1]

    def _index(self, name: str, path: Path) -> int:
        index_of = {text.lower(): k for names in (self.classes, self.class_names) for k, text in enumerate(names)}
        plain = name.lower().replace("_", " ").strip()
        if plain not in index_of:
            raise UserError(f"{path}: '{name}' is not a class of {self.name}", suggest(plain, index_of))
        return index_of[plain]

    def _number(self, number: int, path: Path) -> int:
        if number >= len(self.classes):
            raise UserError(
                f"{path}: class number {number} does not exist", f"0 to {len(self.classes) - 1} are {self.classes}."
            )
        return number

    def _check_order(self, path: Path, entries: dict[str, Entry]) -> None:
        """Class numbers have no names: a head class that is not where it belongs shows another order."""
        counts = np.bincount([entry.label for entry in entries.values()], minlength=len(self.classes))
        if 2 * counts[1] < counts.max():
            raise UserError(
                f"{path}: class 1 has {counts[1]} images and class {counts.argmax()} has {counts.max()}, so the "
                f"numbers are not in the order {', '.join(self.classes)} (1 = NV is the most frequent)",
                "Renumber the lists, or use dataset=manifest with your own class order.",
            )

    def _compare_counts(self, path: Path, labels: list[int]) -> None:
        """Warns where the number of images is not the published one (one circulating table has one per lesion)."""
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        if tuple(counts) != self.published_counts:
            classes = zip(self.classes, counts, self.published_counts, strict=True)
            differing = ", ".join(f"{code} {count} of {known}" for code, count, known in classes if count != known)
            warnings.warn(
                f"{self.name}: {path} has {sum(counts)} images, not {sum(self.published_counts)}: {differing}",
                stacklevel=5,
            )


def _attributes(tree: Tree, stems: list[str]) -> dict[str, np.ndarray] | None:
    """Age, sex and localization, which only the HAM10000 table has."""
    path = tree.file(*METADATA)
    if path is None:
        return None
    table = read_table(path)
    return attributes_of(table, stems, [stem(name) for name in column(table, path, "image", "image_id")])


def _add(entries: dict[str, Entry], path: Path, more: Iterable[tuple[str, Entry]]) -> None:
    """Adds images to `entries`; an image that is there with another label, part or fold is an error."""
    for name, entry in more:
        if entries.setdefault(name, entry) != entry:
            raise UserError(
                f"{path}: {name} is listed twice: {entries[name]} and {entry}",
                "An image may have one class and be in one part only; correct the label files.",
            )


def _pairs(path: Path) -> list[tuple[str, int]]:
    """Image stem and class number from the last two columns: both variants, with and without an index column."""
    rows = read_rows(path)
    if rows and not rows[0][-1].isdecimal():
        rows = rows[1:]
    for row in rows:
        if len(row) < 2 or not row[-1].isdecimal():
            raise UserError(f"{path}: '{','.join(row)}' does not end in 'path,number'", "Correct that line.")
    return [(stem(row[-2]), int(row[-1])) for row in rows]


def _missing_label_file(tree: Tree) -> str:
    """Names the file that is missing, as far as the image folders tell which layout was meant."""
    folders = {folder.lower() for path in tree.images.values() for folder in path.split("/")[:-1]}
    if any(folder.startswith("isic2018_task3_training_input") for folder in folders):
        return f"{tree.root / 'ISIC2018_Task3_Training_GroundTruth' / TRAINING} does not exist"
    if any(folder.startswith("ham10000_images") for folder in folders):
        return f"{tree.root / METADATA[0]} does not exist"
    names = (f"ISIC2018_Task3_Training_GroundTruth/{TRAINING}", METADATA[0], "split_data/", "train.txt", "train/")
    return f"{tree.root} has no label file of a known layout: none of {', '.join(names)} exists"
