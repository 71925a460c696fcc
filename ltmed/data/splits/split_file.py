"""A split from a file, for instance one that the authors of a paper published."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import column, part_of, read_table, stem
from ltmed.data.readers._paths import common_folders, split_path
from ltmed.data.splits.protocols import Split, official
from ltmed.errors import UserError


def from_file(
    manifest: Manifest, fold: int, *, path: str | None = None, val: float | None = None, seed: int = 0
) -> Split:
    """Reads the split from a table with the columns `image` and `part`.

    Images are named by their path as in the data set, or by file name without folders and extension; folders that the
    data set does not have are ignored. Images that the table does not list are in no part.

    Args:
        manifest: the images.
        fold: 0; a file describes one split.
        path: the table (CSV or TSV); `part` is train, val or test, or empty for an image that is not used.
        val: None uses the table's validation part, or a tenth of its training part (by group where groups are known)
            if it has none. A fraction of the training part always replaces it.
        seed: of the validation part.

    Raises:
        UserError: a missing or unreadable table, an unknown image, an image in two parts, an unknown part; the message
            names the file and the line.
    """
    if path is None:
        raise UserError("split=file needs a table", "Say split.path=FILE, a CSV with the columns image and part.")
    table = read_table(Path(path).expanduser())
    rows = _rows_by_name(manifest)
    folders = {folder.lower() for image in manifest.images for folder in split_path(image)[0]}
    assigned: dict[int, tuple[str, int]] = {}
    names, parts = column(table, table.path, "image"), column(table, table.path, "part", "split")
    for line, (name, cell) in enumerate(zip(names, parts, strict=True)):
        part = part_of(cell, table.where(line))
        row = rows.get(name, rows.get(stem(name)))
        if row is None or (row >= 0 and _in_another_folder(name, manifest.images[row], folders)):
            raise UserError(
                f"{table.where(line)}: {manifest.name} in {manifest.root} has no image '{name[:120]}'",
                "Correct or remove that row, or add the image.",
            )
        if row < 0:
            raise UserError(f"{table.where(line)}: several images are called '{name[:120]}'", "Write the whole path.")
        earlier, first = assigned.setdefault(row, (part, line))
        if earlier != part:
            raise UserError(
                f"{table.where(line)}: '{name[:120]}' is in part '{part}' here and in part '{earlier}' in line "
                f"{table.lines[first]}",
                "An image is in one part only; correct the file.",
            )
    parts = np.full(len(manifest), "", dtype="<U5")
    for row, (part, _) in assigned.items():
        parts[row] = part
    return official(replace(manifest, parts=parts, folds=None), fold, "file", val=val, seed=seed)


def _in_another_folder(name: str, image: str, folders: Collection[str]) -> bool:
    """Whether a path names a folder of the data set that an image of its file name is not in: `b/1.jpg`, not `a/1.jpg`.

    Args:
        name: the path in the table; folders of it that the data set does not have (another machine's) do not matter.
        image: the path in the data set.
        folders: all names of folders of the data set, in lower case.
    """
    listed, own = split_path(name.replace("\\", "/"))[0], split_path(image)[0]
    common = common_folders(name.replace("\\", "/"), image)
    unmatched = listed[: len(listed) - common]
    return common < len(own) and any(folder.lower() in folders for folder in unmatched)


def _rows_by_name(manifest: Manifest) -> dict[str, int]:
    """Row by path and by stem; -1 for a stem that several images have."""
    rows: dict[str, int] = {}
    for row, image in enumerate(manifest.images):
        short = stem(image)
        rows[short] = -1 if short in rows else row
    return rows | {image: row for row, image in enumerate(manifest.images)}
