"""What every reader does with files: index images, read label tables and lists, name what is missing."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltmed.errors import UserError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


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


def walk(root: Path) -> Iterator[str]:
    """Paths of all files under `root`, relative to it, with '/', in sorted order.

    Follows links to folders (each folder once); leaves out hidden files and folders and `__MACOSX`.
    """
    seen: set[tuple[int, int]] = set()

    def below(folder: str, prefix: str) -> Iterator[str]:
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            return
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        for entry in sorted(visible, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name

    yield from below(str(root), "")


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


def read_rows(path: Path) -> list[list[str]]:
    """Rows of a delimited text file, cells stripped and blank lines left out.

    The separator is whichever of comma, semicolon and tab the first line has most of. A byte order mark and
    any line ends are fine.

    Raises:
        UserError: the file is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from None
    lines = [line for line in text.splitlines() if line.strip(" \t,;")]
    separator = max(",;\t", key=lines[0].count) if lines else ","
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]


def read_table(path: Path) -> dict[str, list[str]]:
    """Columns of a delimited text file with a header: name in lower case -> cells.

    Raises:
        UserError: no header or no row; a row that is shorter or longer than the header.
    """
    rows = read_rows(path)
    if len(rows) < 2:
        raise UserError(f"{path} has no rows under its header", "Download it again.")
    header, body = [name.lower() for name in rows[0]], rows[1:]
    for row in body:
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(
                f"{path}: the row of '{row[0]}' has {len(row)} cells, the header has {len(header)}",
                "Download it again.",
            )
    return {name: [row[place] for row in body] for place, name in enumerate(header)}


def column(table: dict[str, list[str]], path: Path, *names: str) -> list[str]:
    """The first of the columns `names` (any case) that `table`, read from `path`, has.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if name.lower() in table:
            return table[name.lower()]
    raise UserError(f"{path} has no column '{names[0]}'", nearest(names[0].lower(), table))


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
    for name, row in zip(ids, zip(*cells, strict=True), strict=True):
        try:
            values = [float(cell) for cell in row]
        except ValueError:
            values = []
        if sorted(values) != [0.0] * (len(classes) - 1) + [1.0]:
            shown = ", ".join(f"{code}={cell}" for code, cell in zip(classes, row, strict=True))
            raise UserError(f"{path}: '{name}' has not exactly one class ({shown})", "Correct or remove that row.")
        labels.append(values.index(1.0))
    return labels


def read_list(path: Path) -> list[tuple[str, int]]:
    """(image path, class number) from lines `path number`, without header; the path may hold spaces.

    Raises:
        UserError: a line has another form.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        cells = line.rsplit(maxsplit=1)
        if len(cells) != 2 or not cells[1].isdecimal():
            raise UserError(f"{path}, line {number}: '{line.strip()}' is not 'path number'", "Correct that line.")
        pairs.append((cells[0].strip(), int(cells[1])))
    return pairs
