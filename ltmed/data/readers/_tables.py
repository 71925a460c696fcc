"""Label tables: columns by name, and the line number of every row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from ltmed.data.readers._formats import TEXT, format_of, read_cells
from ltmed.data.readers._text import SEPARATOR_LINE, decode_text, numbered_rows, read_bytes, separator_of
from ltmed.errors import UserError, suggest

_TRUTH_VALUES = {"": 0.0, "true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_CUT_OFF = "A file that was downloaded may be cut off: fetch it again."


class Table(Mapping[str, list[str]]):
    """Columns of a label file: lower-case name -> cells, with the line number of every row.

    Args:
        path: the file, for messages.
        columns: name -> cells, or an object with `to_pylist`, whose cells become text when they are first used.
        lines: the line of every row; None finds them in the file when a message needs them.
        unit: what the lines are called: "line" of a text, "row" of a sheet.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, object], lines: Sequence[int] | None = None, unit: str = "line"
    ) -> None:
        self.path, self.unit = path, unit
        self._columns, self._lines = dict(columns), lines

    def __getitem__(self, name: str) -> list[str]:
        cells = self._columns[name]
        if not isinstance(cells, list):
            # Text of pyarrow, which takes a tenth of the memory of Python's.
            self._columns[name] = cells = [cell.strip() for cell in cells.to_pylist()]  # pyright: ignore[reportAttributeAccessIssue]
        return cells

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    @property
    def lines(self) -> Sequence[int]:
        """Where each row ends in the file, counted from 1."""
        if self._lines is None:
            rows = numbered_rows(self.path, decode_text(self.path, read_bytes(self.path)))
            self._lines = [line for line, _ in rows[1:]]
        return self._lines

    def where(self, row: int) -> str:
        """`file, line n` of a row, for messages."""
        return f"{self.path}, {self.unit} {self.lines[row]}"


def read_table(path: Path) -> Table:
    """Columns of a table with a header: name in lower case -> cells, which are stripped text.

    Delimited text (comma, semicolon, tab or bar, whichever the header has most of), sheets of Excel, JSON and Parquet,
    also compressed; see `ltmed.data.readers._formats`.

    Raises:
        UserError: no header or no row; a name that two columns have; a row that is shorter or longer than the header;
            a file that is no table.
    """
    if format_of(path) == TEXT:
        data = read_bytes(path)
        return _quick(path, data) or _careful(path, data)
    cells = read_cells(path)
    if not len(cells.lines):
        raise UserError(f"{path} has no rows under its header", "Add them.")
    names = _header(path, cells.header, "its header")
    return Table(path, dict(zip(names, cells.columns, strict=True)), cells.lines, cells.unit)


def _quick(path: Path, data: bytes) -> Table | None:
    """The table by pyarrow, in a twentieth of the time, where nothing in the text needs care; else None."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").strip(b"\n")
    first, _, body = data.partition(b"\n")
    if SEPARATOR_LINE.fullmatch(first.decode("latin-1")):
        return None
    if b'"' in data or b"\0" in data or b"\r" in data or re.search(rb"\n[ \t\x0b\x0c,;|]*(\n|$)", data):
        return None
    if max(map(len, data.split(b"\n"))) > csv.field_size_limit():
        return None
    try:
        header = first.decode()
        separator = separator_of(header)
        names = _header(path, [name.strip() for name in header.split(separator)], "line 1")
        indices = [str(index) for index in range(len(names))]
        table = arrow.read_csv(
            BytesIO(body),
            read_options=arrow.ReadOptions(column_names=indices, use_threads=False),
            parse_options=arrow.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(indices, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError, ValueError):
        return None
    return Table(path, {name: table.column(index) for name, index in zip(names, indices, strict=True)})


def _careful(path: Path, data: bytes) -> Table:
    rows = numbered_rows(path, decode_text(path, data))
    if len(rows) < 2:
        raise UserError(f"{path} has no rows under its header", f"Add them. {_CUT_OFF}")
    header, body = _header(path, rows[0][1], f"line {rows[0][0]}"), rows[1:]
    for line, row in body:
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(
                f"{path}, line {line}: the row of '{row[0][:80]}' has {len(row)} cells, the header has {len(header)}",
                f"Correct that line. {_CUT_OFF}",
            )
    columns = {name: [row[index] for _, row in body] for index, name in enumerate(header)}
    return Table(path, columns, [line for line, _ in body])


def _header(path: Path, names: Sequence[str], where: str) -> list[str]:
    header = [name.strip().lower() for name in names]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise UserError(f"{path}, {where}: two columns are called '{twice[0]}'", "Rename or remove one.")
    return header


def column(table: Mapping[str, list[str]], path: Path, *names: str) -> list[str]:
    """The first of the columns `names` (any case) that `table`, read from `path`, has.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if name.lower() in table:
            return table[name.lower()]
    raise UserError(f"{path} has no column '{names[0]}'", suggest(names[0].lower(), table))


def onehot(table: Mapping[str, list[str]], path: Path, ids: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Class indices from one column per class, found by name; columns of other names do not matter.

    Args:
        table: as `read_table` gives it.
        path: where it was read, for messages.
        ids: name of each row in messages.
        classes: codes, in the order of the indices.

    Raises:
        UserError: a class has no column; a row has not exactly one 1 (`1.0`, `1,0`, `true`, `yes`) and 0, `false`, `no`
            or nothing elsewhere.
    """
    cells = [column(table, path, code) for code in classes]
    values = {cell: _number(cell) for code in cells for cell in set(code)}
    labels = [-1] * len(ids)
    wrong: list[int] = []
    n_multilabel = 0
    for index, row in enumerate(zip(*cells, strict=True)):
        numbers = [values[cell] for cell in row]
        if numbers.count(1.0) == 1 and numbers.count(0.0) == len(numbers) - 1:
            labels[index] = numbers.index(1.0)
        else:
            wrong.append(index)
            n_multilabel += numbers.count(1.0) > 1
    if wrong:
        first = wrong[0]
        content = ", ".join(f"{code}={column[first]}" for code, column in zip(classes, cells, strict=True))
        where = table.where(first) if isinstance(table, Table) else path
        count = f"; {len(wrong)} of {len(ids)} rows are like that, {n_multilabel} of them with several classes"
        raise UserError(
            f"{where}: '{ids[first]}' has not exactly one class ({content}){count if len(wrong) > 1 else ''}",
            f"Correct or remove {'these rows' if len(wrong) > 1 else 'that row'}; of dataset=manifest, images may have "
            "several labels with dataset.multilabel=true.",
        )
    return labels


def _number(cell: str) -> float | None:
    if cell.lower() in _TRUTH_VALUES:
        return _TRUTH_VALUES[cell.lower()]
    try:
        return float(re.sub(r"^(\d+),(\d+)$", r"\1.\2", cell))
    except ValueError:
        return None


def check_unrepeated(ids: Sequence[str], table: Table) -> None:
    """Checks that a table contains every image once.

    Raises:
        UserError: two rows have one id; both lines are named.
    """
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise UserError(
                f"{table.where(row)}: '{name}' is listed twice, in {table.unit} {table.lines[first[name]]} too",
                "An image may have one row; correct the label file.",
            )
