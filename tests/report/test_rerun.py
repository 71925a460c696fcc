"""The command that repeats a run, from where the run is now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ltmed.report.rerun import command
from ltmed.runs.reader import Division


def _run(path: str) -> Any:
    return SimpleNamespace(
        path=Path(path), split_seeds={}, overrides=["method=erm"], division=Division(1, ()), seed=0,
        facts={"folder": "isic2018/erm/default/fold1-seed0"},
    )  # fmt: skip


def test_a_copy_as_a_whole_tree_names_the_folder_of_its_runs():
    run = _run("/copies/of/mine/isic2018/erm/default/fold1-seed0")
    assert command(run, run.division, 0) == "ltmed train method=erm runs=/copies/of/mine fold=1 seed=0"
    assert command(run, Division(2, ()), 3) == "ltmed train method=erm runs=/copies/of/mine fold=2 seed=3"


@pytest.mark.parametrize("path", ["/copies/run", "/a/b/c/d/e/renamed", "/a/isic2018/erm/other/fold1-seed0"])
def test_a_copy_of_another_name_is_named_itself(path):
    """What is above it is no folder of runs: in the first case it would be `/`."""
    run = _run(path)
    assert command(run, run.division, 0) == f"ltmed train method=erm run_dir={path} fold=1 seed=0"
    assert command(run, Division(2, ()), 0) == "ltmed train method=erm fold=2 seed=0"
