"""Your own images in one folder per class, divided into parts or not."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._groups import Groups, compile_pattern, find_groups, ids_in_names, warn_of_names
from ltmed.data.readers._labels import class_names, in_order
from ltmed.data.readers._layout import read_layout
from ltmed.data.readers._text import many
from ltmed.data.readers._walk import patterns, refuse_links_to_one_file
from ltmed.errors import UserError, suggest

_UNNAMED = ("nan", "<na>", "nat")


class ImageFolder(DataModule):
    """Images of one folder per class; the folders are the classes, in the order of their names.

    Args:
        name: what to call the data set in results and in the cache; None takes `image_folder`.
        classes: the folders' names in the order that class numbers shall have, instead of sorted (by number where all
            are numbers).
        allow_empty: a class folder without any image is a class all the same, instead of an error.
        group_pattern: a regular expression that finds the patient in an image's path; images with equal ids stay
            together.
        include: patterns (`*/images/*`) of the paths of the images that are meant; None takes all but masks.
        settings: those of every data set, see `DataModule`.
    """

    name = "image_folder"
    source = "your own"
    licence = "yours"
    layout = """\
  <class>/**/*.{jpg,png,tif,bmp,webp,gif,dcm,...}, any case, in folders of any depth
  or {train,val,test}/<class>/**/*.jpg        (also training, valid, validate, validation, dev, testing, test_set, ...;
                                               val and test are optional)"""
    fetch = "make one folder per class"

    def __init__(
        self,
        *,
        name: str | None = None,
        classes: list[Any] | None = None,
        allow_empty: bool = False,
        group_pattern: str | None = None,
        include: str | list[str] | None = None,
        **settings: Any,
    ) -> None:
        self.name, self.allow_empty = str(name or self.name), allow_empty
        self.order, self.include = tuple(classes or ()), patterns(include)
        self.group_pattern = compile_pattern(group_pattern)
        super().__init__(**settings)

    def read(self, root: Path) -> Manifest:
        """Lists the images of every class folder.

        A class that is absent from one part keeps its number there. Rows are sorted by path.

        Raises:
            UserError: no folder, no image, an empty class, a class folder that `classes` does not name, and what
                `read_layout` refuses.
        """
        if not root.is_dir():
            raise UserError(f"{root} does not exist", self.how_to_get())
        named = [str(code) for code in self.order] or None
        layout = read_layout(root, self.how_to_get(), named, self.include)
        classes = self._classes(root, layout.folders)
        for sentence in layout.warnings:
            warnings.warn(f"{self.name}: {sentence}", stacklevel=3)
        number = {label: place for place, label in enumerate(classes)}
        rows = sorted((path, number[label], part) for (part, label), paths in layout.folders.items() for path in paths)
        images, parts = tuple(path for path, _, _ in rows), np.array([part for _, _, part in rows])
        groups, how, source = self._groups(images)
        if groups is not None:
            self._warn_of_divided(groups, parts)
        self._warn_of_versions(images)
        refuse_links_to_one_file(self.name, root, images, [classes[label] for _, label, _ in rows])
        return Manifest(
            name=self.name,
            root=root,
            images=images,
            labels=np.array([label for _, label, _ in rows], dtype=np.int64),
            classes=classes,
            class_names=classes,
            groups=None if groups is None else groups.numbers,
            group_name="group" if groups is None else groups.unit,
            group_source=source,
            parts=parts if parts.any() else None,
            notes=(*layout.notes, *how),
        )

    def _classes(self, root: Path, folders: dict[tuple[str, str], list[str]]) -> tuple[str, ...]:
        present = {label for _, label in folders}
        with_images = {label for (_, label), paths in folders.items() if paths}
        order = class_names(self.order, present) if self.order else in_order(present)
        if unknown := sorted(present - set(order)):
            raise UserError(f"{root}: the folder '{unknown[0]}' is not in dataset.classes", suggest(unknown[0], order))
        if not self.order and (nameless := [label for label in order if label.lower() in _UNNAMED]):
            raise UserError(
                f"{root}: the folder '{nameless[0]}' holds images without a label",
                "Remove it, or name all classes in dataset.classes if it is one.",
            )
        if (empty := [label for label in order if label not in with_images]) and not self.allow_empty:
            raise UserError(
                f"{root}: class '{empty[0]}' has no image",
                "Remove its folder (or its name from dataset.classes), or use dataset.allow_empty=true.",
            )
        return order

    def _groups(self, images: tuple[str, ...]) -> tuple[Groups | None, tuple[str, ...], str]:
        """Groups by `group_pattern`, how they were found, and what would bring them where there are none."""
        if self.group_pattern is None:
            word = warn_of_names(self.name, images)
            return None, (), word or "dataset.group_pattern=REGEX if file names hold the patient"
        groups = find_groups(self.name, ids_in_names(self.group_pattern, images), len(images))
        return groups, (groups.how,) if groups else (), "another dataset.group_pattern"

    def _warn_of_divided(self, groups: Groups, parts: np.ndarray) -> None:
        pairs = np.unique(np.stack([groups.numbers, np.unique(parts, return_inverse=True)[1]]), axis=1)
        divided = int((np.bincount(pairs[0]) > 1).sum())
        if divided:
            warnings.warn(
                f"{self.name}: {many(divided, groups.unit)} with images in several parts, so that split=official "
                "leaks; 'split=grouped split.pool=all' splits all images again",
                stacklevel=3,
            )

    def _warn_of_versions(self, images: tuple[str, ...]) -> None:
        """An image that was converted may lie beside what it was converted from."""
        first: dict[str, str] = {}
        pairs = []
        for image in images:
            key = image.rpartition(".")[0].lower()
            if first.setdefault(key, image) != image:
                pairs.append((first[key], image))
        if pairs:
            warnings.warn(
                f"{self.name}: {many(len(pairs), 'image')} called like another one but for the extension "
                f"({pairs[0][0]} and {pairs[0][1]}); if they are copies, choose with "
                f"'dataset.include=*{os.path.splitext(pairs[0][0])[1]}'",
                stacklevel=3,
            )
