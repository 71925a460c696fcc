"""The data set of a run, checked against the split that the run began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ltmed.config.instantiate import build
from ltmed.errors import UserError
from ltmed.runs.directory import write_atomic
from ltmed.utils.processes import is_first_process

if TYPE_CHECKING:
    from ltmed.data.datamodule import DataModule


def open_dataset(cfg: DictConfig, run_dir: Path) -> DataModule:
    """Reads the label files and checks that the split is the one that this run began with."""
    data: DataModule = build(
        cfg.dataset, image_size=cfg.image_size, fold=cfg.fold, split=build(cfg.split),
        evaluation=build(cfg.evaluation), cache_dir=cfg.cache_dir,
    )  # fmt: skip
    begun = split_record(run_dir)
    if begun["hash"] not in (None, data.digest):
        raise UserError(
            f"{run_dir} was begun with the split {begun['hash']}, but {cfg.dataset.root} now gives {data.digest}",
            "The images, labels or groups under dataset.root changed. Restore them, or choose another run_dir.",
        )
    if is_first_process() and begun["hash"] is None:
        known = {"name": data.split.name, "hash": data.digest, "root": cfg.dataset.root}
        write_atomic(run_dir / "split.json", json.dumps(known))
    return data


def split_record(run_dir: Path) -> dict[str, Any]:
    """Name, hash and root of the split in the run's folder; None for all of them where no run began."""
    file = run_dir / "split.json"
    return json.loads(file.read_text()) if file.exists() else {"hash": None, "root": None}
