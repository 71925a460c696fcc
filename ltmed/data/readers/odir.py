"""ODIR-5K: fundus photographs of both eyes with any of eight labels, or of some fifty keywords."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import attributes_of
from ltmed.data.readers._files import Table, check_unrepeated, column, read_table, scan, stem
from ltmed.data.readers._multilabel import (
    groups_always_agree,
    located,
    read_columns,
    require_known_absences,
    require_rules,
    without_absence,
)
from ltmed.errors import UserError, require_between, require_choice

TABLES = ("full_df.csv", "labels.csv", "eye_labels.csv")
CODES = ("N", "D", "G", "C", "A", "H", "M", "O")
IGNORED = (
    "lens dust",
    "low image quality",
    "image offset",
    "optic disk photographically invisible",
    "anterior segment image",
    "no fundus image",
)
"""Keywords that describe the photograph, not the eye."""
_PATTERNS = {
    "N": r"normal fundus",
    "H": r"hypertensive retinopathy",
    "D": r"diabetic retinopathy|non ?proliferative retinopathy",
    "G": r"glaucoma",
    "C": r"cataract",
    "A": r"age-related macular degeneration",
    "M": r"myopi[ac]",
}
"""Label -> what its keywords have in common; all others are O."""
NORMAL = "normal fundus"
LABELS = ("groups", "keywords")


class ODIR(DataModule):
    """OIA-ODIR's training part, 6,392 photographs of 3,358 patients in its Kaggle copy.

    The flags N to O of the published table are of the patient: an eye without findings has the labels of the other one.
    Labels are therefore derived from the keywords of each eye; suspected findings count as present.

    Args:
        labels: `groups`, the eight labels N to O, or `keywords`, a longer tail: every keyword is a label of its own,
            and normal fundus stands alone as N does.
        fewest: keywords of fewer images are no labels.
        no_finding: `label` keeps N (normal fundus), `absence` makes it the absence of the others.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; a setting that does not exist.
    """

    name = "odir"
    classes = CODES
    class_names = (
        "normal fundus",
        "diabetic retinopathy",
        "glaucoma",
        "cataract",
        "age-related macular degeneration",
        "hypertensive retinopathy",
        "pathological myopia",
        "other diseases",
    )
    group_name = "patient"
    source = "https://odir2019.grand-challenge.org, https://www.kaggle.com/datasets/andrewmvd/ocular-disease-recognition-odir5k"
    licence = "not stated; ask the organisers before any use but research"
    published_counts = (2873, 1722, 313, 301, 279, 192, 256, 880)
    layout = """\
  full_df.csv (or labels.csv): ID, filename, Left-Diagnostic Keywords, Right-Diagnostic Keywords, N, D, G, C, A, H, M, O
  <ID>_left.jpg, <ID>_right.jpg in any folder"""
    fetch = "kaggle datasets download andrewmvd/ocular-disease-recognition-odir5k"

    def __init__(self, *, labels: str = "groups", fewest: int = 1, no_finding: str = "label", **common: Any) -> None:
        require_rules("ignore", no_finding, "keep")
        require_choice("dataset.labels", labels, LABELS)
        require_between("dataset.fewest", fewest, 1, 10_000)
        if fewest > 1 and labels != "keywords":
            raise UserError("dataset.fewest is about keywords", "Add dataset.labels=keywords, or leave it out.")
        self.labels, self.fewest, self.no_finding = labels, fewest, no_finding
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Reads the table, makes the labels of every eye, and finds its image.

        Raises:
            UserError: no folder, no table, an image listed twice or missing, a row that is of no eye.
        """
        tree = scan(root, self.how_to_get())
        path = tree.file(*TABLES)
        if path is None:
            raise UserError(f"{root} has none of {', '.join(TABLES)}", self.how_to_get())
        table = read_table(path)
        names = [stem(name) for name in column(table, path, "filename")]
        check_unrepeated(names, table)
        codes, class_names, labels, notes = self._labels(table, path, names)
        order = np.argsort(names, kind="stable")
        paths, _ = located([names[row] for row in order], tree.images, root, "Unpack the images there.")
        labels = labels[order]
        groups = np.unique([column(table, path, "ID")[row] for row in order], return_inverse=True)[1].astype(np.int64)
        if groups_always_agree(labels, groups):
            warnings.warn(
                f"{self.name}: both eyes of every patient have the same labels, so that these are of the patient: "
                f"{path} has no keywords of each eye",
                stacklevel=3,
            )
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(paths),
            labels=labels,
            classes=codes,
            class_names=class_names,
            groups=groups,
            group_name=self.group_name,
            attributes=attributes_of(table, [names[row] for row in order], names),
            notes=notes,
        )

    def _labels(
        self, table: Table, path: Path, names: list[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, tuple[str, ...]]:
        """Codes and names of the labels, float32 `[N, K]`, and notes."""
        cells = self._keywords(table, names)
        notes = (f"labels from {'flags' if cells is None else 'the keywords of each eye'} in {path.name}",)
        if self.labels == "keywords":
            if cells is None:
                raise UserError(f"{path} has no keywords of each eye", "Leave dataset.labels=keywords out.")
            names_of_labels, values, n_excluded = keyword_labels(cells, self.fewest)
            if self.no_finding == "absence" and NORMAL in names_of_labels:
                index = names_of_labels.index(NORMAL)
                names_of_labels, values = (
                    names_of_labels[:index] + names_of_labels[index + 1 :],
                    np.delete(values, index, axis=1),
                )
            if n_excluded:
                notes += (f"{n_excluded} keywords of fewer than {self.fewest} images are no labels",)
            return names_of_labels, names_of_labels, values, notes
        if cells is None:
            values = read_columns([column(table, path, code) for code in CODES], CODES, table.where)
        else:
            values = np.array([labels_of(cell) for cell in cells], np.float32)
        codes: tuple[str, ...] = CODES
        if self.no_finding == "absence":
            by_name = {"normal": "N"} | {code: code for code in CODES[1:]}
            selected, values = without_absence(tuple(by_name), values, table.where)
            codes = tuple(by_name[name] for name in selected)
        require_known_absences(values, codes, table.where)
        full: dict[str, str] = dict(zip(CODES, self.class_names, strict=True))
        return codes, tuple(full[code] for code in codes), values, notes

    def _keywords(self, table: Table, names: list[str]) -> list[str] | None:
        """The keywords of the eye of each row, None where the table has none."""
        if "diagnostic keywords" in table:
            return table["diagnostic keywords"]
        sides = [table.get(f"{side}-diagnostic keywords") for side in ("left", "right")]
        if sides[0] is None or sides[1] is None:
            return None
        keywords = []
        for row, name in enumerate(names):
            side = re.search(r"_(left|right)$", name)
            if side is None:
                raise UserError(f"{table.where(row)}: '{name}' is neither a left nor a right eye", "Correct that row.")
            keywords.append((sides[0] if side[1] == "left" else sides[1])[row])
        return keywords


def keywords_of(cell: str) -> set[str]:
    """The lower-case keywords of an eye: suspected findings count as present, remarks on the photograph are ignored.

    Args:
        cell: keywords as in the table, joined by commas of any script, or by bars.
    """
    keywords = (" ".join(keyword.split()) for keyword in re.split(r"[,\uff0c|]", cell.lower()))
    plain = {re.sub(r"^susp(ected|icious) ", "", keyword) for keyword in keywords}
    return plain - {"", *IGNORED}


def keyword_labels(cells: list[str], fewest: int) -> tuple[tuple[str, ...], np.ndarray, int]:
    """Every keyword as a label of its own; normal fundus only of eyes with no other one.

    Args:
        cells: keywords of N eyes.
        fewest: keywords of fewer eyes are no labels.

    Returns:
        K keywords, sorted; float32 `[N, K]`, 0 or 1; how many keywords are no labels.
    """
    keyword_sets = [keywords - {NORMAL} if len(keywords) > 1 else keywords for keywords in map(keywords_of, cells)]
    counts = Counter(keyword for keywords in keyword_sets for keyword in keywords)
    names = tuple(sorted(keyword for keyword, count in counts.items() if count >= fewest))
    values = np.array([[float(name in keywords) for name in names] for keywords in keyword_sets], np.float32)
    return names, values.reshape(len(cells), len(names)), len(counts) - len(names)


def labels_of(cell: str) -> list[float]:
    """The labels of an eye, 0 or 1, in the order of `CODES`.

    Args:
        cell: keywords as in the table, joined by commas of any script, or by bars.
    """
    codes = {
        next((code for code, pattern in _PATTERNS.items() if re.search(pattern, keyword)), "O")
        for keyword in keywords_of(cell)
    }
    if len(codes) > 1:
        codes.discard("N")
    return [float(code in codes) for code in CODES]
