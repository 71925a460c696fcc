"""The ids of lesions and patients as tables spell them: which cells are none, and which are one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from ltmed.data.readers._text import shortened
from ltmed.data.readers._walk import composed

NO_ID = frozenset(
    (
        *("", "-1", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "unknown", "unk", "unspecified"),
        *("missing", "undefined", "not available", "not known", "no id", "?", "-", "--", "."),
        *("not recorded", "not provided", "not applicable", "anonymous", "anonymized", "anonymised", "n.a."),
    )
)
"""Cells, in lower case, that stand for an id that is not known."""


def known_id(cell: str) -> str:
    """An id as it is compared, or "" where a cell stands for an unknown one."""
    cell = cell.strip()
    if cell.lower() in NO_ID:
        return ""
    return composed(re.sub(r"^([+-]?\d+)[.,]0+$", r"\1", cell)) if cell != "-1.0" else ""


def known_ids(cells: Sequence[str]) -> list[str]:
    """`known_id` of every cell."""
    known = {cell: known_id(cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def unified(name: str, column: str, ids: Sequence[str]) -> dict[str, str]:
    """Which ids are one: those that differ in case, blanks, `_`, `-` or leading zeros alone, with a warning.

    Tables that were merged spell one patient `P7` and `p-007`. To keep two patients together does no harm; to divide
    one is a leak.

    Args:
        name: the data set, for messages.
        column: what the ids are called.
        ids: as `known_id` gives them.

    Returns:
        an id that is spelled in several ways -> its first spelling.
    """
    spellings: dict[str, list[str]] = {}
    for cell in sorted({*ids} - {""}):
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]+", "-", cell.casefold()))
        spellings.setdefault(re.sub(r"(?<!\d)-|-(?!\d)", "", plain), []).append(cell)
    several = [cells for cells in spellings.values() if len(cells) > 1]
    if several:
        warnings.warn(
            f"{name}: {len(several):,} ids of {column} are spelled in several ways ({shortened(several[0], 3)}); each "
            "counts as one",
            stacklevel=5,
        )
    return {cell: cells[0] for cells in several for cell in cells}
