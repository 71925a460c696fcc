"""What a run's pixels look like to its network: from the user, the data set, or the weights, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ltmed.config.pixels import resolve_pixels
from ltmed.nn.pixels import IMAGENET_MEAN
from tests.trained_runs import config

LITE = "backbone=efficientnet_lite0"
HALF = [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("overrides", "mean", "interpolation"),
    [
        ([], list(IMAGENET_MEAN), "bilinear"),
        ([LITE], HALF, "bicubic"),
        ([LITE, "backbone.pretrained=false"], list(IMAGENET_MEAN), "bilinear"),
        ([LITE, "dataset=sd198"], [0.5896, 0.4766, 0.4517], "bicubic"),
        ([LITE, "dataset=sd198", "pixels.mean=[0.1,0.2,0.3]"], [0.1, 0.2, 0.3], "bicubic"),
        ([LITE, "pixels.interpolation=bilinear"], HALF, "bilinear"),
    ],
)
def test_who_says_it(overrides: list[str], mean: list[float], interpolation: str) -> None:
    pixels = resolve_pixels(config(*overrides))
    assert (pixels["mean"], pixels["interpolation"]) == (mean, interpolation)


def test_a_run_that_began_keeps_its_own_without_its_file_of_weights(tmp_path: Path) -> None:
    cfg = config(f"backbone.weights={tmp_path / 'deleted.pt'}")
    began = {"pixels": {"mean": [0.1, 0.1, 0.1], "std": HALF, "interpolation": "bicubic"}}
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(began))
    assert resolve_pixels(cfg, tmp_path) == began["pixels"]
    assert cfg.pixels.mean is None, "the composed configuration is not changed"
