"""How folders and tables spell the parts of a split, and the folds of a cross-validation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ltmed.data.readers._walk import composed
from ltmed.errors import UserError, suggest

PART_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validate", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
"""The words for the parts, as `squashed` leaves them; `set`, `data`, `images`, `split` or `part` may follow."""

_KNOWN = {name: part for part, names in PART_NAMES.items() for name in names}
_ENDINGS = re.compile(r"(datasets?|sets?|data|images?|imgs?|split|part|folder)$")


def squashed(text: str) -> str:
    """`text` in lower case without blanks, `_`, `-` and `.`: what two spellings of one name have in common."""
    return re.sub(r"[\s_\-.]+", "", composed(text).casefold())


def part_named(word: str) -> str | None:
    """`train`, `val` or `test` for any spelling of it (`Train`, `validate`, `test_set`), None for other words."""
    plain = squashed(word)
    return _KNOWN.get(plain) or _KNOWN.get(_ENDINGS.sub("", plain))


def part_of(word: str, where: object) -> str:
    """`train`, `val` or `test` for any spelling of it; an empty word stays empty (in no part).

    Raises:
        UserError: another word; the message begins with `where`.
    """
    part = part_named(word) if word else ""
    if part is None:
        raise UserError(f"{where}: '{word[:80]}' is not a part of a split", suggest(word.lower(), _KNOWN))
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
    known = {}
    for row, cell in enumerate(cells):
        if cell not in known:
            plain = re.sub(r"^(\d+)\.0+$", r"\1", cell)
            if plain and not (plain.isdecimal() and len(plain) < 6):
                raise UserError(f"{where(row)}: fold '{cell[:80]}' is no number from 0", "Correct that row.")
            known[cell] = int(plain) if plain else -1
    numbers = set(known.values())
    absent = set(range(max(numbers) + 1)) - numbers
    if absent or max(numbers) < 1:
        raise UserError(
            f"{path}: the folds are not numbered 0, 1, ... without a gap (no {min(absent, default=1)})",
            "Number them from 0.",
        )
    return [known[cell] for cell in cells]
