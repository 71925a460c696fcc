"""From the words in a column of labels, or the names of class folders, to classes and class numbers."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ltmed.data.readers._text import shortened
from ltmed.data.readers._walk import composed
from ltmed.errors import UserError, suggest

NO_LABEL = frozenset(("", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "?", "-", "--"))
"""Cells, in lower case, that say that there is no label, unless `dataset.classes` names them."""

_YAML_WORDS = {True: ("true", "yes", "on"), False: ("false", "no", "off"), None: ("null", "none", "~")}
"""Words that YAML and Hydra read as something else than text: `dataset.classes=[FALSE,TRUE]` holds no names."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,0+")
_SURE_JOINTS, _LIKELY_JOINTS = "|;", ",/+&"


def class_names(order: Iterable[Any], present: Iterable[str]) -> tuple[str, ...]:
    """The names in `dataset.classes` as text, spelled as the data spell them.

    Args:
        order: as Hydra gives the list: `FALSE` is a bool in it, `null` is None, 1 a number.
        present: the labels of the data.

    Raises:
        UserError: a class is named twice.
    """
    names = spelled(order, present)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"dataset.classes names a class twice: '{twice[0]}'", "Name every class once.")
    return tuple(names)


def spelled(items: Iterable[Any], present: Iterable[str]) -> list[str]:
    """Names of classes in a setting (`[FALSE,TRUE]`, `[0,1]`) as text, spelled as in `present`."""
    words = sorted({composed(word) for word in present})
    names = []
    for item in items:
        if item is None or isinstance(item, bool):
            alike = [word for word in words if word.lower() in _YAML_WORDS[item]]
            names.append(alike[0] if alike else str(item))
        else:
            names.append(composed(_whole(str(item)).strip()))
    return names


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted; by number where all are numbers, or one word and a number (`grade 2`, `grade 10`)."""
    found = sorted(set(names))
    parts = [re.fullmatch(r"(.*?)([+-]?\d+(?:\.\d+)?)", name) for name in found]
    if not all(parts) or len({match[1].casefold() for match in parts if match}) > 1:
        return tuple(found)
    word = next((match[1] for match in parts if match), "")
    sign = -1 if re.search(r"[A-Za-z]$", word) else 1
    numbers = {match[0]: abs(float(match[2])) if sign < 0 else float(match[2]) for match in parts if match}
    return tuple(sorted(found, key=lambda name: (numbers[name], name)))


def require_classes(where: object, names: Sequence[str], *, what: str = "classes") -> None:
    """Refuses classes that nobody means: a single one, or two whose names differ in spelling alone.

    Args:
        where: what they were found in, for messages.
        names: the classes.
        what: what they are called in messages.

    Raises:
        UserError: names the classes and what to do.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_plain(name), []).append(name)
    if same := [spellings for spellings in alike.values() if len(spellings) > 1]:
        raise UserError(
            f"{where}: the {what} {' and '.join(map(repr, same[0]))} differ in spelling alone",
            "Give the images of one class one name.",
        )
    if len(names) < 2:
        raise UserError(
            f"{where}: there is one class only ({shortened(names)}), so that every prediction would be right",
            "At least two classes are needed.",
        )


def _plain(name: str) -> str:
    """What two spellings of one class have in common: neither case, blanks, `_`, `-` nor leading zeros matter."""
    word = re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", composed(name).casefold().strip().rstrip(".,;:"))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", word)


