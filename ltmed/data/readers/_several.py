"""Tables of several labels per image: one column for each label, or one cell with all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ltmed.data.readers._labels import NO_LABEL
from ltmed.data.readers._parts import squashed
from ltmed.data.readers._text import shortened
from ltmed.errors import UserError, require_choice, suggest

UNCERTAIN = ("ignore", "ones", "zeros")
NO_FINDING = ("label", "absence")
BLANK = ("ignore", "zeros")
UNLABELLED = ("keep", "drop", "error")

_MEANINGS = {"ignore": np.nan, "ones": 1.0, "zeros": 0.0}
_PRESENT = frozenset(("1", "yes", "y", "true", "t", "x", "present", "positive"))
_ABSENT = frozenset(("0", "no", "n", "false", "f", "absent", "negative"))
_UNCERTAIN = frozenset(("-1", "u", "uncertain", "maybe"))
_WITHOUT = frozenset(("nofinding", "nofindings", "normal", "none", "healthy"))


def require_rules(uncertain: str, no_finding: str, unlabelled: str) -> None:
    """Raises UserError, naming the setting, unless each is one of `UNCERTAIN`, `NO_FINDING`, `UNLABELLED`."""
    require_choice("dataset.uncertain", uncertain, UNCERTAIN)
    require_choice("dataset.no_finding", no_finding, NO_FINDING)
    require_choice("dataset.unlabelled", unlabelled, UNLABELLED)


def label_sets(values: np.ndarray, labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """The different sets of labels that images have.

    Args:
        values: float32 `[N, K]`, 0, 1 or NaN.
        labels: K labels.

    Returns:
        the number of every image's set, int64 `[N]`; how a message calls each of S sets; float32 `[S, K]`.
    """
    sets, first, numbers = np.unique(np.nan_to_num(values, nan=-1.0), axis=0, return_index=True, return_inverse=True)
    texts = [
        "|".join(name + "?" * (value < 0) for name, value in zip(labels, row, strict=True) if value)
        or "without a label"
        for row in sets.tolist()
    ]
    return numbers.ravel().astype(np.int64), tuple(texts), values[first]


def read_columns(
    columns: Sequence[Sequence[str]],
    names: Sequence[str],
    where: Callable[[int], str],
    *,
    uncertain: str = "ignore",
    blank: str = "ignore",
) -> np.ndarray:
    """Targets from one column per label.

    Args:
        columns: K columns of N cells: 1 (`yes`, `true`, `1.0`), 0 (`no`, `false`), -1 (`uncertain`) or empty.
        names: K labels, for messages.
        where: gives `file, line n` of a row.
        uncertain: -1 is unknown (`ignore`), present (`ones`) or absent (`zeros`).
        blank: likewise of an empty cell, unknown (`ignore`) or absent (`zeros`).

    Returns:
        float32 `[N, K]`, 0, 1 or NaN.

    Raises:
        UserError: another cell; a label that is unknown wherever it is not present, so that nothing could be learned of
            it; the message names row and column.
    """
    doubtful, empty = _MEANINGS[uncertain], _MEANINGS[blank]
    values = np.empty((len(columns[0]), len(columns)), np.float32)
    for place, (name, cells) in enumerate(zip(names, columns, strict=True)):
        known: dict[str, float] = {}
        for cell in set(cells):
            plain = re.sub(r"^([+-]?\d+)\.0*$", r"\1", cell.strip().lower()).removeprefix("+")
            if plain in _PRESENT:
                known[cell] = 1.0
            elif plain in _ABSENT or plain == "-0":
                known[cell] = 0.0
            elif plain in _UNCERTAIN:
                known[cell] = doubtful
            elif plain in NO_LABEL:
                known[cell] = empty
        wrong = next((row for row, cell in enumerate(cells) if cell not in known), None)
        if wrong is not None:
            raise UserError(
                f"{where(wrong)}: '{cells[wrong][:80]}' in column '{name}' does not say whether the label is present",
                "Write 1, 0, -1 (uncertain) or nothing.",
            )
        values[:, place] = [known[cell] for cell in cells]
        column = values[:, place]
        if np.isnan(column).any() and (column == 1).any() and not (column == 0).any():
            raise UserError(
                f"{where(int(np.isnan(column).argmax()))}: column '{name}' is unknown here and never 0, so that no "
                "image is known to be without the label",
                "Write 0, or say dataset.blank=zeros if empty cells mean that the label is absent.",
            )
    return values


def read_joined(
    cells: Sequence[str],
    separator: str,
    where: Callable[[int], str],
    order: Sequence[str] | None,
    *,
    absence: Sequence[str] = (),
) -> tuple[tuple[str, ...], np.ndarray]:
    """Targets from one cell per image that holds all its labels.

    Args:
        cells: N cells such as `Mass|Nodule`; an empty one has no label.
        separator: between two labels.
        where: gives `file, line n` of a row.
        order: the labels; None takes all that occur, sorted.
        absence: labels, as `absent_label` gives them, that say that there is none of the others.

    Returns:
        K labels, and float32 `[N, K]`, 0 or 1.

    Raises:
        UserError: a label that is not in `order`, or one of `absence` beside others.
    """
    names = {cell: _pieces(cell, separator) for cell in set(cells)}
    nothing = set(absence)
    found = {name for pieces in names.values() for name in pieces}
    labels = tuple(order) if order else tuple(sorted(found - nothing))
    number = {label: place for place, label in enumerate(labels)}
    if strange := Counter(name for cell in cells for name in names[cell] if name not in number and name not in nothing):
        row = next(row for row, cell in enumerate(cells) if any(name in strange for name in names[cell]))
        name = next(name for name in names[cells[row]] if name in strange)
        raise UserError(
            f"{where(row)}: '{name[:80]}' is not one of the labels; {shortened(strange)} in {sum(strange.values()):,} "
            "places",
            f"{suggest(name, labels)} Name all labels in dataset.classes, or correct the table.",
        )
    values = np.zeros((len(cells), len(labels)), np.float32)
    for row, cell in enumerate(cells):
        for name in names[cell]:
            if name in number:
                values[row, number[name]] = 1
            elif len(names[cell]) > 1:
                raise UserError(
                    f"{where(row)}: '{cell[:120]}' has '{name}' beside other labels",
                    "Correct that row, or say dataset.no_finding=label.",
                )
    return labels, values


def _pieces(cell: str, separator: str) -> list[str]:
    if cell.strip().lower() in NO_LABEL - {"none"}:
        return []
    return [piece for text in cell.split(separator) if (piece := text.strip())]


def absent_label(names: Sequence[str]) -> str | None:
    """The one of some labels that says that there is no finding (`No Finding`, `normal`), or None.

    Raises:
        UserError: several of them do.
    """
    found = [name for name in dict.fromkeys(names) if squashed(name) in _WITHOUT]
    if len(found) > 1:
        raise UserError(
            f"{' and '.join(map(repr, found))} both say that there is no finding",
            "Leave one of them out, or say dataset.no_finding=label.",
        )
    return found[0] if found else None


def without_absence(
    labels: Sequence[str], values: np.ndarray, where: Callable[[int], str], *, besides: Sequence[str] = ()
) -> tuple[tuple[str, ...], np.ndarray]:
    """Takes the label of no finding out; where it is present, all others that are not known are absent.

    Args:
        labels: K labels.
        values: float32 `[N, K]`.
        where: gives `file, line n` of a row.
        besides: labels that are no findings (`Support Devices`): they may be present beside it, and stay as they are.

    Raises:
        UserError: no label says so, or an image has it beside another one.
    """
    name = absent_label(labels)
    if name is None:
        raise UserError(
            f"dataset.no_finding=absence, but no label says that there is no finding: {shortened(labels, 40)}",
            "Use dataset.no_finding=label.",
        )
    place = list(labels).index(name)
    rest = np.delete(values, place, axis=1)
    kept = tuple(label for label in labels if label != name)
    findings = np.array([label not in besides for label in kept])
    none = values[:, place] == 1
    if (both := none & (rest[:, findings] == 1).any(axis=1)).any():
        row = int(both.argmax())
        raise UserError(
            f"{where(row)}: '{name}' is present beside another label ({both.sum():,} rows are like that)",
            "Correct these rows, or say dataset.no_finding=label.",
        )
    return kept, np.where(none[:, None] & findings, np.float32(0), rest)


def kept_rows(values: np.ndarray, rule: str, where: Callable[[int], str], what: str) -> tuple[np.ndarray, str]:
    """Which rows stay, of images without any label that is present.

    Args:
        values: float32 `[N, K]`.
        rule: `keep` them, `drop` them, or `error`.
        where: gives `file, line n` of a row.
        what: the data set, for messages.

    Returns:
        bool `[N]`, and a note for reports ("" where there is nothing to say).

    Raises:
        UserError: under `error`, an image has no label; under `drop`, no image has one.
    """
    bare = ~(values == 1).any(axis=1)
    if not bare.any() or rule == "keep":
        return np.ones(len(values), bool), f"{bare.sum():,} images have no label and are kept" if bare.any() else ""
    if rule == "error" or bare.all():
        raise UserError(
            f"{where(int(bare.argmax()))}: no label ({bare.sum():,} of {len(values):,} images of {what} have none)",
            "Say dataset.unlabelled=keep if that means that all labels are absent, or dataset.unlabelled=drop.",
        )
    return ~bare, f"{bare.sum():,} images without a label are left out (dataset.unlabelled=drop)"


def located(
    stems: Sequence[str], images: Mapping[str, str], root: object, hint: str, *, skip: bool = False
) -> tuple[list[str], np.ndarray]:
    """Paths of the listed images, and which of them there are.

    Args:
        stems: N names, as `Tree.images` has them.
        images: stem -> path.
        root: the folder, for messages.
        hint: ends the message.
        skip: leave missing images out.

    Returns:
        the paths of those that are there, and bool `[N]`.

    Raises:
        UserError: images are missing, or all of them are.
    """
    there = np.array([name in images for name in stems], dtype=bool)
    if not there.all() and (not skip or not there.any()):
        missing = [name for name, found in zip(stems, there.tolist(), strict=True) if not found]
        raise UserError(
            f"{len(missing):,} of {len(stems):,} listed images are not under {root}: {shortened(missing)}", hint
        )
    return [images[name] for name in stems if name in images], there


def groups_always_agree(labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether all images of every group have the same labels, though groups of several images differ from each other.

    Args:
        labels: float `[N, K]` of 0, 1 and NaN.
        groups: int64 `[N]`.
    """
    plain = np.nan_to_num(labels, nan=-1.0)
    sets = np.unique(plain, axis=0, return_inverse=True)[1].ravel()
    numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    several = sizes[numbers] > 1
    if len(np.unique(sets[several])) < 2:
        return False
    pairs = np.unique(np.stack([numbers[several], sets[several]]), axis=1)
    return pairs.shape[1] == len(np.unique(numbers[several]))
