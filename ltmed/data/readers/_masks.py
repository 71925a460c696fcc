"""Which image files are drawn over others: masks, outlines and the like, which people keep beside the images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ltmed.data.readers._parts import squashed
from ltmed.data.readers._text import listed_value
from ltmed.errors import UserError

_FOLDER = re.compile(
    r".*masks?|masks?.*|seg|segs|segmentations?|.*segmentations?|annotations?|gt|groundtruths?|labels?|"
    r"contours?|overlays?|heatmaps?|superpixels?|rois?|bbox|bboxes|boundingbox(es)?"
)
_ENDING = re.compile(
    r"[ _.-]((lesion[ _-]?)?(masks?|seg|segmentations?|gt|ground[ _-]?truth|annotations?|labels?|overlay|superpixels"
    r"|contours?|roi)|lesion)([ _-]?\d+)?$",
    re.IGNORECASE,
)
IMAGE_FOLDERS = frozenset(("image", "images", "img", "imgs", "original", "originals", "raw", "input", "inputs"))
"""How people call the folder of the images themselves beside one of masks, as `squashed` leaves it."""


def is_mask_folder(name: str) -> bool:
    """Whether a folder is called like one of masks."""
    return _FOLDER.fullmatch(squashed(name)) is not None


def masks_among(images: Sequence[str], depth: int) -> set[str]:
    """The paths that are masks of other images: in a folder of masks beside other images, or named like one.

    Args:
        images: paths of images, with '/'.
        depth: folders at the beginning of each path that are classes or parts, and not looked at.
    """
    plain = [path for path in images if not any(map(is_mask_folder, path.split("/")[depth:-1]))]
    beside = {folder for parent in {_parent(path) for path in plain} for folder in _upwards(parent, depth)}
    masks = {path for path in images if _above_masks(path, depth) in beside} - set(plain)
    names = {_without_extension(path).lower() for path in plain}
    for path in plain:
        stem = _without_extension(path)
        if is_mask_name(stem) and _ENDING.sub("", stem).lower() in names:
            masks.add(path)
    return masks


def is_mask_name(stem: str) -> bool:
    """Whether a file name without extension ends like that of a mask."""
    return _ENDING.search(stem) is not None


def refuse_masks_as_class(root: object, classes: Mapping[str, Sequence[str]]) -> None:
    """Refuses `benign/`, `malignant/` and `masks/` with the same file names in the last one.

    Args:
        root: the root, for messages.
        classes: class folder -> paths.

    Raises:
        UserError: a folder that is called like one of masks holds names of the others.
    """
    stems = {
        label: {_without_extension(path).rpartition("/")[2].lower() for path in paths}
        for label, paths in classes.items()
    }
    masks = [label for label in classes if is_mask_folder(label)]
    images = set().union(*(names for label, names in stems.items() if label not in masks))
    for label in masks:
        plain = {_ENDING.sub("", stem) for stem in stems[label]}
        if images and 2 * len(plain & images) > len(plain):
            raise UserError(
                f"{root}: the folder '{label}' holds files with the names of images in the other folders, so that it "
                "seems to hold masks and is no class",
                f"Move it away. If it is a class, name all classes: dataset.classes={listed_value(classes)}.",
            )


def same_names(images: Iterable[str], depth: int) -> tuple[str, str] | None:
    """Two folders side by side with files of the same names, one of them called `images` or alike, or None.

    The other one holds something that was made of the images and is not called like masks: enhanced, cropped.
    """
    stems: dict[str, set[str]] = {}
    for path in images:
        if path.count("/") > depth:
            stems.setdefault(_parent(path), set()).add(_without_extension(path).rpartition("/")[2].lower())
    beside: dict[str, list[str]] = {}
    for folder in sorted(stems):
        beside.setdefault(_parent(folder), []).append(folder)
    for folders in beside.values():
        originals = [folder for folder in folders if squashed(folder.rpartition("/")[2]) in IMAGE_FOLDERS]
        if len(originals) != 1:
            continue
        for folder in folders:
            common = stems[folder] & stems[originals[0]]
            if folder != originals[0] and 2 * len(common) > min(len(stems[folder]), len(stems[originals[0]])):
                return originals[0], folder
    return None


def _above_masks(path: str, depth: int) -> str | None:
    """The folder that holds the outermost folder of masks on the way to `path`."""
    folders = path.split("/")[:-1]
    place = next((place for place in range(depth, len(folders)) if is_mask_folder(folders[place])), None)
    return None if place is None else "/".join(folders[:place])


def _upwards(folder: str, depth: int) -> list[str]:
    names = folder.split("/")
    return ["/".join(names[:count]) for count in range(depth, len(names) + 1)]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _without_extension(path: str) -> str:
    base, _, extension = path.rpartition(".")
    return base if base and "/" not in extension else path
