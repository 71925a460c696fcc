"""Classes and class indices from a column of labels, or from the names of class folders."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ltmed.data.readers._text import listed_value, shortened
from ltmed.data.readers._walk import composed
from ltmed.errors import UserError, suggest

NO_LABEL = frozenset(("", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "?", "-", "--"))
"""Lower-case cells that mean a missing label, unless `dataset.classes` contains them."""

_YAML_SPELLINGS = {True: ("true", "yes", "on"), False: ("false", "no", "off"), None: ("null", "none", "~")}
"""Texts that YAML and Hydra do not read as strings: `dataset.classes=[FALSE,TRUE]` contains booleans."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,0+")
_SURE_JOINTS, _LIKELY_JOINTS = "|;", ",/+&"
_LIST, _QUOTED = re.compile(r"\[([^\[\]]*)\]"), re.compile(r"""'([^']*)'|"([^"]*)\"""")


def class_names(order: Iterable[Any], present: Iterable[str]) -> tuple[str, ...]:
    """The names in `dataset.classes` as text, in the spelling of the data.

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
    labels = sorted({composed(label) for label in present})
    names = []
    for item in items:
        if item is None or isinstance(item, bool):
            matches = [label for label in labels if label.lower() in _YAML_SPELLINGS[item]]
            names.append(matches[0] if matches else str(item))
        else:
            names.append(composed(_without_decimals(str(item)).strip()))
    return names


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted; by number if all are numbers, or a common prefix and a number (`grade 2`, `grade 10`)."""
    unique = sorted(set(names))
    parts = [re.fullmatch(r"(.*?)([+-]?\d+(?:\.\d+)?)", name) for name in unique]
    if not all(parts) or len({match[1].casefold() for match in parts if match}) > 1:
        return tuple(unique)
    prefix = next((match[1] for match in parts if match), "")
    sign = -1 if re.search(r"[A-Za-z]$", prefix) else 1
    numbers = {match[0]: abs(float(match[2])) if sign < 0 else float(match[2]) for match in parts if match}
    return tuple(sorted(unique, key=lambda name: (numbers[name], name)))


def require_classes(where: object, names: Sequence[str], *, what: str = "classes") -> None:
    """Checks the classes: there are at least two, and no two names differ only in spelling.

    Args:
        where: their source, for messages.
        names: the classes.
        what: term for the classes in messages.

    Raises:
        UserError: names the classes and what to do.
    """
    require_distinct(lambda _: where, names, what=what)
    if len(names) < 2:
        raise UserError(
            f"{where}: there is one class only ({shortened(names)}), so that every prediction would be right",
            "At least two classes are needed.",
        )


def require_distinct(where: Callable[[str], object], names: Sequence[str], *, what: str = "labels") -> None:
    """Raises UserError if two names differ only in case, blanks, `_`, `-`, quotes, brackets or leading zeros.

    Args:
        where: returns the source of a name, for messages.
        names: the classes or labels.
        what: term for them in messages.
    """
    spellings_of: dict[str, list[str]] = {}
    for name in names:
        spellings_of.setdefault(_plain(name), []).append(name)
    if duplicates := [spellings for spellings in spellings_of.values() if len(spellings) > 1]:
        raise UserError(
            f"{where(duplicates[0][1])}: the {what} {' and '.join(map(repr, duplicates[0]))} differ in spelling alone",
            "Give the images of one class one name.",
        )


def _plain(name: str) -> str:
    """Normalised name of a class: no case, blanks, `_`, `-`, quotes, brackets, full-width forms and leading zeros."""
    name = unicodedata.normalize("NFKC", composed(name)).casefold().strip().strip("\"'`[]").rstrip(".,;:")
    text = re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", name)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", text)