def read_labels(
    cells: Sequence[str], where: Callable[[int], str], path: object, order: Sequence[Any] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Classes, and the class number of every row.

    Args:
        cells: N labels as the table has them.
        where: gives `file, line n` of a row.
        path: the table, for messages.
        order: `dataset.classes`; with it, labels are its names, or positions in it where neither any label nor any
            class is called otherwise than by words. None takes the labels, sorted.

    Returns:
        K class names and N indices into them.

    Raises:
        UserError: a row without a label or with several; a label that is no class; labels that are numbers without
            `order`, or numbers and names mixed; one class; classes that differ in spelling alone.
    """
    comma = all(map(_DECIMAL_COMMA.fullmatch, set(cells)))
    plain = {cell: composed(_whole(cell.replace(",", ".") if comma else cell)).strip() for cell in set(cells)}
    words = set(plain.values())
    names = class_names(order, words) if order else None
    boolean = {item for item in order or () if item is None or isinstance(item, bool)}
    if boolean and names is not None and order is not None:
        same = {word: name for item, name in zip(order, names, strict=True) if item in boolean
                   for word in words if word.lower() in _YAML_WORDS[item]}  # fmt: skip
        plain = {cell: same.get(word, word) for cell, word in plain.items()}
    labels = [plain[cell] for cell in cells]
    _refuse_missing(labels, where, names or ())
    _refuse_joined(labels, where, names or ())
    if names is None:
        if all(_is_number(word) for word in set(labels)):
            raise UserError(
                f"{where(0)}: the labels are numbers (here {labels[0]}), and what they mean is not known",
                f"Say dataset.classes=[name of 0,name of 1,...]; they are {', '.join(in_order(labels)[:20])}.",
            )
        names = in_order(labels)
        numbers = {name: number for number, name in enumerate(names)}
    else:
        numbers = _numbers(labels, where, names)
    require_classes(path, names, what="labels")
    counts = Counter(labels)
    if len(counts) < 2:
        raise UserError(
            f"{path}: every one of {len(labels)} rows has the label '{labels[0]}', so that every prediction would be "
            "right",
            "At least two classes are needed; look at dataset.columns.label.",
        )
    return names, [numbers[label] for label in labels]


def _numbers(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> dict[str, int]:
    """Label -> class number: by name, or by position where labels are numbers and class names are not."""
    by_name = {name: number for number, name in enumerate(names)}
    by_position = {str(number): number for number in range(len(names))}
    words = set(labels)
    numeric = {word for word in words if _is_number(word)}
    if words <= by_name.keys():
        return by_name
    if words == numeric and not any(_is_number(name) for name in names):
        known, meaning = by_position, f"Numbers are positions in dataset.classes here: 0 to {len(names) - 1}."
    else:
        known, meaning = by_name, ""
    row = next((row for row, label in enumerate(labels) if label not in known), None)
    if row is None:
        if "0" not in words:
            warnings.warn(
                f"labels are positions in dataset.classes, from 0, and none is 0 ('{names[0]}'): if they count from 1, "
                "every class is called like the one after it",
                stacklevel=5,
            )
        return known
    if numeric and known is by_name and not any(_is_number(name) for name in names):
        word = next(iter(sorted(words - numeric)))
        raise UserError(
            f"{where(row)}: some labels are numbers (here '{labels[row]}') and some are names ('{word}')",
            "Write names alone, or numbers alone.",
        )
    strange = Counter(label for label in labels if label not in known)
    many = f" ({sum(strange.values())} of {len(labels)} rows have such labels: {shortened(strange)})"
    raise UserError(
        f"{where(row)}: '{labels[row][:80]}' is not a class{many if sum(strange.values()) > 1 else ''}",
        meaning or f"{suggest(labels[row], names)} Name all classes in dataset.classes, or remove these rows.",
    )


def _refuse_missing(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> None:
    rows = [row for row, label in enumerate(labels) if label.lower() in NO_LABEL and label not in names]
    if rows:
        label = labels[rows[0]]
        many = f" ({len(rows)} of {len(labels)} rows have none)" if len(rows) > 1 else ""
        hint = f", or name '{label}' in dataset.classes if it is a class" if label else ""
        raise UserError(
            f"{where(rows[0])}: no label{f' but {label!r}' if label else ''}{many}",
            f"Fill it in or remove the row{hint}.",
        )


def _refuse_joined(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> None:
    """Several findings in one cell (`Mass|Nodule`) would become a class of their own for every combination."""
    counts = Counter(labels)
    for joint in _SURE_JOINTS + _LIKELY_JOINTS:
        joined = [word for word in counts if joint in word.strip(joint) and word not in names]
        if joint in _LIKELY_JOINTS:
            joined = _made_of_labels(joined, joint, set(counts))
        if not joined:
            continue
        row = next(row for row, label in enumerate(labels) if label in set(joined))
        many = sum(counts[word] for word in joined)
        raise UserError(
            f"{where(row)}: '{labels[row][:80]}' are several labels joined by '{joint}'; {many:,} of {len(labels):,} "
            "rows have several labels",
            f"One label per image is needed: for several say \"dataset.separator='{joint}'\" (dataset=manifest), or "
            "leave these rows out, or choose another column with dataset.columns.label. "
            "If such a word is one class, name all classes in dataset.classes.",
        )


def _made_of_labels(joined: Sequence[str], joint: str, whole: set[str]) -> list[str]:
    """The words whose every piece is a label elsewhere: `Mass,Nodule`, but not `eczema, acute`."""
    pieces = {word: [piece.strip() for piece in word.split(joint)] for word in joined}
    times = Counter(piece for found in pieces.values() for piece in set(found)) if joint == "," else Counter()
    return [word for word, found in pieces.items() if all(piece in whole or times[piece] > 1 for piece in found)]


def _whole(cell: str) -> str:
    """`3` for `3.0`, which programs write where a column of numbers has gaps."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", cell)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", word) is not None
