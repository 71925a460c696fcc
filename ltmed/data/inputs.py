"""The images that a command line names: files, folders, and tables with a column of paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ltmed.data.readers._files import read_table
from ltmed.data.readers._walk import EXTENSIONS, walk
from ltmed.data.readers.manifest import ALIASES
from ltmed.errors import UserError

TABLES = (".csv", ".tsv")
COLUMNS = (*ALIASES["image"], "file_name", "filepath")
"""What a column of paths may be called, in any case; the first that a table has is taken."""

_IN_FOLDERS = (*EXTENSIONS, ".dcm")


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
        given: image files; folders, searched with everything below them; tables (`.csv`, `.tsv`) with one of `COLUMNS`,
            whose paths are relative to the table's folder and may lack the extension of the file.

    Raises:
        UserError: a path that does not exist, a folder without images, a table without such a column or with an empty
            cell in it. A path in a table that does not exist is no error here: it cannot be read later.
    """
    found: dict[str, tuple[str, Path]] = {}
    number = 0
    for word in given:
        for shown, path in _images(Path(os.path.expanduser(word))):
            number += 1
            found.setdefault(os.path.abspath(path), (shown, path))
    return Listed([shown for shown, _ in found.values()], [path for _, path in found.values()], number - len(found))


def _images(word: Path) -> Iterator[tuple[str, Path]]:
    if word.is_dir():
        inside = [word / name for name in walk(word) if name.lower().endswith(_IN_FOLDERS)]
        if not inside:
            raise UserError(f"There is no image in {word}", f"Images there end in {', '.join(_IN_FOLDERS)}.")
        yield from ((str(path), path) for path in inside)
    elif not os.path.lexists(word):
        raise UserError(f"{word} does not exist", "Give image files, folders, or a CSV with a column of paths.")
    elif word.suffix.lower() in TABLES:
        yield from _in_table(word)
    else:
        _require_utf8(word)
        yield str(word), word


def _in_table(file: Path) -> Iterator[tuple[str, Path]]:
    table = read_table(file)
    name = next((name for name in COLUMNS if name in table), None)
    if name is None:
        raise UserError(
            f"{file} has no column of images (it has {', '.join(table)})", f"Call it one of {', '.join(COLUMNS)}."
        )
    for row, cell in enumerate(table[name]):
        if not cell:
            raise UserError(f"{table.where(row)}: no image", "Fill it in or remove the row.")
        yield cell, _with_extension(file.parent / os.path.expanduser(cell))


def _with_extension(path: Path) -> Path:
    """The file that `path` names, in label files often without its extension."""
    if os.path.exists(path):  # Unlike Path.exists, False of a name that is too long.
        return path
    # What looks like an extension may be a part of the name: patient.1 for patient.1.png.
    endings = [ending for extension in _IN_FOLDERS for ending in (extension, extension.upper())]
    complete = (path.with_name(path.name + ending) for ending in endings)
    return next((file for file in complete if os.path.exists(file)), path)


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The file name {os.fsencode(path)!r} is not UTF-8", "Rename it, for example with convmv -t utf8."
        ) from None
