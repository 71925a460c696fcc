"""The weights that a run began with are compared with those that its repetition would begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from ltmed.config.instantiate import build_network
from ltmed.config.resolve import frozen
from ltmed.config.targets import trusted
from ltmed.errors import UserError
from ltmed.nn.encoder import timm_encoder
from ltmed.runs import facts, initial_weights
from tests.run_json import write_facts

pytestmark = pytest.mark.usefixtures("of_the_user")
SMALLEST = {"name": "resnet10t", "layers": [2, 0, 0, 0], "channels": [8] * 4, "stem_type": "deep", "stem_width": 4}


@pytest.fixture
def of_the_user() -> Iterator[None]:
    """As in a command: configurations of others may name no file of weights."""
    with trusted():
        yield


def save(file: Path, seed: int, **around: object) -> None:
    torch.manual_seed(seed)
    torch.save({"state_dict": timm_encoder(**SMALLEST).state_dict(), **around}, file)


def config(weights: Path | str | None, *, freeze: bool = False, seed: int = 0) -> DictConfig:
    """A configuration with what a network is built from."""
    classifier = {"_target_": "ltmed.nn.heads.Linear", "_partial_": True}
    return frozen(
        {
            "seed": seed,
            "backbone": {
                "_target_": "ltmed.nn.encoder.timm_encoder", "pretrained": False, "freeze": freeze,
                "weights": None if weights is None else str(weights), **SMALLEST,
            },
            "method": {"name": "erm", "network": {"projector": None, "classifier": classifier}},
        }
    )  # fmt: skip


def digests(cfg: DictConfig) -> dict[str, str | None] | None:
    return initial_weights.digests(cfg.backbone, build_network(cfg, 3).encoder)


def begun(run: Path, cfg: DictConfig) -> Path:
    """The folder of a run that began with the weights of a configuration."""
    run.mkdir()
    write_facts(run, OmegaConf.to_container(cfg), weights=digests(cfg))
    return run


@pytest.mark.parametrize("freeze", [False, True])
def test_other_weights_in_the_same_file_are_refused(freeze: bool, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save(file, 1)
    cfg = config(file, freeze=freeze)
    run = begun(tmp_path / "run", cfg)
    initial_weights.require_same(run, cfg.backbone, digests(cfg))
    assert not initial_weights.is_file_changed(run, cfg.backbone)
    save(file, 2)
    said = rf"run was begun with the weights \w+, but backbone.weights={file} now holds \w+. .*run_dir"
    assert initial_weights.is_file_changed(run, cfg.backbone)
    with pytest.raises(UserError, match=said):
        initial_weights.require_same(run, cfg.backbone, digests(cfg))


def test_the_same_weights_in_a_file_that_was_written_anew_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save(file, 1)
    cfg = config(file)
    run = begun(tmp_path / "run", cfg)
    save(file, 1, epoch=300)
    assert initial_weights.is_file_changed(run, cfg.backbone)
    initial_weights.require_same(run, cfg.backbone, digests(cfg))


def test_an_unchanged_file_whose_weights_are_resized_differently_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save(file, 1)
    cfg = config(file)
    run, now = begun(tmp_path / "run", cfg), digests(cfg)
    assert now is not None
    initial_weights.require_same(run, cfg.backbone, {**now, "encoder": "0" * 16})


def test_a_finished_run_needs_its_file_no_longer(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save(file, 1)
    cfg = config(file)
    run = begun(tmp_path / "run", cfg)
    file.unlink()
    assert not initial_weights.is_file_changed(run, cfg.backbone)


def test_of_random_weights_only_a_frozen_encoder_is_recorded(tmp_path: Path) -> None:
    assert digests(config(None)) is None
    cfg, other = (config(None, freeze=True, seed=seed) for seed in (0, 1))
    run = begun(tmp_path / "run", cfg)
    initial_weights.require_same(run, cfg.backbone, digests(cfg))
    with pytest.raises(UserError, match=r"but the backbone now has \w+"):
        initial_weights.require_same(run, cfg.backbone, digests(other))


def test_a_run_without_the_record_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    save(file, 1)
    cfg = config(file)
    run = begun(tmp_path / "run", cfg)
    older = facts.read(run)
    del older["weights"]
    (run / facts.RUN).write_text(json.dumps(older))
    save(file, 2)
    for folder in (run, tmp_path / "not begun"):
        initial_weights.require_same(folder, cfg.backbone, digests(cfg))
        assert not initial_weights.is_file_changed(folder, cfg.backbone)
