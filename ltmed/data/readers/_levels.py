"""Which level of folders the classes are: what is above them, or below, holds the same folders several times."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ltmed.data.readers._masks import IMAGE_FOLDERS, is_mask_folder
from ltmed.data.readers._parts import part_named, squashed
from ltmed.data.readers._text import listed_value, path_value, shortened
from ltmed.errors import UserError

_BLOCK = re.compile(
    r"\d+\s*(-|_|to)\s*\d+|\d+\s*x|"
    r"(patient|person|subject|subj|sub|case|series|study|scan|slide|pat|pt|p|s|id)[-_ ]*\(?\d+\)?",
    re.IGNORECASE,
)
"""Subfolders that are no classes: 0001-1000, 40x, patient 7."""


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
    """Refuses `set1/{a,b}` beside `set2/{a,b}`: the classes are one below, whatever is between or above.

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
    several = [label for label, names in inside.items() if len(names) > 1]
    if len(several) == len(inside) > 1 and (common := set.intersection(*inside.values())):
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
    deep = [label for label, names in inside.items() if len(names) > 1 or any(map(part_named, names))]
    if len(deep) == 1 < len(inside) and not any(names for label, names in inside.items() if label != deep[0]):
        if any(map(part_named, inside[deep[0]])):
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
