"""A run from a stranger runs none of the stranger's code unless it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from omegaconf import OmegaConf

import ltmed
from ltmed.cli import export as export_command
from ltmed.cli import plot as plot_command
from ltmed.cli import predict as predict_command
from ltmed.config.targets import UntrustedTargetError
from ltmed.inference.export import export, load_export
from ltmed.inference.predictor import Predictor
from ltmed.inference.restore import finished_run
from ltmed.plots.feature_maps import encode
from tests.trained_runs import untrained

RAN: list[str] = []
NAME = "tests.inference.test_trust.stranger"


def stranger(*_: Any, **__: Any) -> Any:
    """What a run names that somebody sent."""
    RAN.append("ran")
    return torch.nn.Identity()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("run") / "run")


def sent(clean: Path, folder: Path, key: str, value: Any) -> Path:
    """A copy of the run whose configuration says something else."""
    run = folder / "sent"
    run.mkdir()
    for name in ("metrics.json", "run.json", "stages"):
        (run / name).symlink_to(clean / name)
    cfg = OmegaConf.load(clean / "config.yaml")
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    return run


USES: dict[str, Callable[[Path, Path], Any]] = {
    "load": lambda run, folder: ltmed.load(run),
    "predict": lambda run, folder: Predictor(run),
    "export": lambda run, folder: export(run, "torch", folder / "model.pt"),
    "features": lambda run, folder: encode(finished_run(run)),
}
PLACES: dict[str, Any] = {
    "backbone": {"_target_": NAME},
    "backbone._target_": NAME,
    "backbone.extra": {"_target_": NAME},
    "method.network.classifier": {"_target_": NAME, "_partial_": True},
    "method.network.projector": {"_target_": NAME},
}


@pytest.mark.parametrize("key", PLACES)
@pytest.mark.parametrize("use", ["load", "predict", "export"])
def test_a_network_of_a_stranger_is_not_built(use: str, key: str, clean: Path, tmp_path: Path) -> None:
    run = sent(clean, tmp_path, key, PLACES[key])
    with pytest.raises(UntrustedTargetError) as refused:
        USES[use](run, tmp_path)
    assert NAME in refused.value.message
    assert "--trust" in refused.value.hint
    assert not RAN


@pytest.mark.parametrize(
    ("use", "key"),
    [
        ("predict", "evaluation._target_"),
        ("export", "evaluation._target_"),
        ("features", "dataset._target_"),
        ("features", "split._target_"),
        ("features", "evaluation._target_"),
    ],
)
def test_data_of_a_stranger_are_not_read_with_code_of_theirs(use: str, key: str, clean: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedTargetError):
        USES[use](sent(clean, tmp_path, key, NAME), tmp_path)
    assert not RAN


def test_trust_builds_it(clean: Path, tmp_path: Path) -> None:
    run = sent(clean, tmp_path, "backbone.extra", {"_target_": NAME})
    for use in (
        lambda: ltmed.load(run, trust=True),
        lambda: Predictor(run, trust=True),
        lambda: export(run, "torch", tmp_path / "model.pt", trust=True),
    ):
        RAN.clear()
        with pytest.raises(Exception, match="extra"):  # timm has no such argument; by then the stranger's code has run.
            use()
        assert RAN


def test_an_exported_file_of_a_stranger(clean: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    export(clean, "torch", file)
    load_export(file)
    saved = torch.load(file, weights_only=True)
    for key, value in (
        ("backbone", {"_target_": NAME}),
        ("backbone", {**saved["config"]["backbone"], "pretrained": True}),
        ("backbone", {**saved["config"]["backbone"], "name": "hf-hub:stranger/model"}),
        ("backbone", {**saved["config"]["backbone"], "weights": "/etc/passwd"}),
        ("method", {"network": {"classifier": {"_target_": NAME}}}),
    ):
        torch.save({**saved, "config": {**saved["config"], key: value}}, file)
        with pytest.raises(UntrustedTargetError):
            load_export(file)
        assert not RAN


def test_commands_have_the_option(clean: Path, tmp_path: Path) -> None:
    """It reaches the place where the network is built."""
    run = sent(clean, tmp_path, "backbone.extra", {"_target_": NAME})
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.zeros((40, 40, 3), np.uint8))
    for command, overrides in (
        (predict_command.command, [str(run), str(image)]),
        (export_command.command, [str(run), "--format", "torch", "--output", str(tmp_path / "m.pt")]),
    ):
        refused = CliRunner().invoke(command, overrides)
        assert isinstance(refused.exception, UntrustedTargetError)
        assert not RAN
        CliRunner().invoke(command, [*overrides, "--trust"])
        assert RAN
        RAN.clear()
    assert any(option.name == "trust" for option in plot_command.command.params)
