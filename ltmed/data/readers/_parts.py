"""Normalisation of part names, folds, patient ids and image names in folders and tables."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

from ltmed.data.readers._text import shortened
from ltmed.data.readers._walk import composed
from ltmed.errors import UserError, suggest

PART_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validate", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
"""Names of the parts after `squashed`; `set`, `data`, `images`, `split` or `part` may follow."""

_PART_OF_NAME = {name: part for part, names in PART_NAMES.items() for name in names}
_ENDINGS = re.compile(r"(datasets?|sets?|data|images?|imgs?|split|part|folder)$")
NO_ID = frozenset(
    (
        *("", "-1", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "unknown", "unk", "unspecified"),
        *("missing", "undefined", "not available", "not known", "no id", "?", "-", "--", "."),
        *("not recorded", "not provided", "not applicable", "anonymous", "anonymized", "anonymised", "n.a."),
    )
)
"""Lower-case cells that stand for an unknown id."""
_MAX_AFFIXES = 20
_BEFORE, _AFTER = re.compile(r".*[ _.-]"), re.compile(r"[ _.-].*")


def squashed(text: str) -> str:
    """`text` in lower case without blanks, `_`, `-` and `.`, to compare spellings of a name."""
    return re.sub(r"[\s_\-.]+", "", composed(text).casefold())


def parse_part(text: str) -> str | None:
    """`train`, `val` or `test` for any spelling of it (`Train`, `validate`, `test_set`), None for other texts."""
    plain = squashed(text)
    return _PART_OF_NAME.get(plain) or _PART_OF_NAME.get(_ENDINGS.sub("", plain))


def part_of(text: str, where: object) -> str:
    """`train`, `val` or `test` for any spelling of it; an empty text stays empty (in no part).

    Raises:
        UserError: another text; the message begins with `where`.
    """
    part = parse_part(text) if text else ""
    if part is None:
        raise UserError(f"{where}: '{text[:80]}' is not a part of a split", suggest(text.lower(), _PART_OF_NAME))
    return part


def fold_numbers(cells: Sequence[str], where: Callable[[int], str], path: object) -> list[int]:
    """Fold of every row, from 0; an empty cell is -1, in no fold.

    Args:
        cells: one word per row.
        where: names a row in messages.
        path: names the table in messages.

    Raises:
        UserError: a cell is no number, or the numbers have gaps.
    """
    number_of = {}
    for row, cell in enumerate(cells):
        if cell not in number_of:
            plain = re.sub(r"^(\d+)\.0+$", r"\1", cell)
            if plain and not (plain.isdecimal() and len(plain) < 6):
                raise UserError(f"{where(row)}: fold '{cell[:80]}' is no number from 0", "Correct that row.")
            number_of[cell] = int(plain) if plain else -1
    numbers = set(number_of.values())
    absent = set(range(max(numbers) + 1)) - numbers
    if absent or max(numbers) < 1:
        raise UserError(
            f"{path}: the folds are not numbered 0, 1, ... without a gap (no {min(absent, default=1)})",
            "Number them from 0.",
        )
    return [number_of[cell] for cell in cells]


def folds_of_training(folds: Sequence[int], parts: Sequence[str]) -> list[str]:
    """Where each of N training images is held out: its fold as text, "none" if it is in no fold; "" for other images.

    Args:
        folds: from `fold_numbers`.
        parts: train, val, test or "" of each image; empty if there are no parts, so that the folds alone decide.
    """
    if not parts:
        return [str(fold) if fold >= 0 else "" for fold in folds]
    return [
        ("none" if fold < 0 else str(fold)) if part == "train" else "" for fold, part in zip(folds, parts, strict=True)
    ]


def normalised_id(cell: str) -> str:
    """An id in the form for comparisons, or "" if the cell stands for an unknown one."""
    cell = cell.strip()
    if cell.lower() in NO_ID:
        return ""
    return composed(re.sub(r"^([+-]?\d+)[.,]0+$", r"\1", cell)) if cell != "-1.0" else ""


def normalised_ids(cells: Sequence[str]) -> list[str]:
    """`normalised_id` of every cell."""
    normalised = {cell: normalised_id(cell) for cell in set(cells)}
    return [normalised[cell] for cell in cells]


def unified(name: str, column: str, ids: Sequence[str]) -> dict[str, str]:
    """Which ids are one: those that differ in case, blanks, `_`, `-` or leading zeros alone, with a warning.

    Tables that were merged spell one patient `P7` and `p-007`. To keep two patients together does no harm; to divide
    one leaks information.

    Args:
        name: the data set, for messages.
        column: what the ids are called.
        ids: as `normalised_id` gives them.

    Returns:
        an id that is spelled in several ways -> its first spelling.
    """
    spellings: dict[str, list[str]] = {}
    for cell in sorted({*ids} - {""}):
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]+", "-", cell.casefold()))
        spellings.setdefault(re.sub(r"(?<!\d)-|-(?!\d)", "", plain), []).append(cell)
    ambiguous = [cells for cells in spellings.values() if len(cells) > 1]
    if ambiguous:
        warnings.warn(
            f"{name}: {len(ambiguous):,} ids of {column} are spelled in several ways "
            f"({shortened(ambiguous[0], 3)}); each counts as one",
            stacklevel=5,
        )
    return {cell: cells[0] for cells in ambiguous for cell in cells}


def constant_affix(keys: Sequence[str], files: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The files that match all names after the same affix is added or removed at one end, or None.

    Only after or before a blank or one of `_.-`, so that no number becomes another one.

    Args:
        keys: N names, in lower case and without extension.
        files: the same of every file -> its paths.
    """
    for before, after, added in _affixes(keys[0], files):
        changed = [_changed(key, before, after, added) for key in keys]
        if all(len(files.get(key, ())) == 1 for key in changed) and len(set(changed)) == len(set(keys)):
            return [files[key][0] for key in changed]
    return None


