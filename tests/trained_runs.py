"""Folders of finished runs: really trained ones, and ones with random weights where nothing depends on training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import ltmed
from ltmed.config.instantiate import build_network
from ltmed.data.cache.intensity import Intensity
from ltmed.runs import facts
from ltmed.runs.directory import claim
from ltmed.runs.job import plan
from tests.harness import ROOT, TINY, make_tiny_ham

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def config(*overrides: str) -> DictConfig:
    """The config of a tiny run with these overrides."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("config", [*TINY, *overrides])


def untrained(folder: Path, *overrides: str) -> Path:
    """A run as it would be after training, with random weights; its data root does not exist.

    Args:
        folder: the run's.
        overrides: overrides; `method=erm` unless they say otherwise.
    """
    composed = config("dataset.root=/nowhere", f"run_dir={folder}", *overrides)
    job = plan(composed, overrides, {"dataset": "isic2018", "split": "grouped"})
    cfg = job.cfg
    network = build_network(cfg, len(CODES))
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        # Else the features of a fresh network are nearly 0, and whatever is done to them stays unseen.
        if tensor.dtype == torch.bool:
            tensor.fill_(True)
        elif name.startswith("classifier.") and tensor.is_floating_point():
            tensor.data.normal_(std=0.5)
            if name.endswith("running_var"):
                tensor.data.abs_()
    stage = list(cfg.method.stages)[-1]
    file = folder / f"stages/{stage}/{cfg.method.stages[stage].keep}.ckpt"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, file)
    claim(folder, cfg)
    facts.begin(job)
    facts.add(
        folder,
        split={"name": "grouped", "hash": "0123", "root": "/nowhere"},
        pixels={
            "store": "raw" if cfg.dataset.cache_budget_gb else "jpeg", "fit": cfg.dataset.fit,
            "side": round(cfg.image_size * cfg.dataset.cache_scale),
            "intensity": asdict(Intensity.of(cfg.dataset.intensity)),
        },
    )  # fmt: skip
    k = len(CODES)
    name = f"isic2018-{cfg.method.name}-fold0-seed0"
    found = {
        "run": {"name": name, "dataset": "isic2018", "method": cfg.method.name, "fold": 0, "seed": 0},
        "val": {"scalars": {}},
        "test": {
            "scalars": {},
            "intervals": {},
            "per_class": [{"class": code, "name": f"name of {code.lower()}"} for code in CODES],
            "confusion": [[0] * k] * k,
        },
        "split": {"name": "grouped", "hash": "0123", "images": {"train": 100, "val": 20, "test": 20}},
        "stages": {},
        "skipped": [],
        "versions": {"ltmed": "0.1.0"},
        "git": {"commit": "abc", "dirty": False},
    }
    (folder / "metrics.json").write_text(json.dumps(found))
    return folder


def trained(folder: Path, *overrides: str) -> tuple[Path, Path]:
    """A run that was trained for an epoch in `folder`, and where its data are."""
    make_tiny_ham(folder / "ham")
    places = [f"dataset.root={folder / 'ham'}", f"runs={folder / 'runs'}", f"cache_dir={folder / 'cache'}"]
    return ltmed.train([*TINY, "epochs=1", *places, *overrides]).path, folder / "ham"
