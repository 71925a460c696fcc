"""run.json and overrides.yaml of runs that tests write by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ltmed.runs.directory import fingerprint, flatten
from ltmed.runs.facts import OVERRIDES, RUN


def write_facts(run: Path, config: Any, overrides: Sequence[str] = (), folder: str | None = None, **facts: Any) -> None:
    """Writes both files.

    Args:
        run: the run's folder.
        config: the content of its config.yaml.
        overrides: of its command.
        folder: its folder below `runs`.
        facts: other values than those of a run of erm on phantom images.
    """
    cfg = OmegaConf.create(config)
    split = flatten({"split": config.get("split", {})})
    seeds = {k: v for k, v in split.items() if k.endswith((".seed", ".val_seed")) and v is not None}
    known = {
        "choices": {"dataset": "toy", "split": "grouped", "method": config["method"]["name"]},
        "uses": ["loss", "sampler", "augment"],
        "fingerprint": fingerprint(cfg),
        "folder": folder,
        "split_seeds": seeds,
        "split": {"name": "grouped", "hash": "abc", "root": "/data"},
        "pixels": {"store": "raw", "side": 37, "fit": "squash", "intensity": {"mode": "auto", "low": 0, "high": 0}},
        "stages": {},
    }
    (run / RUN).write_text(json.dumps({**known, **facts}))
    OmegaConf.save(OmegaConf.create(list(overrides)), run / OVERRIDES)
