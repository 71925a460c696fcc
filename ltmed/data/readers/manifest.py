"""Your own images with a table (CSV or TSV) of labels and, where known, groups, parts, folds and sources."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import EXTENSIONS, Table, onehot, part_of, read_table, walk
from ltmed.errors import UserError, suggest

ALIASES = {
    "image": ("image", "path", "file", "filename", "image_path", "image_id", "isic_id", "id_code",
              "file-name", "video file"),
    "label": ("label", "diagnosis", "dx", "class", "target", "labels", "class-name", "finding"),
    "group": ("group", "lesion_id", "patient_id", "patient", "subject", "lesion"),
    "part": ("part", "split"),
    "fold": ("fold", "split-index"),
    "source": ("source",),
}  # fmt: skip
"""What the columns may be called (any case), first match first."""


class ManifestFile(DataModule):
    """Images that a table lists, with classes in the order given or sorted.

    Args:
        name: what to call the data set in results and in the cache; None takes `manifest`.
        file: the table; relative to `root`.
        classes: class names in the order that class numbers shall have; needed for labels that are numbers, which then
            are positions in it.
        columns: role (`image`, `label`, `group`, `part`, `fold`, `source`) -> name of the column, where `ALIASES` do
            not have it or have another one.
        label_columns: the columns of a one-hot table, one per class, in the order of the classes.
        allow_group_leakage: accept a table that puts one group into two parts; results report the leakage.
        settings: those of every data set, see `DataModule`.
    """

    name = "manifest"
    source = "your own"
    licence = "yours"
    layout = """\
  manifest.csv: image,label[,group][,part][,fold][,source], comma, semicolon or tab, UTF-8, with a header
  the images, at the listed paths relative to the folder (with or without extension), or anywhere below it;
  an absolute path may be anywhere"""
    fetch = "write the table; dataset.file=NAME if it is called otherwise"

    def __init__(
        self,
        *,
        file: str = "manifest.csv",
        name: str | None = None,
        classes: list[str] | None = None,
        columns: dict[str, str] | None = None,
        label_columns: list[str] | None = None,
        allow_group_leakage: bool = False,
        **settings: Any,
    ) -> None:
        self.name, self.file, self.order = name or self.name, file, [str(code) for code in classes or ()]
        self.columns = {role: column for role, column in (columns or {}).items() if column}
        self.label_columns, self.allow_group_leakage = list(label_columns or ()), allow_group_leakage
        if unknown := sorted(set(self.columns) - set(ALIASES)):
            raise UserError(f"dataset.columns has no role '{unknown[0]}'", suggest(unknown[0], ALIASES))
        super().__init__(**settings)

    def read(self, root: Path) -> Manifest:
        """Reads the table and finds every image. Rows are sorted by image path.

        Raises:
            UserError: no table, a needed column, an image that is missing or listed twice, a label that is no class, a
                part or fold that is none, a group in two parts; the message names the file and the line.
        """
        path = root / self.file
        if not path.is_file():
            raise UserError(f"{path} does not exist", self.how_to_get())
        table = read_table(path)
        images = _Images(root).find(table, self._column(table, "image", needed=True))
        classes, labels = self._labels(table)
        groups, parts, folds, sources = (self._column(table, role) for role in ("group", "part", "fold", "source"))
        places = [part_of(word, table.where(row)) for row, word in enumerate(parts or [])]
        if groups and places and not self.allow_group_leakage:
            _refuse_divided_groups(table, groups, places)
        order = sorted(range(len(images)), key=lambda row: images[row])
        numbers = _folds(table, folds) if folds else None
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(images[row] for row in order),
            labels=np.array(labels, dtype=np.int64)[order],
            classes=classes,
            class_names=classes,
            groups=_group_numbers([groups[row] for row in order]) if groups else None,
            group_name=self._group_name(table),
            group_source=f"a column 'group' to {path}",
            parts=np.array(places)[order] if any(places) else None,
            folds=np.array(numbers, dtype=np.int64)[order] if numbers else None,
            sources=np.array(sources)[order] if sources else None,
        )

    def _column(self, table: Table, role: str, *, needed: bool = False) -> list[str]:
        """Cells of the column that has a role; empty where there is none and none is needed."""
        name = self._column_name(table, role)
        if name is None and needed:
            raise UserError(
                f"{table.path} has no column '{role}'",
                f"It has {', '.join(table)}; say dataset.columns.{role}=NAME, or rename one.",
            )
        return table[name] if name is not None else []

    def _column_name(self, table: Table, role: str) -> str | None:
        if role in self.columns:
            name = self.columns[role].lower()
            if name not in table:
                raise UserError(f"{table.path} has no column '{name}' (dataset.columns.{role})", suggest(name, table))
            return name
        return next((name for name in ALIASES[role] if name in table), None)

    def _group_name(self, table: Table) -> str:
        name = self._column_name(table, "group") or "group"
        return next((word for word in ("lesion", "patient", "subject") if word in name), "group")

    def _labels(self, table: Table) -> tuple[tuple[str, ...], list[int]]:
        """Classes, and the class number of every row."""
        if self.label_columns:
            order = tuple(self.order or self.label_columns)
            if len(order) != len(self.label_columns) or len(set(order)) < len(order):
                raise UserError(
                    f"dataset.classes ({len(order)}) does not fit dataset.label_columns ({len(self.label_columns)})",
                    "Name every class once, in the order of the columns.",
                )
            ids = self._column(table, "image", needed=True)
            return order, onehot(table, table.path, ids, self.label_columns)
        cells = [re.sub(r"^(\d+)\.0+$", r"\1", cell) for cell in self._column(table, "label", needed=True)]
        for row, cell in enumerate(cells):
            if not cell:
                raise UserError(f"{table.where(row)}: no label", "Fill it in or remove the row.")
        if not self.order and all(cell.lstrip("+-").isdecimal() for cell in cells):
            raise UserError(
                f"{table.where(0)}: the labels are numbers (here {cells[0]}), and what they mean is not known",
                "Say dataset.classes=[name of 0,name of 1,...].",
            )
        order = tuple(self.order or sorted(set(cells)))
        known = {name: number for number, name in enumerate(order)}
        if len(known) < len(order):
            raise UserError(f"dataset.classes names a class twice: {', '.join(order)}", "Name every class once.")
        known = {str(number): number for number in range(len(order))} | known
        for row, cell in enumerate(cells):
            if cell not in known:
                raise UserError(f"{table.where(row)}: '{cell[:80]}' is not a class", suggest(cell, order))
        return order, [known[cell] for cell in cells]


class _Images:
    """Finds listed images: at their path, at their path without extension, or by a name that only one image has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._roots = (root.absolute(), root.resolve())
        self.paths: dict[str, list[str]] = {}
        for path in walk(root):
            if path.lower().endswith(EXTENSIONS):
                plain = path.lower()
                for key in {plain, plain.rpartition(".")[0], plain.rpartition("/")[2], _stem(plain)}:
                    self.paths.setdefault(key, []).append(path)

    def find(self, table: Table, names: Sequence[str]) -> list[str]:
        """Path of every row's image, relative to the root.

        Raises:
            UserError: images that are missing (all of them counted), named by several files, or listed twice.
        """
        found: list[str] = []
        rows: dict[str, int] = {}
        missing: list[int] = []
        for row, name in enumerate(names):
            candidates = self._candidates(name)
            if len(candidates) != 1:
                if candidates:
                    raise UserError(
                        f"{table.where(row)}: '{name[:120]}' is {' as well as '.join(candidates[:3])}",
                        "Write the path relative to the folder.",
                    )
                missing.append(row)
                continue
            if (before := rows.setdefault(candidates[0], row)) != row:
                raise UserError(
                    f"{table.where(row)}: '{name[:120]}' is listed before, in line {table.lines[before]}",
                    "Remove one of the rows; an image has one label.",
                )
            found.append(candidates[0])
        if missing:
            first = ", ".join(f"'{names[row][:80]}'" for row in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(
                f"{table.where(missing[0])}: {len(missing)} of {len(names)} listed images are not under {self.root}: "
                f"{first}",
                "Put them there, or correct the column of images.",
            )
        return found

    def _candidates(self, name: str) -> list[str]:
        if Path(name).is_absolute():
            path = next((Path(name).relative_to(r) for r in self._roots if Path(name).is_relative_to(r)), None)
            if path is None:
                return [name] * os.path.isfile(name)
            name = path.as_posix()
        plain = name.replace("\\", "/").removeprefix("./").lower()
        known = self.paths.get(plain, [])
        exact = [path for path in known if path == name or path.lower() == plain]
        return exact[:1] or known


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _folds(table: Table, cells: Sequence[str]) -> list[int]:
    """Fold numbers from 0; an empty cell is -1, in no fold."""
    numbers = []
    for row, cell in enumerate(cells):
        if cell and not (cell.isdecimal() and len(cell) < 6):
            raise UserError(f"{table.where(row)}: fold '{cell[:80]}' is no number from 0", "Correct that row.")
        numbers.append(int(cell) if cell else -1)
    absent = set(range(max(numbers) + 1)) - set(numbers)
    if absent or max(numbers) < 1:
        raise UserError(
            f"{table.path}: the folds are not numbered 0, 1, ... without a gap (no {min(absent, default=1)})",
            "Number them from 0.",
        )
    return numbers


def _group_numbers(groups: Sequence[str]) -> np.ndarray:
    """int64 `[N]`; an image without a group is a group of its own."""
    named = [f"g{group}" if group else f"image {row}" for row, group in enumerate(groups)]
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


def _refuse_divided_groups(table: Table, groups: Sequence[str], parts: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for row, (group, part) in enumerate(zip(groups, parts, strict=True)):
        if group and part and parts[before := seen.setdefault(group, row)] != part:
            raise UserError(
                f"{table.where(row)}: group '{group[:80]}' is in part {part} here and in part {parts[before]} in line "
                f"{table.lines[before]}",
                "Correct it, or say dataset.allow_group_leakage=true; results then report how much leaks.",
            )
