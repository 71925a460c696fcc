"""HyperKvasir, labelled images: 23 findings of the gastrointestinal tract, with the official folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.download import Download
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import Table, Tree, column, read_table, scan, stem, warn_of_counts
from ltmed.errors import UserError, suggest

IMAGES, LABELS = "labeled-images", "image-labels.csv"
COUNTS = (
    *(41, 53, 646, 1148, 1009, 1002, 989, 403, 260, 6, 9, 131),
    *(1028, 999, 391, 764, 35, 201, 11, 443, 28, 133, 932),
)
OFFICIAL_NAMES = {
    "hemorroids": "hemorrhoids",
    "normal-cecum": "cecum",
    "normal-pylorus": "pylorus",
    "normal-z-line": "z-line",
    "oesophagitis-a": "esophagitis-a",
    "oesophagitis-b-d": "esophagitis-b-d",
    "polyp": "polyps",
    "short-segment-barretts": "barretts-short-segment",
}
"""What the lists of folds call a finding -> its folder; the other names are equal."""


class HyperKvasir(DataModule):
    """10,662 endoscopy images; neither patients nor examinations are published.

    Args:
        folds: which of the official lists `split=official` uses, 5 or 2.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; another number of folds.
    """

    name = "hyper_kvasir"
    classes = (
        *("barretts", "barretts-short-segment", "bbps-0-1", "bbps-2-3", "cecum", "dyed-lifted-polyps"),
        *("dyed-resection-margins", "esophagitis-a", "esophagitis-b-d", "hemorrhoids", "ileum", "impacted-stool"),
        *("polyps", "pylorus", "retroflex-rectum", "retroflex-stomach", "ulcerative-colitis-grade-0-1"),
        *("ulcerative-colitis-grade-1", "ulcerative-colitis-grade-1-2", "ulcerative-colitis-grade-2"),
        *("ulcerative-colitis-grade-2-3", "ulcerative-colitis-grade-3", "z-line"),
    )
    class_names = (
        "Barrett's oesophagus",
        "Barrett's oesophagus, short segment",
        "Boston bowel preparation scale 0-1",
        "Boston bowel preparation scale 2-3",
        "cecum",
        "dyed lifted polyp",
        "dyed resection margin",
        "oesophagitis, Los Angeles grade A",
        "oesophagitis, Los Angeles grade B-D",
        "hemorrhoids",
        "terminal ileum",
        "impacted stool",
        "polyp",
        "pylorus",
        "retroflex view of the rectum",
        "retroflex view of the stomach",
        "ulcerative colitis, Mayo grade 0-1",
        "ulcerative colitis, Mayo grade 1",
        "ulcerative colitis, Mayo grade 1-2",
        "ulcerative colitis, Mayo grade 2",
        "ulcerative colitis, Mayo grade 2-3",
        "ulcerative colitis, Mayo grade 3",
        "Z-line",
    )
    group_name = "patient"
    source = "https://datasets.simula.no/hyper-kvasir/"
    licence = "CC BY 4.0; its authors ask for written permission for competitions and commercial use"
    downloads = (
        Download("https://datasets.simula.no/downloads/hyper-kvasir/hyper-kvasir-labeled-images.zip"),
        Download("https://raw.githubusercontent.com/simula/hyper-kvasir/master/official_splits/5_fold_split.csv"),
        Download("https://raw.githubusercontent.com/simula/hyper-kvasir/master/official_splits/2_fold_split.csv"),
    )
    published_counts = COUNTS
    layout = """\
  labeled-images/{lower,upper}-gi-tract/<kind>/<finding>/*.jpg     (at most two folders down)
  labeled-images/image-labels.csv                                  (optional; compared with the folders)
  5_fold_split.csv, 2_fold_split.csv, or both in official_splits/  (optional; needed by split=official)"""
    fetch = """
  wget https://datasets.simula.no/downloads/hyper-kvasir/hyper-kvasir-labeled-images.zip && unzip hyper-kvasir-*.zip
  for n in 5 2; do wget https://raw.githubusercontent.com/simula/hyper-kvasir/master/official_splits/${n}_fold_split.csv
  done"""

    def __init__(self, *, folds: int = 5, **common: Any) -> None:
        if folds not in (2, 5):
            raise UserError(f"dataset.folds={folds} does not exist", "The official lists have 5 or 2 folds.")
        self.folds = folds
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Takes each image's class from its folder and its fold from the list, joined by file name.

        Raises:
            UserError: no folder, no image in a folder of a class; a label file that contradicts the folders, lists an
                image that is not there, or leaves one out.
        """
        tree = scan(self._labelled_images(root), self.how_to_get())
        number = {code: index for index, code in enumerate(self.classes)}
        label_of = {
            name: number.get(path.split("/")[-2].lower(), -1) for name, path in tree.images.items() if "/" in path
        }
        stems = sorted(name for name, label in label_of.items() if label >= 0)
        if not stems:
            raise UserError(f"{tree.root} has no image in a folder of a class", self.how_to_get())
        labels = np.array([label_of[name] for name in stems], dtype=np.int64)
        code_of = {name: self.classes[label_of[name]] for name in stems}
        table = tree.file(LABELS)
        if table is not None:
            self._join(table, code_of, "Video file", "Finding", {})
        warn_of_counts(self.name, tree.root, labels.tolist(), self.classes, COUNTS)
        prefix = tree.root.relative_to(root).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(prefix + tree.images[name] for name in stems),
            labels=labels,
            classes=self.classes,
            class_names=self.class_names,
            group_name=self.group_name,
            folds=self._official(root, tree, stems, code_of),
        )

    def _labelled_images(self, root: Path) -> Path:
        """The folder of the labelled images: the segmented ones, which may lie beside it, repeat names of polyps."""
        if not root.is_dir():
            return root
        return next((folder for folder in _down(root, 2) if folder.name == IMAGES), root)

    def _official(self, root: Path, tree: Tree, stems: Sequence[str], known: dict[str, str]) -> np.ndarray | None:
        """int64 `[N]`: the fold of each image, None without the list."""
        name = f"{self.folds}_fold_split.csv"
        path = next((folder / name for folder in _down(root, 2) if (folder / name).is_file()), tree.file(name))
        if path is None:
            return None
        table = self._join(path, known, "file-name", "class-name", OFFICIAL_NAMES)
        folds = dict(zip(map(stem, column(table, path, "file-name")), column(table, path, "split-index"), strict=True))
        for row, (image, fold) in enumerate(folds.items()):
            if fold not in [str(index) for index in range(self.folds)]:
                what = f"{table.where(row)}: '{image}' is in fold '{fold}', not 0 to {self.folds - 1}"
                raise UserError(what, "Get the list again.")
        return np.array([int(folds[name]) for name in stems], dtype=np.int64)

    def _join(self, path: Path, known: dict[str, str], key: str, value: str, renamed: dict[str, str]) -> Table:
        """The table in `path`, once it is certain that it has every image of `known` once, with the same class."""
        table = read_table(path)
        names = [stem(name) for name in column(table, path, key)]
        seen: set[str] = set()
        for row, (name, finding) in enumerate(zip(names, column(table, path, value), strict=True)):
            where = table.where(row)
            code = renamed.get(finding.lower(), finding.lower())
            if code not in self.classes:
                known_names = (*self.classes, *renamed)
                raise UserError(f"{where}: '{name}' has the unknown class '{finding}'", suggest(finding, known_names))
            if known.get(name, code) != code:
                raise UserError(
                    f"{where}: '{name}' is '{finding}', but its image is in the folder of {known[name]}",
                    "Move the image, or get the list again.",
                )
            if name in seen:
                raise UserError(f"{where}: '{name}' is listed twice", "Remove one of the rows.")
            seen.add(name)
        not_there, not_listed = seen - known.keys(), known.keys() - seen
        for gone, what in ((not_there, "lists {} images that are not there"), (not_listed, "lacks {} images")):
            if gone:
                first = ", ".join(sorted(gone)[:3]) + (", ..." if len(gone) > 3 else "")
                raise UserError(
                    f"{path} {what.format(len(gone))}: {first}", "Unpack the whole archive; get the list again."
                )
        return table


def _down(root: Path, depth: int) -> Iterator[Path]:
    """`root` and the folders below it, level by level in sorted order."""
    level = [root]
    for left in range(depth, -1, -1):
        yield from level
        level = [entry for folder in level for entry in sorted(folder.iterdir()) if entry.is_dir()] if left else []
