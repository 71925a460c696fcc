"""Which images must stay together: connected components of all ids that are known of them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ltmed.data.readers._parts import known_id, known_ids, unified
from ltmed.errors import UserError

_UNITS = ("patient", "subject", "participant", "person", "case", "study", "exam", "lesion")
_SUGGESTED_SHARE = 0.05
_LOOKED_AT = 20_000
_PATTERNS = (
    *(
        f"({word}[-_ ]?[A-Za-z]?[0-9]+)"
        for word in ("patient", "person", "subject", "participant", "volunteer", "case")
    ),
    *(f"(?:^|[^A-Za-z])({word}[-_ ]?[A-Za-z]?[0-9]+)" for word in ("subj", "sub", "pat", "pt")),
    "(IM-[0-9]+)-[0-9]+",
    "([0-9]+)[-_ ](?:left|right|od|os|l|r)[^/]*$",
    "(?:^|/)([A-Za-z]*[-_]?[0-9]{3,})[-_][0-9]{1,4}[^/0-9]*$",
)
"""How file names hold the patient, from the clearest to the least clear."""


@dataclass(frozen=True)
class Groups:
    """The groups of N images."""

    numbers: np.ndarray
    """int64 `[N]`: one number for images that are connected."""
    unit: str
    """What a group is: "patient", "lesion", "group"."""
    alone: int
    """How many images have no id, and are a group each."""
    how: str
    """One sentence for people."""


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
        columns: name of a kind of id -> the ids of N images as a table has them; see `NO_ID`.
        number: N images.
        further: name of a kind of id -> further pairs of an image and an id.

    Returns:
        None if no image has an id.
    """
    known = {column: known_ids(cells) for column, cells in columns.items()}
    more = {column: [(image, known_id(cell)) for image, cell in pairs] for column, pairs in (further or {}).items()}
    for column, ids in known.items():
        if same := unified(name, column, [*ids, *(cell for _, cell in more.get(column, ()))]):
            known[column] = [same.get(cell, cell) for cell in ids]
            more[column] = [(image, same.get(cell, cell)) for image, cell in more.get(column, ())]
    known = {column: ids for column, ids in known.items() if any(ids) or any(cell for _, cell in more.get(column, ()))}
    if not known:
        if columns:
            warnings.warn(f"{name}: {' and '.join(columns)} hold no id; there are no groups", stacklevel=4)
        return None
    named = np.zeros(number, dtype=bool)
    lacking = []
    for column, ids in known.items():
        present = np.fromiter(map(bool, ids), dtype=bool, count=number)
        present[[image for image, cell in more.get(column, ()) if cell]] = True
        named |= present
        if not present.all():
            lacking.append(f"{number - int(present.sum()):,} without {column}")
    unit, alone = _unit(known), int((~named).sum())
    if len(known) == 1 and not any(more.values()):
        ids = next(iter(known.values()))
        words = [f"g{cell}" if cell else f"image {row}" for row, cell in enumerate(ids)]
        numbers = np.unique(words, return_inverse=True)[1].astype(np.int64)
    else:
        numbers = connected(number, ([*enumerate(ids), *more.get(column, ())] for column, ids in known.items()))
    if alone:
        warnings.warn(
            f"{name}: {alone:,} of {number:,} images have no {' and no '.join(known)}; each counts as a {unit} of its "
            f"own, so that a {unit} may be in several parts unnoticed",
            stacklevel=4,
        )
    how = f"groups are the connected components of {' and '.join(known)}"
    how = how if len(known) > 1 else f"groups are those of {next(iter(known))}"
    groups = Groups(numbers, unit, alone, how + (f" ({', '.join(lacking)})" if lacking else ""))
    _warn_of_a_giant(name, groups, list(known))
    return groups


