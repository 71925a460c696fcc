"""What every reader does with files: index images, read label tables and lists, name what is missing."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltmed.data.readers._walk import EXTENSIONS, walk
from ltmed.errors import UserError, suggest

_CUT_OFF = "A file that was downloaded may be cut off: fetch it again."
PART_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""How folders and label files spell the parts of a split."""


@dataclass(frozen=True)
class Tree:
    """All files of a data set folder, by lower-case name; paths are relative to `root`, with '/'."""

    root: Path
    images: dict[str, str]
    """Stem -> path. Of images with one stem (repacked archives hold copies) only the first path is kept."""
    files: dict[str, str]
    """Name with extension -> path of everything that is no image; the one closest to the root."""

    def file(self, *names: str) -> Path | None:
        """The first of `names` (any case) that exists in any folder, or None."""
        found = (self.files.get(name.lower()) for name in names)
        return next((self.root / path for path in found if path), None)

    def locate(self, stems: Sequence[str], labels: Sequence[int], classes: Sequence[str], mend: str) -> list[str]:
        """Paths of the listed images, in order.

        Raises:
            UserError: some are not there: how many, of which classes, the first few names, and `mend`.
        """
        missing = [place for place, name in enumerate(stems) if name not in self.images]
        if missing:
            counts = np.bincount([labels[place] for place in missing], minlength=len(classes))
            per_class = ", ".join(f"{code} {count}" for code, count in zip(classes, counts, strict=True) if count)
            first = ", ".join(stems[place] for place in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(
                f"{len(missing)} of {len(stems)} listed images are not under {self.root} ({per_class}): {first}", mend
            )
        return [self.images[name] for name in stems]


def scan(root: Path, how_to_get: str) -> Tree:
    """Indexes the folder `root` with everything below it.

    Raises:
        UserError: `root` is not a folder; the message ends with `how_to_get`.
    """
    if not root.is_dir():
        raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}", how_to_get)
    images: dict[str, str] = {}
    files: dict[str, str] = {}
    for path in walk(root):
        if path.lower().endswith(EXTENSIONS):
            images.setdefault(stem(path), path)
        else:
            name = path.rpartition("/")[2].lower()
            if name not in files or path.count("/") < files[name].count("/"):
                files[name] = path
    return Tree(root, images, files)


def class_folders(root: Path) -> dict[str, list[str]]:
    """Images of every folder in `root`, by folder name in sorted order; paths are relative to `root`.

    Images may lie in folders of their own inside a class folder; an empty folder has an empty list.
    """
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {
        folder: [f"{folder}/{path}" for path in walk(root / folder) if path.lower().endswith(EXTENSIONS)]
        for folder in folders
        if folder != "__MACOSX"
    }


def stem(name: str) -> str:
    """Lower-case file name without folders (of any system) and image extension: how label files name an image."""
    name = name.strip().replace("\\", "/").rpartition("/")[2].lower()
    base, extension = os.path.splitext(name)
    return base if extension in EXTENSIONS else name


class Table(dict[str, list[str]]):
    """Columns of a label file: name in lower case -> cells. Knows which line of which file a row is."""

    def __init__(self, path: Path, lines: Sequence[int], columns: dict[str, list[str]]) -> None:
        super().__init__(columns)
        self.path, self.lines = path, lines

    def where(self, row: int) -> str:
        """`file, line n` of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read_text(path: Path) -> str:
    """Content of a text file, without byte order mark.

    Raises:
        UserError: the file cannot be read or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}", "Check the path.") from None


def read_rows(path: Path) -> list[list[str]]:
    """Rows of a delimited text file, cells stripped and blank lines left out.

    The separator is whichever of comma, semicolon and tab the first line has most of, outside quotes. A byte order
    mark and any line ends are fine.

    Raises:
        UserError: the file is not UTF-8 text, or a quote in it is never closed.
    """
    return [row for _, row in numbered_rows(path)]


