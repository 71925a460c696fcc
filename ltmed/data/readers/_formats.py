"""Tables that are not delimited text: sheets of Excel, JSON, Parquet and Feather; every cell becomes text."""

from __future__ import annotations

import importlib
import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from ltmed.data.readers._text import COMPRESSED, decode_text, read_bytes, shortened
from ltmed.errors import UserError

TEXT, SHEET, JSON, JSON_LINES, PARQUET, FEATHER = "text", "sheet", "json", "json lines", "parquet", "feather"

_FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt", ".dat", ""), TEXT),
    **dict.fromkeys((".xlsx", ".xlsm"), SHEET),
    **dict.fromkeys((".jsonl", ".ndjson"), JSON_LINES),
    ".json": JSON,
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".feather", ".arrow"), FEATHER),
}
TABLE_ENDINGS = tuple(suffix for suffix in _FORMATS if suffix not in ("", ".txt", ".dat"))
"""How files end that are tables and nothing else; each may be followed by one of `COMPRESSED`."""
_UNREADABLE = (
    *(".xls", ".xlsb", ".ods", ".numbers", ".mat", ".sav", ".dta", ".sas7bdat", ".rds", ".rdata", ".pkl", ".pickle"),
    *(".npy", ".npz", ".h5", ".hdf5", ".db", ".sqlite", ".xml", ".yaml", ".yml", ".html", ".pdf", ".doc", ".docx"),
)


class Cells(NamedTuple):
    """A table of text cells."""

    header: list[str]
    columns: list[Any]
    """Of each name in the header: a list of text, or an object whose `to_pylist` gives one."""
    lines: Sequence[int]
    """Number of each row in the file, counted from 1."""
    unit: str
    """What a row is called in messages."""


class _LazyText:
    """Cells of pyarrow that are converted to text on first use, since most tables have unused columns."""

    def __init__(self, cells: Any) -> None:
        self._cells = cells

    def to_pylist(self) -> list[str]:
        return [_text(cell) for cell in self._cells.to_pylist()]


def format_of(path: Path) -> str:
    """Which kind of table a file is, by its name.

    Raises:
        UserError: a kind that is not read.
    """
    suffix = _suffix(path)
    if suffix in _UNREADABLE:
        raise UserError(f"{path}: tables that end in {suffix} are not read", "Save it as CSV (UTF-8), xlsx or Parquet.")
    return _FORMATS.get(suffix, TEXT)


def is_table_name(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return _suffix(path) in TABLE_ENDINGS


def _suffix(path: Path) -> str:
    name = path.name.lower()
    ending = next((ending for ending in COMPRESSED if name.endswith(ending)), "")
    return Path(name.removesuffix(ending)).suffix


def read_cells(path: Path) -> Cells:
    """Header and rows of a table that is not delimited text.

    Raises:
        UserError: the file is damaged, has another shape than that of a table, or needs a package that is missing.
    """
    kind = format_of(path)
    readers = {SHEET: _sheet, JSON: _json, JSON_LINES: _json_lines}
    return readers.get(kind, _columns)(path, read_bytes(path))


def _sheet(path: Path, data: bytes) -> Cells:
    """The first sheet of a workbook; rows without content are left out."""
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError:
        raise UserError(
            f"{path}: Excel files need the package openpyxl",
            "Install it (pip install 'ltmed[excel]'), or save the sheet as CSV (UTF-8).",
        ) from None
    try:
        book = openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=True)
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # Some programs write a wrong size, beyond which cells would not be read.
        further = [sheet.title for sheet in book.worksheets[1:] if any(any(row) for row in _first_rows(sheet))]
        rows = [[_text(cell) for cell in row] for row in book.worksheets[0].iter_rows(values_only=True)]
        merged = _merged(data, book.worksheets[0])
    except Exception as error:  # openpyxl has no common error class for damaged files.
        raise _damaged(path, "an Excel file", error) from None
    filled = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if further:
        warnings.warn(
            f"{path}: only the first sheet ('{book.worksheets[0].title}') is read, not {shortened(further)}",
            stacklevel=5,
        )
    if not filled:
        raise UserError(f"{path} has no content in its first sheet", "Move the table to the first sheet.")
    header = filled[0][1]
    width = max(index for index, name in enumerate(header, start=1) if name)
    table = range(1, width + 1)  # Merged cells beside it are a form or a remark.
    if cells := next((text for text, first, last in merged if first in table and last > filled[0][0]), None):
        raise UserError(
            f"{path}: the cells {cells} are merged, so that only the first of these rows has their value",
            "Divide them and repeat the value in every row.",
        )
    for number, row in filled[1:]:
        if any(row[width:]):
            raise UserError(f"{path}, row {number}: a cell has no name in the header", "Name its column.")
    body = [(row + [""] * width)[:width] for _, row in filled[1:]]
    return Cells(header[:width], _transposed(body, width), [number for number, _ in filled[1:]], "row")


