"""Bone marrow cytomorphology (MLL, Helmholtz, Fraunhofer): 21 cell types, labelled by folder."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import scan, warn_of_counts
from ltmed.errors import UserError

COUNTS = (
    *(8, 19630, 441, 11973, 27395, 5883, 47, 409, 42, 65, 26242),
    *(3055, 4040, 6557, 9968, 29424, 3538, 294, 2740, 7629, 11994),
)
EXCLUDED_BY_ALPA = ("ABE", "ART", "NIF", "OTH")


class BoneMarrow(DataModule):
    """171,374 cells of 945 patients whose identity is not published.

    Args:
        classes: 21 for all; 17 for all but abnormal eosinophil, artefact, not identifiable and other cell, the only
            four whose images add up to what ALPA leaves out.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; another number of classes.
    """

    name = "bone_marrow"
    classes = (
        *("ABE", "ART", "BAS", "BLA", "EBO", "EOS", "FGC", "HAC", "KSC", "LYI", "LYT"),
        *("MMZ", "MON", "MYB", "NGB", "NGS", "NIF", "OTH", "PEB", "PLM", "PMO"),
    )
    class_names = (
        "abnormal eosinophil",
        "artefact",
        "basophil",
        "blast",
        "erythroblast",
        "eosinophil",
        "faggot cell",
        "hairy cell",
        "smudge cell",
        "immature lymphocyte",
        "lymphocyte",
        "metamyelocyte",
        "monocyte",
        "myelocyte",
        "band neutrophil",
        "segmented neutrophil",
        "not identifiable",
        "other cell",
        "proerythroblast",
        "plasma cell",
        "promyelocyte",
    )
    group_name = "patient"
    source = "https://doi.org/10.7937/TCIA.AXH3-T579"
    licence = "CC BY 4.0"
    published_counts = COUNTS
    layout = """\
  BM_cytomorphology_data/<class>/<class>_00001.jpg                    (classes of up to 1,000 images)
  BM_cytomorphology_data/<class>/<first>-<last>/<class>_00001.jpg     (larger ones, in blocks of 1,000)
  or all images of a class in its folder, or all images in one folder, with the class before the '_' of the name"""
    fetch = """
  the TCIA collection Bone-Marrow-Cytomorphology_MLL_Helmholtz_Fraunhofer, with IBM Aspera (6.8 GB)
  or: kaggle datasets download --unzip -d andrewmvd/bone-marrow-cell-classification"""

    def __init__(self, *, classes: int = 21, **common: Any) -> None:
        if classes not in (21, 17):
            raise UserError(f"dataset.classes={classes} is not known", "21 takes all, 17 those of ALPA.")
        self.left_out = EXCLUDED_BY_ALPA if classes == 17 else ()
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Takes the first folder below `root` that is called like a class, at any depth, else the start of the name.

        Raises:
            UserError: no folder, or no image of any class in it.
        """
        tree = scan(root, self.how_to_get())
        codes: dict[str, str] = {}
        unclassified: Counter[str] = Counter()
        for name in sorted(tree.images):
            path = tree.images[name]
            code = self._code(path)
            if code is None:
                unclassified[path.rpartition("/")[0] or "."] += 1
            elif code not in self.left_out:
                codes[name] = code
        if not codes:
            raise UserError(f"{root} has no image in a folder of a class, or named like one", self.how_to_get())
        if unclassified:
            summary = ", ".join(f"{folder} ({number})" for folder, number in sorted(unclassified.items())[:5])
            warnings.warn(
                f"{self.name}: {unclassified.total()} images are of no class and not used: {summary}", stacklevel=3
            )
        indices = [index for index, code in enumerate(self.classes) if code not in self.left_out]
        classes = tuple(self.classes[index] for index in indices)
        number = {code: index for index, code in enumerate(classes)}
        labels = np.array([number[code] for code in codes.values()], dtype=np.int64)
        warn_of_counts(self.name, root, labels.tolist(), classes, [COUNTS[index] for index in indices])
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(tree.images[name] for name in codes),
            labels=labels,
            classes=classes,
            class_names=tuple(self.class_names[index] for index in indices),
            group_name=self.group_name,
        )

    def _code(self, path: str) -> str | None:
        *folders, name = path.upper().split("/")
        codes = (text for text in (*folders, name.partition("_")[0]) if text in self.classes)
        return next(codes, None)
