"""Messages of two parts: what is wrong, and what to do about it."""

from __future__ import annotations

import pytest

from ltmed.errors import UserError, suggest


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x is wrong", "x is wrong. Do y."),
        ("x is wrong.", "x is wrong. Do y."),
        ("missing: 'a', 'b', ...", "missing: 'a', 'b', ... Do y."),
        ("there is no ./data..", "there is no ./data.. Do y."),
    ],
)
def test_the_dots_at_the_end_of_a_message_stay(message: str, expected: str) -> None:
    assert str(UserError(message, "Do y.")) == expected
    assert str(UserError(message)) == message


@pytest.mark.parametrize(
    ("name", "named"),
    [("ERM", "'erm'?"), ("f1", "'macro_f1'?"), ("bf17", "'bf16-mixed'?"), ("erm_", "'erm'?"), ("zzz", "Known:")],
)
def test_near_names_are_suggested(name: str, named: str) -> None:
    assert named in suggest(name, ["erm", "macro_f1", "bf16-mixed"])