def _first_rows(sheet: Any) -> Iterable[tuple[Any, ...]]:
    return sheet.iter_rows(max_row=5, values_only=True)


def _merged(data: bytes, sheet: Any) -> list[tuple[str, int, int]]:
    """Merged cells over several rows of a sheet (`A2:A5`), with their first column, counted from 1, and last row;
    openpyxl does not list them here.
    """
    from openpyxl.utils import column_index_from_string

    with zipfile.ZipFile(BytesIO(data)) as archive:
        content = archive.read(sheet._worksheet_path.removeprefix("/"))
    ranges = re.findall(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="(([A-Z]+)(\d+):[A-Z]+(\d+))"', content)
    return [
        (text.decode(), column_index_from_string(column.decode()), int(last))
        for text, column, first, last in ranges
        if int(last) > int(first)
    ]


def _json_lines(path: Path, data: bytes) -> Cells:
    lines = [line for line in decode_text(path, data).splitlines() if line.strip()]
    try:
        return _records(path, [json.loads(line) for line in lines])
    except ValueError as error:
        raise _damaged(path, "JSON, one object a line", error) from None


def _json(path: Path, data: bytes) -> Cells:
    """A list of objects, an object of columns, or an object image -> label."""
    try:
        content = json.loads(decode_text(path, data))
    except ValueError as error:
        if data.strip().startswith(b"{") and data.strip().count(b"\n"):
            return _json_lines(path, data)
        raise _damaged(path, "JSON", error) from None
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        names, content = content.get("columns"), content["data"]
        if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in content):
            content = [dict(zip(map(str, names), row, strict=True)) for row in content]
    if isinstance(content, list):
        return _records(path, content)
    if isinstance(content, dict) and content:
        columns = list(content.values())
        if all(isinstance(cells, list) for cells in columns) and len(set(map(len, columns))) == 1:
            cells = [[_text(cell) for cell in column] for column in columns]
            return Cells(list(content), cells, range(1, len(cells[0]) + 1), "entry")
        if all(isinstance(cells, dict) for cells in columns):
            numbered = all(str(key).isdecimal() for cells in columns for key in cells)
            if len(columns) > max(map(len, columns)) and not numbered:  # More rows than columns: image -> row.
                key = "" if all(map(str.isdecimal, content)) or any("image" in cells for cells in columns) else "image"
                return _records(path, [{key: name, **cells} for name, cells in content.items()])
            keys = dict.fromkeys(key for cells in columns for key in cells)  # A column may lack rows of another one.
            return _records(path, [{name: cells.get(key) for name, cells in content.items()} for key in keys])
        if not any(isinstance(cell, (dict, list)) for cell in columns):
            cells = [list(content), [_text(cell) for cell in columns]]
            return Cells(["image", "label"], cells, range(1, len(columns) + 1), "entry")
    raise UserError(f"{path} is no table", 'Write a list of rows: [{"image": "a.jpg", "label": "x"}, ...].')


def _records(path: Path, rows: list[Any]) -> Cells:
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is no list of objects", 'Write [{"image": "a.jpg", "label": "x"}, ...].')
    header = list(dict.fromkeys(str(name) for row in rows for name in row))
    columns = [[_text(row.get(name)) for row in rows] for name in header]
    return Cells(header, columns, range(1, len(rows) + 1), "entry")


def _columns(path: Path, data: bytes) -> Cells:
    """Parquet and Feather."""
    kind = format_of(path)
    module = importlib.import_module(f"pyarrow.{kind}")
    try:
        table = module.read_table(BytesIO(data))
    except Exception as error:  # Errors of pyarrow come from several modules.
        raise _damaged(path, f"a {kind.capitalize()} file", error) from None
    columns = [_LazyText(cells) for cells in table.columns]
    return Cells([str(name) for name in table.column_names], columns, range(1, table.num_rows + 1), "row")


def _transposed(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    return [[row[index] for row in rows] for index in range(width)]


def _damaged(path: Path, what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:160]
    return UserError(f"{path} is not {what} that can be read: {reason}", "Save it again, or as CSV (UTF-8).")


def _text(cell: Any) -> str:
    """A cell as text in a CSV; several values in one cell are joined by '|'."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, Mapping):
        return json.dumps(cell, default=str)
    if isinstance(cell, Iterable) and not isinstance(cell, (str, bytes)):
        return "|".join(map(_text, cell))
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace").strip()
    return str(cell).strip()
