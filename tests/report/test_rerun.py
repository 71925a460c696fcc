"""The command that repeats a run, from where the run is now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ltmed.report.rerun import command
from ltmed.runs.division import Division


def _run(path: str, *overrides: str, division: Division | None = None, **split_seeds: int) -> Any:
    return SimpleNamespace(
        path=Path(path), overrides=["method=erm", *overrides], division=division or Division(1), seed=0,
        split_seeds={f"split.{key}": value for key, value in split_seeds.items()},
        facts={"folder": "isic2018/erm/default/fold1-seed0"},
    )  # fmt: skip


def test_a_copy_as_a_whole_tree_names_the_folder_of_its_runs():
    run = _run("/copies/of/mine/isic2018/erm/default/fold1-seed0")
    assert command(run, run.division, 0) == "ltmed train method=erm runs=/copies/of/mine fold=1 seed=0"
    assert command(run, Division(2), 3) == "ltmed train method=erm runs=/copies/of/mine fold=2 seed=3"


@pytest.mark.parametrize("path", ["/copies/run", "/a/b/c/d/e/renamed", "/a/isic2018/erm/other/fold1-seed0"])
def test_a_copy_of_another_name_is_named_itself(path):
    """What is above it is no folder of runs: in the first case it would be `/`."""
    run = _run(path)
    assert command(run, run.division, 0) == f"ltmed train method=erm run_dir={path} fold=1 seed=0"
    assert command(run, Division(2), 0) == "ltmed train method=erm fold=2 seed=0"


SEED, OTHER_SEED, VAL_SEED = ("split.seed", 0), ("split.seed", 7), ("split.val_seed", 1)


@pytest.mark.parametrize(
    ("of_run", "override", "asked", "expected"),
    [
        # Divisions of one column need not have the same seeds: one that is null is none.
        ({"seed": 0}, [], Division(1, (SEED,), (VAL_SEED,)), ["split.val_seed=1"]),
        ({"seed": 0, "val_seed": 1}, ["split.val_seed=1"], Division(1, (SEED,)), ["split.val_seed=null"]),
        ({"seed": 0, "val_seed": 1}, ["split.val_seed=1"], Division(1, (SEED,), (VAL_SEED,)), ["split.val_seed=1"]),
        ({"seed": 0}, [], Division(1, (OTHER_SEED,), (VAL_SEED,)), ["split.seed=7", "split.val_seed=1"]),
        ({"seed": 0, "val_seed": 0}, ["split.val_seed=0"], Division(1, (SEED,)), ["split.val_seed=0"]),
        (
            {"seed": 0, "val_seed": 0}, ["split.val_seed=0"], Division(1, (OTHER_SEED,)),
            ["split.val_seed=null", "split.seed=7"],
        ),
    ],
)  # fmt: skip
def test_split_seeds_are_those_of_the_division_asked_for(of_run, override, asked, expected):
    own = Division(1, (SEED,), (VAL_SEED,) if of_run.get("val_seed") else ())
    path = str(Path("runs/isic2018/erm/default/fold1-seed0").absolute())
    words = command(_run(path, *override, division=own, **of_run), asked, 0).split()
    assert sorted(words[3:-2]) == sorted(expected)
    assert words[-2:] == ["fold=1", "seed=0"]
