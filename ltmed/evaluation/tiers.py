"""Head, medium and tail: classes by their number of training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ltmed.errors import UserError, suggest

RULE = "classes ranked by training images (ties: class order); first third head, last third tail, thirds rounded"


def tiers(
    counts: Sequence[int] | np.ndarray | Tensor,
    classes: Sequence[str],
    head: Sequence[str] | None = None,
    tail: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Sorts the classes into head, medium and tail.

    The rule (`RULE`): rank the classes by their number of training images, ties in class order; the first
    round(K/3) are head, the last round(K/3) are tail, the rest medium. A rule on ranks rather than on counts, because
    data sets differ a hundredfold in size; 2 classes give 1/0/1, 5 give 2/1/2, 7 give 2/3/2, 198 give 66/66/66.
    A data set may list its own head and tail instead; all other classes are then medium.

    Args:
        counts: `[K]`, training images per class (of the training part only).
        classes: K class codes.
        head: codes of the head classes; either list disables the rule.
        tail: codes of the tail classes.

    Returns:
        Class indices in class order, by tier: head, medium, tail.

    Raises:
        UserError: a listed class is unknown or listed twice.
    """
    if head is None and tail is None:
        ranks = np.argsort(-np.asarray(counts, dtype=np.int64), kind="stable").tolist()
        third = max(1, round(len(ranks) / 3))
        first, last = ranks[:third], ranks[max(third, len(ranks) - third) :]
    else:
        _check_listed([*(head or ()), *(tail or ())], classes)
        first, last = ([list(classes).index(code) for code in listed or ()] for listed in (head, tail))
    medium = set(range(len(classes))) - set(first) - set(last)
    return {"head": sorted(first), "medium": sorted(medium), "tail": sorted(last)}


def _check_listed(listed: list[str], classes: Sequence[str]) -> None:
    for position, code in enumerate(listed):
        if code not in classes:
            raise UserError(f"'{code}' in the head/tail lists is not a class of the data set", suggest(code, classes))
        if code in listed[:position]:
            raise UserError(f"Class '{code}' is listed twice in the head/tail lists", "List every class once.")
