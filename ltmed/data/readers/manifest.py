"""Your own images with a table of labels and, where known, groups, parts, folds and sources."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._attributes import as_arrays
from ltmed.data.readers._columns import parse_columns, refuse_descriptions
from ltmed.data.readers._files import require_folder
from ltmed.data.readers._groups import (
    Groups,
    compile_pattern,
    find_groups,
    ids_in_names,
    refuse_divided_groups,
    warn_of_names,
)
from ltmed.data.readers._labels import read_labels, require_distinct
from ltmed.data.readers._match import ImageFiles
from ltmed.data.readers._merge import Listed, merge
from ltmed.data.readers._parts import fold_numbers, folds_of_training, normalised_ids
from ltmed.data.readers._rows import ROW, Rows, read_rows, table_files
from ltmed.data.readers._sets import Rules, multilabel_reader
from ltmed.data.readers._text import many, shortened
from ltmed.data.readers._walk import patterns, refuse_links_to_one_file
from ltmed.errors import UserError


class ManifestFile(DataModule):
    """Images that a table lists, with classes in the order given or sorted.

    Args:
        name: what to call the data set in results and in the cache; None takes `manifest`.
        file: the table, relative to `root`; or one table per part, `{train: ..., val: ..., test: ...}`.
        classes: class names in the order that class numbers shall have; needed for labels that are numbers, which then
            are positions in it.
        columns: role (`image`, `label`, `group`, `part`, `fold`, `source`, `attribute`) -> name of the column, where
            `ltmed.data.readers._columns.ALIASES` do not have it or have another one; `image`, `group` and `attribute`
            may be lists, and an empty list uses no column. Age, sex, localization, skin type, race and device are
            found without being named.
        label_columns: the columns of a one-hot table, one per class, in the order of the classes; with `multilabel` of
            1 (`yes`, `1.0`), 0, -1 (uncertain) or nothing.
        multilabel: images may have any number of the labels in `label_columns`.
        separator: between the labels of an image in one column of labels, for instance `|`; implies `multilabel`.
        uncertain: -1 is unknown (`ignore`: no part in loss and metrics), present (`ones`) or absent (`zeros`).
        blank: an empty cell of `label_columns` is unknown (`ignore`) or absent (`zeros`).
        no_finding: `No Finding` or `normal` is a `label` like others, or stands for the `absence` of all of them.
        unlabelled: `keep` images without any label, `drop` them, or stop with an `error`.
        allow_group_leakage: accept a table that puts one group into two parts or folds; results report the leakage.
        group_pattern: a regular expression that finds the patient in an image's path, in addition to columns of ids.
        include: patterns (`images/*`) of the paths of the files that may be meant; None takes all.
        settings: those of every data set, see `DataModule`. `on_bad_image=skip` leaves listed images out that are not
            there.
    """

    name = "manifest"
    source = "your own"
    licence = "yours"
    layout = """\
  manifest.csv: image,label[,group][,part][,fold][,source], with a header; CSV, TSV, xlsx, JSON or Parquet
  the images, at the listed paths relative to the folder (with or without extension), or anywhere below it;
  an absolute path may be anywhere"""
    fetch = "write the table; dataset.file=NAME if it is called otherwise"

    def __init__(
        self,
        *,
        file: str | Mapping[str, str] = "manifest.csv",
        name: str | None = None,
        classes: list[Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        label_columns: list[Any] | None = None,
        multilabel: bool = False,
        separator: str | None = None,
        uncertain: str = "ignore",
        blank: str = "ignore",
        no_finding: str = "label",
        unlabelled: str = "keep",
        allow_group_leakage: bool = False,
        group_pattern: str | None = None,
        include: str | list[str] | None = None,
        on_bad_image: str = "error",
        **settings: Any,
    ) -> None:
        self.name, self.file, self.order = str(name or self.name), file, list(classes or ())
        self.columns, self.label_columns = parse_columns(columns), [str(name) for name in label_columns or ()]
        self.multilabel_reader = multilabel_reader(
            bool(self.label_columns), multilabel, separator, Rules(uncertain, blank, no_finding, unlabelled)
        )
        self.allow_group_leakage, self.skip_missing = allow_group_leakage, on_bad_image == "skip"
        self.group_pattern, self.include = compile_pattern(group_pattern), patterns(include)
        super().__init__(on_bad_image=on_bad_image, **settings)

    def read(self, root: Path) -> Manifest:
        """Reads the table and finds every image. Rows are sorted by image path.

        Raises:
            UserError: no table, a needed column, an image that is missing or has two labels, a label that is no class,
                a part or fold that is none, a group in two parts or folds, a column that was taken for ids and
                describes images, one file with two labels by links; the message names the file and, where there is one,
                the line.
        """
        require_folder(root, self.how_to_get())
        files = table_files(root, self.file, self.how_to_get())
        rows, roles = read_rows(files, self.columns, self.label_columns, multilabel=self.multilabel_reader is not None)
        tables = ", ".join(map(str, files))
        if self.multilabel_reader is None:
            classes, labels = self._labels(rows, tables)
            sets, selected, names = None, None, classes
        else:
            sets = self.multilabel_reader.read(rows.labels, rows.where, self.order, self.label_columns, self.name)
            classes, labels, selected, names = sets.labels, sets.numbers.tolist(), sets.selected, sets.texts
        paths = self._paths(root, rows, classes, labels, names)
        if selected is not None:
            paths = [path if keep else None for path, keep in zip(paths, selected.tolist(), strict=True)]
        listed = merge(rows, paths, labels, names)
        self._warn_of_merged(listed, rows)
        refuse_links_to_one_file(self.name, root, listed.images, [names[label] for label in listed.labels])
        groups = self._groups(listed, tables)
        folds = fold_numbers(listed.folds, listed.where, tables) if listed.folds else None
        if groups is not None and not self.allow_group_leakage:
            divisions = {"part": listed.parts, "fold": folds_of_training(folds, listed.parts) if folds else []}
            for what, cells in divisions.items():
                if cells:
                    refuse_divided_groups(groups.numbers, groups.unit, cells, listed.images, listed.where, what=what)
        notes = [f"columns of {path.name}: {columns.described()}" for path, columns in roles.items()]
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(listed.images),
            labels=np.array(listed.labels, dtype=np.int64) if sets is None else sets.sets[listed.labels],
            classes=classes,
            class_names=classes,
            groups=None if groups is None else groups.numbers,
            group_name="group" if groups is None else groups.unit,
            group_source=f"a column 'group' to {tables} (or dataset.columns.group=NAME, dataset.group_pattern=REGEX)",
            parts=np.array(listed.parts) if listed.parts else None,
            folds=None if folds is None else np.array(folds, dtype=np.int64),
            sources=np.array(listed.sources) if listed.sources else None,
            attributes=as_arrays(listed.attributes),
            notes=(*notes, *([groups.how] if groups else []), *(() if sets is None else sets.notes)),
        )

    def _labels(self, rows: Rows, tables: str) -> tuple[tuple[str, ...], list[int]]:
        """Classes, and the class number of every row."""
        if not self.label_columns:
            return read_labels(rows.labels, rows.where, tables, self.order or None)
        order = tuple(str(code) for code in self.order or self.label_columns)
        if len(order) != len(self.label_columns) or len(set(order)) < len(order):
            raise UserError(
                f"dataset.classes ({len(order)}) does not fit dataset.label_columns ({len(self.label_columns)})",
                "Name every class once, in the order of the columns.",
            )
        require_distinct(lambda _: "dataset.classes" if self.order else "dataset.label_columns", order)
        number = {column: index for index, column in enumerate(self.label_columns)}
        return order, [number[column] for column in rows.labels]

    def _paths(
        self, root: Path, rows: Rows, classes: Sequence[str], labels: Sequence[int], names: Sequence[str]
    ) -> list[str | None]:
        """Path of every row's image, None if it is missing and may be skipped; `names` are labels for messages."""
        files = ImageFiles(root, self.include)

        def hints(row: int) -> tuple[str, ...]:
            part = rows.parts[row] if rows.parts else ""
            if self.multilabel_reader is not None:
                return *names[labels[row]].split("|"), part
            return *dict.fromkeys((rows.labels[row], names[labels[row]])), part

        matches = files.find(rows.images, rows.where, hints, (*classes, *set(rows.labels)))
        for remark in matches.remarks:
            warnings.warn(f"{self.name}: {remark}", stacklevel=4)
        missing = [row for row, path in enumerate(matches.paths) if path is None]
        if missing:
            examples = shortened((rows.images[row] for row in missing), 5)
            counts = Counter(names[labels[row]] for row in missing)
            per_class = ", ".join(f"{code} {counts[code]}" for code in names if counts[code])
            message = (
                f"{len(missing):,} of {len(labels):,} listed images are not under {root} ({per_class}): {examples}"
            )
            if not self.skip_missing or len(missing) == len(labels):
                raise UserError(
                    f"{rows.where(missing[0])}: {message}",
                    "Put them there, correct the column of images, or leave these rows out with "
                    "dataset.on_bad_image=skip.",
                )
            warnings.warn(f"{self.name}: {message}; they are left out", stacklevel=4)
        return matches.paths

    def _warn_of_merged(self, listed: Listed, rows: Rows) -> None:
        if listed.repeated:
            warnings.warn(
                f"{self.name}: {listed.repeated:,} of {len(rows.images):,} rows repeat an image with the same label; "
                "each image is used once",
                stacklevel=4,
            )
        if rows.empty:
            warnings.warn(f"{self.name}: {many(rows.empty, 'cell')} of images left out, being empty", stacklevel=4)

    def _groups(self, listed: Listed, tables: str) -> Groups | None:
        ids = dict(listed.ids)
        if "group" not in self.columns:
            refuse_descriptions(tables, {name: normalised_ids(cells) for name, cells in ids.items() if name != ROW})
        if self.group_pattern is not None:
            ids |= ids_in_names(self.group_pattern, listed.images)
        if not ids:
            warn_of_names(self.name, listed.images)
        return find_groups(self.name, ids, len(listed.images), listed.further_ids)
