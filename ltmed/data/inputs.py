"""Images given on the command line: files, folders, and tables with a column of paths."""

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
"""Names of a column of paths, in order of preference; case, blanks, `_`, `-` and `.` are ignored."""


class Listed(NamedTuple):
    """N distinct images, in the order of the arguments."""

    names: list[str]
    """The name of each image for the user: a path as on the command line, or the cell of a table."""
    paths: list[Path]
    repeated: int
    """Number of further entries that repeat one of these files."""


def list_images(paths: Sequence[Path]) -> Listed:
    """Lists every image once.

    Args:
        paths: image files; folders, searched with everything below them; tables (CSV, TSV, xlsx, JSON, Parquet) with
            one of `COLUMNS`, whose paths are relative to the table's folder and may lack the extension of the file.

    Raises:
        UserError: a path that does not exist, a folder without images, a table without such a column or with an empty
            cell in it, a path without extension that matches several files. A missing file in a table is not an
            error here: it is reported when it is read.
    """
    images: dict[str, tuple[str, Path]] = {}
    n_listed = 0
    for path in paths:
        for name, file in _images(Path(os.path.expanduser(path))):
            n_listed += 1
            images.setdefault(os.path.abspath(file), (name, file))
    names, files = [name for name, _ in images.values()], [file for _, file in images.values()]
    return Listed(names, files, n_listed - len(images))


def _images(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        names, _ = images_among(path, walk(path))
        if not names:
            raise UserError(f"There is no image in {path}", f"Images there end in {', '.join(EXTENSIONS)}.")
        yield from ((str(path / name), path / name) for name in names)
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
        if os.path.exists(path):  # Unlike Path.exists, it returns False for a name that is too long.
            yield cell, path
            continue
        if path.parent not in siblings:
            siblings[path.parent] = _by_stem(path.parent)
        # An apparent extension may be part of the name: patient.1 for patient.1.png.
        matches = siblings[path.parent].get(path.name, [])
        if len(matches) > 1:
            raise UserError(
                f"{table.where(row)}: '{cell[:120]}' is {' as well as '.join(matches[:3])}", "Write its extension."
            )
        yield cell, path.with_name(matches[0]) if matches else path


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """The images in a folder by their names without extension, as label files often list them."""
    files: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return files
    for name in names:
        base, extension = os.path.splitext(name)
        if extension.lower() in EXTENSIONS:
            files.setdefault(base, []).append(name)
    return files


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The file name {os.fsencode(path)!r} is not UTF-8", "Rename it, for example with convmv -t utf8."
        ) from None
