"""Index of the files of a data set, and errors for missing images; used by every reader."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ltmed.data.readers._masks import is_mask_folder
from ltmed.data.readers._parts import PART_NAMES, part_of
from ltmed.data.readers._tables import Table, check_unrepeated, column, onehot, read_table
from ltmed.data.readers._text import read_list, read_rows, read_text
from ltmed.data.readers._walk import DICOM, EXTENSIONS, images_among, is_image_name, walk
from ltmed.errors import UserError

__all__ = [
    "EXTENSIONS",
    "PART_NAMES",
    "Table",
    "Tree",
    "check_unrepeated",
    "class_folders",
    "column",
    "onehot",
    "part_of",
    "read_list",
    "read_rows",
    "read_table",
    "read_text",
    "require_folder",
    "scan",
    "stem",
    "walk",
    "warn_of_counts",
]


@dataclass(frozen=True)
class Tree:
    """All files of a data set folder, by lower-case name; paths are relative to `root`, with '/'."""

    root: Path
    images: dict[str, str]
    """Stem -> path. Of images with the same stem (copies in repacked archives) only the first path is included, a DICOM
    file only if there is no other, and one in a folder of masks only if there is none elsewhere."""
    files: dict[str, str]
    """Name with extension -> path of each file that is not an image; the one closest to the root."""
    rivals: dict[str, str]
    """Stem -> second path of two images in one folder whose names differ in nothing but upper and lower case."""

    def file(self, *names: str) -> Path | None:
        """The first of `names` (any case) that exists in any folder, or None."""
        paths = (self.files.get(name.lower()) for name in names)
        return next((self.root / path for path in paths if path), None)

    def locate(self, stems: Sequence[str], labels: Sequence[int], classes: Sequence[str], hint: str) -> list[str]:
        """Paths of the listed images, in order.

        Raises:
            UserError: images are missing (with their number, classes, first names and `hint`), or a name matches two
                files that differ only in case.
        """
        missing = [index for index, name in enumerate(stems) if name not in self.images]
        if missing:
            counts = np.bincount([labels[index] for index in missing], minlength=len(classes))
            per_class = ", ".join(f"{code} {count}" for code, count in zip(classes, counts, strict=True) if count)
            first = ", ".join(stems[index] for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(
                f"{len(missing)} of {len(stems)} listed images are not under {self.root} ({per_class}): {first}", hint
            )
        if self.rivals and (ambiguous := next((name for name in stems if name in self.rivals), None)):
            raise UserError(
                f"{self.root}: '{ambiguous}' is {self.images[ambiguous]} as well as {self.rivals[ambiguous]}",
                "Remove the one that is not meant.",
            )
        return [self.images[name] for name in stems]


def require_folder(root: Path, help_text: str) -> None:
    """Raises UserError, ending in `help_text`, unless `root` is a folder."""
    if not root.is_dir():
        raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}", help_text)


def scan(root: Path, how_to_get: str) -> Tree:
    """Indexes the folder `root` with everything below it; warns of images of one name that are no copies of each other.

    Raises:
        UserError: `root` is not a folder; the message ends with `how_to_get`.
    """
    require_folder(root, how_to_get)
    images: dict[str, str] = {}
    files: dict[str, str] = {}
    rivals: dict[str, str] = {}
    others: dict[str, str] = {}
    for path in sorted(walk(root), key=_is_mask):
        if is_image_name(path):
            name = stem(path)
            first = images.setdefault(name, path)
            dicom = first.lower().endswith(DICOM), path.lower().endswith(DICOM)
            if first == path:
                continue
            if first.rpartition("/")[0] == path.rpartition("/")[0] and first.lower() == path.lower():
                rivals[name] = path
            elif dicom == (True, False) and _is_mask(first) == _is_mask(path):
                images[name] = path
            elif dicom != (False, True):
                others.setdefault(name, path)
        else:
            name = path.rpartition("/")[2].lower()
            if name not in files or path.count("/") < files[name].count("/"):
                files[name] = path
    differing = [name for name, path in others.items() if _size(root / path) != _size(root / images[name])]
    if differing:
        name = differing[0]
        warnings.warn(
            f"{root}: {len(differing):,} images have several files that are no copies of each other; '{images[name]}' "
            f"is read and not '{others[name]}', for instance: move away what is not meant",
            stacklevel=4,
        )
    return Tree(root, images, files, rivals)


def _is_mask(path: str) -> bool:
    """Whether a path below the root has a folder of masks in it."""
    return _has_mask_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _has_mask_folder(folder: str) -> bool:
    return any(map(is_mask_folder, folder.split("/")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def class_folders(root: Path) -> dict[str, list[str]]:
    """Images of every folder in `root`, by folder name in sorted order; paths are relative to `root`.

    Images may lie in folders of their own inside a class folder; an empty folder has an empty list.
    """
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {
        folder: images_among(root, (f"{folder}/{path}" for path in walk(root / folder)))[0]
        for folder in folders
        if folder != "__MACOSX"
    }


def stem(name: str) -> str:
    """Lower-case file name without folders (of any system) and image extension: how label files name an image."""
    name = name.strip().replace("\\", "/").rpartition("/")[2].lower()
    base, extension = os.path.splitext(name)
    return base if extension in EXTENSIONS else name


def warn_of_counts(
    name: str,
    path: Path,
    labels: Sequence[int],
    classes: Sequence[str],
    published: Sequence[int],
    *,
    what: str = "images",
) -> None:
    """Warns if the images per class in `path` (or other counts, named by `what`) are not the `published` ones."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    rows = zip(classes, counts, published, strict=True)
    differing = ", ".join(f"{code} {count} of {expected}" for code, count, expected in rows if count != expected)
    if differing:
        warnings.warn(f"{name}: {path} has {sum(counts)} {what}, not {sum(published)}: {differing}", stacklevel=4)