def read_labels(
    cells: Sequence[str], where: Callable[[int], str], path: object, order: Sequence[Any] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Classes, and the class number of every row.

    Args:
        cells: N labels of the table.
        where: returns `file, line n` of a row.
        path: the table, for messages.
        order: `dataset.classes`; with it, labels are its names, or indices into it if all labels and no class names are
            numbers. None for the sorted labels.

    Returns:
        K class names and N indices into them.

    Raises:
        UserError: a row without a label or with several; a label that is no class; labels that are numbers without
            `order`, or numbers and names mixed; one class; classes that differ in spelling alone.
    """
    comma = all(map(_DECIMAL_COMMA.fullmatch, set(cells)))
    plain = {
        cell: composed(_without_decimals(cell.replace(",", ".") if comma else cell)).strip() for cell in set(cells)
    }
    values = set(plain.values())
    names = class_names(order, values) if order else None
    boolean = {item for item in order or () if item is None or isinstance(item, bool)}
    if boolean and names is not None and order is not None:
        class_of = {value: name for item, name in zip(order, names, strict=True) if item in boolean
                   for value in values if value.lower() in _YAML_SPELLINGS[item]}  # fmt: skip
        plain = {cell: class_of.get(value, value) for cell, value in plain.items()}
    labels = [plain[cell] for cell in cells]
    _refuse_missing(labels, where, names or ())
    _refuse_joined(labels, where, names or ())
    if names is None:
        if all(_is_number(value) for value in set(labels)):
            raise UserError(
                f"{where(0)}: the labels are numbers (here {labels[0]}), and what they mean is not known",
                f"Say dataset.classes=[name of 0,name of 1,...]; they are {', '.join(in_order(labels)[:20])}.",
            )
        names = in_order(labels)
        _refuse_mixed(labels, where, names)
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
    values = set(labels)
    numeric = {value for value in values if _is_number(value)}
    if values <= by_name.keys():
        return by_name
    if values == numeric and not any(_is_number(name) for name in names):
        number_of, meaning = by_position, f"Numbers are positions in dataset.classes here: 0 to {len(names) - 1}."
    else:
        number_of, meaning = by_name, ""
    row = next((row for row, label in enumerate(labels) if label not in number_of), None)
    if row is None:
        if "0" not in values:
            warnings.warn(
                f"labels are positions in dataset.classes, from 0, and none is 0 ('{names[0]}'): if they count from 1, "
                "every class is called like the one after it",
                stacklevel=5,
            )
        return number_of
    if numeric and number_of is by_name and not any(_is_number(name) for name in names):
        value = next(iter(sorted(values - numeric)))
        raise UserError(
            f"{where(row)}: some labels are numbers (here '{labels[row]}') and some are names ('{value}')",
            "Write names alone, or numbers alone.",
        )
    unknown = Counter(label for label in labels if label not in number_of)
    summary = f" ({sum(unknown.values())} of {len(labels)} rows have such labels: {shortened(unknown)})"
    raise UserError(
        f"{where(row)}: '{labels[row][:80]}' is not a class{summary if sum(unknown.values()) > 1 else ''}",
        meaning or f"{suggest(labels[row], names)} Name all classes in dataset.classes, or remove these rows.",
    )


def _refuse_mixed(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> None:
    """Raises UserError for numbers beside names (`1` beside `malignant`), which may be two notations of one class."""
    row = next((row for row, label in enumerate(labels) if _is_number(label)), None)
    if row is not None:
        word = next(name for name in names if not _is_number(name))
        raise UserError(
            f"{where(row)}: some labels are numbers (here '{labels[row]}') and some are names ('{word}')",
            f"Write names alone, or numbers alone. If each is a class, say dataset.classes={listed_value(names)}.",
        )


def _refuse_missing(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> None:
    rows = [row for row, label in enumerate(labels) if label.lower() in NO_LABEL and label not in names]
    if rows:
        label = labels[rows[0]]
        summary = f" ({len(rows)} of {len(labels)} rows have none)" if len(rows) > 1 else ""
        hint = f", or name '{label}' in dataset.classes if it is a class" if label else ""
        raise UserError(
            f"{where(rows[0])}: no label{f' but {label!r}' if label else ''}{summary}",
            f"Fill it in or remove the row{hint}.",
        )


def _refuse_joined(labels: Sequence[str], where: Callable[[int], str], names: Sequence[str]) -> None:
    """Raises UserError for several findings in one cell (`Mass|Nodule`), whose combinations would be classes."""
    counts = Counter(labels)
    for joint in _SURE_JOINTS + _LIKELY_JOINTS:
        joined = [label for label in counts if joint in label.strip(joint) and label not in names]
        if joint in _LIKELY_JOINTS:
            joined = _joined_labels(joined, joint, set(counts))
        if not joined:
            continue
        row = next(row for row, label in enumerate(labels) if label in set(joined))
        n_joined = sum(counts[label] for label in joined)
        raise UserError(
            f"{where(row)}: '{labels[row][:80]}' are several labels joined by '{joint}'; {n_joined:,} of "
            f"{len(labels):,} rows have several labels",
            f"One label per image is needed: for several say \"dataset.separator='{joint}'\" (dataset=manifest), or "
            "leave these rows out, or choose another column with dataset.columns.label. "
            "If such a text is one class, name all classes in dataset.classes.",
        )


def labels_in_cell(cell: str, separator: str) -> list[str]:
    """The labels in one cell: `Mass|Nodule`, or a list as Python and JSON write it (`['mass', 'nodule']`)."""
    cell = cell.strip()
    if cell.lower() in NO_LABEL - {"none"}:
        return []
    if as_list := _LIST.fullmatch(cell):
        cell = as_list[1].strip()
    quoted = ["".join(pair) for pair in _QUOTED.findall(cell)] if as_list and cell[:1] in ("'", '"') else []
    return [label for piece in quoted or cell.split(separator) if (label := piece.strip())]


def _joined_labels(joined: Sequence[str], joint: str, labels: set[str]) -> list[str]:
    """The cells whose pieces all are labels elsewhere: `Mass,Nodule`, but not `eczema, acute`."""
    pieces = {cell: [piece.strip() for piece in cell.split(joint)] for cell in joined}
    frequencies = Counter(piece for parts in pieces.values() for piece in set(parts)) if joint == "," else Counter()
    return [cell for cell, parts in pieces.items() if all(piece in labels or frequencies[piece] > 1 for piece in parts)]


def _without_decimals(cell: str) -> str:
    """`3` for `3.0`, which programs write where a column of numbers has gaps."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", cell)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text) is not None
