"""All files below a folder, whatever their names and links are like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ltmed.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def walk(root: Path) -> Iterator[str]:
    """Paths of all files under `root`, relative to it, with '/', in sorted order.

    Follows links to folders (each folder once); leaves out hidden files and folders and `__MACOSX`. A link that leads
    nowhere, or to itself, counts as a file: whoever opens it says that it cannot be read, and nothing is lost in
    silence.

    Raises:
        UserError: a folder cannot be read, or the name of an image is not UTF-8 and could not be written into results.
    """
    seen: set[tuple[int, int]] = set()

    def below(folder: str, prefix: str) -> Iterator[str]:
        try:
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in seen:
                return
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror or error}", "Check its permissions.") from None
        for entry in sorted(visible, key=lambda entry: entry.name):
            if _leads_to_folder(entry):
                yield from below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_symlink() or entry.is_file():
                _require_utf8(entry)
                yield prefix + entry.name

    yield from below(str(root), "")


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _require_utf8(entry: os.DirEntry[str]) -> None:
    if entry.name.lower().endswith(EXTENSIONS) and entry.path.encode(errors="replace") != os.fsencode(entry.path):
        raise UserError(
            f"The file name {os.fsencode(entry.path)!r} is not UTF-8", "Rename it, for example with convmv -t utf8."
        )
