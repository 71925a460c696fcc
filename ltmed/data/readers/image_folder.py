"""Your own images in one folder per class, divided into parts or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import PART_NAMES, class_folders
from ltmed.errors import UserError, suggest


class ImageFolder(DataModule):
    """Images of one folder per class; the folders are the classes, in the order of their names.

    Args:
        name: what to call the data set in results and in the cache; None takes `image_folder`.
        classes: the folders' names in the order that class numbers shall have, instead of sorted.
        allow_empty: a class folder without any image is a class all the same, instead of an error.
        settings: those of every data set, see `DataModule`.
    """

    name = "image_folder"
    source = "your own"
    licence = "yours"
    layout = """\
  <class>/**/*.{jpg,jpeg,png,bmp,tif,tiff,webp}, any case, in folders of any depth
  or {train,val,test}/<class>/**/*.jpg        (also training, valid, validation, testing; val is optional)"""
    fetch = "make one folder per class"

    def __init__(
        self, *, name: str | None = None, classes: list[str] | None = None, allow_empty: bool = False, **settings: Any
    ) -> None:
        self.name, self.allow_empty = name or self.name, allow_empty
        self.order = tuple(str(code) for code in classes or ())
        super().__init__(**settings)

    def read(self, root: Path) -> Manifest:
        """Lists the images of every class folder.

        A class that is absent from one part keeps its number there. Rows are sorted by path.

        Raises:
            UserError: no folder, no image, an empty class, a class folder that `classes` does not name.
        """
        if not root.is_dir():
            raise UserError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}", self.how_to_get())
        found = self._folders(root)
        classes = self._classes(root, found)
        rows = sorted((path, label, part) for part, label, paths in found for path in paths)
        if not rows:
            raise UserError(f"{root} has no image in a class folder", self.how_to_get())
        parts = np.array([part for _, _, part in rows])
        return Manifest(
            name=self.name,
            root=root,
            images=tuple(path for path, _, _ in rows),
            labels=np.array([classes.index(label) for _, label, _ in rows], dtype=np.int64),
            classes=classes,
            class_names=classes,
            parts=parts if parts.any() else None,
        )

    def _folders(self, root: Path) -> list[tuple[str, str, list[str]]]:
        """(part or "", class, image paths relative to `root`) of every class folder."""
        top = {entry.name: entry.name.lower() for entry in sorted(root.iterdir()) if entry.is_dir()}
        parts = {folder: part for folder, plain in top.items() for part, names in PART_NAMES.items() if plain in names}
        if not parts:
            return [("", label, paths) for label, paths in class_folders(root).items()]
        for part in ("train", "test"):
            if part not in parts.values():
                raise UserError(f"{root / part} does not exist, though {root / min(parts)} does", self.how_to_get())
        return [
            (part, label, [f"{folder}/{path}" for path in paths])
            for folder, part in parts.items()
            for label, paths in class_folders(root / folder).items()
        ]

    def _classes(self, root: Path, found: list[tuple[str, str, list[str]]]) -> tuple[str, ...]:
        named = {label for _, label, _ in found}
        with_images = {label for _, label, paths in found if paths}
        order = self.order or tuple(sorted(named))
        if len(set(order)) < len(order):
            raise UserError(f"dataset.classes names a class twice: {', '.join(order)}", "Name every class once.")
        if unknown := sorted(named - set(order)):
            raise UserError(f"{root}: the folder '{unknown[0]}' is not in dataset.classes", suggest(unknown[0], order))
        if (empty := [label for label in order if label not in with_images]) and not self.allow_empty:
            raise UserError(
                f"{root}: class '{empty[0]}' has no image",
                "Remove its folder (or its name from dataset.classes), or use dataset.allow_empty=true.",
            )
        return order
