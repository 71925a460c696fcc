"""Times as people write them, and a clock that goes on."""

from __future__ import annotations

import pytest

from ltmed.errors import UserError
from ltmed.studies.budget import Budget, seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("2h", 7200), ("90min", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400)]
)
def test_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "2d", "0s", "-1h", "1h x", "2 h"])
def test_anything_else_is_refused(text):
    with pytest.raises(UserError):
        seconds(text)


def test_the_clock_goes_on_from_earlier_calls():
    now = [100.0]
    budget = Budget(60, spent=10, clock=lambda: now[0])
    assert budget.spent == 10
    now[0] = 125.0
    assert budget.spent == 35
