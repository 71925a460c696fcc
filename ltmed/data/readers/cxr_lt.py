"""Long-tailed chest radiographs: the lists of NIH-CXR-LT, MIMIC-CXR-LT and the CXR-LT challenges.

G. Holste et al., "Long-Tailed Classification of Thorax Diseases on Chest X-Ray", MICCAI workshop DALI 2022 (one label
per image), and "How Does Pruning Impact Long-Tailed Multi-Label Medical Image Classifiers?", MICCAI 2023 (several).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import Tree, column, onehot, read_table, scan, stem
from ltmed.data.readers._multilabel import located, read_columns, require_known_absences, require_rules, without_absence
from ltmed.data.readers._parts import squashed
from ltmed.data.readers._tables import Table, check_unrepeated
from ltmed.errors import UserError, require_choice

NOT_FINDINGS = ("Support Devices",)
"""Labels that may be present beside No Finding."""
_NIH = (
    "No Finding, Infiltration, Effusion, Atelectasis, Nodule, Mass, Consolidation, Pneumothorax, Pleural Thickening, "
    "Cardiomegaly, Emphysema, Edema, Fibrosis, Subcutaneous Emphysema, Pneumonia, Tortuous Aorta, "
    "Calcification of the Aorta, Pneumoperitoneum, Hernia, Pneumomediastinum"
)
_MIMIC = (
    "Support Devices, Lung Opacity, Cardiomegaly, Pleural Effusion, Atelectasis, Pneumonia, Edema, No Finding, "
    "Enlarged Cardiomediastinum, Consolidation, Pneumothorax, Fracture, Calcification of the Aorta, Tortuous Aorta, "
    "Subcutaneous Emphysema, Lung Lesion, Pneumomediastinum, Pneumoperitoneum, Pleural Other"
)
_OF_2023 = (
    "Atelectasis, Calcification of the Aorta, Cardiomegaly, Consolidation, Edema, Emphysema, "
    "Enlarged Cardiomediastinum, Fibrosis, Fracture, Hernia, Infiltration, Lung Lesion, Lung Opacity, Mass, "
    "No Finding, Nodule, Pleural Effusion, Pleural Other, Pleural Thickening, Pneumomediastinum, Pneumonia, "
    "Pneumoperitoneum, Pneumothorax, Subcutaneous Emphysema, Support Devices, Tortuous Aorta"
)
_ADDED_IN_2024 = (
    "Adenopathy, Azygos Lobe, Clavicle Fracture, Fissure, Granuloma, Hydropneumothorax, Infarction, Kyphosis, "
    "Lobar Atelectasis, Pulmonary Embolism, Pulmonary Hypertension, Rib Fracture, Round(ed) Atelectasis, Tuberculosis"
)


@dataclass(frozen=True)
class Lists:
    """The lists of one benchmark."""

    labels: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    """Part -> file names, the first that is there."""
    single: bool = False
    """Whether an image has exactly one label."""
    balanced: tuple[str, ...] = field(default=())
    """The balanced test list."""


def _multilabel(labels: str, train: str, val: str, test: str) -> Lists:
    return Lists(tuple(labels.split(", ")), {"train": (train,), "val": (val,), "test": (test,)})


def _single(labels: str, *stems: str) -> Lists:
    parts = {"train": "train", "val": "balanced-val", "test": "test", "balanced": "balanced-test"}
    files = {part: tuple(f"{stem}_single-label_{end}.csv" for stem in stems) for part, end in parts.items()}
    return Lists(tuple(labels.split(", ")), files, single=True, balanced=files["balanced"])


_2024 = ", ".join(sorted([*_OF_2023.replace("No Finding", "Normal").split(", "), *_ADDED_IN_2024.split(", ")]))
LISTS = {
    "nih": _multilabel(_NIH, *(f"miccai2023_nih-cxr-lt_labels_{part}.csv" for part in ("train", "val", "test"))),
    "nih_single": _single(_NIH, "nih-cxr-lt", "nih-lt"),
    "mimic": _multilabel(_MIMIC, *(f"miccai2023_mimic-cxr-lt_labels_{part}.csv" for part in ("train", "val", "test"))),
    "mimic_single": _single(_MIMIC, "mimic-cxr-lt", "mimic-lt"),
    "cxr_lt_2023": _multilabel(_OF_2023, "train.csv", "development.csv", "test.csv"),
    "cxr_lt_2024": _multilabel(_2024, "train_labeled.csv", "development_labeled_task1.csv", "test_labeled_task1.csv"),
    "cxr_lt_2024_task2": _multilabel(
        _OF_2023.replace("No Finding", "Normal"),
        *("train_labeled.csv", "development_labeled_task2.csv", "test_labeled_task2.csv"),
    ),
}
"""`dataset.lists` -> its files and labels."""
_IMAGES = ("path", "fpath", "id", "dicom_id")
_PATIENTS = ("subj_id", "subject_id")


class CxrLt(DataModule):
    """The images of ChestX-ray14 or MIMIC-CXR-JPG with the labels and parts of one of the lists.

    Args:
        lists: which lists, one of `LISTS`.
        no_finding: `label` keeps No Finding (Normal) as one of the labels, `absence` makes it the absence of the
            others; only of lists with several labels.
        balanced_test: of the lists with one label, tests on the balanced test list.
        on_bad_image: `skip` also leaves out listed images that are not there.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; a setting that does not exist, or that the lists do not have.
    """

    name = "cxr_lt"
    group_name = "patient"
    source = (
        "https://nihcc.app.box.com/v/ChestXray-NIHCC (images, folders LongTailCXR and PruneCXR), "
        "https://physionet.org/content/cxr-lt-iccv-workshop-cvamd and https://physionet.org/content/mimic-cxr-jpg"
    )
    licence = "NIH: free to use with attribution; MIMIC-CXR: PhysioNet Credentialed Health Data License"
    layout = """\
  dataset.lists=nih: miccai2023_nih-cxr-lt_labels_{train,val,test}.csv (others: docs/reference/datasets.md)
  and the images in any folders"""
    fetch = "download lists and images from the addresses above into one folder; MIMIC-CXR needs a PhysioNet account"

    def __init__(
        self,
        *,
        lists: str = "nih",
        no_finding: str = "label",
        balanced_test: bool = False,
        on_bad_image: str = "error",
        **common: Any,
    ) -> None:
        require_choice("dataset.lists", lists, tuple(LISTS))
        require_rules("ignore", no_finding, "keep")
        if LISTS[lists].single and no_finding == "absence":
            raise UserError(
                f"dataset.no_finding=absence, but dataset.lists={lists} has one label per image",
                "Use dataset.no_finding=label.",
            )
        if balanced_test and not LISTS[lists].single:
            single = ", ".join(name for name, entry in LISTS.items() if entry.single)
            raise UserError(f"dataset.lists={lists} has no balanced test list", f"{single} have one.")
        self.lists, self.no_finding, self.balanced_test = lists, no_finding, balanced_test
        self.skip_missing = on_bad_image == "skip"
        super().__init__(on_bad_image=on_bad_image, **common)

    def read(self, root: Path) -> Manifest:
        """Reads the lists of the parts, and finds the images by their names.

        Raises:
            UserError: no folder, a missing list, column or image, an image in two lists, a cell that is no label.
        """
        tree, lists = scan(root, self.how_to_get()), LISTS[self.lists]
        tables = {part: self._table(tree, part, lists) for part in ("train", "val", "test")}
        names = [[stem(name) for name in column(table, path, *_IMAGES)] for path, table in tables.values()]
        classes, labels = self._labels(tables, names, lists)
        images = np.concatenate(names)
        part_of_row = np.repeat(list(tables), [len(part) for part in names])
        _require_one_part(images.tolist(), part_of_row.tolist(), tree.root)
        patients = np.concatenate([_patients(table, path) for path, table in tables.values()])
        order = np.argsort(images, kind="stable")
        hint = "Unpack the images there, or leave these rows out with dataset.on_bad_image=skip."
        paths, present = located([str(images[row]) for row in order], tree.images, root, hint, skip=self.skip_missing)
        order, missing = order[present], int((~present).sum())
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(paths),
            labels=labels[order],
            classes=classes,
            class_names=tuple(name.replace("_", " ").lower() for name in classes),
            groups=np.unique(patients[order], return_inverse=True)[1].astype(np.int64),
            group_name=self.group_name,
            parts=part_of_row[order],
            notes=(f"{missing:,} listed images are not there and are left out",) if missing else (),
        )

    def _table(self, tree: Tree, part: str, lists: Lists) -> tuple[Path, Table]:
        names = lists.balanced if part == "test" and self.balanced_test else lists.files[part]
        path = tree.file(*names)
        if path is None:
            raise UserError(
                f"{tree.root} has no {names[0]}, the {part} list of dataset.lists={self.lists}", self.how_to_get()
            )
        return path, read_table(path)

    def _labels(
        self, tables: dict[str, tuple[Path, Table]], names: list[list[str]], lists: Lists
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Labels in their order, and int64 `[N]` or float32 `[N, K]`."""
        labels: list[np.ndarray] = []
        classes = lists.labels
        for (path, table), listed in zip(tables.values(), names, strict=True):
            check_unrepeated(listed, table)
            plain = {squashed(name): name for name in table}
            headers = [plain.get(squashed(label), label) for label in lists.labels]
            if lists.single:
                labels.append(np.array(onehot(table, path, listed, headers), np.int64))
                continue
            values = read_columns([column(table, path, name) for name in headers], lists.labels, table.where)
            if self.no_finding == "absence":
                classes, values = without_absence(lists.labels, values, table.where, besides=NOT_FINDINGS)
            require_known_absences(values, classes, table.where)
            labels.append(values)
        return classes, np.concatenate(labels)


def _require_one_part(images: list[str], parts: list[str], root: Path) -> None:
    first: dict[str, str] = {}
    for name, part in zip(images, parts, strict=True):
        if first.setdefault(name, part) != part:
            raise UserError(f"'{name}' is in the {first[name]} and in the {part} list of {root}", "Get them again.")


def _patients(table: Table, path: Path) -> np.ndarray:
    """The id of the patient of each row; NIH's image names begin with it, and its lists may have no column."""
    if any(name in table for name in _PATIENTS):
        return np.array(column(table, path, *_PATIENTS))
    images = column(table, path, *_PATIENTS[:1], "id")
    return np.array([name.rpartition("/")[2].partition("_")[0] for name in images])
