"""Figures at the end of a run, and the maps of its features afterwards."""

from __future__ import annotations

import numpy as np
import pytest

import ltmed
from ltmed.cli.main import main
from ltmed.errors import UserError
from ltmed.plots.feature_maps import encode
from ltmed.plots.run import figures as run_figures
from ltmed.runs.reader import read_run


@pytest.mark.slow
def test_a_run_plots_itself_and_its_features(tiny, tmp_path, capsys, monkeypatch):
    overrides = [*tiny, "method=aduni", "epochs=2", "figures=true", "class_losses=true"]
    folder = ltmed.train(overrides).path
    capsys.readouterr()
    assert "figures" not in str(folder.relative_to(tmp_path / "runs"))
    plotted = {file.stem for file in (folder / "figures").glob("*.png")}
    assert plotted == {
        "class_distribution", "confusion_matrix", "recall_by_size", "training_curves", "reliability", "alpha",
        "class_losses",
    }  # fmt: skip
    run = read_run(folder)
    assert run
    features, labels = encode(run)
    assert features.shape[0] == len(labels) == len(run.predictions)
    assert np.isfinite(features).all()
    assert [run.classes[k] for k in labels] == run.predictions["label"].tolist()
    counts = run.metrics["split"]["counts"]["train"]
    _, labels = encode(run, "train", ["DF", "NV"])
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == {
        run.classes.index(code): counts[code] for code in ("NV", "DF")
    }
    with pytest.raises(UserError, match="no class 'df'"):
        encode(run, "train", ["df"])
    monkeypatch.setattr(run_figures, "figures", lambda run: {})  # That they are drawn is seen above.
    main(["plot", str(folder)])
    assert (folder / "figures" / "features_tsne.png").exists()
    printed = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: isic2018: ") for line in printed)
    main(["plot", str(folder), "--side-by-side", "--part", "val", "--class", "NV", "--output", str(tmp_path / "out")])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"features_tsne-val-NV-side_by_side.png", "class_losses-side_by_side.png"}
