"""Groups of images that must stay in one part: connected components of all their ids."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltmed.data.readers._parts import normalised_id, normalised_ids, unified
from ltmed.errors import UserError

_UNITS = ("patient", "subject", "participant", "person", "case", "study", "exam", "lesion")
_SUGGESTED_SHARE = 0.05
_MAX_SEARCHED = 20_000
_PATTERNS = (
    *(
        f"({prefix}[-_ ]?[A-Za-z]?[0-9]+)"
        for prefix in ("patient", "person", "subject", "participant", "volunteer", "case")
    ),
    *(f"(?:^|[^A-Za-z])({prefix}[-_ ]?[A-Za-z]?[0-9]+)" for prefix in ("subj", "sub", "pat", "pt")),
    "(IM-[0-9]+)-[0-9]+",
    "([0-9]+)[-_ ](?:left|right|od|os|l|r)[^/]*$",
    "(?:^|/)([A-Za-z]*[-_]?[0-9]{3,})[-_][0-9]{1,4}[^/0-9]*$",
)
"""Patterns of patient ids in file names, from the most to the least specific."""


@dataclass(frozen=True)
class Groups:
    """The groups of N images."""

    numbers: np.ndarray
    """int64 `[N]`: one number for images that are connected."""
    unit: str
    """What a group is: "patient", "lesion", "group"."""
    alone: int
    """Number of images without an id, each of which is a group."""
    how: str
    """Description for reports."""


def connected(number: int, kinds: Iterable[Iterable[tuple[int, str]]]) -> np.ndarray:
    """Numbers the connected components of images that share an id, directly or through others.

    Args:
        number: N images.
        kinds: per kind of id, pairs of an image and an id of it; "" is none. Ids of two kinds are never equal.

    Returns:
        int64 `[N]`; an image without any id is a component of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes: dict[tuple[int, str], int] = {}
    images, ids = [], []
    for kind, pairs in enumerate(kinds):
        for image, cell in pairs:
            if cell:
                images.append(image)
                ids.append(number + nodes.setdefault((kind, cell), len(nodes)))
    size = number + len(nodes)
    links = coo_array((np.ones(len(ids), dtype=np.int8), (images, ids)), shape=(size, size))
    return connected_components(links, directed=False)[1][:number].astype(np.int64)


def find_groups(
    name: str,
    columns: Mapping[str, Sequence[str]],
    number: int,
    further: Mapping[str, Sequence[tuple[int, str]]] | None = None,
) -> Groups | None:
    """Groups from all columns of ids, with a warning of the images that have none.

    Args:
        name: the data set, for messages.
        columns: name of a kind of id -> the ids of N images in the table; see `NO_ID`.
        number: N images.
        further: name of a kind of id -> further pairs of an image and an id.

    Returns:
        None if no image has an id.
    """
    ids_of = {column: normalised_ids(cells) for column, cells in columns.items()}
    further_ids = {
        column: [(image, normalised_id(cell)) for image, cell in pairs] for column, pairs in (further or {}).items()
    }
    for column, ids in ids_of.items():
        if spelling := unified(name, column, [*ids, *(cell for _, cell in further_ids.get(column, ()))]):
            ids_of[column] = [spelling.get(cell, cell) for cell in ids]
            further_ids[column] = [(image, spelling.get(cell, cell)) for image, cell in further_ids.get(column, ())]
    ids_of = {
        column: ids
        for column, ids in ids_of.items()
        if any(ids) or any(cell for _, cell in further_ids.get(column, ()))
    }
    if not ids_of:
        if columns:
            warnings.warn(f"{name}: {' and '.join(columns)} hold no id; there are no groups", stacklevel=4)
        return None
    has_id = np.zeros(number, dtype=bool)
    missing = []
    for column, ids in ids_of.items():
        present = np.fromiter(map(bool, ids), dtype=bool, count=number)
        present[[image for image, cell in further_ids.get(column, ()) if cell]] = True
        has_id |= present
        if not present.all():
            missing.append(f"{number - int(present.sum()):,} without {column}")
    unit, alone = _unit(ids_of), int((~has_id).sum())
    if len(ids_of) == 1 and not any(further_ids.values()):
        ids = next(iter(ids_of.values()))
        keys = [f"g{cell}" if cell else f"image {row}" for row, cell in enumerate(ids)]
        numbers = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    else:
        numbers = connected(number, ([*enumerate(ids), *further_ids.get(column, ())] for column, ids in ids_of.items()))
    if alone:
        warnings.warn(
            f"{name}: {alone:,} of {number:,} images have no {' and no '.join(ids_of)}; each counts as a {unit} of its "
            f"own, so that a {unit} may be in several parts unnoticed",
            stacklevel=4,
        )
    how = f"groups are the connected components of {' and '.join(ids_of)}"
    how = how if len(ids_of) > 1 else f"groups are those of {next(iter(ids_of))}"
    groups = Groups(numbers, unit, alone, how + (f" ({', '.join(missing)})" if missing else ""))
    _warn_of_dominant_group(name, groups, list(ids_of))
    return groups


