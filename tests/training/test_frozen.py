"""Whole runs on a frozen encoder: with kept features and without them, their predictions, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ltmed
from ltmed.errors import UserError
from ltmed.inference.export import export
from ltmed.inference.predictor import Predictor
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.pixels import timm_pixels
from tests.harness import assert_same_weights, only_run, stopped, weights

PLAIN = ["augment=none", "backbone.freeze=true"]


def save_smallest(file: Path, seed: int) -> None:
    """Random weights of `backbone=smallest`."""
    torch.manual_seed(seed)
    options = {"layers": [2, 0, 0, 0], "channels": [8] * 4, "stem_type": "deep", "stem_width": 4}
    torch.save(timm_encoder("resnet10t", **options).state_dict(), file)


def probabilities(runs: Path) -> np.ndarray:
    return pd.read_parquet(only_run(runs) / "predictions.parquet").filter(like="prob_").to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["method=erm", "loss=balanced_softmax", "sampler=class_balanced"],
        ["method=decoupling"],
        ["method=pcct"],
        ["method=probe"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_kept_features_give_what_the_encoder_gives_in_every_step(
    overrides: list[str], tiny: list[str], tmp_path: Path
) -> None:
    for cache in ("true", "false"):
        ltmed.train([*tiny, *PLAIN, *overrides, "epochs=2", f"features.cache={cache}", f"runs={tmp_path / cache}"])
    kept, computed = probabilities(tmp_path / "true"), probabilities(tmp_path / "false")
    assert np.abs(kept - computed).max() < 1e-5
    assert kept.std(0).min() > 1e-4, "a head that looks at its features"


@pytest.mark.slow
def test_a_run_is_used_from_its_folder_alone(tiny: list[str], tiny_ham: Path, tmp_path: Path) -> None:
    pixels = ["pixels.mean=[0.1,0.2,0.3]", "pixels.interpolation=bicubic"]
    run = ltmed.train([*tiny, *pixels, "method=probe", "epochs=2"]).path
    assert not any("encoder" in key for key in weights(tmp_path / "runs")), "checkpoints hold the head alone"
    loaded = ltmed.load(run).encoder.state_dict()
    kept = torch.load(run / "encoder.pt", weights_only=True)["state_dict"]
    assert_same_weights(loaded, kept)
    expected = pd.read_parquet(run / "predictions.parquet")
    table = Predictor(run, device="cpu")([tiny_ham / image for image in expected["image"]])
    columns = [name for name in expected if name.startswith("prob_")]
    assert np.abs(table[columns].to_numpy() - expected[columns].to_numpy()).max() < 1e-5
    assert export(run, "torchscript")[1] < 1e-5
    file, _ = export(run, "torch")
    for weights_of_run in (run / "encoder.pt", file):
        pixels = timm_pixels("vit_base_patch16_224", weights=weights_of_run)
        assert (list(pixels.mean), pixels.interpolation) == ([0.1, 0.2, 0.3], "bicubic")


@pytest.mark.slow
def test_encoders_of_two_classes_with_the_same_settings_share_no_features(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "conf/backbone").mkdir(parents=True)
    (tmp_path / "conf/backbone/own.yaml").write_text("_target_: ???\nwidth: 4\n")
    common = [*(item for item in tiny if not item.startswith("backbone=")), "backbone=own", "method=probe", "epochs=1"]
    common.append(f"hydra.searchpath=[file://{tmp_path / 'conf'}]")
    features = {}
    for name in ("Mean", "Maximum"):
        ltmed.train([*common, f"backbone._target_=tests.training.encoders_of_a_stranger.{name}"])
        for file in set((tmp_path / "cache/features").glob("*.npy")) - features.keys():
            features[file] = np.load(file)
    mean, maximum = features.values()
    assert (mean < maximum - 0.1).all()


@pytest.mark.slow
def test_a_repeated_command_continues_on_no_other_encoder(tiny: list[str], tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save_smallest(file, 1)
    overrides = [*tiny, "method=probe", "epochs=2", f"backbone.weights={file}"]
    with stopped(1, 0):
        ltmed.train(overrides)
    assert (only_run(tmp_path / "runs") / "encoder.pt").is_file(), "before the first epoch, like the other facts"
    save_smallest(file, 2)
    with pytest.raises(UserError, match="was begun with the weights"):
        ltmed.train(overrides)
    other = ltmed.train([*overrides, f"run_dir={tmp_path / 'other'}"])
    save_smallest(file, 1)
    run = ltmed.train(overrides)
    assert not torch.equal(
        *(ltmed.load(path).encoder.state_dict()["conv1.0.weight"] for path in (run.path, other.path))
    )
    save_smallest(file, 2)
    with pytest.raises(UserError, match="was begun with the weights"):
        ltmed.train(overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method=erm", "augment=weak", "backbone.freeze=true"], "features.views=4"),
        (["method=proco", *PLAIN], "two views"),
        (["method=mixup", *PLAIN], "features.cache=false"),
        (["method=balanced_mixup", *PLAIN, "batch_size=16"], "features.cache=false"),
        (["method=lmd", "backbone.freeze=true", "features.views=2"], "e_step=false"),
    ],
)  # fmt: skip
def test_what_kept_features_cannot_do_is_refused(
    overrides: list[str], said: str, tiny: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        ltmed.train([*tiny, *overrides, "epochs=1"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["method=proco", "augment=weak", "features.views=2"],
        ["method=lmd", "features.views=2", "method.stages.calibrate.module.e_step=false",
         "method.stages.calibrate.module.virtual_per_class=300"],
        ["method=decoupling_ncm", "augment=none"],
        ["method=posthoc_logit_adjustment", "augment=none"],
        ["method=mixup", "features.cache=false"],
    ],
    ids=lambda overrides: overrides[0],
)  # fmt: skip
def test_methods_on_a_frozen_encoder(overrides: list[str], tiny: list[str], tmp_path: Path) -> None:
    ltmed.train([*tiny, "backbone.freeze=true", *overrides, "epochs=1"])
    assert np.isfinite(probabilities(tmp_path / "runs")).all()
