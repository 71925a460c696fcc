"""MedMNIST v2 and MedMNIST+: any of its sets with one class per image, 28 to 224 pixels, from its npz archive."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import column, read_table
from ltmed.data.readers._medmnist_files import DOWNLOADS, archive, require_size, unpacked
from ltmed.errors import UserError, suggest

_ORGANS = "bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right pancreas spleen"
_ORGAN_CLASSES = {organ: organ.replace("-", ", ") for organ in _ORGANS.split()}
SETS: dict[str, dict[str, str]] = {
    "bloodmnist": {
        "BAS": "basophil",
        "EOS": "eosinophil",
        "ERB": "erythroblast",
        "IG": "immature granulocyte",
        "LYM": "lymphocyte",
        "MON": "monocyte",
        "NEU": "neutrophil",
        "PLT": "platelet",
    },
    "breastmnist": {"malignant": "malignant", "benign": "normal or benign"},
    "dermamnist": {
        "AKIEC": "actinic keratosis / Bowen's disease",
        "BCC": "basal cell carcinoma",
        "BKL": "benign keratosis-like lesion",
        "DF": "dermatofibroma",
        "MEL": "melanoma",
        "NV": "melanocytic nevus",
        "VASC": "vascular lesion",
    },
    "octmnist": {
        "CNV": "choroidal neovascularization",
        "DME": "diabetic macular edema",
        "drusen": "drusen",
        "normal": "normal",
    },
    "organamnist": _ORGAN_CLASSES,
    "organcmnist": _ORGAN_CLASSES,
    "organsmnist": _ORGAN_CLASSES,
    "pathmnist": {
        "ADI": "adipose",
        "BACK": "background",
        "DEB": "debris",
        "LYM": "lymphocytes",
        "MUC": "mucus",
        "MUS": "smooth muscle",
        "NORM": "normal colon mucosa",
        "STR": "cancer-associated stroma",
        "TUM": "colorectal adenocarcinoma epithelium",
    },
    "pneumoniamnist": {"normal": "normal", "pneumonia": "pneumonia"},
    "retinamnist": {f"DR{grade}": f"diabetic retinopathy, grade {grade}" for grade in range(5)},
    "tissuemnist": {
        "CD-CT": "collecting duct, connecting tubule",
        "DCT": "distal convoluted tubule",
        "GE": "glomerular endothelial cells",
        "IE": "interstitial endothelial cells",
        "LEU": "leukocytes",
        "POD": "podocytes",
        "PTS": "proximal tubule segments",
        "TAL": "thick ascending limb",
    },
}
"""Flag -> codes and names of its classes, in the order of its numbers."""


class MedMNIST(DataModule):
    """One set of MedMNIST with its own training, validation and test parts.

    Args:
        flag: which set, as its archive is called; other archives of the same form work too, with numbered classes.
        size: which archive, 28, 64, 128 or 224 pixels.
        extract_to: folder for the PNG files, in a folder named like the archive; null: beside the archive.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; an unknown size; a set of volumes or with several labels per image.
    """

    name = "medmnist"
    group_name = "patient"
    source = "https://medmnist.com, https://zenodo.org/records/10519652"
    licence = "CC BY 4.0; DermaMNIST CC BY-NC 4.0"
    downloads = tuple(item for flag in SETS for item in DOWNLOADS[flag])
    alternatives = True
    layout = """\
  <flag>.npz (28 pixels)  <flag>_64.npz  <flag>_128.npz  <flag>_224.npz
  <flag>_<size>/ is made from it once; the archive is not needed after that"""
    fetch = "ltmed fetch medmnist --only dermamnist_64.npz --root DIR"

    def __init__(
        self, *, flag: str = "dermamnist", size: int = 28, extract_to: str | None = None, **common: Any
    ) -> None:
        require_size(size)
        if flag == "chestmnist":
            raise UserError("dataset.flag=chestmnist is a multi-label set", "Use dataset=chestmnist.")
        if flag.endswith("3d"):
            raise UserError(f"dataset.flag={flag} is a set of volumes", "Only sets of images can be used.")
        self.flag, self.size, self.extract_to = flag, size, extract_to
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Reads the table of the unpacked archive, after unpacking it if that has not been done.

        Raises:
            UserError: neither archive nor unpacked folder; an archive of another kind; a label that no class has.
        """
        npz = root / archive(self.flag, self.size)
        path = unpacked(root, self.flag, self.size, self.extract_to, self._hint(root))
        table = read_table(path)
        labels = np.array([int(label) for label in column(table, path, "label")], dtype=np.int64)
        names = SETS.get(self.flag) or {str(index): f"class {index}" for index in range(int(labels.max()) + 1)}
        if labels.max() >= len(names):
            raise UserError(
                f"{npz} has a class {labels.max()}, but {self.flag} has the classes 0 to {len(names) - 1}",
                "It is another set; rename it.",
            )
        if self.flag == "dermamnist":
            warnings.warn(
                f"{self.name}: dermamnist is HAM10000 divided by image: about a third of its test images have a "
                "training image of the same lesion, and it has no ids to prevent that (dataset=isic2018 has)",
                stacklevel=3,
            )
        return Manifest(
            name=self.name,
            root=path.parent,
            images=tuple(column(table, path, "image")),
            labels=labels,
            classes=tuple(names),
            class_names=tuple(names.values()),
            group_name="lesion" if self.flag == "dermamnist" else self.group_name,
            parts=np.array(column(table, path, "part")),
        )

    def _hint(self, root: Path) -> str:
        """Hint for a missing archive: available archives, similar names, how to get it."""
        archives = sorted(path.name for path in root.glob("*mnist*.npz")) if root.is_dir() else []
        available = f"There are {', '.join(archives)}. " if archives else ""
        guess = "" if self.flag in SETS else suggest(self.flag, SETS) + " "
        return f"{available}{guess}{self.how_to_get()}"
