"""Symbolic links by which one file is several images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from ltmed.data.readers._text import many
from ltmed.errors import UserError


def refuse_links_to_one_file(name: str, root: Path, images: Sequence[str], labels: Sequence[str]) -> None:
    """Refuses one file that is an image of two classes, by links; warns of the number of further links to one file.

    Args:
        name: the data set, for messages.
        root: what the paths are relative to.
        images: N paths.
        labels: N classes, or sets of labels as text.

    Raises:
        UserError: names the two images.
    """
    if not any(os.path.islink(root / image) for image in images):
        return
    first: dict[str, int] = {}
    again = 0
    for row, image in enumerate(images):
        before = first.setdefault(os.path.realpath(root / image), row)
        again += before != row
        if labels[before] != labels[row]:
            raise UserError(
                f"{root}: {images[before]} ({labels[before]}) and {image} ({labels[row]}) are one file, by a link",
                "Remove one of them; dataset.include=PATTERN leaves files out.",
            )
    if again:
        warnings.warn(f"{name}: {many(again, 'image')} the same file as another one, by links", stacklevel=4)
