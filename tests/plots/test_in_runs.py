"""Figures at the end of a run, and the map of its features afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.cli.main import main
from ltmed.plots.feature_maps import encode
from ltmed.runs.reader import read_run
from tests.harness import ok, only_run, run_command


@pytest.mark.slow
def test_a_run_plots_itself_and_its_features(tiny, tmp_path, capsys):
    words = [*tiny, "method=aduni", "epochs=2", "figures=true"]
    ok(run_command(*words, cwd=tmp_path))
    folder = only_run(tmp_path / "runs")
    assert "figures" not in str(folder.relative_to(tmp_path / "runs"))
    drawn = {file.stem for file in (folder / "figures").glob("*.png")}
    assert drawn >= {"class_distribution", "confusion_matrix", "training_curves", "reliability", "alpha"}
    run = read_run(folder)
    assert run
    features, labels = encode(run)
    assert features.shape[0] == len(labels) == len(run.predictions)
    assert np.isfinite(features).all()
    assert [run.classes[k] for k in labels] == run.predictions["label"].tolist()
    main(["plot", str(folder)])
    assert (folder / "figures" / "features_tsne.png").exists()
    assert not capsys.readouterr().err
