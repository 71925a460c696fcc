"""Detection of masks beside images, and of class folders at another depth."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ltmed.data.readers._parts import parse_part, squashed
from ltmed.data.readers._text import listed_value, path_value, shortened
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
"""Common names of a folder of images beside a folder of masks, after `squashed`."""
_BLOCK = re.compile(
    r"\d+\s*(-|_|to)\s*\d+|\d+\s*x|"
    r"(patient|person|subject|subj|sub|case|series|study|scan|slide|pat|pt|p|s|id)[-_ ]*\(?\d+\)?",
    re.IGNORECASE,
)
"""Subfolders that are not classes: 0001-1000, 40x, patient 7."""


def is_mask_folder(name: str) -> bool:
    """Whether the name of a folder is that of a mask folder."""
    return _FOLDER.fullmatch(squashed(name)) is not None


def masks_among(images: Sequence[str], depth: int) -> set[str]:
    """The paths that are masks of other images: in a folder of masks beside other images, or named like one.

    Args:
        images: paths of images, with '/'.
        depth: number of leading folders of each path that are classes or parts, and are ignored.
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
    index = next((index for index in range(depth, len(folders)) if is_mask_folder(folders[index])), None)
    return None if index is None else "/".join(folders[:index])


def _upwards(folder: str, depth: int) -> list[str]:
    names = folder.split("/")
    return ["/".join(names[:count]) for count in range(depth, len(names) + 1)]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _without_extension(path: str) -> str:
    base, _, extension = path.rpartition(".")
    return base if base and "/" not in extension else path


def divided(images: Iterable[str], depth: int) -> dict[str, list[str]]:
    """Paths by the folder at one place of each path; "" for those that end before."""
    folders: dict[str, list[str]] = {}
    for path in images:
        names = path.split("/")
        folders.setdefault(names[depth] if len(names) > depth + 1 else "", []).append(path)
    return folders


def subfolders(paths: Iterable[str], depth: int) -> set[str]:
    """Folders at one place of the paths that could be classes."""
    return {name for name in divided(paths, depth) if name and not _is_neutral(name)}


def refuse_higher_folders(
    root: Path, folders: Mapping[tuple[str, str], Sequence[str]], parts: Collection[str], depth: int
) -> list[str]:
    """Refuses `set1/{a,b}` beside `set2/{a,b}`: the classes are one level below.

    Args:
        root: the root, for messages.
        folders: (part, class) -> paths.
        parts: the folders of parts, if they are above the classes.
        depth: how many folders of a path are part and class: `set1/a`, `train/set1/a` or `set1/train/a`.

    Returns:
        a sentence where two "classes" have one folder in common, of several.

    Raises:
        UserError: they have several.
    """
    inside: dict[str, set[str]] = {}
    for (_, label), paths in folders.items():
        inside.setdefault(label, set()).update(subfolders(paths, depth))
    for label, names in inside.items():
        for other, others in inside.items():
            common = names & others
            if label < other and len(common) > 1:
                hint = f"Say dataset.root={path_value(root / label)} (or {other})."
                if parts:
                    hint = f"Move the folders '{label}' and '{other}' above {shortened(sorted(parts))}."
                raise UserError(
                    f"{root}: the folders '{label}' and '{other}' hold the same subfolders "
                    f"({shortened(sorted(common))}), which look like the classes",
                    f"{hint} If '{label}' and '{other}' are the classes, name all classes: "
                    f"dataset.classes={listed_value(inside)}.",
                )
    repeated = [label for label, names in inside.items() if len(names) > 1]
    if len(repeated) == len(inside) > 1 and (common := set.intersection(*inside.values())):
        return [
            f"of the classes ({shortened(sorted(inside))}) each has a subfolder {shortened(sorted(common))} among "
            "others; if the subfolders are the classes, the root is one folder too high"
        ]
    return []


def uneven(root: Path, folders: Mapping[tuple[str, str], Sequence[str]], depth: int) -> list[str]:
    """Points out a class folder with folders in it beside others that hold their images themselves.

    Raises:
        UserError: the folders in it are parts of a split.
    """
    inside = {label: subfolders(paths, depth) for (_, label), paths in folders.items()}
    deep = [label for label, names in inside.items() if len(names) > 1 or any(map(parse_part, names))]
    if len(deep) == 1 < len(inside) and not any(names for label, names in inside.items() if label != deep[0]):
        if any(map(parse_part, inside[deep[0]])):
            raise UserError(
                f"{root}: of the folders ({shortened(sorted(inside))}) '{deep[0]}' holds parts of a split "
                f"({shortened(sorted(inside[deep[0]]), 3)})",
                f"Say dataset.root={path_value(root / deep[0])}.",
            )
        return [
            f"of the classes ({shortened(sorted(inside))}) only '{deep[0]}' has subfolders "
            f"({shortened(sorted(inside[deep[0]]), 3)}); if those are the classes, say "
            f"dataset.root={path_value(root / deep[0])}"
        ]
    return []


def _is_neutral(name: str) -> bool:
    """Whether a subfolder of a class is called as such subfolders are: images, masks, 0001-1000, 40x."""
    return squashed(name) in IMAGE_FOLDERS or is_mask_folder(name) or _BLOCK.fullmatch(name) is not None
