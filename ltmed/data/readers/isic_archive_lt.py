"""ISIC-Archive-LT: fourteen kinds of skin lesion from the ISIC archive, by a list of image ids and labels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import (
    Table,
    Tree,
    check_unrepeated,
    column,
    onehot,
    part_of,
    read_table,
    scan,
    stem,
    warn_of_counts,
)
from ltmed.data.readers._groups import connected, normalised_ids
from ltmed.errors import UserError, suggest

LISTS = {
    "train": ("training.csv", "train.csv"),
    "val": ("validation.csv", "val.csv"),
    "test": ("testing.csv", "test.csv"),
}
LIST = "labels.csv"
COUNTS = (869, 14, 15, 3393, 384, 246, 32, 27, 4522, 12875, 656, 1464, 270, 253)
METADATA = ("metadata.csv", "ISIC_2019_Training_Metadata.csv")


class Entry(NamedTuple):
    """What the lists say about one image."""

    label: int
    part: str


class ISICArchiveLT(DataModule):
    """25,020 dermoscopic images in the selection of LMD's authors; any other list of archive ids works too."""

    name = "isic_archive_lt"
    classes = ("AK", "AMP", "AN", "BCC", "BKL", "DF", "LK", "LS", "MEL", "NV", "SCC", "SK", "SL", "VASC")
    class_names = (
        "actinic keratosis",
        "atypical melanocytic proliferation",
        "angioma",
        "basal cell carcinoma",
        "pigmented benign keratosis",
        "dermatofibroma",
        "lichenoid keratosis",
        "lentigo simplex",
        "melanoma",
        "nevus",
        "squamous cell carcinoma",
        "seborrheic keratosis",
        "solar lentigo",
        "vascular lesion",
    )
    group_name = "lesion"
    source = "https://www.isic-archive.com"
    licence = "differs from image to image: CC0, CC BY or CC BY-NC; metadata.csv says which"
    published_counts = COUNTS
    layout = """\
  training.csv  validation.csv  testing.csv     (LMD's lists: image and one column of 0 and 1 per class), or
  labels.csv                                    (image,label[,split], or one column per class)
  **/<image>.jpg or .JPG                        (in any folder)
  metadata.csv                                  (isic_id,lesion_id[,patient_id], from isic-cli; needed by split=grouped)
  ISIC_2019_Training_Metadata.csv               (instead or too; knows the lesions of two thirds of LMD's images)"""
    fetch = """
  the lists come with the released code of LMD (split/ISIC_Archive); without a list the data set is not defined
  pip install isic-cli, then 'isic metadata download' and 'isic image download' for the ids in the lists;
  a search by diagnosis gives other images, because the archive has grown and renamed its diagnoses"""

    def read(self, root: Path) -> Manifest:
        """Reads the lists and finds every listed image; rows are sorted by image id.

        Raises:
            UserError: no folder or list, lists that contradict each other, listed images missing (with a count per
                class: none is ever left out silently).
        """
        tree = scan(root, self.how_to_get())
        entries = self._parts(tree) or self._single(tree)
        stems = sorted(entries)
        labels = np.array([entries[name].label for name in stems], dtype=np.int64)
        parts = np.array([entries[name].part for name in stems])
        groups, unit = self._groups(tree, stems)
        hint = "Fetch them by id, or take their rows out of the lists to go on without them."
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(tree.locate(stems, labels.tolist(), self.classes, hint)),
            labels=labels,
            classes=self.classes,
            class_names=self.class_names,
            groups=groups,
            group_name=unit,
            group_source=f"{' or '.join(METADATA)} (with a column lesion_id) to {root}",
            parts=None if np.all(parts == "") else parts,
        )

    def _parts(self, tree: Tree) -> dict[str, Entry]:
        """One list per part."""
        paths = {part: tree.file(*names) for part, names in LISTS.items()}
        if paths["train"] is None and paths["test"] is None:
            return {}
        entries: dict[str, Entry] = {}
        for part, path in paths.items():
            if path is not None:
                ids, labels, _ = self._list(path)
                if both := sorted(entries.keys() & set(ids)):
                    raise UserError(
                        f"{path}: '{both[0]}' is in the {entries[both[0]].part} list too ({len(both)} such images)",
                        "An image may be in one list only.",
                    )
                entries |= {name: Entry(label, part) for name, label in zip(ids, labels, strict=True)}
            elif part != "val":
                raise UserError(f"{tree.root / LISTS[part][0]} does not exist, though another list does", self.fetch)
        first = paths["train"]
        assert first is not None
        warn_of_counts(self.name, first.parent, [row.label for row in entries.values()], self.classes, COUNTS)
        return entries

    def _single(self, tree: Tree) -> dict[str, Entry]:
        """One list, perhaps with the part of each image."""
        path = tree.file(LIST)
        if path is None:
            raise UserError(
                f"{tree.root} has no list of images: neither {LISTS['train'][0]} nor {LIST}", self.how_to_get()
            )
        ids, labels, table = self._list(path)
        texts = table.get("split", [""] * len(ids))
        parts = [part_of(text, table.where(row)) for row, text in enumerate(texts)]
        warn_of_counts(self.name, path, labels, self.classes, COUNTS)
        return {name: Entry(label, part) for name, label, part in zip(ids, labels, parts, strict=True)}

    def _list(self, path: Path) -> tuple[list[str], list[int], Table]:
        """Image ids and classes of a list with a column `label`, or with one column per class."""
        table = read_table(path)
        ids = [stem(name) for name in column(table, path, "image", "isic_id")]
        check_unrepeated(ids, table)
        if "label" not in table:
            return ids, onehot(table, path, ids, self.classes), table
        index_of = {name.lower(): k for names in (self.classes, self.class_names) for k, name in enumerate(names)}
        for row, name in enumerate(table["label"]):
            if name.lower() not in index_of:
                raise UserError(
                    f"{table.where(row)}: '{name}' is not a class of {self.name}", suggest(name.lower(), index_of)
                )
        return ids, [index_of[name.lower()] for name in table["label"]], table

    def _groups(self, tree: Tree, stems: list[str]) -> tuple[np.ndarray | None, str]:
        """int64 `[N]`: images that share a lesion or a patient, directly or through others, have one number."""
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(stems):
            rows_of.setdefault(name.removesuffix("_downsampled"), []).append(row)
        links: dict[str, list[tuple[int, str]]] = {"lesion_id": [], "patient_id": []}
        for path in (tree.file(name) for name in METADATA):
            if path is None:
                continue
            table = read_table(path)
            units = {"lesion_id": column(table, path, "lesion_id"), "patient_id": table.get("patient_id", [])}
            names = [stem(name).removesuffix("_downsampled") for name in column(table, path, "isic_id", "image")]
            for unit, cells in units.items():
                ids = zip(names, normalised_ids(cells), strict=False)
                links[unit] += [(row, cell) for name, cell in ids if cell for row in rows_of.get(name, ())]
        has_id = {row for pairs in links.values() for row, _ in pairs}
        if not has_id:
            return None, self.group_name
        if unknown := len(stems) - len(has_id):
            warnings.warn(
                f"{self.name}: {unknown} of {len(stems)} images have no lesion id; each counts as a lesion of its own",
                stacklevel=4,
            )
        unit = "patient" if links["patient_id"] else self.group_name
        return connected(len(stems), links.values()), unit
