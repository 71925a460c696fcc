"""CheXpert: 224,316 chest radiographs of 65,240 patients with fourteen observations, some of them uncertain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import as_arrays, attribute_columns
from ltmed.data.readers._files import column, read_table, require_folder, walk
from ltmed.data.readers._multilabel import (
    BLANK,
    located,
    read_columns,
    require_known_absences,
    require_rules,
    without_absence,
)
from ltmed.data.readers._tables import Table, check_unrepeated
from ltmed.data.readers._walk import is_image_name
from ltmed.errors import UserError, require_choice

TABLES = {"train": "train.csv", "test": "valid.csv"}
OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
VIEWS = ("all", "frontal", "lateral")
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/study\d+/[^/]+$")
"""In a key."""


@dataclass(frozen=True)
class _Rows:
    """The selected rows of a table."""

    keys: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    attributes: dict[str, list[str]]


class CheXpert(DataModule):
    """Training labels from reports, and the 234 images of 200 patients that radiologists read as test part.

    Args:
        uncertain: what -1 means: `ignore` (unknown), `ones` or `zeros`.
        blank: what an empty cell (not mentioned in the report) means: `zeros` or `ignore`.
        no_finding: `label` has all 14 observations, `absence` makes No Finding the absence of the twelve findings;
            Support Devices is no finding and stays as it is.
        view: `all`, `frontal` or `lateral` radiographs.
        on_bad_image: `skip` also leaves out listed images that are not there.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; a setting that does not exist.
    """

    name = "chexpert"
    classes = OBSERVATIONS
    class_names = tuple(name.lower() for name in OBSERVATIONS)
    group_name = "patient"
    source = "https://stanfordmlgroup.github.io/competitions/chexpert/"
    licence = "Stanford University Dataset Research Use Agreement, to be accepted before the download"
    layout = """\
  train.csv  valid.csv: Path, Sex, Age, Frontal/Lateral, AP/PA, and a column for each observation (1, 0, -1 or empty)
  {train,valid}/patient00001/study1/view1_frontal.jpg, also below CheXpert-v1.0 or CheXpert-v1.0-small"""
    fetch = (
        "accept the agreement at the address above, download CheXpert-v1.0-small or CheXpert-v1.0 and unpack it there"
    )

    def __init__(
        self,
        *,
        uncertain: str = "ignore",
        blank: str = "zeros",
        no_finding: str = "label",
        view: str = "all",
        on_bad_image: str = "error",
        **common: Any,
    ) -> None:
        require_rules(uncertain, no_finding, "keep")
        require_choice("dataset.blank", blank, BLANK)
        require_choice("dataset.view", view, VIEWS)
        self.uncertain, self.blank, self.no_finding, self.view = uncertain, blank, no_finding, view
        self.skip_missing = on_bad_image == "skip"
        super().__init__(on_bad_image=on_bad_image, **common)

    def read(self, root: Path) -> Manifest:
        """Reads both tables, and finds the images by their last three folders.

        Raises:
            UserError: no folder, no train.csv, a missing column or image, an image listed twice, a path that names no
                patient, a cell that is no label.
        """
        require_folder(root, self.how_to_get())
        paths = list(walk(root))
        tables = {part: _closest(paths, name) for part, name in TABLES.items()}
        if tables["train"] is None:
            raise UserError(f"{root / TABLES['train']} does not exist", self.how_to_get())
        parts = {part: self._read(root / path) for part, path in tables.items() if path is not None}
        train, keys = parts["train"], np.concatenate([rows.keys for rows in parts.values()])
        order = np.argsort(keys, kind="stable")
        images = {_key(path): path for path in paths if is_image_name(path)}
        hint = "Unpack the archives of images there, or leave these rows out with dataset.on_bad_image=skip."
        images_found, present = located([str(keys[row]) for row in order], images, root, hint, skip=self.skip_missing)
        order = order[present]
        part_of_row = np.concatenate([np.full(len(rows.keys), part) for part, rows in parts.items()])
        patients = [_PATIENT.search(key)[1] for key in keys[order]]  # pyright: ignore[reportOptionalSubscript]
        names: dict[str, str] = dict(zip(OBSERVATIONS, self.class_names, strict=True))
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(images_found),
            labels=np.concatenate([rows.labels for rows in parts.values()])[order],
            classes=train.names,
            class_names=tuple(names[name] for name in train.names),
            groups=np.unique(patients, return_inverse=True)[1].astype(np.int64),
            group_name=self.group_name,
            parts=part_of_row[order] if len(parts) == len(TABLES) else None,
            attributes=_attributes(list(parts.values()), order),
            notes=self._notes(int((~present).sum())),
        )

    def _read(self, path: Path) -> _Rows:
        """The rows of a table with the selected view."""
        table = read_table(path)
        listed = column(table, path, "Path")
        keys = [_key(name) for name in listed]
        if (wrong := next((row for row, key in enumerate(keys) if not _PATIENT.search(key)), None)) is not None:
            raise UserError(
                f"{table.where(wrong)}: '{listed[wrong][:120]}' names no patient and study",
                "A path ends in patient00001/study1/view1_frontal.jpg.",
            )
        check_unrepeated(keys, table)
        columns = [column(table, path, name) for name in OBSERVATIONS]
        labels = read_columns(columns, OBSERVATIONS, table.where, uncertain=self.uncertain, blank=self.blank)
        names: tuple[str, ...] = OBSERVATIONS
        if self.no_finding == "absence":
            names, labels = without_absence(names, labels, table.where, besides=("Support Devices",))
        require_known_absences(labels, names, table.where)
        rows = self._rows(table, path)
        cells = {name: [table[header][row] for row in rows] for name, header in attribute_columns(table).items()}
        return _Rows(np.array(keys)[rows], labels[rows], names, cells)

    def _rows(self, table: Table, path: Path) -> np.ndarray:
        """Indices of the rows with the selected view."""
        if self.view == "all":
            return np.arange(len(table["path"]))
        views = column(table, path, "Frontal/Lateral")
        if (wrong := next((row for row, view in enumerate(views) if view.lower() not in VIEWS[1:]), None)) is not None:
            raise UserError(f"{table.where(wrong)}: '{views[wrong]}' is no view", "Write Frontal or Lateral.")
        rows = np.flatnonzero([view.lower() == self.view for view in views])
        if not len(rows):
            raise UserError(f"{path} has no {self.view} radiograph", "Use dataset.view=all.")
        return rows

    def _notes(self, missing: int) -> tuple[str, ...]:
        rules = f"uncertain: {self.uncertain}, empty cells: {self.blank}"
        return (rules, *([f"{missing:,} listed images are not there and are left out"] if missing else []))


def _key(path: str) -> str:
    """`train/patient00001/study1/view1_frontal`: the identifier of an image, independent of higher folders."""
    return "/".join(path.strip().replace("\\", "/").split("/")[-4:]).lower().rpartition(".")[0]


def _closest(paths: list[str], name: str) -> str | None:
    """The file of that name that is nearest to the root."""
    matches = (path for path in paths if path.rpartition("/")[2].lower() == name)
    return min(matches, key=lambda path: path.count("/"), default=None)


def _attributes(parts: list[_Rows], order: np.ndarray) -> dict[str, np.ndarray] | None:
    """Those that train.csv has; "" for images of a table without the column."""
    cells = {
        name: [cell for rows in parts for cell in rows.attributes.get(name, [""] * len(rows.keys))]
        for name in parts[0].attributes
    }
    return as_arrays({name: [values[row] for row in order] for name, values in cells.items()})
