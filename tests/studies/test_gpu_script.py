"""The parts of `experiments/gpu` that need no GPU: it runs rarely, and a renamed module must not break it unnoticed."""

from __future__ import annotations

import runpy
import sys

import pytest

from ltmed.studies import catalogue
from tests.harness import ROOT

GPU = ROOT / "experiments" / "gpu"


def test_rows_of_least_work_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    measure = runpy.run_path(str(GPU / "measure.py"))
    measure["rows"](["+ham10000=pretrained", "fold=0", "+scale=smoke", "trainer=cpu"])
    rows = [line.removeprefix("ROW: ") for line in capsys.readouterr().out.splitlines()]
    assert sorted(rows) == sorted(catalogue.load("ham10000/pretrained").rows)
    assert rows.index("ERM") < rows.index("ProCo"), "one view before two"


def test_sections_are_those_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--help"])
    script = runpy.run_path(str(GPU / "run.py"))
    with pytest.raises(SystemExit) as ended:
        script["main"]()
    assert ended.value.code == 0
    assert {name for name, _ in script["_sections"]()} == set(script["LIMITS"])
    assert "--toy" in capsys.readouterr().out