def leading_zeros(
    keys: Sequence[str], files: Mapping[str, Sequence[str]], paths: Sequence[str | None]
) -> dict[int, str]:
    """Row -> file where all names are whole numbers: `7` is 00007.png for a program that reads ids as numbers.

    Args:
        keys: N names, in lower case and without extension.
        files: the same of every file -> its paths.
        paths: of every name, None where it is not found yet. A file is not given twice; a number that several files
            have is not found, and neither is one that a file has as it is written.
    """
    if not all(map(str.isdecimal, keys)):
        return {}
    numbered: dict[int, list[str]] = {}
    for name, same in files.items():
        if name.isdecimal():
            numbered.setdefault(int(name), []).extend(same)
    used = set(paths)
    missing = [row for row, path in enumerate(paths) if path is None and keys[row] not in files]
    candidates = {row: numbered.get(int(keys[row]), []) for row in missing}
    return {row: same[0] for row, same in candidates.items() if len(same) == 1 and same[0] not in used}


def _affixes(key: str, files: Iterable[str]) -> list[tuple[str, str, bool]]:
    """What would make one key that of a file: (word before, word after, whether they are added or taken away)."""
    changes: dict[tuple[str, str, bool], None] = {}
    for name in files:
        added = len(name) > len(key)
        longer, shorter = (name, key) if added else (key, name)
        before, common, after = longer.partition(shorter)
        one_side = common and shorter and bool(before) != bool(after)
        if one_side and (_BEFORE if before else _AFTER).fullmatch(before or after):
            changes[before, after, added] = None
    return list(changes)[:_MAX_AFFIXES]


def _changed(key: str, before: str, after: str, added: bool) -> str:
    if added:
        return before + key + after
    return key[len(before) : len(key) - len(after)] if key.startswith(before) and key.endswith(after) else ""
