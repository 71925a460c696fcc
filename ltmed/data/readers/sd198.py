"""SD-198: clinical photographs of 198 skin diseases, as released and as repacked with lists of folds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import class_folders, read_list, read_text, require_folder
from ltmed.errors import UserError, suggest

CLASSES, IMAGES, LABELS = "classes.txt", "images.txt", "image_class_labels.txt"
_NUMBERED = re.compile(r"val_(0|[1-9]\d*)\.txt")
LISTS = ("8_2", "5_5")


class SD198(DataModule):
    """6,584 photographs from DermQuest; patients are not published, and some have several photographs.

    Args:
        lists: which of the repack's lists `split=official` uses, "8_2" or "5_5".
        list_number: one pair of lists as training and test part; null: all of them as folds.
        more_than: leaves out classes with this many images or fewer; 20 gives SD-128.
        common: arguments of `DataModule`.

    Raises:
        UserError: as `DataModule`; unknown lists.
    """

    name = "sd198"
    group_name = "patient"
    source = "http://xiaopingwu.cn/assets/projects/sd-198/"
    licence = "research and academic use, on request"
    mean = (0.5896, 0.4766, 0.4517)
    std = (0.2663, 0.2476, 0.2482)
    layout = """\
  images/<class>/*.jpg  and, if you have them,
  classes.txt  images.txt  image_class_labels.txt                       (the release)
  8_2_split/train_0.txt  8_2_split/val_0.txt  ...  5_5_split/...        (a repack; needed by split=official)"""
    fetch = "ask its authors with the form on that page"

    def __init__(
        self, *, lists: str | int = "8_2", list_number: int | None = None, more_than: int = 0, **common: Any
    ) -> None:
        # YAML and Hydra read 8_2 without quotes as the number 82.
        names = {name.replace("_", ""): name for name in LISTS}
        selected = names.get(str(lists).replace("_", ""))
        if selected is None:
            raise UserError(f"dataset.lists={lists} is not known", suggest(str(lists), LISTS))
        self.lists, self.list_number, self.more_than = selected, list_number, more_than
        super().__init__(**common)

    def read(self, root: Path) -> Manifest:
        """Takes each image's class from its folder; classes are in the official order, which is that of their names.

        Raises:
            UserError: no folder, no class folders, a list that contradicts them or names an image that is not there.
        """
        require_folder(root, self.how_to_get())
        top, folders = self._folders(root)
        labelled = {_key(path): name for name, paths in folders.items() for path in paths}
        paths = {_key(path): path for folder_paths in folders.values() for path in folder_paths}
        names = self._official_order(top, sorted(folders))
        listed = self._release(top, labelled)
        keys = sorted(labelled.keys() & listed if listed else labelled)
        counts = dict.fromkeys(names, 0) | dict(_counted(labelled[key] for key in keys))
        if (len(names), len(keys)) != (198, 6584):
            what = f"{self.name}: {top} has {len(keys)} images of {len(names)} classes, not 6584 of 198"
            warnings.warn(what, stacklevel=3)
        classes = [name for name in names if counts[name] > self.more_than]
        if not classes:
            what = f"No class of {self.name} in {root} has more than {self.more_than} images"
            raise UserError(what, "Lower dataset.more_than.")
        keys = [key for key in keys if counts[labelled[key]] > self.more_than]
        parts, folds = self._splits(top, keys, labelled)
        return Manifest(
            name=self.name,
            root=top,
            images=tuple(paths[key] for key in keys),
            labels=np.array([classes.index(labelled[key]) for key in keys], dtype=np.int64),
            classes=tuple(classes),
            class_names=tuple(name.replace("_", " ") for name in classes),
            group_name=self.group_name,
            parts=parts,
            folds=folds,
        )

    def _folders(self, root: Path) -> tuple[Path, dict[str, list[str]]]:
        """The folder that holds everything, `root` or one below it, and class -> image paths relative to it."""
        inner = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        for top in (root, *inner):
            if (top / "images").is_dir():
                found = class_folders(top / "images")
                return top, {name: [f"images/{path}" for path in paths] for name, paths in found.items() if paths}
        found = {name: paths for name, paths in class_folders(root).items() if paths}
        if len(found) < 2:
            raise UserError(f"{root / 'images'} does not exist, and {root} has no class folders", self.how_to_get())
        return root, found

    def _official_order(self, top: Path, names: list[str]) -> list[str]:
        """Classes by official id, if `classes.txt` is there; it must have the same ones as the folders."""
        path = top / CLASSES
        if not path.is_file():
            return names
        official = [name for _, name in sorted(_numbered(path))]
        if set(official) != set(names):
            odd = sorted(set(official) ^ set(names))
            what = f"{path} and the folders have different classes: {', '.join(odd[:5])}"
            raise UserError(what, "Unpack the whole archive.")
        return official

    def _release(self, top: Path, labelled: dict[str, str]) -> set[str]:
        """The images that the release lists, empty without its lists; folder and label must agree."""
        path, labels, classes = top / IMAGES, top / LABELS, top / CLASSES
        if not path.is_file():
            return set()
        listed = {number: _key(name) for number, name in _numbered(path)}
        _require_all(path, list(listed.values()), labelled)
        if labels.is_file() and classes.is_file():
            names = dict(_numbered(classes))
            for number, text in _numbered(labels):
                name = names.get(int(text)) if text.isdecimal() else None
                if number not in listed or name is None or labelled[listed[number]] != name:
                    what = f"{labels}: image {number} has the class {text} ({name}), not that of its folder"
                    raise UserError(what, "Get the lists again.")
        return set(listed.values())

    def _splits(
        self, top: Path, keys: Sequence[str], labelled: dict[str, str]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Part or fold of each image, as far as lists are there."""
        folder = top / f"{self.lists}_split"
        numbers = sorted(int(name[1]) for path in folder.glob("val_*.txt") if (name := _NUMBERED.fullmatch(path.name)))
        if not numbers:
            return None, None
        tests = {number: _listed(folder / f"val_{number}.txt", labelled) for number in numbers}
        trains = {number: _listed(folder / f"train_{number}.txt", labelled) for number in tests}
        for number in tests:
            if in_both := sorted(trains[number] & tests[number]):
                what = f"{folder}: {in_both[0]} is in train_{number}.txt and in val_{number}.txt"
                raise UserError(what, "Get the lists again.")
        selected = self.list_number if self.list_number is not None or len(tests) > 1 else min(tests)
        if selected is not None:
            if selected not in tests:
                what = f"{folder} has no val_{selected}.txt (dataset.list_number)"
                raise UserError(what, f"There are {', '.join(map(str, tests))}.")
            parts = ["train" if key in trains[selected] else "test" if key in tests[selected] else "" for key in keys]
            return np.array(parts), None
        tested = set().union(*tests.values())
        complete = all(trains[number] == tested - tests[number] for number in tests)
        if not complete or sum(map(len, tests.values())) > len(tested):
            warnings.warn(
                f"{self.name}: the lists in {folder} are no folds of one set; split=official needs one pair of them, "
                "for instance dataset.list_number=0",
                stacklevel=4,
            )
            return None, None
        folds = {key: fold for fold, test in enumerate(tests.values()) for key in test}
        return None, np.array([folds.get(key, -1) for key in keys], dtype=np.int64)


def _key(path: str) -> str:
    """`class/file` in lower case: file names alone need not be unique."""
    return "/".join(path.strip().replace("\\", "/").split("/")[-2:]).lower()


def _counted(names: Iterable[str]) -> list[tuple[str, int]]:
    values, counts = np.unique(list(names), return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Lines `number text`; the text may hold blanks."""
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split(maxsplit=1)
        if not cells:
            continue
        if len(cells) != 2 or not cells[0].isdecimal():
            raise UserError(f"{path}, line {number}: '{line[:120]}' is not 'number name'", "Correct that line.")
        pairs.append((int(cells[0]), cells[1].strip()))
    return pairs


def _listed(path: Path, labelled: dict[str, str]) -> set[str]:
    """Images of one list, without header; its class numbers must fit the folders one to one.

    Raises:
        UserError: no such list; images that are not there; a number for two classes.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, though other lists do", "Get all lists from one source.")
    pairs = [(_key(name), number) for name, number in read_list(path)]
    _require_all(path, [key for key, _ in pairs], labelled)
    names: dict[int, str] = {}
    for key, number in pairs:
        if names.setdefault(number, labelled[key]) != labelled[key]:
            what = f"{path}: class number {number} is {names[number]} and, for {key}, {labelled[key]}"
            raise UserError(what, "Get the lists again.")
    return {key for key, _ in pairs}


def _require_all(path: Path, keys: Sequence[str], labelled: dict[str, str]) -> None:
    missing = [key for key in keys if key not in labelled]
    if missing:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{path} lists {len(missing)} images that are not there: {first}", "Unpack the whole archive.")
