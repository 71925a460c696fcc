"""The images that a command line names: files, folders, and tables with a column of paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ltmed.data.readers._columns import ALIASES
from ltmed.data.readers._formats import is_table_name
from ltmed.data.readers._parts import squashed
from ltmed.data.readers._tables import read_table
from ltmed.data.readers._walk import EXTENSIONS, images_among, walk
from ltmed.errors import UserError

COLUMNS = ALIASES["image"]
"""What a column of paths may be called, the first that a table has; case, blanks, `_`, `-` and `.` do not matter."""


class Listed(NamedTuple):
    """N different images, in the order in which they were given."""

    shown: list[str]
    """What the user calls each of them: a path as on the command line, or the cell of a table."""
    paths: list[Path]
    repeated: int
    """How many more there were that name one of these files again."""


def list_images(given: Sequence[Path]) -> Listed:
    """Lists every image once.

    Args:
        given: image files; folders, searched with everything below them; tables (CSV, TSV, xlsx, JSON, Parquet) with
            one of `COLUMNS`, whose paths are relative to the table's folder and may lack the extension of the file.

    Raises:
        UserError: a path that does not exist, a folder without images, a table without such a column or with an empty
            cell in it, a path without extension that several files have. A path in a table that does not exist is no
            error here: it cannot be read later.
    """
    found: dict[str, tuple[str, Path]] = {}
    number = 0
    for name in given:
        for shown, path in _images(Path(os.path.expanduser(name))):
            number += 1
            found.setdefault(os.path.abspath(path), (shown, path))
    return Listed([shown for shown, _ in found.values()], [path for _, path in found.values()], number - len(found))


def _images(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        inside, _ = images_among(path, walk(path))
        if not inside:
            raise UserError(f"There is no image in {path}", f"Images there end in {', '.join(EXTENSIONS)}.")
        yield from ((str(path / name), path / name) for name in inside)
    elif not os.path.lexists(path):
        raise UserError(f"{path} does not exist", "Give image files, folders, or a table with a column of paths.")
    elif is_table_name(path):
        yield from _in_table(path)
    else:
        _require_utf8(path)
        yield str(path), path


def _in_table(file: Path) -> Iterator[tuple[str, Path]]:
    table = read_table(file)
    columns = {squashed(name): name for name in reversed(list(table))}
    name = next((columns[squashed(name)] for name in COLUMNS if squashed(name) in columns), None)
    if name is None:
        raise UserError(
            f"{file} has no column of images (it has {', '.join(table)})", f"Call it one of {', '.join(COLUMNS[:8])}."
        )
    siblings: dict[Path, dict[str, list[str]]] = {}
    for row, cell in enumerate(table[name]):
        if not cell:
            raise UserError(f"{table.where(row)}: no image", "Fill it in or remove the row.")
        path = file.parent / os.path.expanduser(cell.replace("\\", "/"))
        if os.path.exists(path):  # Unlike Path.exists, False of a name that is too long.
            yield cell, path
            continue
        if path.parent not in siblings:
            siblings[path.parent] = _by_stem(path.parent)
        # What looks like an extension may be a part of the name: patient.1 for patient.1.png.
        alike = siblings[path.parent].get(path.name, [])
        if len(alike) > 1:
            raise UserError(
                f"{table.where(row)}: '{cell[:120]}' is {' as well as '.join(alike[:3])}", "Write its extension."
            )
        yield cell, path.with_name(alike[0]) if alike else path


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """The images in a folder by their names without extension, in which label files often list them."""
    found: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return found
    for name in names:
        base, extension = os.path.splitext(name)
        if extension.lower() in EXTENSIONS:
            found.setdefault(base, []).append(name)
    return found


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The file name {os.fsencode(path)!r} is not UTF-8", "Rename it, for example with convmv -t utf8."
        ) from None
