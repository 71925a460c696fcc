"""The embedded data set `phantom_multi`: radiographs with several findings, made at its first use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.phantom.write import MANIFEST
from ltmed.data.phantom.write_multi import LABELS, write_phantom_multi
from ltmed.data.readers._files import column, read_table, scan, stem
from ltmed.data.readers._multilabel import located, read_columns


class PhantomMulti(DataModule):
    """3,000 procedural chest radiographs with any of 12 findings: imbalance 100, patients of one to four images."""

    name = "phantom_multi"
    classes = LABELS
    class_names = tuple(f"phantom {label}" for label in LABELS)
    group_name = "patient"
    source = "made by ltmed itself (ltmed/data/phantom), with a fixed seed"
    licence = "Apache-2.0"
    layout = "  manifest.csv (image, patient, part, one column per finding)  {train,val,test}/*.png"
    fetch = "nothing to do: it is made at its first use, in some ten seconds; remove its folder to have it made again"

    def read(self, root: Path) -> Manifest:
        """Reads `manifest.csv`, after making the whole data set if `root` does not exist.

        Raises:
            UserError: the folder cannot be written, holds something else, or has lost images.
        """
        write_phantom_multi(root)
        path = root / MANIFEST
        table = read_table(path)
        images = [stem(name) for name in column(table, path, "image")]
        labels = read_columns([column(table, path, label) for label in LABELS], LABELS, table.where)
        tree = scan(root, self.how_to_get())
        paths, _ = located(images, tree.images, root, f"Remove {root}; it is made again at the next run.")
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(paths),
            labels=labels,
            classes=LABELS,
            class_names=self.class_names,
            groups=np.unique(column(table, path, "patient"), return_inverse=True)[1].astype(np.int64),
            group_name=self.group_name,
            parts=np.array(column(table, path, "part")),
        )
