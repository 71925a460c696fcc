"""Outputs that would take the place of a run's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltmed.data.cache.features import ENCODER
from ltmed.errors import UserError
from ltmed.inference.export import export
from ltmed.runs.outputs import require_no_figures_of_run, require_no_file_of_run
from tests.trained_runs import untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return untrained(tmp_path_factory.mktemp("runs") / "run", "method=erm")


@pytest.mark.parametrize("name", ["predictions.parquet", "validation.parquet", "metrics.csv", ENCODER])
def test_files_of_a_run_are_refused_before_they_exist(run, monkeypatch, name):
    monkeypatch.chdir(run)
    for output in (run / name, Path(name), Path("../run") / name):
        with pytest.raises(UserError, match="is a file of the run in"):
            require_no_file_of_run(output)


def test_every_file_of_a_run_is_refused_and_others_are_not(run, tmp_path):
    files = [file for file in run.rglob("*") if file.is_file()]
    assert {"config.yaml", "metrics.json", "run.json", "overrides.yaml", "best.ckpt"} <= {file.name for file in files}
    for file in [*files, run / "evaluations/own/predictions.parquet"]:
        with pytest.raises(UserError, match="is a file of the run in"):
            require_no_file_of_run(file)
    for file in (run, run / "model.onnx", run / "out.csv", tmp_path / "predictions.parquet", run / "mine/metrics.csv"):
        require_no_file_of_run(file)


def test_export_leaves_the_checkpoint(run):
    (checkpoint,) = run.rglob("best.ckpt")
    before = checkpoint.read_bytes()
    with pytest.raises(UserError, match="is a file of the run in"):
        export(run, "torch", checkpoint)
    assert checkpoint.read_bytes() == before


def test_figures_of_a_run_are_no_images_and_others_in_its_folder_are(run, tmp_path, monkeypatch):
    mine = [tmp_path / "figures/a.png", run / "a.png", run / "images/a.png", run.parent / "a.png"]
    require_no_figures_of_run(mine)
    monkeypatch.chdir(run.parent)
    for name in ("figures/a.png", "evaluations/own/figures/a.png", "explanations/a.png", "wandb/run/media/a.png"):
        for image in (run / name, Path("run") / name):
            with pytest.raises(UserError, match="are figures of the run in"):
                require_no_figures_of_run([*mine, image])
