"""Rows of one or several label tables, one per listed image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltmed.data.readers._columns import Roles, find_roles
from ltmed.data.readers._formats import is_table_name
from ltmed.data.readers._groups import unit_of
from ltmed.data.readers._parts import parse_part, part_of, squashed
from ltmed.data.readers._tables import Table, column, onehot, read_table
from ltmed.data.readers._walk import walk
from ltmed.errors import UserError

JOINT = "\x1f"
"""Separator of the cells of several label columns, a character that tables do not contain."""
ROW = "row of the table"
"""Name of the ids that group the images of one row."""


@dataclass
class Rows:
    """N listed images; a column that no table has is empty, else it has N cells."""

    images: list[str] = field(default_factory=list)
    """Names in the tables."""
    labels: list[str] = field(default_factory=list)
    """Cells of the column of labels; with one-hot columns, the name of the column; with several labels per image, the
    cells of all columns, joined by `JOINT`."""
    parts: list[str] = field(default_factory=list)
    """train, val, test or ""."""
    folds: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    """Name of a column of ids -> its cells."""
    attributes: dict[str, list[str]] = field(default_factory=dict)
    """Attribute (age, sex, ...) -> its cells."""
    empty: int = 0
    """Cells without an image in rows of several images."""
    tables: list[tuple[Table, Sequence[int]]] = field(default_factory=list)
    """Each table, and the row of each of its images."""

    def where(self, image: int) -> str:
        """`file, line n` of an image, for messages."""
        for table, order in self.tables:
            if image < len(order):
                return table.where(order[image])
            image -= len(order)
        raise IndexError(image)


def table_files(root: Path, file: Any, help_text: str) -> dict[Path, str]:
    """The tables of `dataset.file`, and the part of each of them ("" if it is not a part).

    Args:
        root: what they are relative to.
        file: one table, a map part -> table, or a list of tables whose names say what part they are.
        help_text: ends the message where a table does not exist.

    Raises:
        UserError: a table that does not exist, a part that is none, a list whose names do not say which part is which.
    """
    if isinstance(file, Mapping):
        part_of_path = {str(path): part_of(str(part), f"dataset.file.{part}") for part, path in file.items() if path}
        if not part_of_path:
            raise UserError("dataset.file names no table", "For instance dataset.file={train:train.csv,test:test.csv}.")
        if len(part_of_path) < sum(map(bool, file.values())):
            raise UserError("dataset.file names one table for two parts", "Each part has a table of its own.")
    elif isinstance(file, Sequence) and not isinstance(file, str):
        part_of_path = {str(path): _part_in_name(str(path)) for path in file}
        if "" in part_of_path.values() or len(set(part_of_path.values())) < len(file):
            example = ",".join(f"{part or 'PART'}:{path}" for path, part in part_of_path.items())
            raise UserError(
                f"dataset.file is a list of {len(file)} tables whose names do not say which part is which",
                f'Say "dataset.file={{{example}}}", where PART is train, val or test.',
            )
    else:
        part_of_path = {str(file): ""}
    files = {root / Path(path).expanduser(): part for path, part in part_of_path.items()}
    for path in files:
        if not path.is_file():
            raise UserError(f"{path} does not exist", f"{_existing_tables(root)}{help_text}")
    return files


def _part_in_name(path: str) -> str:
    tokens = Path(path).name.lower().replace("-", "_").replace(".", "_").split("_")
    return next((part for token in tokens if (part := parse_part(token))), "")


def _existing_tables(root: Path) -> str:
    """Lists the tables below the root, for a hint."""
    tables = [path for path in walk(root) if is_table_name(Path(path))] if root.is_dir() else []
    tables = sorted(tables, key=lambda path: (path.count("/"), path))[:8]
    return f"There is {', '.join(tables)}: say dataset.file=NAME. " if tables else ""


def read_rows(
    files: Mapping[Path, str],
    selected: Mapping[str, Sequence[str]],
    label_columns: Sequence[str],
    *,
    multilabel: bool = False,
) -> tuple[Rows, dict[Path, Roles]]:
    """Reads the tables.

    Args:
        files: table -> its part or "", from `table_files`.
        selected: from `parse_columns`.
        label_columns: the columns of one-hot tables; empty for a column of labels.
        multilabel: an image may have several labels, so that these columns need not be one-hot.

    Returns:
        the rows of all tables, and the columns of each of them.

    Raises:
        UserError: a table that cannot be read, a column that is missing, a part that is none, a row without an image.
    """
    rows, roles_of = Rows(), {}
    column_names: dict[str, str] = {}
    """Name of a column of ids after `squashed` -> its name in the first table that has it."""
    for path, part in files.items():
        table = read_table(path)
        roles_of[path] = roles = find_roles(table, selected, onehot=bool(label_columns))
        images, order = _images(table, roles)
        before, rows.empty = len(rows.images), rows.empty + len(roles.images) * len(set(order)) - len(order)
        columns = {
            "images": images,
            "labels": _labels(table, roles, label_columns, multilabel=multilabel),
            "parts": [part] * len(table[roles.images[0]]) if part else _parts(table, roles),
            "folds": table[roles.fold] if roles.fold else [],
            "sources": table[roles.source] if roles.source else [],
        }
        for name, cells in columns.items():
            _append(
                getattr(rows, name), cells if name == "images" or not cells else [cells[row] for row in order], before
            )
        ids = {name: table[column] for column, name in _kinds(path, roles.groups, column_names).items()}
        if len(roles.images) > 1:
            ids[ROW] = [f"{path} {row}" for row in range(len(table[roles.images[0]]))]
        for name, cells in ids.items():
            _append(rows.ids.setdefault(name, []), _select(cells, order), before)
        for name, cells_of in roles.attributes.items():
            _append(rows.attributes.setdefault(name, []), _select(table[cells_of], order), before)
        rows.tables.append((table, order))
    for cells in (rows.parts, rows.folds, rows.sources, *rows.ids.values(), *rows.attributes.values()):
        if cells:
            cells.extend([""] * (len(rows.images) - len(cells)))
    return rows, roles_of


def _kinds(path: Path, columns: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """Column of ids of one table -> the column of earlier tables that holds the same kind of ids, or itself.

    Two tables may spell one name differently (`Patient ID`, `patient_id`) or call one kind `patient` and `patient_id`:
    a patient of both tables is one only if the columns are one. `known` is extended.
    """
    kinds = {own: known.get(squashed(own), "") for own in columns}
    for own in [own for own, kind in kinds.items() if not kind]:
        unit = unit_of(own)
        earlier = {kind for kind in known.values() if unit and unit_of(kind) == unit}
        kinds[own] = own
        if len(earlier) == 1 and not earlier & {*kinds.values()} and [*map(unit_of, columns)].count(unit) == 1:
            (kinds[own],) = earlier
            warnings.warn(
                f"{path}: the ids of the column '{own}' are taken for those of '{kinds[own]}' in the other table",
                stacklevel=5,
            )
    known.update({squashed(own): kind for own, kind in kinds.items()})
    return kinds


def _append(column: list[str], cells: Sequence[str], before: int) -> None:
    """Adds the cells of one table to a column that earlier tables, of `before` images, may not have had."""
    if cells:
        column.extend([""] * (before - len(column)))
        column.extend(cells)


def _select(cells: Sequence[str], order: Sequence[int]) -> Sequence[str]:
    return cells if isinstance(order, range) or not cells else [cells[row] for row in order]


def _images(table: Table, roles: Roles) -> tuple[list[str], Sequence[int]]:
    """The images of all rows, and the row of each of them."""
    columns = [table[name] for name in roles.images]
    if len(columns) == 1 and all(columns[0]):
        return columns[0], range(len(columns[0]))
    filled = [(row, cell) for row, cells in enumerate(zip(*columns, strict=True)) for cell in cells if cell]
    order = [row for row, _ in filled]
    if empty := set(range(len(columns[0]))) - set(order):
        summary = f" ({len(empty)} of {len(columns[0])} rows have none)" if len(empty) > 1 else ""
        raise UserError(f"{table.where(min(empty))}: no image{summary}", "Fill it in or remove the row.")
    return [cell for _, cell in filled], order


def _labels(table: Table, roles: Roles, label_columns: Sequence[str], *, multilabel: bool) -> list[str]:
    if not label_columns:
        assert roles.label is not None
        return table[roles.label]
    if multilabel:
        return list(map(JOINT.join, zip(*(column(table, table.path, name) for name in label_columns), strict=True)))
    return [label_columns[label] for label in onehot(table, table.path, table[roles.images[0]], label_columns)]


def _parts(table: Table, roles: Roles) -> list[str]:
    if roles.part is None:
        return []
    part_of_text: dict[str, str] = {}
    for row, text in enumerate(table[roles.part]):
        if text not in part_of_text:
            part_of_text[text] = parse_part(text) or part_of(text, table.where(row))
    parts = [part_of_text[text] for text in table[roles.part]]
    return parts if any(parts) else []
