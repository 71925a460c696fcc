"""The rows of one or several label tables, one per listed image, before its file is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltmed.data.readers._columns import Roles, find_roles
from ltmed.data.readers._formats import is_table_name
from ltmed.data.readers._parts import part_named, part_of, squashed
from ltmed.data.readers._tables import Table, column, onehot, read_table
from ltmed.data.readers._walk import walk
from ltmed.errors import UserError

JOINT = "\x1f"
"""Between the cells of the columns of labels, where images have several; no table holds it."""
ROW = "row of the table"
"""What the ids are called that keep the images of one row together."""


@dataclass
class Rows:
    """N listed images; a column that no table has is empty, else it has N cells."""

    images: list[str] = field(default_factory=list)
    """As the tables name them."""
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
    """Each table, and its row of each image that it names."""

    def where(self, image: int) -> str:
        """`file, line n` of an image, for messages."""
        for table, order in self.tables:
            if image < len(order):
                return table.where(order[image])
            image -= len(order)
        raise IndexError(image)


def table_files(root: Path, file: Any, help_text: str) -> dict[Path, str]:
    """The tables that `dataset.file` names, and the part that each of them is ("" where it is none of its own).

    Args:
        root: what they are relative to.
        file: one table, a map part -> table, or a list of tables whose names say what part they are.
        help_text: ends the message where a table does not exist.

    Raises:
        UserError: a table that does not exist, a part that is none, a list whose names do not say which part is which.
    """
    if isinstance(file, Mapping):
        named = {str(path): part_of(str(part), f"dataset.file.{part}") for part, path in file.items() if path}
        if not named:
            raise UserError("dataset.file names no table", "For instance dataset.file={train:train.csv,test:test.csv}.")
        if len(named) < sum(map(bool, file.values())):
            raise UserError("dataset.file names one table for two parts", "Each part has a table of its own.")
    elif isinstance(file, Sequence) and not isinstance(file, str):
        named = {str(path): _part_in_name(str(path)) for path in file}
        if "" in named.values() or len(set(named.values())) < len(file):
            shown = ",".join(f"{part or 'PART'}:{path}" for path, part in named.items())
            raise UserError(
                f"dataset.file is a list of {len(file)} tables whose names do not say which part is which",
                f'Say "dataset.file={{{shown}}}", where PART is train, val or test.',
            )
    else:
        named = {str(file): ""}
    files = {root / Path(path).expanduser(): part for path, part in named.items()}
    for path in files:
        if not path.is_file():
            raise UserError(f"{path} does not exist", f"{_tables_there(root)}{help_text}")
    return files


def _part_in_name(path: str) -> str:
    words = Path(path).name.lower().replace("-", "_").replace(".", "_").split("_")
    return next((part for word in words if (part := part_named(word))), "")


def _tables_there(root: Path) -> str:
    """Which tables could have been meant."""
    found = [path for path in walk(root) if is_table_name(Path(path))] if root.is_dir() else []
    found = sorted(found, key=lambda path: (path.count("/"), path))[:8]
    return f"There is {', '.join(found)}: say dataset.file=NAME. " if found else ""


def read_rows(
    files: Mapping[Path, str],
    chosen: Mapping[str, Sequence[str]],
    label_columns: Sequence[str],
    *,
    several: bool = False,
) -> tuple[Rows, dict[Path, Roles]]:
    """Reads the tables.

    Args:
        files: table -> its part or "", as `table_files` gives it.
        chosen: as `chosen_columns` gives it.
        label_columns: the columns of one-hot tables; empty for a column of labels.
        several: an image may have several labels, so that these columns need not be one-hot.

    Returns:
        the rows of all tables, and the columns of each of them.

    Raises:
        UserError: a table that cannot be read, a column that is missing, a part that is none, a row without an image.
    """
    rows, found = Rows(), {}
    known_as: dict[str, str] = {}
    for path, part in files.items():
        table = read_table(path)
        found[path] = roles = find_roles(table, chosen, onehot=bool(label_columns))
        images, order = _images(table, roles)
        before, rows.empty = len(rows.images), rows.empty + len(roles.images) * len(set(order)) - len(order)
        columns = {
            "images": images,
            "labels": _labels(table, roles, label_columns, several=several),
            "parts": [part] * len(table[roles.images[0]]) if part else _parts(table, roles),
            "folds": table[roles.fold] if roles.fold else [],
            "sources": table[roles.source] if roles.source else [],
        }
        for name, cells in columns.items():
            _append(
                getattr(rows, name), cells if name == "images" or not cells else [cells[row] for row in order], before
            )
        # Two tables may spell one column of ids differently.
        ids = {known_as.setdefault(squashed(column), column): table[column] for column in roles.groups}
        if len(roles.images) > 1:
            ids[ROW] = [f"{path} {row}" for row in range(len(table[roles.images[0]]))]
        for name, cells in ids.items():
            _append(rows.ids.setdefault(name, []), _taken(cells, order), before)
        for name, cells_of in roles.attributes.items():
            _append(rows.attributes.setdefault(name, []), _taken(table[cells_of], order), before)
        rows.tables.append((table, order))
    for cells in (rows.parts, rows.folds, rows.sources, *rows.ids.values(), *rows.attributes.values()):
        if cells:
            cells.extend([""] * (len(rows.images) - len(cells)))
    return rows, found


def _append(column: list[str], cells: Sequence[str], before: int) -> None:
    """Adds the cells of one table to a column that earlier tables, of `before` images, may not have had."""
    if cells:
        column.extend([""] * (before - len(column)))
        column.extend(cells)


def _taken(cells: Sequence[str], order: Sequence[int]) -> Sequence[str]:
    return cells if isinstance(order, range) or not cells else [cells[row] for row in order]


def _images(table: Table, roles: Roles) -> tuple[list[str], Sequence[int]]:
    """The images of all rows, and the row of each of them."""
    columns = [table[name] for name in roles.images]
    if len(columns) == 1 and all(columns[0]):
        return columns[0], range(len(columns[0]))
    filled = [(row, cell) for row, cells in enumerate(zip(*columns, strict=True)) for cell in cells if cell]
    order = [row for row, _ in filled]
    if empty := set(range(len(columns[0]))) - set(order):
        many = f" ({len(empty)} of {len(columns[0])} rows have none)" if len(empty) > 1 else ""
        raise UserError(f"{table.where(min(empty))}: no image{many}", "Fill it in or remove the row.")
    return [cell for _, cell in filled], order


def _labels(table: Table, roles: Roles, label_columns: Sequence[str], *, several: bool) -> list[str]:
    if not label_columns:
        assert roles.label is not None
        return table[roles.label]
    if several:
        return list(map(JOINT.join, zip(*(column(table, table.path, name) for name in label_columns), strict=True)))
    return [label_columns[label] for label in onehot(table, table.path, table[roles.images[0]], label_columns)]


def _parts(table: Table, roles: Roles) -> list[str]:
    if roles.part is None:
        return []
    known: dict[str, str] = {}
    for row, word in enumerate(table[roles.part]):
        if word not in known:
            known[word] = part_named(word) or part_of(word, table.where(row))
    parts = [known[word] for word in table[roles.part]]
    return parts if any(parts) else []