def _warn_of_dominant_group(name: str, groups: Groups, columns: Sequence[str]) -> None:
    """Warns of a group with most of the images: its column is probably no id (a study, an arm of a trial)."""
    largest = int(np.bincount(groups.numbers).max())
    if largest >= 10 and 2 * largest > len(groups.numbers):
        warnings.warn(
            f"{name}: the largest {groups.unit} has {largest:,} of {len(groups.numbers):,} images; if one of "
            f"{', '.join(columns)} is no id, choose with dataset.columns.group=NAME",
            stacklevel=5,
        )


def _unit(columns: Mapping[str, object]) -> str:
    """The largest unit in the names of the columns: patients have lesions."""
    units = {unit_of(column) for column in columns}
    return next((unit for unit in _UNITS if unit in units), "group")


def unit_of(column: str) -> str:
    """The largest unit that the name of a column contains (`patient` of `Patient ID`), or ""."""
    return next((unit for unit in _UNITS if unit in column.lower()), "")


def compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """The regular expression `dataset.group_pattern`.

    Raises:
        UserError: it is none.
    """
    if pattern is None:
        return None
    try:
        return re.compile(str(pattern))
    except re.error as error:
        raise UserError(
            f"dataset.group_pattern={pattern} is no regular expression: {error}",
            "For instance 'dataset.group_pattern=\"patient([0-9]+)\"', with both kinds of quotes.",
        ) from None


def ids_in_names(pattern: re.Pattern[str], images: Sequence[str]) -> dict[str, list[str]]:
    """The match of `pattern` in every path: its groups joined by ' ', else the whole match; "" without a match.

    Returns:
        one column for `find_groups`, named after the first named group of the pattern (`(?P<patient>[0-9]+)`).

    Raises:
        UserError: it matches no path, or gives the same id to every image.
    """
    ids = []
    for image in images:
        match = pattern.search(image)
        ids.append(" ".join(text or "" for text in match.groups() or (match[0],)).strip() if match else "")
    if not any(ids):
        raise UserError(
            f"dataset.group_pattern={pattern.pattern} matches none of {len(images)} paths",
            f"A path is '{images[0]}', for instance." if images else "",
        )
    if len(images) > 1 and len(set(ids)) == 1:
        raise UserError(
            f"dataset.group_pattern={pattern.pattern} finds '{ids[0]}' in every path, so that there is one group",
            "It must find what differs between patients.",
        )
    return {next(iter(pattern.groupindex), "group") + " (dataset.group_pattern)": ids}


def suggest_pattern(images: Sequence[str]) -> tuple[str, int] | None:
    """Suggests a `dataset.group_pattern` for file names that appear to contain a patient id.

    Args:
        images: N paths, of which at most the first `_MAX_SEARCHED` are used.

    Returns:
        the pattern and the number of these images that share their id with another one; None if no pattern finds
        several ids and at least a twentieth of the images share one.
    """
    remaining, patterns, partners = list(images[:_MAX_SEARCHED]), [], 0
    least = max(2, _SUGGESTED_SHARE * len(remaining))
    for pattern in _PATTERNS:
        expression = re.compile(pattern, re.IGNORECASE)
        ids = {image: match[1].lower() for image in remaining if (match := expression.search(image))}
        counts = Counter(ids.values())
        shared = sum(count for count in counts.values() if count > 1)
        if len(counts) > 1 and shared >= least and max(counts.values()) <= len(ids) // 2:
            patterns.append(pattern)
            partners += shared
            remaining = [image for image in remaining if image not in ids]
    return (f"(?i){'|'.join(patterns)}", partners) if patterns else None


def warn_of_names(name: str, images: Sequence[str]) -> str:
    """Warns if file names appear to contain patient ids; returns the override that uses them, for other messages."""
    suggestion = suggest_pattern(images)
    if suggestion is None:
        return ""
    pattern, shared = suggestion
    override = f"'dataset.group_pattern=\"{pattern}\"'"
    warnings.warn(
        f"{name}: {shared:,} of {min(len(images), _MAX_SEARCHED):,} file names look as if they named one patient "
        f"several times; if they do, keep patients together with {override}",
        stacklevel=4,
    )
    return override


def refuse_divided_groups(
    groups: np.ndarray,
    unit: str,
    parts: Sequence[str],
    names: Sequence[str],
    where: Callable[[int], str],
    *,
    what: str = "part",
) -> None:
    """Raises UserError if images of one group are in two parts (folds), naming the first two.

    Args:
        groups: int64 `[N]`.
        unit: what a group is.
        parts: part or fold of every image; "" for none.
        names: name of each image.
        where: returns `file, line n` of an image.
        what: "part" or "fold".
    """
    first_rows: dict[int, int] = {}
    divided: set[int] = set()
    first: tuple[int, int] | None = None
    for row, (group, part) in enumerate(zip(groups.tolist(), parts, strict=True)):
        if part and parts[before := first_rows.setdefault(group, row)] != part:
            divided.add(group)
            first = first or (before, row)
    if first is not None:
        before, row = first
        raise UserError(
            f"{where(row)}: '{names[row][:80]}' is in {what} {parts[row]}, and '{names[before][:80]}' of the same "
            f"{unit} is in {what} {parts[before]} ({where(before)}); {len(divided):,} {unit}s are in several {what}s",
            f"Correct it, leave the column of {what}s out with dataset.columns.{what}=[], or say "
            "dataset.allow_group_leakage=true; results then report how much leaks.",
        )
