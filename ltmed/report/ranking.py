"""Which rows of a column may be ranked, and on what.

Folds differ in how hard they are, so rows are ranked on the divisions (folds, random splits) that more than half of
them have, and with as many seeds as more than half of them have; seeds of one division are as good as each other. A row
that lacks some is shown and not ranked. A row with divisions of its own is ranked on those that the others have too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ltmed.report.statistics import mean, values
from ltmed.report.wording import divisions
from ltmed.runs.reader import Division, Run

Basis = Mapping[Division, int]
"""Division -> the runs of it that a ranked row has at least."""


def basis(rows: Iterable[Sequence[Run]]) -> Basis:
    """What the rows of one column are ranked on; rows without runs have no say."""
    counts = [Counter(run.division for run in runs) for runs in rows if runs]
    needed: dict[Division, int] = {}
    for division in sorted({division for count in counts for division in count}):
        most = sorted((count[division] for count in counts), reverse=True)[len(counts) // 2]
        if most:
            needed[division] = most
    return needed


def lacking(runs: Sequence[Run], needed: Basis) -> str:
    """Why a row is not ranked, in a few words; empty where it is."""
    own = Counter(run.division for run in runs)
    if not needed:
        return "most rows have other folds"
    if without := [division for division in needed if not own[division]]:
        return f"without {divisions(without, {*needed, *own})}"
    few = {(own[division], number) for division, number in needed.items() if own[division] < number}
    if len(few) > 1:
        return "fewer seeds"
    return "".join(f"{have} of {number} {'runs' if len(needed) > 1 else 'seeds'}" for have, number in few)


def has_others(runs: Sequence[Run], needed: Basis) -> bool:
    """Whether a row has divisions that it is not ranked on."""
    return any(run.division not in needed for run in runs)


def figure(runs: Iterable[Run], metric: str, needed: Basis) -> float | None:
    """The mean that a row is ranked by."""
    return mean({key: value for key, value in values(runs, metric).items() if key[0] in needed})
