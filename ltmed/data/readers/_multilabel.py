"""Tables of several labels per image: one column for each label, or one cell with all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ltmed.data.readers._labels import NO_LABEL, labels_in_cell, require_distinct
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
    """The distinct label sets of the images.

    Args:
        values: float32 `[N, K]`, 0, 1 or NaN.
        labels: K labels.

    Returns:
        the index of every image's set, int64 `[N]`; the names of S sets for messages; float32 `[S, K]`.
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
        columns: K columns of N cells: 1 (`yes`, `true`, `1.0`, `1,0`), 0 (`no`, `false`), -1 (`uncertain`) or empty.
        names: K labels, for messages.
        where: returns `file, line n` of a row.
        uncertain: -1 is unknown (`ignore`), present (`ones`) or absent (`zeros`).
        blank: likewise of an empty cell, unknown (`ignore`) or absent (`zeros`).

    Returns:
        float32 `[N, K]`, 0, 1 or NaN.

    Raises:
        UserError: an invalid cell; the message names row and column.
    """
    uncertain_value, blank_value = _MEANINGS[uncertain], _MEANINGS[blank]
    values = np.empty((len(columns[0]), len(columns)), np.float32)
    for index, (name, cells) in enumerate(zip(names, columns, strict=True)):
        value_of: dict[str, float] = {}
        for cell in set(cells):
            plain = re.sub(r"^([+-]?\d+)[.,]0*$", r"\1", cell.strip().lower()).removeprefix("+")
            if plain in _PRESENT:
                value_of[cell] = 1.0
            elif plain in _ABSENT or plain == "-0":
                value_of[cell] = 0.0
            elif plain in _UNCERTAIN:
                value_of[cell] = uncertain_value
            elif plain in NO_LABEL:
                value_of[cell] = blank_value
        wrong = next((row for row, cell in enumerate(cells) if cell not in value_of), None)
        if wrong is not None:
            raise UserError(
                f"{where(wrong)}: '{cells[wrong][:80]}' in column '{name}' does not say whether the label is present",
                "Write 1, 0, -1 (uncertain) or nothing.",
            )
        values[:, index] = [value_of[cell] for cell in cells]
    return values


def require_known_absences(values: np.ndarray, names: Sequence[str], where: Callable[[int], str]) -> None:
    """Raises UserError for a label that is unknown wherever it is not present, so that it cannot be learned.

    Args:
        values: float32 `[N, K]`, after `without_absence`, which makes labels known.
        names: K labels, for messages.
        where: returns `file, line n` of a row.
    """
    for name, column in zip(names, values.T, strict=True):
        if np.isnan(column).any() and (column == 1).any() and not (column == 0).any():
            raise UserError(
                f"{where(int(np.isnan(column).argmax()))}: '{name}' is unknown here and never 0, so that no image is "
                "known to be without the label",
                "Write 0, or say dataset.blank=zeros if empty cells mean that the label is absent.",
            )


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
        cells: N cells such as `Mass|Nodule` or `['mass', 'nodule']`; an empty one has no label.
        separator: between two labels; quoted ones in brackets need none.
        where: returns `file, line n` of a row.
        order: the labels; None for all that occur, sorted.
        absence: labels from `absent_label`, which mean that no other label is present.

    Returns:
        K labels, and float32 `[N, K]`, 0 or 1.

    Raises:
        UserError: a label that is not in `order`, or one of `absence` with others; labels that differ in spelling
            alone.
    """
    names = {cell: labels_in_cell(cell, separator) for cell in set(cells)}
    absence_labels = set(absence)
    present = {name for pieces in names.values() for name in pieces}
    labels = tuple(order) if order else tuple(sorted(present - absence_labels))
    first = {name: row for row in reversed(range(len(cells))) for name in names[cells[row]]}
    require_distinct(lambda name: where(first.get(name, 0)), (*labels, *absence))
    number = {label: index for index, label in enumerate(labels)}
    if unknown := Counter(
        name for cell in cells for name in names[cell] if name not in number and name not in absence_labels
    ):
        row = next(row for row, cell in enumerate(cells) if any(name in unknown for name in names[cell]))
        name = next(name for name in names[cells[row]] if name in unknown)
        raise UserError(
            f"{where(row)}: '{name[:80]}' is not one of the labels; {shortened(unknown)} in {sum(unknown.values()):,} "
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


def absent_label(names: Sequence[str]) -> str | None:
    """The label that means that there is no finding (`No Finding`, `normal`), or None.

    Raises:
        UserError: there are several such labels.
    """
    matches = [name for name in dict.fromkeys(names) if squashed(name) in _WITHOUT]
    if len(matches) > 1:
        raise UserError(
            f"{' and '.join(map(repr, matches))} both say that there is no finding",
            "Leave one of them out, or say dataset.no_finding=label.",
        )
    return matches[0] if matches else None


def without_absence(
    labels: Sequence[str], values: np.ndarray, where: Callable[[int], str], *, besides: Sequence[str] = ()
) -> tuple[tuple[str, ...], np.ndarray]:
    """Removes the no-finding label; where it is present, all unknown other labels become absent.

    Args:
        labels: K labels.
        values: float32 `[N, K]`.
        where: returns `file, line n` of a row.
        besides: labels that are not findings (`Support Devices`), which may be present with it and are not changed.

    Raises:
        UserError: there is no such label, or an image has it with another one.
    """
    name = absent_label(labels)
    if name is None:
        raise UserError(
            f"dataset.no_finding=absence, but no label says that there is no finding: {shortened(labels, 40)}",
            "Use dataset.no_finding=label.",
        )
    index = list(labels).index(name)
    others = np.delete(values, index, axis=1)
    remaining = tuple(label for label in labels if label != name)
    findings = np.array([label not in besides for label in remaining])
    no_finding = values[:, index] == 1
    if (contradictory := no_finding & (others[:, findings] == 1).any(axis=1)).any():
        row = int(contradictory.argmax())
        raise UserError(
            f"{where(row)}: '{name}' is present beside another label ({contradictory.sum():,} rows are like that)",
            "Correct these rows, or say dataset.no_finding=label.",
        )
    return remaining, np.where(no_finding[:, None] & findings, np.float32(0), others)


def select_rows(values: np.ndarray, rule: str, where: Callable[[int], str], dataset: str) -> tuple[np.ndarray, str]:
    """Selects rows by the rule for images without a present label.

    Args:
        values: float32 `[N, K]`.
        rule: `keep` them, `drop` them, or `error`.
        where: returns `file, line n` of a row.
        dataset: the data set, for messages.

    Returns:
        bool `[N]`, and a note for reports (may be "").

    Raises:
        UserError: with `error`, an image has no label; with `drop`, no image has one.
    """
    unlabelled = ~(values == 1).any(axis=1)
    if not unlabelled.any() or rule == "keep":
        note = f"{unlabelled.sum():,} images have no label and are kept" if unlabelled.any() else ""
        return np.ones(len(values), bool), note
    if rule == "error" or unlabelled.all():
        raise UserError(
            f"{where(int(unlabelled.argmax()))}: no label ({unlabelled.sum():,} of {len(values):,} images of {dataset} "
            "have none)",
            "Say dataset.unlabelled=keep if that means that all labels are absent, or dataset.unlabelled=drop.",
        )
    return ~unlabelled, f"{unlabelled.sum():,} images without a label are left out (dataset.unlabelled=drop)"


def located(
    stems: Sequence[str], images: Mapping[str, str], root: object, hint: str, *, skip: bool = False
) -> tuple[list[str], np.ndarray]:
    """Paths of the listed images, and which of them exist.

    Args:
        stems: N names, as `Tree.images` has them.
        images: stem -> path.
        root: the folder, for messages.
        hint: hint of the error.
        skip: exclude missing images.

    Returns:
        the paths of the existing ones, and bool `[N]`.

    Raises:
        UserError: images are missing, or all of them are.
    """
    present = np.array([name in images for name in stems], dtype=bool)
    if not present.all() and (not skip or not present.any()):
        missing = [name for name, is_present in zip(stems, present.tolist(), strict=True) if not is_present]
        raise UserError(
            f"{len(missing):,} of {len(stems):,} listed images are not under {root}: {shortened(missing)}", hint
        )
    return [images[name] for name in stems if name in images], present


def groups_always_agree(labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether all images of every group have the same labels, though groups of several images differ from each other.

    Args:
        labels: float `[N, K]` of 0, 1 and NaN.
        groups: int64 `[N]`.
    """
    plain = np.nan_to_num(labels, nan=-1.0)
    sets = np.unique(plain, axis=0, return_inverse=True)[1].ravel()
    numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    in_larger_group = sizes[numbers] > 1
    if len(np.unique(sets[in_larger_group])) < 2:
        return False
    pairs = np.unique(np.stack([numbers[in_larger_group], sets[in_larger_group]]), axis=1)
    return pairs.shape[1] == len(np.unique(numbers[in_larger_group]))
