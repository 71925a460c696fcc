"""From the folder of a run, or its export, back to the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import ltmed
from ltmed.errors import UserError
from ltmed.inference.export import export, load_export
from ltmed.inference.restore import without_initial_weights
from tests.harness import assert_same_weights, weights


@pytest.mark.slow
def test_an_encoder_that_is_not_from_timm_is_read_back(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "conf/backbone").mkdir(parents=True)
    (tmp_path / "conf/backbone/own.yaml").write_text("_target_: tests.training.encoders_of_a_stranger.Mean\nwidth: 4\n")
    own = [*(item for item in tiny if not item.startswith("backbone=")), "backbone=own", "method=erm", "epochs=1"]
    run = ltmed.train([*own, f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]).path
    network = ltmed.load(run, trust=True)
    saved = weights(tmp_path / "runs", "best")
    assert_same_weights({f"train/network.{key}": value for key, value in network.state_dict().items()}, saved)
    file, difference = export(run, "torch", trust=True)
    assert difference < 1e-6
    assert_same_weights(load_export(file, trust=True).network.state_dict(), network.state_dict())


def test_files_that_are_no_exports_are_named(tmp_path: Path) -> None:
    other, text = tmp_path / "encoder.pt", tmp_path / "notes.pt"
    torch.save({"state_dict": {}}, other)
    text.write_text("notes")
    for file, reason in ((tmp_path / "none.pt", "No such file"), (text, "pickled code"), (other, "other content")):
        with pytest.raises(UserError, match=rf"{file.name} is no exported network \(.*{reason}"):
            load_export(file)


def test_only_settings_that_an_encoder_has_are_changed() -> None:
    own = OmegaConf.create({"backbone": {"_target_": "mine", "width": 4}})
    assert without_initial_weights(own).backbone == {"_target_": "mine", "width": 4, "freeze": False}
    assert own.backbone == {"_target_": "mine", "width": 4}
    timm = OmegaConf.create({"backbone": {"pretrained": True, "weights": "w.pth", "freeze": True}})
    assert without_initial_weights(timm).backbone == {"pretrained": False, "weights": None, "freeze": False}