def _warn_of_a_giant(name: str, groups: Groups, columns: Sequence[str]) -> None:
    """A column that is no id (a study's name, an arm of a trial) joins nearly everything."""
    largest = int(np.bincount(groups.numbers).max())
    if largest >= 10 and 2 * largest > len(groups.numbers):
        warnings.warn(
            f"{name}: the largest {groups.unit} has {largest:,} of {len(groups.numbers):,} images; if one of "
            f"{', '.join(columns)} is no id, choose with dataset.columns.group=NAME",
            stacklevel=5,
        )


def _unit(columns: Mapping[str, object]) -> str:
    """The largest unit that a column is called after: patients have lesions."""
    words = [column.lower() for column in columns]
    return next((unit for unit in _UNITS if any(unit in word for word in words)), "group")


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
            f"dataset.group_pattern={pattern} is no regular expression: {error}", "For instance 'patient([0-9]+)'."
        ) from None


def ids_in_names(pattern: re.Pattern[str], images: Sequence[str]) -> dict[str, list[str]]:
    """What `pattern` finds in every path: its groups joined by ' ', else the whole match, "" where it finds nothing.

    Returns:
        one column for `find_groups`, called after the first named group of the pattern (`(?P<patient>[0-9]+)`).

    Raises:
        UserError: it matches no path, or gives the same id to every image.
    """
    ids = []
    for image in images:
        match = pattern.search(image)
        ids.append(" ".join(word or "" for word in match.groups() or (match[0],)).strip() if match else "")
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
    """A `dataset.group_pattern` for file names that look as if they held the patient.

    Args:
        images: N paths; of very many, the first ones are looked at.

    Returns:
        the pattern and how many of these images would share their id with another one; None where nothing finds
        several ids and gives a twentieth of the images a partner.
    """
    left, chosen, partners = list(images[:_LOOKED_AT]), [], 0
    least = max(2, _SUGGESTED_SHARE * len(left))
    for pattern in _PATTERNS:
        expression = re.compile(pattern, re.IGNORECASE)
        found = {image: match[1].lower() for image in left if (match := expression.search(image))}
        counts = Counter(found.values())
        shared = sum(count for count in counts.values() if count > 1)
        if len(counts) > 1 and shared >= least and max(counts.values()) <= len(found) // 2:
            chosen.append(pattern)
            partners += shared
            left = [image for image in left if image not in found]
    return (f"(?i){'|'.join(chosen)}", partners) if chosen else None


def warn_of_names(name: str, images: Sequence[str]) -> str:
    """Warns where file names look as if they held the patient; gives how to use them, for other messages."""
    suggestion = suggest_pattern(images)
    if suggestion is None:
        return ""
    pattern, shared = suggestion
    word = f"'dataset.group_pattern=\"{pattern}\"'"
    warnings.warn(
        f"{name}: {shared:,} of {min(len(images), _LOOKED_AT):,} file names look as if they named one patient several "
        f"times; if they do, keep patients together with {word}",
        stacklevel=4,
    )
    return word


def refuse_divided_groups(
    groups: np.ndarray, unit: str, parts: Sequence[str], names: Sequence[str], where: Callable[[int], str]
) -> None:
    """Raises UserError if images of one group are in two parts, naming the first two.

    Args:
        groups: int64 `[N]`.
        unit: what a group is.
        parts: of every image; "" for none.
        names: what each image is called.
        where: gives `file, line n` of an image.
    """
    seen: dict[int, int] = {}
    divided: set[int] = set()
    first: tuple[int, int] | None = None
    for row, (group, part) in enumerate(zip(groups.tolist(), parts, strict=True)):
        if part and parts[before := seen.setdefault(group, row)] != part:
            divided.add(group)
            first = first or (before, row)
    if first is not None:
        before, row = first
        raise UserError(
            f"{where(row)}: '{names[row][:80]}' is in part {parts[row]}, and '{names[before][:80]}' of the same {unit} "
            f"is in part {parts[before]} ({where(before)}); {len(divided):,} {unit}s are in several parts",
            "Correct it, or say dataset.allow_group_leakage=true; results then report how much leaks.",
        )
