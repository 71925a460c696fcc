"""Chest X-rays: normal, pneumonia, COVID-19, from three kinds of source (see `_chestxray`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._chestxray import SCHEMES, UNKNOWN, XRay, covidx, folders, rsna_covid, scheme_of
from ltmed.data.readers._files import scan, stem, warn_of_counts
from ltmed.errors import UserError

NAMES = {
    "normal": "no finding",
    "pneumonia": "pneumonia, not COVID-19",
    "COVID-19": "COVID-19",
    "negative": "no COVID-19",
    "positive": "COVID-19",
    "level1": "COVID-19, lower severity",
    "level2": "COVID-19, higher severity",
    "bacteria": "bacterial pneumonia",
    "viral": "viral pneumonia, not COVID-19",
}
COUNTS = {
    "1": (8066, 5535, 76),
    "2": (8066, 5551, 183),
    "3": (8066, 5551, 353),
    "5": (8066, 5575, 617),
    "6": (13894, 617),
    "7A": (8066, 5575, 1770),
    "7B": (13894, 1770),
    "8A": (8066, 5575, 2358),
    "8B": (13994, 2358),
    "9A": (8185, 5655, 16690),
    "9B": (14192, 16690),
    "CXR-3A": (8185, 5655, 16194),
}
"""Images per class of COVIDx versions, training and test part together, without the repeated lines of version 1."""


class ChestXrayCOVID(DataModule):
    """Chest X-rays of COVIDx, of RSNA with COVID images, or of three class folders, whichever is there.

    Args:
        version: of the COVIDx lists ("2", "5", "9A", ...); null takes the only ones that are there.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`.
    """

    name = "chestxray_covid"
    classes = SCHEMES[0]
    class_names = tuple(NAMES[code] for code in SCHEMES[0])
    group_name = "patient"
    source = "https://github.com/lindawangg/COVID-Net (docs/COVIDx.md)"
    licence = "lists of COVID-Net AGPL-3.0; images of several sources, each with its own licence"
    layout = """\
  COVIDx   labels/train_COVIDx5.txt  labels/test_COVIDx5.txt  data/train/*  data/test/*   (any version), or
           train.txt  test.txt  train/*  test/*                                           (Kaggle's)
  RSNA     stage_2_detailed_class_info.csv  stage_2_train_images/*.dcm (or .png)  and
           covid-chestxray-dataset/metadata.csv  covid-chestxray-dataset/images/*
  folders  Covid-19/*  No_findings/*  Pneumonia/*    (patient: the number before '_' of the name, or metadata.csv),
           also in train/ and test/"""
    fetch = """
  COVIDx:  git clone https://github.com/lindawangg/COVID-Net
           kaggle datasets download --unzip -d andyczhao/covidx-cxr2     (version 9)
  RSNA:    kaggle competitions download -c rsna-pneumonia-detection-challenge
           git clone https://github.com/ieee8023/covid-chestxray-dataset"""

    def __init__(self, *, version: str | int | None = None, **common: Any) -> None:
        self.version = None if version is None else str(version)
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Reads whichever source is there, in the order COVIDx, RSNA, folders.

        Raises:
            UserError: no folder, no known source, a label file that contradicts itself, a listed image missing.
        """
        tree = scan(root, self.how_to_get())
        listed = covidx(tree, self.version, self.how_to_get())
        rays = listed[1] if listed else rsna_covid(tree, self.how_to_get()) or folders(tree)
        if not rays:
            raise UserError(f"{root} has no lists of COVIDx, no tables of RSNA and no class folders", self.how_to_get())
        rays = sorted(rays, key=lambda ray: (stem(ray.image), ray.image))
        classes = scheme_of(ray.code for ray in rays)
        labels = np.array([classes.index(ray.code) for ray in rays], dtype=np.int64)
        published = COUNTS.get(listed[0]) if listed else None
        if published and len(published) == len(classes):
            warn_of_counts(self.name, root, labels.tolist(), classes, published)
        sources = np.array([ray.source for ray in rays])
        self._warn_of_sources(labels, sources, classes)
        parts = np.array([ray.part for ray in rays])
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(ray.image for ray in rays),
            labels=labels,
            classes=classes,
            class_names=tuple(NAMES[code] for code in classes),
            groups=self._groups(rays),
            group_name=self.group_name,
            parts=None if np.all(parts == "train") else parts,
            sources=sources,
        )

    def _groups(self, rays: Sequence[XRay]) -> np.ndarray:
        """int64 `[N]`: patients; an image of an unknown one counts as a patient of its own."""
        unknown = sum(not ray.patient for ray in rays)
        if unknown:
            warnings.warn(
                f"{self.name}: {unknown} images have no patient id; each counts as a patient of its own",
                stacklevel=4,
            )
        patients = [ray.patient or f"image {ray.image}" for ray in rays]
        return np.unique(patients, return_inverse=True)[1].astype(np.int64)

    def _warn_of_sources(self, labels: np.ndarray, sources: np.ndarray, classes: Sequence[str]) -> None:
        """Warns where two classes have less than half of their sources in common: a network can learn the source."""
        names, source_of = np.unique(sources, return_inverse=True)
        table = np.zeros((len(classes), len(names)), dtype=np.int64)
        np.add.at(table, (labels, source_of), 1)
        shares = table / np.maximum(table.sum(1, keepdims=True), 1)
        common = np.minimum(shares[:, None], shares[None]).sum(2)[np.ix_(*[np.flatnonzero(table.sum(1))] * 2)]
        if common.min() < 0.5 and set(names.tolist()) != {UNKNOWN}:
            rows = (
                f"{code}: " + ", ".join(f"{name} {number}" for name, number in zip(names, row, strict=True) if number)
                for code, row in zip(classes, table.tolist(), strict=True)
            )
            warnings.warn(
                f"{self.name}: the classes come from different sources, which a network can tell apart without any "
                f"sign of disease ({'; '.join(rows)})",
                stacklevel=4,
            )
