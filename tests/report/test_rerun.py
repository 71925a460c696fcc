"""The command that repeats a run, from where the run is now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ltmed.report.rerun import command
from ltmed.runs.reader import Division


def test_a_copy_near_the_top_of_a_disk_has_a_command():
    run: Any = SimpleNamespace(
        path=Path("/copies/run"), split_seeds={}, overrides=["method=erm"], division=Division(1, ()), seed=0,
        facts={"folder": "isic2018/erm/default/fold1-seed0"},
    )  # fmt: skip
    words = command(run, run.division, 0)
    assert words.endswith("method=erm fold=1 seed=0")
    assert "runs=" not in words