def numbered_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of `read_rows`, each with the number of the line that it ends in."""
    text = read_text(path)
    lines = [*re.split("\r\n|\r|\n", text), ""]
    first = next((line for line in lines if line.strip(" \t,;")), "")
    separator = max(",;\t", key=re.sub('"[^"]*"', "", first).count)
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator)
    rows, end = [], 0
    try:
        for row in reader:
            begin, end = end + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((end, cells))
            if begin < end == len(lines):  # The empty line at the end became part of a cell.
                raise UserError(f"{path}, line {begin}: a quote is opened and never closed", "Correct that line.")
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}", "Correct that line.") from None
    return rows


def read_table(path: Path) -> Table:
    """Columns of a delimited text file with a header: name in lower case -> cells.

    Raises:
        UserError: no header or no row; a name that two columns have; a row that is shorter or longer than the header.
    """
    rows = numbered_rows(path)
    if len(rows) < 2:
        raise UserError(f"{path} has no rows under its header", f"Add them. {_CUT_OFF}")
    header, body = [name.lower() for name in rows[0][1]], rows[1:]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise UserError(f"{path}, line {rows[0][0]}: two columns are called '{twice[0]}'", "Rename or remove one.")
    for line, row in body:
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(
                f"{path}, line {line}: the row of '{row[0][:80]}' has {len(row)} cells, the header has {len(header)}",
                f"Correct that line. {_CUT_OFF}",
            )
    columns = {name: [row[place] for _, row in body] for place, name in enumerate(header)}
    return Table(path, [line for line, _ in body], columns)


def column(table: dict[str, list[str]], path: Path, *names: str) -> list[str]:
    """The first of the columns `names` (any case) that `table`, read from `path`, has.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if name.lower() in table:
            return table[name.lower()]
    raise UserError(f"{path} has no column '{names[0]}'", suggest(names[0].lower(), table))


def onehot(table: dict[str, list[str]], path: Path, ids: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Class indices from one column per class, found by name; columns of other names do not matter.

    Args:
        table: as `read_table` gives it.
        path: where it was read, for messages.
        ids: what each row is called in messages.
        classes: codes, in the order of the indices.

    Raises:
        UserError: a class has no column; a cell is no number; a row has not exactly one 1 and 0 elsewhere.
    """
    cells = [column(table, path, code) for code in classes]
    labels = []
    for place, (name, row) in enumerate(zip(ids, zip(*cells, strict=True), strict=True)):
        try:
            values = [float(cell) for cell in row]
        except ValueError:
            values = []
        if sorted(values) != [0.0] * (len(classes) - 1) + [1.0]:
            shown = ", ".join(f"{code}={cell}" for code, cell in zip(classes, row, strict=True))
            where = table.where(place) if isinstance(table, Table) else path
            raise UserError(f"{where}: '{name}' has not exactly one class ({shown})", "Correct or remove that row.")
        labels.append(values.index(1.0))
    return labels


def check_unrepeated(ids: Sequence[str], table: Table) -> None:
    """Makes sure that a table names an image once.

    Raises:
        UserError: two rows have one id; both lines are named.
    """
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if first.setdefault(name, row) != row:
            raise UserError(
                f"{table.where(row)}: '{name}' is listed twice, in line {table.lines[first[name]]} too",
                "An image may have one row; correct the label file.",
            )


def part_of(word: str, where: object) -> str:
    """`train`, `val` or `test` for any spelling of it; an empty word stays empty (in no part).

    Raises:
        UserError: another word; the message begins with `where`.
    """
    known = {name: part for part, names in PART_NAMES.items() for name in names}
    if word and word.lower() not in known:
        raise UserError(f"{where}: '{word}' is not a part of a split", suggest(word.lower(), known))
    return known[word.lower()] if word else ""


def read_list(path: Path) -> list[tuple[str, int]]:
    """(image path, class number) from lines `path number`, without header; the path may hold spaces.

    Raises:
        UserError: a line has another form.
    """
    pairs = []
    for number, line in enumerate(re.split("\r\n|\r|\n", read_text(path)), start=1):
        if not line.strip():
            continue
        cells = line.rsplit(maxsplit=1)
        if len(cells) != 2 or not cells[1].isdecimal() or len(cells[1]) > 9:
            raise UserError(f"{path}, line {number}: '{line.strip()[:120]}' is not 'path number'", "Correct that line.")
        pairs.append((cells[0].strip(), int(cells[1])))
    return pairs


def warn_of_counts(name: str, path: Path, labels: Sequence[int], classes: Sequence[str], known: Sequence[int]) -> None:
    """Warns where the images per class in `path` are not the published numbers `known`."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    rows = zip(classes, counts, known, strict=True)
    differing = ", ".join(f"{code} {have} of {expected}" for code, have, expected in rows if have != expected)
    if differing:
        warnings.warn(f"{name}: {path} has {sum(counts)} images, not {sum(known)}: {differing}", stacklevel=4)
