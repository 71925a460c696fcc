"""NIH ChestX-ray14: 112,120 frontal chest radiographs of 30,805 patients with any of fourteen findings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import as_arrays
from ltmed.data.readers._files import Tree, scan, stem, warn_of_counts
from ltmed.data.readers._multilabel import located, read_joined, require_rules
from ltmed.data.readers._text import numbered_rows, read_text
from ltmed.errors import UserError, suggest

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
NO_FINDING = "No Finding"
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
COUNTS = (11559, 2776, 13317, 19894, 5782, 6331, 1431, 5302, 4667, 2303, 2516, 1686, 3385, 227)
"""Images of each finding in the whole table of 112,120 images."""
N_IMAGES = 112_120
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_ATTRIBUTES = {"age": "Patient Age", "sex": "Patient Gender"}


class ChestXray14(DataModule):
    """The whole set or a part of it, with the patients and the test part of its authors.

    Args:
        no_finding: `absence` has the 14 findings as labels, `label` has `No Finding` behind them.
        on_bad_image: `skip` also leaves out listed images that are not there.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; a setting that does not exist.
    """

    name = "chestxray14"
    classes = FINDINGS
    class_names = tuple(name.replace("_", " ").lower() for name in FINDINGS)
    published_counts = COUNTS
    group_name = "patient"
    source = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
    licence = "free to use with attribution to the NIH Clinical Center and citation of Wang et al., CVPR 2017"
    layout = """\
  Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv)  train_val_list.txt  test_list.txt
  images_001/images/*.png to images_012/images/*.png, or in any other folders"""
    fetch = "download the archives from the address above and unpack them there"

    def __init__(self, *, no_finding: str = "absence", on_bad_image: str = "error", **common: Any) -> None:
        require_rules("ignore", no_finding, "keep")
        self.no_finding, self.skip_missing = no_finding, on_bad_image == "skip"
        super().__init__(on_bad_image=on_bad_image, **common)

    def read(self, root: Path) -> Manifest:
        """Reads the table and the two lists, and finds the images.

        Raises:
            UserError: no folder, no table, a missing column or image, an image listed twice, an unknown finding.
        """
        tree = scan(root, self.how_to_get())
        path = tree.file(*TABLES)
        if path is None:
            raise UserError(f"{root / TABLES[1]} does not exist", self.how_to_get())
        cells, lines = read_entries(path)

        def where(row: int) -> str:
            return f"{path}, line {lines[row]}"

        names = [stem(row[0]) for row in cells]
        if (repeated := _repeated(names)) is not None:
            raise UserError(f"{where(repeated)}: '{names[repeated]}' is listed twice", "Remove one of the rows.")
        joined = [row[1] for row in cells]
        with_label = self.no_finding == "label"
        labels, values = read_joined(
            joined, "|", where, (*FINDINGS, NO_FINDING) if with_label else FINDINGS,
            absence=() if with_label else (NO_FINDING,),
        )  # fmt: skip
        if len(cells) == N_IMAGES:
            positives = np.repeat(np.arange(len(FINDINGS)), values[:, : len(FINDINGS)].sum(0).astype(int))
            warn_of_counts(self.name, path, positives.tolist(), FINDINGS, COUNTS, what="findings")
        order = np.argsort(names, kind="stable")
        hint = "Unpack the archives of images there, or leave these rows out with dataset.on_bad_image=skip."
        images, present = located([names[row] for row in order], tree.images, root, hint, skip=self.skip_missing)
        order = order[present]
        missing = len(present) - len(order)
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(images),
            labels=values[order],
            classes=labels,
            class_names=(*self.class_names, "no finding")[: len(labels)],
            groups=np.unique([cells[row][2] for row in order], return_inverse=True)[1].astype(np.int64),
            group_name=self.group_name,
            parts=_parts(tree, [names[row] for row in order]),
            attributes=_attributes([cells[row][len(_COLUMNS) :] for row in order]),
            notes=(f"{missing:,} listed images are not there and are left out",) if missing else (),
        )


def read_entries(path: Path) -> tuple[list[list[str]], list[int]]:
    """Image, findings, patient, age and sex of every row, and its line; the last two are empty where they are missing.

    The last names of the header hold commas that are not quoted (`OriginalImage[Width,Height]`), in some copies with
    quotes or with one comma more, so that the header may have more or fewer cells than the rows. The columns that are
    read come before these.

    Raises:
        UserError: no row, a column that is missing, a row that is too short or names no image or patient.
    """
    rows = numbered_rows(path, read_text(path))
    if len(rows) < 2:
        raise UserError(f"{path} has no rows under its header", "Download it again.")
    header = rows[0][1]
    names = [name.lower() for name in header]
    n_names = next((index for index, name in enumerate(names) if "[" in name), len(names))
    for column in _COLUMNS:
        if column.lower() not in names[:n_names]:
            raise UserError(f"{path} has no column '{column}'", suggest(column, header[:n_names]))
    indices = [names.index(column.lower()) for column in _COLUMNS]
    attribute_indices = [
        names[:n_names].index(name.lower()) if name.lower() in names[:n_names] else None
        for name in _ATTRIBUTES.values()
    ]
    cells = []
    for line, row in rows[1:]:
        if len(row) <= max(indices) or not row[indices[0]] or not row[indices[2]]:
            raise UserError(f"{path}, line {line}: no image, findings or patient", "Correct that line.")
        attributes = ("" if index is None or index >= len(row) else row[index] for index in attribute_indices)
        cells.append([*(row[index] for index in indices), *attributes])
    return cells, [line for line, _ in rows[1:]]


def _attributes(cells: list[list[str]]) -> dict[str, np.ndarray] | None:
    """Those that the table has."""
    columns = zip(*([_attribute(cell) for cell in row] for row in cells), strict=True)
    return as_arrays({name: column for name, column in zip(_ATTRIBUTES, columns, strict=True) if any(column)})


def _attribute(cell: str) -> str:
    """An age may be written `058Y`."""
    age = re.fullmatch(r"0*(\d+)Y", cell.strip(), re.IGNORECASE)
    return age[1] if age else cell.strip()


def _repeated(names: list[str]) -> int | None:
    """The first row whose name an earlier one has."""
    seen: set[str] = set()
    for row, name in enumerate(names):
        if name in seen:
            return row
        seen.add(name)
    return None


def _parts(tree: Tree, names: list[str]) -> np.ndarray | None:
    """ "train", "test" or "" (in neither list) of every image; None without the lists.

    Raises:
        UserError: an image is in both lists, or one of the lists is missing.
    """
    paths = {part: tree.file(name) for part, name in LISTS.items()}
    if not any(paths.values()):
        return None
    listed: dict[str, set[str]] = {}
    for part, path in paths.items():
        if path is None:
            raise UserError(f"{tree.root} has no {LISTS[part]}, only the other list", "Add it, or remove both.")
        listed[part] = {stem(line) for line in read_text(path).splitlines() if line.strip()}
    if both := sorted(listed["train"] & listed["test"]):
        raise UserError(f"'{both[0]}' is in both lists of {tree.root} ({len(both):,} images are)", "Get them again.")
    return np.array(
        ["train" if name in listed["train"] else "test" if name in listed["test"] else "" for name in names]
    )
