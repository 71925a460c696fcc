"""The wall time that a search may take, over all calls of its command."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from ltmed.errors import UserError

_UNITS = {"h": 3600, "m": 60, "min": 60, "s": 1}


def seconds(text: str) -> float:
    """`2h`, `90min`, `1h30m` or `45s` in seconds.

    Raises:
        UserError: it is something else, or nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text or not sum(float(number) for number, _ in parts):
        raise UserError(f"--budget={text} is not a time", "For instance 2h, 90min, 1h30m or 45s.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Budget:
    """A clock that continues from the time that earlier calls have used.

    Args:
        total: seconds.
        spent: seconds that earlier calls have used.
        clock: in seconds; only differences count.
    """

    def __init__(self, total: float, spent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self._before, self._clock = total, spent, clock
        self._started = clock()

    @property
    def spent(self) -> float:
        """Seconds that all calls have used until now."""
        return self._before + self._clock() - self._started
