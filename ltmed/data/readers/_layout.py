"""Interpretation of folders of images: classes, parts with classes, or a wrong root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ltmed.data.readers._files import require_folder
from ltmed.data.readers._labels import require_classes
from ltmed.data.readers._masks import (
    divided,
    masks_among,
    refuse_higher_folders,
    refuse_masks_as_class,
    same_names,
    uneven,
)
from ltmed.data.readers._parts import parse_part, squashed
from ltmed.data.readers._text import listed_value, many, path_value, shortened
from ltmed.data.readers._walk import ARCHIVES, composed, fits, images_among, walk
from ltmed.errors import UserError

_INCLUDE = "Say which files are meant, for instance 'dataset.include=*/images/*'."
_TEXT_FILES = (".txt", ".csv", ".tsv", ".xml", ".json", ".md", ".html", ".yaml", ".yml", ".log", ".py", ".pdf", ".db")


@dataclass(frozen=True)
class Layout:
    """The images of a folder tree by part and class."""

    folders: dict[tuple[str, str], list[str]]
    """(part or "", class) -> paths relative to the root; an empty class folder has an empty list."""
    warnings: list[str]
    """Excluded files, one sentence each."""
    notes: list[str]
    """Excluded files that need no warning, one sentence each."""


def read_layout(root: Path, help_text: str, class_names: Sequence[str] | None, include: Sequence[str]) -> Layout:
    """Reads the tree below `root`.

    Args:
        root: the folder.
        help_text: hint of the error if `root` is not a folder or contains no image.
        class_names: the classes that the user names, None to detect them; named folders always are classes.
        include: patterns of the files to include; empty for all images except masks of others.

    Raises:
        UserError: no folder or image; a root that is too high or holds the same classes several times; parts without a
            training part; images beside versions of themselves.
    """
    require_folder(root, help_text)
    images, others = images_among(root, walk(root, once=False))
    if include:
        others, images = [], [path for path in images if fits(path, include)]
        if not images:
            raise UserError(f"{root} has no image that fits dataset.include={','.join(include)}", help_text)
    if not any("/" in path for path in images):
        content = f"{len(images)} images, but none" if images else "no image"
        hint = f"For a table of labels use dataset=manifest. {help_text}" if images else help_text
        if archives := [path for path in others if path.lower().endswith(ARCHIVES)]:
            hint = f"It holds archives ({shortened(archives, 3)}): unpack them there. {hint}"
        raise UserError(f"{root} has {content} in a class folder", hint)
    top = _folders_in(root, "")
    parts = {folder: part for folder in top if (part := parse_part(folder)) and folder not in (class_names or ())}
    below, excluded = divided(images, 0), []
    inner = None if parts else _parts_inside(images)
    depth = 2 if parts else 1
    if parts:
        folders, excluded = _parted(root, parts, below)
    elif inner:
        folders = inner
    else:
        folders = {("", folder): below.get(folder, []) for folder in top}
    warnings = []
    if class_names is None and not include:
        warnings = refuse_higher_folders(root, folders, parts, 2 if parts or inner else 1)
        refuse_masks_as_class(root, {label: paths for (_, label), paths in folders.items() if label})
    if n_loose := len(below.get("", ())):
        excluded.append(f"{many(n_loose, 'image')} in {root} itself, in no class folder")
    if not include:
        _refuse_other_classes_inside(root, folders, depth)
        excluded += _exclude_masks(root, folders, depth)
    folders = _composed(folders)
    _require_two(root, folders)
    warnings += [] if class_names or include or inner else uneven(root, folders, depth)
    unreadable, texts = _describe_other_files(others)
    warnings_of_excluded = [f"left out: {sentence}" for sentence in (*excluded, *unreadable)]
    return Layout(folders, [*warnings_of_excluded, *warnings], [f"left out: {sentence}" for sentence in texts])


def _folders_in(root: Path, below: str) -> list[str]:
    folder = root / below
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(name for name in names if not name.startswith(".") and name != "__MACOSX")


def _parted(
    root: Path, parts: Mapping[str, str], below: Mapping[str, list[str]]
) -> tuple[dict[tuple[str, str], list[str]], list[str]]:
    """Folders of parts with folders of classes, and excluded files beside them."""
    if "train" not in parts.values():
        other = min(parts)
        raise UserError(
            f"{root} has a folder '{other}', which is a part of a split, but no training part",
            f"Add a folder 'train'. If '{other}' is a class, name all classes: "
            f"dataset.classes={listed_value({*parts, *below} - {''})}.",
        )
    folders: dict[tuple[str, str], list[str]] = {}
    excluded = []
    for folder, part in parts.items():
        inside = divided(below.get(folder, ()), 1)
        if loose := inside.pop("", []):
            excluded.append(f"{many(len(loose), 'image')} in '{folder}' itself, in no class folder")
        if part == "train" and not inside:
            raise UserError(
                f"{root / folder} has no class folders with images",
                "Make one folder per class in it; with a table of labels use dataset=manifest.",
            )
        if len(inside) == 1 and parse_part(only := next(iter(inside))) == part:
            raise UserError(
                f"{root}: the folder '{folder}' holds one folder, '{only}', and no classes",
                f"Move what is in {folder}/{only} one folder up.",
            )
        for label in {*inside, *_folders_in(root, folder)}:
            folders.setdefault((part, label), []).extend(inside.get(label, []))
    for folder, images in below.items():
        if folder and folder not in parts:
            excluded.append(f"{many(len(images), 'image')} in the folder '{folder}' beside {shortened(parts)}")
    return folders, excluded


def _parts_inside(images: Sequence[str]) -> dict[tuple[str, str], list[str]] | None:
    """`<class>/train/...` and `<class>/test/...`, if every image lies so."""
    folders: dict[tuple[str, str], list[str]] = {}
    for path in images:
        names = path.split("/")
        part = parse_part(names[1]) if len(names) > 2 else None
        if part is None:
            return None
        folders.setdefault((part, names[0]), []).append(path)
    return folders if any(part == "train" for part, _ in folders) and len(folders) > 1 else None


def _refuse_other_classes_inside(root: Path, folders: Mapping[tuple[str, str], Sequence[str]], depth: int) -> None:
    """Refuses `a/`, `b/` and `copy/{a,b}`: images of one class would be of another, too."""
    classes = {squashed(label): label for _, label in folders}
    for (_, label), paths in folders.items():
        for path in paths:
            for name in path.split("/")[depth:-1]:
                other = classes.get(squashed(name), label)
                if other != label:
                    above = "/".join(path.split("/")[:depth])
                    raise UserError(
                        f"{root}: the folder '{above}' holds a folder '{name}', which is called like the class "
                        f"'{other}' beside it ({path})",
                        f"Remove or move it, or say dataset.root={path_value(root / above)}. {_INCLUDE}",
                    )


def _exclude_masks(root: Path, folders: dict[tuple[str, str], list[str]], depth: int) -> list[str]:
    """Removes masks from the lists, and describes how many."""
    all_masks: list[str] = []
    for key, paths in folders.items():
        masks = masks_among(paths, depth)
        folders[key] = [path for path in paths if path not in masks]
        all_masks += sorted(masks)
        if pair := same_names(folders[key], depth):
            raise UserError(
                f"{root}: the folders {pair[0]} and {pair[1]} hold files of the same names, so that an image and what "
                "was made of it could be in different parts",
                _INCLUDE,
            )
    if not all_masks:
        return []
    places = Counter(path.rpartition("/")[0] for path in all_masks)
    return [f"{many(len(all_masks), 'mask')} of other images, in {shortened(places, 3)}. {_INCLUDE}"]


def _composed(folders: Mapping[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[str]]:
    """Classes by their names in Unicode's composed form: two parts may have been copied by different systems."""
    merged: dict[tuple[str, str], list[str]] = {}
    origin: dict[tuple[str, str], str] = {}
    for (part, label), paths in folders.items():
        key = (part, composed(label))
        if origin.setdefault(key, label) != label:
            raise UserError(
                f"There are two folders '{label}' whose names differ in Unicode's composition alone",
                "Rename or merge them.",
            )
        merged[key] = paths
    return merged


