"""File names and labels of the lists of NIH-CXR-LT, MIMIC-CXR-LT and the CXR-LT challenges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


def _several(labels: str, train: str, val: str, test: str) -> Lists:
    return Lists(tuple(labels.split(", ")), {"train": (train,), "val": (val,), "test": (test,)})


def _single(labels: str, *stems: str) -> Lists:
    parts = {"train": "train", "val": "balanced-val", "test": "test", "balanced": "balanced-test"}
    files = {part: tuple(f"{stem}_single-label_{end}.csv" for stem in stems) for part, end in parts.items()}
    return Lists(tuple(labels.split(", ")), files, single=True, balanced=files["balanced"])


_2024 = ", ".join(sorted([*_OF_2023.replace("No Finding", "Normal").split(", "), *_ADDED_IN_2024.split(", ")]))
LISTS = {
    "nih": _several(_NIH, *(f"miccai2023_nih-cxr-lt_labels_{part}.csv" for part in ("train", "val", "test"))),
    "nih_single": _single(_NIH, "nih-cxr-lt", "nih-lt"),
    "mimic": _several(_MIMIC, *(f"miccai2023_mimic-cxr-lt_labels_{part}.csv" for part in ("train", "val", "test"))),
    "mimic_single": _single(_MIMIC, "mimic-cxr-lt", "mimic-lt"),
    "cxr_lt_2023": _several(_OF_2023, "train.csv", "development.csv", "test.csv"),
    "cxr_lt_2024": _several(_2024, "train_labeled.csv", "development_labeled_task1.csv", "test_labeled_task1.csv"),
    "cxr_lt_2024_task2": _several(
        _OF_2023.replace("No Finding", "Normal"),
        *("train_labeled.csv", "development_labeled_task2.csv", "test_labeled_task2.csv"),
    ),
}
"""`dataset.lists` -> its files and labels."""
