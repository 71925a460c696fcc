"""The synthetic data set `phantom`, which is generated at its first use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.phantom import CODES, MANIFEST, write_phantom
from ltmed.data.readers._files import column, read_table, scan, stem
from ltmed.errors import UserError, suggest


class Phantom(DataModule):
    """3,374 procedural lesion images: a training part with imbalance 100, balanced validation and test parts."""

    name = "phantom"
    classes = CODES
    class_names = (
        "phantom nevus",
        "phantom melanoma",
        "phantom keratosis, benign",
        "phantom basal cell carcinoma",
        "phantom keratosis, actinic",
        "phantom vascular lesion",
        "phantom dermatofibroma",
    )
    group_name = "lesion"
    source = "made by ltmed itself (ltmed/data/phantom), with a fixed seed"
    licence = "Apache-2.0"
    layout = "  manifest.csv (image, label, lesion, part)  {train,val,test}/<class>/*.png"
    fetch = "nothing to do: it is made at its first use, in some ten seconds; remove its folder to have it made again"

    def read(self, root: Path) -> Manifest:
        """Reads `manifest.csv`, after making the whole data set if `root` does not exist.

        Raises:
            UserError: the folder cannot be written, holds something else, or has lost images.
        """
        write_phantom(root)
        path = root / MANIFEST
        table = read_table(path)
        images, codes = column(table, path, "image"), column(table, path, "label")
        if unknown := set(codes) - set(self.classes):
            code = min(unknown)
            raise UserError(f"{path}: '{code}' is not a class of {self.name}", suggest(code, self.classes))
        labels = np.array([self.classes.index(code) for code in codes], dtype=np.int64)
        tree = scan(root, self.how_to_get())
        again = f"Remove {root}; it is made again at the next run."
        paths = tree.locate([stem(image) for image in images], labels.tolist(), self.classes, again)
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(paths),
            labels=labels,
            classes=self.classes,
            class_names=self.class_names,
            groups=np.unique(column(table, path, "lesion"), return_inverse=True)[1].astype(np.int64),
            group_name=self.group_name,
            parts=np.array(column(table, path, "part")),
        )
