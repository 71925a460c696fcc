"""ODIR-5K: fundus photographs of both eyes with any of eight labels, from the keywords of each eye."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import attributes_of
from ltmed.data.readers._files import Table, check_unrepeated, column, read_table, scan, stem
from ltmed.data.readers._several import groups_always_agree, located, read_columns, require_rules, without_absence
from ltmed.errors import UserError

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
"""Keywords that are about the photograph, not about the eye."""
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


class ODIR(DataModule):
    """OIA-ODIR's training part, 6,392 photographs of 3,358 patients in its Kaggle copy.

    The flags N to O of the published table are of the patient: an eye without findings has the labels of the other one.
    Labels are therefore made from the keywords of each eye; what is suspected counts as present.

    Args:
        no_finding: `label` keeps N (normal fundus), `absence` makes it the absence of the seven others.
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
    counts_known = (2873, 1722, 313, 301, 279, 192, 256, 880)
    layout = """\
  full_df.csv (or labels.csv): ID, filename, Left-Diagnostic Keywords, Right-Diagnostic Keywords, N, D, G, C, A, H, M, O
  <ID>_left.jpg, <ID>_right.jpg in any folder"""
    fetch = "kaggle datasets download andrewmvd/ocular-disease-recognition-odir5k"

    def __init__(self, *, no_finding: str = "label", **common: Any) -> None:
        require_rules("ignore", no_finding, "keep")
        self.no_finding = no_finding
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
        keywords = self._keywords(table, names)
        if keywords is None:
            labels = read_columns([column(table, path, code) for code in CODES], CODES, table.where)
        else:
            labels = np.array([labels_of(cell) for cell in keywords], np.float32)
        codes: tuple[str, ...] = CODES
        full: dict[str, str] = dict(zip(CODES, self.class_names, strict=True))
        if self.no_finding == "absence":
            by_name = {"normal": "N"} | {code: code for code in CODES[1:]}
            kept, labels = without_absence(tuple(by_name), labels, table.where)
            codes = tuple(by_name[name] for name in kept)
        order = np.argsort(names, kind="stable")
        found, _ = located([names[row] for row in order], tree.images, root, "Unpack the images there.")
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
            images=tuple(found),
            labels=labels,
            classes=codes,
            class_names=tuple(full[code] for code in codes),
            groups=groups,
            group_name=self.group_name,
            attributes=attributes_of(table, [names[row] for row in order], names),
            notes=(f"labels from {'flags' if keywords is None else 'the keywords of each eye'} in {path.name}",),
        )

    def _keywords(self, table: Table, names: list[str]) -> list[str] | None:
        """The keywords of the eye of each row, None where the table has none."""
        if "diagnostic keywords" in table:
            return table["diagnostic keywords"]
        sides = [table.get(f"{side}-diagnostic keywords") for side in ("left", "right")]
        if sides[0] is None or sides[1] is None:
            return None
        found = []
        for row, name in enumerate(names):
            side = re.search(r"_(left|right)$", name)
            if side is None:
                raise UserError(f"{table.where(row)}: '{name}' is neither a left nor a right eye", "Correct that row.")
            found.append((sides[0] if side[1] == "left" else sides[1])[row])
        return found


def labels_of(keywords: str) -> list[float]:
    """The labels of an eye, 0 or 1, in the order of `CODES`.

    Args:
        keywords: as in the table, joined by commas of any script, or by bars.
    """
    found = set()
    for keyword in re.split(r"[,\uff0c|]", keywords.lower()):
        plain = re.sub(r"^susp(ected|icious) ", "", " ".join(keyword.split()))
        if plain and plain not in IGNORED:
            found.add(next((code for code, pattern in _PATTERNS.items() if re.search(pattern, plain)), "O"))
    if len(found) > 1:
        found.discard("N")
    return [float(code in found) for code in CODES]
