"""A run says what it is before it decodes and trains, and nothing of Lightning's own."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, ok, only_run, run_command


def lines_all_the_time() -> None:
    from ltmed.training.callbacks import progress

    progress.EpochLines.__init__.__defaults__ = (0.0,)  # pyright: ignore[reportFunctionMemberAccess]


def test_the_first_lines_come_before_anything_slow(tmp_path: Path) -> None:
    code = """
import sys
from ltmed.training import header
def ended(*facts):
    announce(*facts)
    assert not {"torch", "lightning", "timm"} & set(sys.modules)
    raise SystemExit
announce, header.announce = header.announce, ended
from ltmed.cli.main import main
main(["train", "method=proco", "dataset=phantom", "seed=3"])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "run     proco on phantom, fold 0, seed 3"
    assert second == "folder  runs/phantom/proco/default/fold0-seed3"


@pytest.mark.slow
def test_a_run_says_what_it_is_and_where_it_is(tiny: list[str], tmp_path: Path) -> None:
    overrides = [
        "method=decoupling",
        "epochs={represent:2,classify:1}",
        "method.stages.represent.batch_size=28",
        "batch_size=null",
    ]
    overrides.append("method.stages.classify.batch_size=14")
    done = ok(run_command(*tiny, *overrides, cwd=tmp_path, before=lines_all_the_time))
    run = only_run(tmp_path / "runs")
    opening, folder, images, device, steps, *further = done.out.splitlines()
    assert opening == "run     decoupling on isic2018, fold 0, seed 0"
    assert folder == f"folder  {run}"
    assert images.startswith("images  train ")
    assert "7 classes" in images
    assert re.fullmatch(r"device  CPU, \d+ threads?, precision 32-true", device)
    expected = r"steps   represent 2 epochs of (\d) steps of 28 images; classify 1 epoch of (\d) steps of 14 images"
    found = re.fullmatch(expected, steps)
    assert found
    assert any(line.startswith("represent 1/2  step ") for line in further)
    assert any(line.startswith("represent 2/2  loss ") for line in further)
    assert any(line.startswith("classify 1/1  loss ") for line in further)
    # Of the frozen encoder, and of the end of training.
    assert "eval mode" not in done.err
    assert "Trainer" not in done.out + done.err
    again = ok(run_command(*tiny, *overrides, cwd=tmp_path))
    assert "steps   " not in again.out
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["stage", "epoch", "step", "name", "value"]
    taken = {row["stage"]: int(row["step"]) + 1 for row in rows if row["name"].endswith("/train/loss")}
    assert taken == {"represent": 2 * int(found[1]), "classify": int(found[2])}
