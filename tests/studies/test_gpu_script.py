"""The parts of `experiments/gpu` that need no GPU: it runs rarely, and a renamed module must not break it unnoticed."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from ltmed.studies import catalogue
from tests.harness import ROOT

GPU = ROOT / "experiments" / "gpu"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a file of the folder."""
    monkeypatch.syspath_prepend(str(GPU))

    def module(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield module
    for name in ("cells", "runner"):
        sys.modules.pop(name, None)


def test_rows_of_least_work_come_first(load) -> None:
    rows = load("cells").rows("ham10000/pretrained", ["fold=0", "+scale=smoke", "trainer=cpu"])
    names = [row.name for row in rows]
    assert sorted(names) == sorted(catalogue.load("ham10000/pretrained").rows)
    assert names.index("ERM") < names.index("ProCo"), "one view before two"


def test_every_row_is_tried_at_three_rates_and_its_own_is_the_plain_run(load) -> None:
    words = ["fold=0", "row=RS,LMD"]
    for row in load("cells").rows("ham10000/pretrained", words):
        assert row.trials == ["0.06", "0.018", "0.18"]
        (plain,) = row.cells(words)
        folders = {}
        for rate in row.trials:
            (cell,) = row.cells(words, rate)
            folders[rate] = cell.run_dir
            assert [word for word in cell.overrides if word.startswith(f"{row.key}=")] == [f"{row.key}={rate}"]
        assert folders["0.06"] == plain.run_dir
        assert len(set(folders.values())) == 3


def test_validation_is_the_mean_recall_of_the_validation_images(load, tmp_path: Path) -> None:
    pd.DataFrame({"label": list("aaab"), "predicted": list("aabb")}).to_parquet(tmp_path / "validation.parquet")
    assert load("cells").validation(tmp_path) == pytest.approx((2 / 3 + 1) / 2)


def options(load, tmp_path: Path, **changed):
    return load("runner").Options(**{"out": tmp_path, "toy": True, "data": None, "total": 9.0, "jobs": 2, **changed})


def test_steps_at_the_same_time_are_each_recorded_and_a_failure_runs_again_alone(load, tmp_path: Path) -> None:
    runner = load("runner").Runner(options(load, tmp_path), {"steps": 9, "all": 9})
    runner.section("steps")
    good, bad = [sys.executable, "-c", "print('RESULT: {\"a\": 1}')"], [sys.executable, "-c", "raise SystemExit(3)"]
    runner.together("steps", [("good", good), ("bad", bad)])
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    how = {line["step"]: (line["how"], line["found"]) for line in lines}
    assert how == {"good": ("ok", [{"a": 1}]), "bad": ("exit code 3", []), "bad again": ("exit code 3", [])}


def test_a_step_ends_with_its_section(load, tmp_path: Path) -> None:
    runner = load("runner").Runner(options(load, tmp_path, total=3.0), {"steps": 3, "all": 3})
    runner.section("steps")
    assert runner.step("steps", "long", [sys.executable, "-c", "import time; time.sleep(60)"]) is None
    assert json.loads((tmp_path / "results.jsonl").read_text())["how"] == "time limit"


def test_sections_are_those_of_the_command_line(load, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--help"])
    script = runpy.run_path(str(GPU / "run.py"))
    with pytest.raises(SystemExit) as ended:
        script["main"]()
    assert ended.value.code == 0
    assert {name for name, _ in script["_sections"]()} | {"all"} == set(script["LIMITS"])
    assert "--toy" in capsys.readouterr().out
