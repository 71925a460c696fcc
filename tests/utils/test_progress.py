"""Lines and bars of progress."""

from __future__ import annotations

import io
import time

import pytest

from ltmed.utils import progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (12240, "3.4 h")]
)
def test_durations_are_rounded(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_time_left_is_in_proportion_to_what_is_left() -> None:
    assert progress.time_left(10, 20, 100) == ", about 40 s left"
    assert progress.time_left(10, 0, 100) == progress.time_left(10, 100, 100) == ""


def test_a_line_comes_whenever_nothing_was_printed_for_long_enough() -> None:
    out = io.StringIO()
    with progress.heartbeat(lambda: "alive", every=0.2, to=out) as printed:
        for _ in range(10):
            time.sleep(0.05)
            printed()
        assert out.getvalue() == ""
        time.sleep(0.5)
    lines = out.getvalue()
    assert lines in ("alive\n", "alive\nalive\n")
    time.sleep(0.3)
    assert out.getvalue() == lines


def test_without_a_terminal_the_bar_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "heartbeat", lambda describe, beat=progress.heartbeat: beat(describe, every=0.2))
    with progress.bar("decoding", 2000) as advance:
        advance(500)
        time.sleep(0.3)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("decoding: 500 of 2,000, about ")
    assert first.endswith(" s left")
    with progress.bar("decoding", 2000, show=False) as advance:
        advance(500)
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("decoding", 2) as advance:
        advance(2)
    assert capsys.readouterr().err == ""
