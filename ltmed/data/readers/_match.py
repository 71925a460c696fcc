"""Finds the images that a table lists among the files below a folder, however the two spell them.

A listed name is the path of a file, or what is left of one: without its extension or with another one, below folders
that are not there (`CheXpert-v1.0/train/...`), without the folders that are, or the bare name. The file that has most
folders in common at the end is taken if it is the only one; the class and the part of a row decide between equals.
What fits no file, or several, is never guessed.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ltmed.data.readers._masks import is_mask_folder, is_mask_name
from ltmed.data.readers._parts import constant_affix, leading_zeros, parse_part, squashed
from ltmed.data.readers._paths import (
    common_folders,
    contradict,
    ending,
    file_name,
    name_key,
    of_another,
    parent,
    split_path,
)
from ltmed.data.readers._walk import composed, fits, is_image_name, lacks_extension, walk
from ltmed.errors import UserError


@dataclass
class Matches:
    """Where N listed images are."""

    paths: list[str | None]
    """Relative to the folder, or absolute outside it; None for one that is not there."""
    remarks: list[str] = field(default_factory=list)
    """What differed between the names and the files, a sentence each."""


class ImageFiles:
    """The files below a folder.

    Args:
        root: the folder.
        include: patterns with `*` and `?`; only files whose path fits one of them are there.
    """

    def __init__(self, root: Path, include: Sequence[str] = ()) -> None:
        self.root = root
        self.paths = [path for path in walk(root) if not include or fits(path, include)]
        self._roots = tuple({root.absolute().as_posix(), root.resolve().as_posix()})
        self._actual = {composed(path): path for path in self.paths if not path.isascii()}
        self._actual |= {path: path for path in self.paths}
        self._named: dict[str, list[str]] = {}

    @cached_property
    def _folders(self) -> set[str]:
        """The names of all folders, in lower case."""
        return {
            composed(name).lower() for folder in {parent(path) for path in self.paths} for name in folder.split("/")
        }

    def find(
        self,
        names: Sequence[str],
        where: Callable[[int], str],
        hints: Callable[[int], tuple[str, ...]] = lambda row: (),
        classes: Collection[str] = (),
    ) -> Matches:
        """Finds the file of every listed name.

        Args:
            names: N names as the table has them.
            where: gives `file, line n` of a row.
            hints: gives the class and the part of a row, as far as they are known: they choose between files that fit
                equally well.
            classes: what folders may be called after: the folder of another class is none that a path forgot.

        Raises:
            UserError: a name that fits several files equally well; two different names that fit one file.
        """
        cleaned = {name: self._clean(name) for name in dict.fromkeys(names)}
        paths: list[str | None] = [self._actual.get(name) or self._actual.get(cleaned[name]) for name in names]
        open_rows = [row for row, path in enumerate(paths) if path is None]
        if not open_rows:
            return Matches(paths)
        outside, folders = _Outside(), frozenset(map(squashed, classes))
        for row in open_rows:
            name = cleaned[names[row]]
            if name.startswith("/") and outside.exists(name):
                paths[row] = name
        open_rows = [row for row in open_rows if paths[row] is None]
        self._index({name_key(cleaned[names[row]]) for row in open_rows})
        exact = {path for path in paths if path is not None}
        matched: dict[str, tuple[str, int]] = {}
        for row in open_rows:
            name = cleaned[names[row]]
            candidates = self._named.get(name_key(name), [])
            if len(candidates) > 1 or (candidates and "/" in name):
                hint_names = frozenset(squashed(hint) for hint in hints(row) if hint)
                candidates = self._nearest(name, candidates, hint_names, folders - hint_names)
            if len(candidates) > 1:
                raise UserError(
                    f"{where(row)}: '{name[:120]}' is {' as well as '.join(candidates[:3])}",
                    "Write the path relative to the folder, or leave files out: 'dataset.include=images/*'.",
                )
            paths[row] = path = candidates[0] if candidates else None
            if path is None:
                continue
            other, before = matched.setdefault(path, (name, row))
            if path in exact and contradict(name, path):
                paths[row] = None
            elif other != name and contradict(other, name):
                raise UserError(
                    f"{where(row)}: '{names[row][:120]}' and '{names[before][:120]}' ({where(before)}) both fit {path}",
                    "Write the paths relative to the folder.",
                )
        matches = Matches(paths)
        listed = [cleaned[name] for name in names]
        self._remark(matches, listed)
        if None in paths:
            self._rename(matches, listed)
        self._leave_out_others(matches, listed, [hints(row) for row in open_rows], open_rows, folders)
        return matches

    def _clean(self, name: str) -> str:
        """A listed name as a path: '/', composed, relative to the root if it lies below it."""
        path = composed(name.strip().replace("\\", "/"))
        if "/" not in path:
            return path
        if re.match(r"[A-Za-z]:/|file://", path):
            path = "/" + re.sub(r"^([A-Za-z]:|file:/)/+", "", path)
        path = posixpath.normpath(path)
        for root in self._roots if path.startswith("/") else ():
            if path.startswith(root + "/"):
                return path[len(root) + 1 :]
        return path

    def _index(self, keys: set[str]) -> None:
        """Lists the files by what `name_key` makes of their names, as far as a listed name asks for it."""
        self._named = {}
        for path in self.paths:
            name = file_name(path).lower()
            if name in keys:
                self._named.setdefault(name, []).append(path)
            elif (key := name_key(name)) in keys:
                self._named.setdefault(key, []).append(path)

    def _nearest(
        self, name: str, candidates: list[str], preferred: frozenset[str], excluded: frozenset[str]
    ) -> list[str]:
        """The files that fit a name best: one, none, or several that nothing tells apart."""
        candidates = [path for path in candidates if self._may_be(name, path, excluded)]
        if len(candidates) > 1:
            candidates = _best(candidates, lambda path: common_folders(name, path))
            candidates = _best(candidates, lambda path: len(preferred & set(map(squashed, split_path(path)[0]))))
            candidates = _best(candidates, lambda path: -sum(map(is_mask_folder, split_path(path)[0])))
            candidates = _best(candidates, lambda path: file_name(path).lower() == file_name(name).lower())
        if len(candidates) > 1 and len({parent(path) for path in candidates}) == 1:
            # One folder holds a.png as well as A.png, or a.png as well as a.jpg.
            candidates = _best(candidates, lambda path: file_name(path) == file_name(name))
            candidates = _best(candidates, lambda path: file_name(path).startswith(file_name(name) + "."))
        return candidates

    def _may_be(self, name: str, path: str, excluded: frozenset[str]) -> bool:
        """Whether a file can be meant by a path of which neither is the end of the other.

        Folders that are not below the root may be missing in a path; one that is there must be on the way to the file,
        and a training image is no test image, nor an image of one class that of another.
        """
        if "/" not in name or not contradict(name, path):
            return True
        common = common_folders(name, path)
        listed, actual = split_path(name)[0], split_path(path)[0]
        listed, actual = listed[: len(listed) - common], actual[: len(actual) - common]
        parts = [{parse_part(folder) for folder in folders} - {None} for folders in (listed, actual)]
        return not (
            any(composed(folder).lower() in self._folders for folder in listed)
            or any(squashed(folder) in excluded for folder in actual)
            or (parts[0] and parts[1] and parts[0] != parts[1])
        )

    def _leave_out_others(
        self,
        matches: Matches,
        names: Sequence[str],
        hints: Sequence[tuple[str, ...]],
        rows: Sequence[int],
        classes: frozenset[str],
    ) -> None:
        """Leaves out masks, and files of another class or part, that bare names fit only because the image is missing.

        If no name occurs in two folders, the table may be newer than the folders: such files are used, with a remark.
        `hints` are those of the `rows`, which are not found at their listed path.
        """
        folders = {row: parent(path) for row in rows if "/" not in names[row] and (path := matches.paths[row])}
        found = {parent(path) for path in matches.paths if path}
        is_masks = {folder: any(map(is_mask_folder, folder.split("/"))) for folder in found}
        masks = {row for row, folder in folders.items() if is_masks[folder]}
        if masks and not all(is_masks.values()):
            number, example = f"{len(masks):,} of {len(names):,}", f"'{names[min(masks)]}': {matches.paths[min(masks)]}"
            matches.remarks.append(f"{number} images are only in folders of masks, and count as missing ({example})")
            for row in masks:
                matches.paths[row] = None
        pairs = {row: (folders[row], hint) for row, hint in zip(rows, hints, strict=True) if row in folders}
        is_other = {pair: of_another(pair[0].split("/"), pair[1], classes) for pair in set(pairs.values())}
        others = {row: pair[1] for row, pair in pairs.items() if row not in masks and is_other[pair]}
        if not others:
            return
        row, hint = next(iter(others.items()))
        example = f"'{names[row]}' of {', '.join(filter(None, hint))}: {matches.paths[row]}"
        what = "are in folders of another class or part"
        images = {(name_key(path), parent(path)) for path in self.paths if is_image_name(path)}
        images = {(key, folder) for key, folder in images if not any(map(is_mask_folder, folder.split("/")))}
        if len({key for key, _ in images}) < len(images):
            what = "are only in folders of another class or part, where names repeat, and count as missing"
            for row in others:
                matches.paths[row] = None
        matches.remarks.append(f"{len(others):,} of {len(names):,} images {what} ({example})")

    def _remark(self, matches: Matches, names: Sequence[str]) -> None:
        """Says once what differed."""
        moved, renamed = [], []
        for name, path in zip(names, matches.paths, strict=True):
            if path is None or path == name:
                continue
            if ending(name) != ending(path) and is_image_name(name):
                renamed.append((name, path))
            elif "/" in name and contradict(name, path) | (len(split_path(name)[0]) > len(split_path(path)[0])):
                moved.append((name, path))
        total = len(names)
        if renamed:
            name, path = renamed[0]
            matches.remarks.append(f"{len(renamed):,} of {total:,} images have another extension ('{name}' is {path})")
        if moved:
            name, path = moved[0]
            matches.remarks.append(f"{len(moved):,} of {total:,} images are in other folders ('{name}' is {path})")

    def _rename(self, matches: Matches, names: Sequence[str]) -> None:
        """Finds what is missing by a rule that changes all names in one way; masks are never meant."""
        files: dict[str, list[str]] = {}
        for path in self.paths:
            if (is_image_name(path) or lacks_extension(path)) and not is_mask_name(name_key(path)):
                files.setdefault(name_key(path), []).append(path)
        keys = [name_key(name) for name in names]
        if not any(matches.paths) and (renamed := constant_affix(keys, files)):
            matches.paths[:] = renamed
            matches.remarks.append(f"all images are called otherwise ('{names[0]}' is {renamed[0]})")
        elif not any("/" in name for name in names) and (zeros := leading_zeros(keys, files, matches.paths)):
            for row, path in zeros.items():
                matches.paths[row] = path
            row, path = next(iter(zeros.items()))
            matches.remarks.append(f"{len(zeros):,} images have other leading zeros ('{names[row]}' is {path})")


class _Outside:
    """Files outside the folder, each parent listed once."""

    def __init__(self) -> None:
        self._listed: dict[str, set[str]] = {}

    def exists(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self._listed:
            try:
                self._listed[folder] = set(os.listdir(folder or "/"))
            except (OSError, ValueError):
                self._listed[folder] = set()
        return name in self._listed[folder]


def _best(paths: list[str], rank: Callable[[str], int]) -> list[str]:
    ranks = [rank(path) for path in paths]
    return [path for path, value in zip(paths, ranks, strict=True) if value == max(ranks)]
