"""ChestMNIST: ChestX-ray14 in squares of 28 to 224 pixels with any of fourteen findings, from its npz archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import column, read_table
from ltmed.data.readers._medmnist_files import DOWNLOADS, require_size, unpacked
from ltmed.data.readers._multilabel import read_joined

FINDINGS = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural",
    "hernia",
)
"""In the order of the columns of the archive."""


class ChestMNIST(DataModule):
    """The multi-label set of MedMNIST with its own training, validation and test parts.

    Args:
        size: which archive, 28, 64, 128 or 224 pixels.
        extract_to: folder for the PNG files, in a folder named like the archive; null: beside the archive.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; an unknown size.
    """

    name = "chestmnist"
    classes = FINDINGS
    class_names = tuple("pleural thickening" if name == "pleural" else name for name in FINDINGS)
    group_name = "patient"
    source = "https://medmnist.com, https://zenodo.org/records/10519652"
    licence = "CC BY 4.0"
    downloads = DOWNLOADS["chestmnist"]
    alternatives = True
    layout = """\
  chestmnist.npz (28 pixels)  chestmnist_64.npz  chestmnist_128.npz  chestmnist_224.npz
  chestmnist_<size>/ is made from it once; the archive is not needed after that"""
    fetch = "ltmed fetch chestmnist --only chestmnist_64.npz --root DIR"

    def __init__(self, *, size: int = 28, extract_to: str | None = None, **common: Any) -> None:
        require_size(size)
        self.size, self.extract_to = size, extract_to
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Reads the table of the unpacked archive, after unpacking it if that has not been done.

        Raises:
            UserError: neither archive nor unpacked folder; an archive of another kind.
        """
        path = unpacked(root, self.name, self.size, self.extract_to, self.how_to_get(), n_labels=len(FINDINGS))
        table = read_table(path)
        numbers = tuple(map(str, range(len(FINDINGS))))
        return Manifest(
            name=self.name,
            root=path.parent,
            images=tuple(column(table, path, "image")),
            labels=read_joined(column(table, path, "label"), "|", table.where, numbers)[1],
            classes=FINDINGS,
            class_names=self.class_names,
            group_name=self.group_name,
            parts=np.array(column(table, path, "part")),
        )