def _require_two(root: Path, folders: Mapping[tuple[str, str], Sequence[str]]) -> None:
    """Raises UserError for a single class, and suggests a root."""
    filled = sorted({label for (_, label), paths in folders.items() if paths})
    if len(filled) != 1:
        require_classes(root, sorted({label for _, label in folders}), what="folders")
        return
    suggested = _suggested_root([path for paths in folders.values() for path in paths])
    hint = (
        f"Say dataset.root={path_value(root / suggested)}." if suggested else "At least two class folders are needed."
    )
    raise UserError(
        f"{root}: all images are in one class folder ('{filled[0]}'), so that every prediction would be right", hint
    )


def _suggested_root(images: Iterable[str]) -> str | None:
    """The outermost folder below with several subfolders of images."""
    folders = [PurePosixPath(path).parts[:-1] for path in images]
    depth = 0
    while folders and all(len(names) > depth for names in folders):
        if len({names[depth] for names in folders}) > 1:
            return "/".join(folders[0][:depth]) if depth else None
        depth += 1
    return None


def _describe_other_files(others: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sentences about the files in class folders that are not images: those to warn of, and text files."""
    inside = [path for path in others if "/" in path]
    kinds: dict[str, list[str]] = {}
    for path in inside:
        name = path.rpartition("/")[2].lower()
        suffix = ".nii.gz" if name.endswith(".nii.gz") else PurePosixPath(name).suffix or "(no extension)"
        kinds.setdefault(suffix, []).append(path)
    sentences: tuple[list[str], list[str]] = [], []
    for is_text in (False, True):
        selected = {kind: paths for kind, paths in kinds.items() if (kind in _TEXT_FILES) == is_text}
        if selected:
            counts = ", ".join(f"{kind} {len(paths):,}" for kind, paths in sorted(selected.items()))
            number = sum(map(len, selected.values()))
            first = next(iter(selected.values()))[0]
            sentence = f"{many(number, 'file')} that cannot be read as images ({counts}; the first is {first})"
            sentences[is_text].append(sentence if is_text else f"{sentence}. Convert them to PNG.")
    return sentences
