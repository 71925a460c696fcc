"""Comparison of the paths that a table lists with those of files."""

from __future__ import annotations

from collections.abc import Sequence

from ltmed.data.readers._parts import parse_part, squashed
from ltmed.data.readers._walk import EXTENSIONS, composed


def name_key(path: str) -> str:
    """File name in lower case, composed, without the extension of an image."""
    name = file_name(path).lower()
    base, dot, extension = name.rpartition(".")
    return base if base and dot + extension in EXTENSIONS else name


def parent(path: str) -> str:
    """The folders of a path, without the file."""
    return path.rpartition("/")[0]


def file_name(path: str) -> str:
    """The last part of a path, composed."""
    return composed(path.rpartition("/")[2])


def ending(path: str) -> str:
    """What follows the last dot, in lower case; a name without a dot as a whole."""
    extension = path.rpartition(".")[2]
    return "" if "/" in extension else extension.lower()


def split_path(path: str) -> tuple[list[str], str]:
    """The folders, from the root downwards, and the file name."""
    *folders, name = path.split("/")
    return [folder for folder in folders if folder], name


def common_folders(first: str, second: str) -> int:
    """How many folders two paths have in common, from the file upwards, in any case."""
    pairs = zip(reversed(split_path(first)[0]), reversed(split_path(second)[0]), strict=False)
    count = 0
    for a, b in pairs:
        if composed(a).lower() != composed(b).lower():
            break
        count += 1
    return count


def contradict(first: str, second: str) -> bool:
    """Whether neither path is the end of the other, but for extension and case."""
    return common_folders(first, second) < min(len(split_path(first)[0]), len(split_path(second)[0]))


def of_another(folders: Sequence[str], hints: Sequence[str], classes: frozenset[str]) -> bool:
    """Whether folders name a class or a part, but not the one of an image.

    Args:
        folders: on the way to the file.
        hints: class and part of the image, as far as they are known; "" is neither.
        classes: all classes, after `squashed`.
    """
    own, names = {squashed(hint) for hint in hints if hint}, {*map(squashed, folders)} & classes
    parts, own_parts = ({*map(parse_part, texts)} - {None} for texts in (folders, hints))
    return bool(names and not names & own) or bool(parts and own_parts and not parts & own_parts)
